"""What the parts of a client have counted and hold now. Pure values, made when asked for.

``telemetry/snapshot.py`` puts them together, with what was recorded of calls: ``Stats``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ConcurrencyStats:
    """Calls at once.

    Attributes:
        limit: Calls admitted at once now.
        in_flight: Calls admitted and not finished.
        waiting: Calls in the queue.
        throttled: Times the endpoint said that it has no room: 429, 503 with Retry-After, 504.
        rejected: Calls refused here: the queue was full, or the wait longer than their time.
    """

    limit: int
    in_flight: int
    waiting: int
    throttled: int = 0
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class BatchingStats:
    """Requests that carried rows of several callers.

    Attributes:
        calls: Calls that went through the batcher.
        rows: Their rows.
        batches: Requests made of them.
        waiting: Calls that gather now.
        releases: Why a batch left, and how often.
        batch_rows: Upper bounds of batch sizes (1, 2, 4, ...), and how many batches fell there.
    """

    calls: int = 0
    rows: int = 0
    batches: int = 0
    waiting: int = 0
    releases: Mapping[str, int] = field(default_factory=dict)
    batch_rows: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HedgingStats:
    """Second requests.

    Attributes:
        calls: Calls that could have been hedged.
        hedges: Second requests sent.
        wins: Calls the second request answered first.
        delay_s: Seconds after which a second request leaves; None while too few calls are known.
    """

    calls: int = 0
    hedges: int = 0
    wins: int = 0
    delay_s: float | None = None


@dataclass(frozen=True, slots=True)
class EnrichmentStats:
    """One external API. Durations are of what went to the API; answers kept here take none.

    Attributes:
        api: Its base URL.
        calls: Values asked for, however they were had.
        requests: Requests sent to the API, retries included.
        qps: Values asked for a second, over the last minute.
        p50_s: Seconds the API took, median; None while nothing was asked of it.
        p90_s: The 90th percentile.
        p99_s: The 99th percentile.
        error_rate: Share of requests that failed, over the last minute.
        throttled: Replies that said to slow down.
        hits: Values given out fresh.
        misses: Values that had to be fetched.
        stale: Values given out past their time.
        coalesced: Callers that waited for a fetch another one had begun.
        negatives: Times it was known that there is no such thing.
        refused: Calls the open breaker refused.
        breaker: ``"closed"``, ``"open"``, ``"half_open"``, or None without one.
        entries: Answers kept in this process.
        entries_bytes: Their size.
        shared_bypassed: The shared cache is left alone for now.
    """

    api: str
    calls: int = 0
    requests: int = 0
    qps: float = 0.0
    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    error_rate: float = 0.0
    throttled: int = 0
    hits: int = 0
    misses: int = 0
    stale: int = 0
    coalesced: int = 0
    negatives: int = 0
    refused: int = 0
    breaker: str | None = None
    entries: int = 0
    entries_bytes: int = 0
    shared_bypassed: bool = False


@dataclass(frozen=True, slots=True)
class LaneStats:
    """Connections.

    Attributes:
        busy: That carry a request now.
        idle: Open and free.
        opened: Opened since the start.
        stale: Reused ones that were found dead.
    """

    busy: int = 0
    idle: int = 0
    opened: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class TokenStats:
    """The token that calls carry now.

    Attributes:
        age_s: Seconds since it was first at hand.
        left_s: Seconds until its end; None for one whose end is unknown, such as a personal access
            token.
        failing: The last attempt to renew it failed.
        route_optimized: It was made for the endpoint's own host.
    """

    age_s: float
    left_s: float | None = None
    failing: bool = False
    route_optimized: bool = False
