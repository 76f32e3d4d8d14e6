"""Two trials differ, or that cannot be told."""

from __future__ import annotations

import random

import pytest

from servingclient.errors import ConfigError
from servingclient.loadtest import ClosedLoad, Goal, OpenLoad, Profile, Timetable, Trial, Trust
from servingclient.loadtest.compare import compare
from servingclient.loadtest.series import Done, Series
from servingclient.loadtest.trial import judged
from servingclient.loadtest.trust import ClientLoad

SOUND = ClientLoad(0.3, 0.001, 0.0, 100, 100)


def trial(mean_s: float, seed: int, *, seconds: int = 30, load: ClientLoad = SOUND) -> Trial:
    """100 calls/s whose latency is exponential."""
    rand, series = random.Random(seed), Series(0.1)
    series.take(
        Done(i / 100, i / 100, i / 100 + rand.expovariate(1 / mean_s), None, 0.0)
        for i in range(100 * seconds)
    )
    return judged(
        OpenLoad(Profile.constant(100.0, seconds)),
        series,
        [load],
        Goal(latency_s=0.1),
        Timetable(warmup_s=0, window_s=1),
        Trust(),
        lasted_s=seconds,
    )


def verdicts(before: Trial, after: Trial) -> dict[str, str]:
    return {change.name: change.verdict for change in compare(before, after)}


def test_a_slower_endpoint_is_worse_and_a_faster_one_better() -> None:
    fast, slow = trial(0.04, 1), trial(0.06, 2)
    assert set(verdicts(fast, slow).values()) == {"worse"}
    assert set(verdicts(slow, fast).values()) == {"better"}
    change = next(c for c in compare(fast, slow) if c.name == "P50")
    assert change.low < 1.5 < change.high
    assert change.ratio == pytest.approx(change.after / change.before)


def test_chance_is_not_called_a_difference() -> None:
    found = [verdicts(trial(0.05, seed), trial(0.05, seed + 100)) for seed in range(5)]
    shown = [word for one in found for word in one.values() if word != "no difference shown"]
    assert len(shown) <= 3  # of 20, at 95 % each


def test_the_same_seed_gives_the_same_answer() -> None:
    before, after = trial(0.05, 1), trial(0.055, 2)
    assert compare(before, after, seed=7) == compare(before, after, seed=7)


def closed(took_s: float, *, seconds: int = 60, goal_s: float = 10.0) -> Trial:
    """One caller who asks again as soon as it has its answer."""
    series = Series(goal_s)
    begins = [number * took_s for number in range(int(seconds / took_s))]
    series.take(Done(begin, begin, begin + took_s, None, 0.0) for begin in begins)
    load, goal, times = ClosedLoad(1, seconds), Goal(latency_s=goal_s), Timetable(warmup_s=0)
    return judged(load, series, [SOUND], goal, times, Trust(), lasted_s=seconds)


def test_seconds_without_a_call_count_in_the_mean() -> None:
    quick, slow = closed(1.0), closed(3.0)
    goodput = next(c for c in compare(quick, slow) if c.name == "goodput")
    assert (goodput.before, goodput.after) == pytest.approx((quick.good_qps, slow.good_qps))
    assert goodput.ratio == pytest.approx(1 / 3)
    assert goodput.low < 1 / 3 < goodput.high < 0.5
    assert goodput.verdict == "worse"


def test_two_trials_without_a_good_answer_do_not_differ_in_it() -> None:
    before, after = closed(1.0, goal_s=0.5), closed(2.0, goal_s=0.5)
    goodput = next(change for change in compare(before, after) if change.name == "goodput")
    assert (goodput.before, goodput.after) == (0.0, 0.0)
    assert (goodput.ratio, goodput.low, goodput.high) == (1.0, 1.0, 1.0)
    assert goodput.verdict == "no difference shown"


def test_seconds_drawn_without_an_answer_do_not_blur_the_interval() -> None:
    """With answers in 8 of 600 seconds, many a resample has none at all."""
    rare = closed(75.0, seconds=600, goal_s=100.0)
    assert len(rare.measured) == 600
    assert sum(point.calls for point in rare.measured) == 8
    found = {change.name: change for change in compare(rare, rare)}
    assert (found["P99"].low, found["P99"].high) == (1.0, 1.0)
    assert {change.verdict for change in found.values()} == {"no difference shown"}


def test_what_cannot_be_compared_is_refused() -> None:
    good = trial(0.05, 1)
    with pytest.raises(ConfigError, match="5 seconds with answers"):
        compare(good, trial(0.05, 1, seconds=5))
    with pytest.raises(ConfigError, match="not to be believed"):
        compare(trial(0.05, 1, load=ClientLoad(0.99, 0.0, 0.0, 1, 1)), good)
    with pytest.raises(ConfigError, match="confidence"):
        compare(good, good, confidence=1.0)
