"""Two trials differ, or that cannot be told."""

from __future__ import annotations

import random

import pytest

from servingclient.errors import ConfigError
from servingclient.loadtest import Goal, OpenLoad, Profile, Timetable, Trial, Trust
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


def test_what_cannot_be_compared_is_refused() -> None:
    good = trial(0.05, 1)
    with pytest.raises(ConfigError, match="5 seconds with answers"):
        compare(good, trial(0.05, 1, seconds=5))
    with pytest.raises(ConfigError, match="not to be believed"):
        compare(trial(0.05, 1, load=ClientLoad(0.99, 0.0, 0.0, 1, 1)), good)
    with pytest.raises(ConfigError, match="confidence"):
        compare(good, good, confidence=1.0)
