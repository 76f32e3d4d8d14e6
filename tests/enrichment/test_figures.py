"""What is counted, and over which time."""

from __future__ import annotations

from typing import Any

import pytest

from servingclient._stats import EnrichmentStats
from servingclient.enrichment.figures import Figures
from servingclient.enrichment.guard import Guard

REST: dict[str, Any] = {
    "refused": 0,
    "breaker": None,
    "entries": 0,
    "entries_bytes": 0,
    "shared_bypassed": False,
}


def shown(figures: Figures, now_s: float) -> EnrichmentStats:
    return figures.snapshot("api", now_s, **REST)


def test_nothing_yet() -> None:
    found = shown(Figures(Guard(), 5.0), 5.0)
    assert (found.calls, found.qps, found.error_rate) == (0, 0.0, 0.0)
    assert (found.p50_s, found.p90_s, found.p99_s) == (None, None, None)


def test_rates_are_of_the_last_minute_and_counts_since_the_start() -> None:
    figures = Figures(Guard(), 0.0)
    for second in range(120):
        for name in ("hits", "misses", "stale", "coalesced", "negatives"):
            figures.count(name, float(second))
        figures.requested(0.1, float(second), failed=second < 30, throttled=second == 0)
    found = shown(figures, 120.0)
    assert (found.calls, found.hits, found.stale, found.requests) == (600, 120, 120, 120)
    assert found.qps == pytest.approx(5.0, rel=0.1)
    assert (found.error_rate, found.throttled) == (0.0, 1)
    assert found.p50_s == pytest.approx(0.1, rel=0.01)
    assert len(figures._samples) <= 63
    quiet = shown(figures, 1200.0)
    assert quiet.qps == 0.0
    assert quiet.calls == 600


def test_errors_of_the_last_minute() -> None:
    figures = Figures(Guard(), 0.0)
    for second in range(40):
        figures.requested(0.1, float(second), failed=second % 4 == 0, throttled=False)
    assert shown(figures, 40.0).error_rate == pytest.approx(0.25)


def test_a_forked_child_counts_from_the_fork_on() -> None:
    guard = Guard()
    figures = Figures(guard, 0.0)
    figures.count("hits", 2.0, 5)
    figures.requested(0.1, 2.0, failed=True, throttled=True)
    guard.renew()
    figures.count("stale", 3.0)
    found = shown(figures, 3.0)
    assert (found.calls, found.stale, found.requests, found.throttled) == (1, 1, 0, 0)
    assert (found.qps, found.error_rate, found.p50_s) == (1.0, 0.0, None)
