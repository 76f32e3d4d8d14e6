"""What a client has counted and holds now. Pure values, made when asked for."""

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
class Stats:
    """A snapshot of one client; copies made by ``with_options`` share it.

    Attributes:
        endpoint: Name of the serving endpoint.
        concurrency: Calls at once and the queue.
        retry_quota: Tokens left for retries and hedges.
        batching: None while batching is off.
        hedging: None while hedging is off.
    """

    endpoint: str
    concurrency: ConcurrencyStats
    retry_quota: int
    batching: BatchingStats | None = None
    hedging: HedgingStats | None = None
