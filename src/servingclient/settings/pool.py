"""Connections, and the queue before them."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings.checks import names_checked, number, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Connections (lanes) to one host."""

    max_lanes: int = 32
    """Most connections to one host; calls beyond that wait in order."""
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
        whole(self, "max_lanes", "max_reply_bytes", "max_head_bytes")
        whole(self, "prewarm", least=0)
        number(self, "connect_timeout_s", "attempt_timeout_s", "stream_idle_s", above=True)
        number(self, "max_age_s", above=True)
        number(self, "keepalive_s", "keepalive_unsafe_s")


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """Calls waiting for a connection: first in, first out."""

    max_calls: int = 1000
    """Most waiting calls; one more gets ``QueueFull`` at once. A gather of hundreds still fits."""

    def __post_init__(self) -> None:
        whole(self, "max_calls", least=0)
