"""The search for the highest rate that meets the goal."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.errors import ConfigError
from servingclient.loadtest.knee import Knee, search


def found(capacity: float, start: float, most: float, trials: int) -> tuple[Knee, list[float]]:
    """What a search finds on an endpoint that meets the goal up to ``capacity``."""
    rates, asked = search(start, most_qps=most, trials=trials), []
    try:
        rate = next(rates)
        while True:
            asked.append(rate)
            rate = rates.send(rate <= capacity)
    except StopIteration as end:
        return end.value, asked


@given(st.floats(12.0, 4000.0))
def test_the_knee_is_found_within_a_tenth(capacity: float) -> None:
    knee, asked = found(capacity, 10.0, 5000.0, trials=24)
    assert capacity / 1.1 <= knee.qps <= capacity
    assert knee.missed_qps is not None
    assert capacity < knee.missed_qps <= capacity * 1.1
    assert knee.trials == len(asked)


@given(st.floats(0.1, 5000.0), st.floats(1.0, 100.0), st.integers(1, 12))
def test_bounds_and_trials_are_kept(capacity: float, start: float, trials: int) -> None:
    knee, asked = found(capacity, start, 2000.0, trials)
    assert len(asked) <= trials
    assert all(0.0 < rate <= 2000.0 for rate in asked)
    assert knee.qps <= capacity
    assert len(set(asked)) == len(asked)  # no rate is tried twice


@given(st.floats(0.1, 5000.0), st.floats(1.0, 100.0), st.integers(1, 12))
def test_it_is_known_which_trials_decided(capacity: float, start: float, trials: int) -> None:
    knee, asked = found(capacity, start, 2000.0, trials)
    bounds = [rate for rate in (knee.qps, knee.missed_qps) if rate]
    assert [asked[at] for at in knee.deciding] == bounds
    assert bounds


def test_an_endpoint_that_is_never_full_ends_at_the_bound() -> None:
    knee, asked = found(1e9, 100.0, 300.0, trials=10)
    assert knee == Knee(300.0, None, len(asked), (len(asked) - 1,))


def test_a_first_rate_that_misses_is_halved() -> None:
    knee, asked = found(30.0, 100.0, 1000.0, trials=12)
    assert asked[:2] == [100.0, 50.0]
    assert 30.0 / 1.1 <= knee.qps <= 30.0


@pytest.mark.parametrize(
    ("start", "most", "trials"),
    [(0, 1, 1), (2, 1, 1), (1, 2, 0), (10, math.nan, 1), (math.nan, 9, 1), (math.inf, math.inf, 1)],
)
def test_bounds_that_are_none_are_refused(start: float, most: float, trials: int) -> None:
    with pytest.raises(ConfigError, match="knee"):
        search(start, most_qps=most, trials=trials)
