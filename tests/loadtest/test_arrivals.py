"""When calls are due: counted against the rate, and against the theory of Poisson processes."""

from __future__ import annotations

import itertools
import math
import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.errors import ConfigError
from servingclient.loadtest.arrivals import Phase, Profile, constant, poisson, recorded
from servingclient.loadtest.load import OpenLoad, RecordedLoad

RATES = st.floats(0.0, 500.0)
PHASES = st.lists(st.builds(Phase, st.floats(0.1, 20.0), RATES, RATES), min_size=1, max_size=4)


@given(PHASES)
def test_as_many_are_due_as_the_rate_says(phases: list[Phase]) -> None:
    profile = Profile(tuple(phases))
    due = list(profile.instants(constant()))
    assert abs(len(due) - profile.calls) <= 1.0
    assert due == sorted(due)
    assert all(0.0 <= instant <= profile.seconds * (1 + 1e-9) for instant in due)


@given(PHASES)
def test_an_instant_is_the_inverse_of_the_calls_until_then(phases: list[Phase]) -> None:
    for phase in phases:
        for share in (0.1, 0.5, 0.9):
            calls = share * phase.calls
            t = phase.instant(calls)
            slope = (phase.to_qps - phase.from_qps) / phase.seconds
            assert phase.from_qps * t + slope * t * t / 2 == pytest.approx(calls, abs=1e-6)


def kolmogorov_smirnov(values: list[float], cdf) -> float:
    """The statistic times the root of the count; above 1.63 in 1 % of the cases."""
    values, n = sorted(values), len(values)
    distance = max(
        max((i + 1) / n - cdf(value), cdf(value) - i / n) for i, value in enumerate(values)
    )
    return distance * math.sqrt(n)


@pytest.mark.parametrize("seed", range(5))
def test_gaps_of_poisson_arrivals_are_exponential(seed: int) -> None:
    due = list(Profile.constant(200.0, 100.0).instants(poisson(random.Random(seed).random)))
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert kolmogorov_smirnov(gaps, lambda gap: 1.0 - math.exp(-200.0 * gap)) < 1.63
    assert kolmogorov_smirnov(due, lambda at: at / 100.0) < 1.63


def test_the_same_test_tells_constant_arrivals_from_poisson() -> None:
    due = list(Profile.constant(200.0, 100.0).instants(constant()))
    gaps = [b - a for a, b in itertools.pairwise(due)]
    assert kolmogorov_smirnov(gaps, lambda gap: 1.0 - math.exp(-200.0 * gap)) > 10


def test_a_rate_that_changes_bends_the_arrivals() -> None:
    due = list(Profile.ramp(0.0, 400.0, 100.0).instants(poisson(random.Random(3).random)))
    assert kolmogorov_smirnov(due, lambda at: (at / 100.0) ** 2) < 1.63


def test_counts_of_disjoint_seconds_scatter_as_a_poisson_process_does() -> None:
    due = list(Profile.constant(50.0, 1000.0).instants(poisson(random.Random(1).random)))
    counts = [0] * 1000
    for instant in due:
        counts[int(instant)] += 1
    mean = sum(counts) / 1000
    variance = sum((count - mean) ** 2 for count in counts) / 999
    assert variance / mean == pytest.approx(1.0, abs=0.12)  # three standard errors


def test_profiles_of_several_phases() -> None:
    spike = Profile.spike(10.0, 100.0, 10.0)
    due = list(spike.instants(constant()))
    assert len([t for t in due if 4.0 <= t < 6.0]) == pytest.approx(200, abs=1)
    assert spike.calls == pytest.approx(10 * 8 + 100 * 2)
    steps = Profile.steps([10.0, 20.0, 40.0], 2.0)
    assert (steps.seconds, steps.calls) == (6.0, 140.0)


def test_processes_share_a_load() -> None:
    whole = Profile.ramp(10.0, 90.0, 5.0)
    assert whole.shared(4).calls == pytest.approx(whole.calls / 4)
    assert whole.shared(4).seconds == whole.seconds


@given(PHASES, st.integers(1, 7))
def test_constant_arrivals_of_several_processes_are_those_of_one(
    phases: list[Phase], processes: int
) -> None:
    whole = OpenLoad(Profile(tuple(phases)), "constant")
    parts = [whole.shared(processes, which) for which in range(processes)]
    together = sorted(instant for part in parts for instant in part.instants(0))
    assert together == list(whole.instants(0))
    assert {part.seconds for part in parts} == {whole.seconds}
    assert pickle.loads(pickle.dumps(parts)) == parts


def test_processes_take_turns_at_a_constant_rate() -> None:
    whole = OpenLoad(Profile.constant(10.0, 1.05), "constant")
    first, second = (list(whole.shared(2, which).instants(0)) for which in range(2))
    assert first == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert second == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@given(st.lists(st.floats(0.0, 100.0), min_size=1), st.integers(1, 7))
def test_a_recorded_load_of_several_processes_is_that_of_one(
    times: list[float], processes: int
) -> None:
    whole = RecordedLoad(sorted(times))
    parts = [whole.shared(processes, which) for which in range(processes)]
    assert sorted(instant for part in parts for instant in part.instants(0)) == whole.times_s
    assert {part.seconds for part in parts} == {whole.seconds}


def test_a_recorded_load_starts_at_zero_and_may_go_faster() -> None:
    assert recorded([105.0, 100.0, 110.0]) == [0.0, 5.0, 10.0]
    assert recorded([100.0, 110.0], faster=2.0) == [0.0, 5.0]


@pytest.mark.parametrize("instants", [[], [1.0, math.nan], [math.inf]])
def test_a_recorded_load_of_nothing_is_refused(instants: list[float]) -> None:
    with pytest.raises(ConfigError, match="instants in seconds"):
        recorded(instants)


@pytest.mark.parametrize(
    "phase",
    [Phase(0.0, 1.0, 1.0), Phase(1.0, -1.0, 1.0), Phase(1.0, math.nan, 1.0), Phase(math.inf, 1, 1)],
)
def test_phases_that_cannot_be_are_refused(phase: Phase) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        Profile((phase,))
    with pytest.raises(ConfigError, match="at least one phase"):
        Profile(())
