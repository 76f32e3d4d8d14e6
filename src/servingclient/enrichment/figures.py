"""What one client has counted. Pure: time is an argument.

What is counted on the way of every value is a plain number; threads add to it while they hold the
store's lock. Rates are told from samples that whoever counts takes once a second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final, NamedTuple, Protocol

from servingclient._stats import EnrichmentStats
from servingclient.telemetry.histogram import Histogram

_SAMPLE_S: Final = 1.0
_WINDOW_S: Final = 60.0


class Guarded(Protocol):
    """What holds the lock around what one client keeps and counts: see ``guard``."""

    lock: AbstractContextManager[object]

    def when_broken(self, mend: Callable[[], None]) -> None:
        """Have ``mend`` called where what it guards may contradict itself."""

    def when_forked(self, begin: Callable[[], None]) -> None:
        """Have ``begin`` called in a forked child."""


class _Sample(NamedTuple):
    at_s: float
    values: int
    requests: int
    failures: int


class Figures:
    """Counters of one API; in a forked child since the fork.

    Args:
        guard: The lock.
        now_s: When counting begins.

    Attributes:
        due_s: When the next sample is to be taken.
    """

    __slots__ = (
        "__weakref__",
        "_guard",
        "_samples",
        "_took",
        "coalesced",
        "due_s",
        "failures",
        "hits",
        "misses",
        "negatives",
        "requests",
        "stale",
        "throttled",
    )

    coalesced: int
    failures: int
    hits: int
    misses: int
    negatives: int
    requests: int
    stale: int
    throttled: int

    def __init__(self, guard: Guarded, now_s: float) -> None:
        self._guard = guard
        self.due_s: float = now_s + _SAMPLE_S
        self._begin()
        guard.when_forked(self._begin)

    def _begin(self) -> None:
        """Count from the latest sample on: what a parent did is not its child's."""
        self.hits = self.misses = self.stale = self.coalesced = self.negatives = 0
        self.requests = self.failures = self.throttled = 0
        self._took = Histogram()
        self._samples: deque[_Sample] = deque([_Sample(self.due_s - _SAMPLE_S, 0, 0, 0)])

    @property
    def values(self) -> int:
        """Values asked for, however they were had."""
        return self.hits + self.misses + self.stale + self.coalesced + self.negatives

    def count(self, name: str, now_s: float, number: int = 1) -> None:
        """So many values were had in the way ``name`` says."""
        with self._guard.lock:
            setattr(self, name, getattr(self, name) + number)
            if now_s >= self.due_s:
                self.sample(now_s)

    def requested(self, took_s: float, now_s: float, *, failed: bool, throttled: bool) -> None:
        """A request went to the API and came to its end."""
        with self._guard.lock:
            self.requests += 1
            self.failures += failed
            self.throttled += throttled
            self._took.add(took_s)
            if now_s >= self.due_s:
                self.sample(now_s)

    def sample(self, now_s: float) -> None:
        """Under the guard: note how far the counters are."""
        samples = self._samples
        samples.append(_Sample(now_s, self.values, self.requests, self.failures))
        while len(samples) > 1 and samples[1].at_s <= now_s - _WINDOW_S:
            samples.popleft()
        self.due_s = now_s + _SAMPLE_S

    def snapshot(
        self,
        api: str,
        now_s: float,
        *,
        refused: int,
        breaker: str | None,
        entries: int,
        entries_bytes: int,
        shared_bypassed: bool,
    ) -> EnrichmentStats:
        """All of it now."""
        with self._guard.lock:
            self.sample(now_s)
            first = self._samples[0]
            span_s = now_s - first.at_s
            requests = self.requests - first.requests
            p50_s, p90_s, p99_s = self._took.quantiles((0.5, 0.9, 0.99))
            return EnrichmentStats(
                api,
                calls=self.values,
                requests=self.requests,
                qps=(self.values - first.values) / span_s if span_s > 0.0 else 0.0,
                p50_s=p50_s,
                p90_s=p90_s,
                p99_s=p99_s,
                error_rate=(self.failures - first.failures) / requests if requests else 0.0,
                throttled=self.throttled,
                hits=self.hits,
                misses=self.misses,
                stale=self.stale,
                coalesced=self.coalesced,
                negatives=self.negatives,
                refused=refused,
                breaker=breaker,
                entries=entries,
                entries_bytes=entries_bytes,
                shared_bypassed=shared_bypassed,
            )
