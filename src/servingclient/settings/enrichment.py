"""Calls to external APIs: what is kept, how long, how fast to ask, and when to stop asking."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from servingclient.errors import ConfigError
from servingclient.settings.checks import changed, names_checked, number, switch, whole
from servingclient.settings.pool import Pool
from servingclient.settings.retry import Retry
from servingclient.settings.tls import Tls


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Caching:
    """What is kept of an API's answers. The time to live itself is the client's ``ttl``."""

    max_entries: int = 10_000
    """Most answers kept in this process; the least recently used goes first."""
    max_bytes: int = 256 * 1024 * 1024
    """Most bytes of them, as they arrived; a single answer may have a tenth of it."""
    ttl_jitter: float = 0.1
    """Up to this share is taken off each time to live at random: what came together must not
    expire together."""
    stale_while_revalidate_s: float | None = None
    """How long after its time to live an answer is still given out while a new one is fetched
    behind the callers; None takes the time to live in force, which the API may have shortened."""
    stale_if_error_s: float = 3600.0
    """How long after its time to live an answer is given out when no new one can be had."""
    negative_ttl_s: float = 5.0
    """How long "there is none" (404, 410) is remembered: long enough for a crowd that asks for the
    same missing thing, short enough for one that is just being made."""
    error_ttl_s: float = 0.0
    """How long a failure is remembered; 0 asks again at once. Failures must not stick: at most 1.
    """
    early_refresh_factor: float = 1.0
    """How eagerly an answer is fetched anew shortly before its time, at random and more likely the
    longer it took (XFetch, beta); 0 never."""
    follow_cache_control: bool = True
    """Heed ``Cache-Control``, ``Expires`` and ``ETag`` of the API where they are present."""

    def __post_init__(self) -> None:
        whole(self, "max_entries", "max_bytes")
        number(self, "ttl_jitter", "stale_while_revalidate_s", "stale_if_error_s")
        number(self, "negative_ttl_s", "error_ttl_s", "early_refresh_factor")
        switch(self, "follow_cache_control")
        if self.ttl_jitter > 1.0:
            raise ConfigError("Caching.ttl_jitter is a share: at most 1.")
        if self.error_ttl_s > 1.0:
            raise ConfigError("Caching.error_ttl_s is at most 1 s: a failure must not stick.")


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How fast one API is asked: a token bucket that also learns from what the API says."""

    calls_per_s: float | None = None
    """Requests a second in the long run; None sets no limit until the API tells one."""
    burst_calls: int = 10
    """Requests that may leave at once after a pause: the look-ups of one small request, and no
    more beyond the rate than an API that counts by the second or minute lets pass."""
    learn: bool = True
    """Heed ``RateLimit``, ``X-RateLimit-*`` and ``Retry-After``: pause this API, and no other.
    After a 429 with none of them the pause is 0.1 s, doubling up to 1 s while there are more."""
    max_pause_s: float = 60.0
    """Longest pause the API can ask for; then it is asked again, and may say the same once more. As
    long as the longest Retry-After a call waits for (``Retry.retry_after_cap_s``)."""

    def __post_init__(self) -> None:
        number(self, "calls_per_s", "max_pause_s", above=True)
        whole(self, "burst_calls")
        switch(self, "learn")


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When an API that fails is left alone: calls then fail at once, or give out what is stale.

    Failures are replies of 5xx and no reply at all; 429 and other 4xx are none.
    """

    window_s: float = 30.0
    """Failures are counted over the last so many seconds (Polly): at one call a second there are
    enough of them to decide by."""
    min_calls: int = 20
    """With fewer calls in the window nothing is decided; resilience4j and Polly wait for 100, which
    one process may not make. So many failures in a row open it whatever came before: after a busy
    half minute, half of the window would fail only after another quarter of a minute."""
    failure_ratio: float = 0.5
    """Share of failed calls in the window that opens the breaker (resilience4j)."""
    open_s: float = 5.0
    """How long it stays open the first time (Polly); doubled each time a probe fails, so that an
    API that stays down is asked less and less."""
    max_open_s: float = 60.0
    """How long at most: an API that is back is used again within a minute (resilience4j)."""
    probe_calls: int = 3
    """Calls let through at once to see whether the API is back; all must succeed. With the times
    above and below, an API that is down is asked at most three times in any 10 s."""
    probe_lease_s: float = 10.0
    """A probe that has not ended after so long counts no longer as under way, and another may go in
    its place: with three probes an API that hangs is asked three times in 10 s."""

    def __post_init__(self) -> None:
        number(self, "window_s", least=0.001)
        number(self, "open_s", "max_open_s", "probe_lease_s", above=True)
        number(self, "failure_ratio", above=True)
        whole(self, "min_calls", "probe_calls")
        if self.failure_ratio > 1.0:
            raise ConfigError("Breaker.failure_ratio is a share: at most 1.")
        if self.max_open_s < self.open_s:
            raise ConfigError("Breaker.max_open_s is below Breaker.open_s.")


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class EnrichmentSettings:
    """All settings of a client of an external API."""

    timeout_s: float = 5.0
    """The whole call: queue, rate limit, attempts, backoff. A look-up that takes longer than most
    predictions is of no use to one."""
    max_calls: int = 16
    """Calls to the API at once. An API that answers in 50 ms is then asked 320 times a second at
    most, which is more than most allow."""
    max_waiting_calls: int = 1000
    """Calls that may wait for their turn; one more gets ``QueueFull``. As many as wait for an
    endpoint (``Queue.max_calls``)."""
    caching: Caching = field(default_factory=Caching)
    """What is kept."""
    rate_limit: RateLimit = field(default_factory=RateLimit)
    """How fast to ask."""
    breaker: Breaker | None = field(default_factory=Breaker)
    """When to leave it alone; None never does."""
    retry: Retry = field(default_factory=lambda: Retry(max_attempts=3, quota_capacity=100))
    """Retries and their quota, this API's own. Fewer than for an endpoint: enrichment is optional,
    and the deadline is short."""
    pool: Pool = field(default_factory=Pool)
    """Connections."""
    tls: Tls = field(default_factory=Tls)
    """Certificates."""
    max_value_bytes: int = 4 * 1024 * 1024
    """Largest answer taken from the API; a larger one is an error. A shared cache has a limit of
    its own (``RedisCache.max_value_bytes``), beyond which an answer stays in this process."""
    hash_keys: bool = False
    """Keep only keyed hashes of what was asked for, in memory and in a shared cache, so that no
    identifier of a person stands there. In a shared cache path values are always hashed."""
    allow_private_hosts: bool = False
    """Let the base URL be a loopback, link-local or private address, checked again after name
    look-up. Plain ``http://`` goes to loopback only, and needs this."""
    close_timeout_s: float = 5.0
    """How long ``close()`` waits for running calls before it ends them."""

    def __post_init__(self) -> None:
        number(self, "timeout_s", above=True)
        number(self, "close_timeout_s")
        whole(self, "max_calls", "max_value_bytes")
        whole(self, "max_waiting_calls", least=0)
        switch(self, "hash_keys", "allow_private_hosts")
        for name, kind in _GROUPS.items():
            value = getattr(self, name)
            if not (isinstance(value, kind) or (value is None and name == "breaker")):
                raise ConfigError(
                    f"EnrichmentSettings.{name} must be a {kind.__name__}(...), not "
                    f"{type(value).__name__}."
                )

    def replace(self, **changes: Any) -> EnrichmentSettings:
        """A copy with some settings changed.

        Raises:
            ConfigError: A name is no setting (the message gives the nearest), or a value is wrong.
        """
        return changed(self, changes)


_GROUPS: Mapping[str, type] = {
    "caching": Caching,
    "rate_limit": RateLimit,
    "breaker": Breaker,
    "retry": Retry,
    "pool": Pool,
    "tls": Tls,
}
