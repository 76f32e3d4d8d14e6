"""Connections, and the queue before them."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings.checks import names_checked, number, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections (lanes) to one host."""

    max_lanes: int = 256
    """Most connections to one host, and so the most calls at once. The concurrency limit decides
    how many there are; this is its ceiling."""
    max_httpx_calls: int = 32
    """Most calls at once over an httpx transport (one that was given, or a proxy's): what a call
    costs its pool grows with the calls under way, 1.5 ms at 16 and 2.7 ms at 64."""
    prewarm: int = 4
    """Connections that ``warmup()`` opens. A reconnect costs some 40 warm calls."""
    connect_timeout_s: float = 3.0
    """Name look-up, TCP and TLS together: a host that does not answer is known within 5 s."""
    attempt_timeout_s: float | None = None
    """Longest single try; None lets it use what remains of the call. A read time-out is not
    resent by default, so a shorter try would only turn slow answers into errors."""
    stream_idle_s: float = 60.0
    """Longest gap between two pieces of a stream."""
    keepalive_s: float = 45.0
    """Idle time after which a connection is not reused; learned down when a reused one dies, and
    slowly up again while they live. The front ends' idle limits are not documented."""
    keepalive_unsafe_s: float = 5.0
    """The same for calls that must not be resent (``idempotent=False``): for them a connection
    that died unnoticed is an error, not a free resend."""
    max_age_s: float = 300.0
    """Age at which a connection is replaced, +-20 % at random: follows DNS and load balancers
    without a wave of reconnects."""
    max_reply_bytes: int = 64 * 1024 * 1024
    """Largest reply after decoding: 1 MB of gzip can hold 1 GB."""
    max_head_bytes: int = 64 * 1024
    """Largest head of a reply, interim (1xx) replies included."""

    def __post_init__(self) -> None:
        whole(self, "max_lanes", "max_httpx_calls", "max_reply_bytes", "max_head_bytes")
        whole(self, "prewarm", least=0)
        number(self, "connect_timeout_s", "attempt_timeout_s", "stream_idle_s", above=True)
        number(self, "max_age_s", above=True)
        number(self, "keepalive_s", "keepalive_unsafe_s")

    @property
    def httpx_calls(self) -> int:
        """Most calls at once over an httpx transport."""
        return min(self.max_lanes, self.max_httpx_calls)


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Calls waiting for their turn: by priority; within one, those that are tried again first, else
    first in, first out.

    A call whose wait would outlast its time gets ``QueueFull`` at once, too: as far as is known
    then, since those that go before it may still come.
    """

    max_calls: int = 1000
    """Most waiting calls; one more gets ``QueueFull`` at once. A gather of hundreds still fits."""
    max_bytes: int = 64 * 1024 * 1024
    """Most bytes of encoded requests that wait. A thousand small calls never come near; of the
    largest the service takes, 16 MiB, four may wait."""

    def __post_init__(self) -> None:
        whole(self, "max_calls", "max_bytes", least=0)
