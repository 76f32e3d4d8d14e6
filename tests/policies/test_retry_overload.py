"""Retries under overload (R1): they must not feed an outage, nor keep one alive.

The goals are section 5's of the reliability notes. Each has a control without quota, which shows
that the model can tell a storm from calm.
"""

from __future__ import annotations

import random
from statistics import fmean

import pytest

from servingclient.settings import Retry
from tests.policies.cases import ask, hinted, reply
from tests.policies.simulation import (
    ENDLESS,
    Failing,
    Queue,
    Slots,
    Told,
    simulate,
    steady,
)

NO_RETRY = Retry(max_attempts=1)


def outage(tokens: int) -> Told:
    calls = (float(i) for i in range(600))
    return simulate(Failing(1.0, random.Random(1)), calls, tokens=tokens, clients=1)


def test_r1_a_total_outage_is_not_amplified():
    told = outage(500)
    assert (told.calls, told.sends) == (600, 600 + 500 // 14)  # 1.06
    assert told.amplification <= 1.10


def test_r1_the_naive_control_is():
    assert outage(ENDLESS).amplification >= 3.5


@pytest.mark.parametrize(
    ("share", "amplification", "success"),
    [(0.1, 1.15, 0.995), (0.3, 1.40, 0.90), (0.5, 1.25, 0.55), (0.9, 1.12, 0.10)],
)
def test_r1_partial_failures_are_retried_within_bounds(share, amplification, success):
    # 600 calls for each of 8 clients; five runs, since one has some 4 % of chance in its success.
    runs = []
    for seed in range(5):
        service = Failing(share, random.Random(seed + 100))
        runs.append(simulate(service, steady(50.0, 96.0, random.Random(seed)), seed=seed))
    assert fmean(told.amplification for told in runs) <= amplification
    assert fmean(told.success for told in runs) >= success


BROWN_OUTS = [  # load, capacity, capacity during 10 s, all a second
    (50.0, 62.0, 25.0),
    (90.0, 100.0, 50.0),
]


def brown_out(load: float, well: float, ill: float, **given) -> float | None:
    """Seconds from the end of the trouble until 99 % of calls succeed again."""
    service = Queue(lambda now_s: ill if 60.0 <= now_s < 70.0 else well)
    told = simulate(service, steady(load, 200.0, random.Random(1)), **given)
    return told.well_after(70.0)


@pytest.mark.parametrize("rates", BROWN_OUTS)
def test_r1_a_brown_out_ends_as_if_nobody_retried(rates):
    plain_s = brown_out(*rates, settings=NO_RETRY)
    ours_s = brown_out(*rates, clients=1)
    assert plain_s is not None
    assert ours_s is not None
    assert ours_s <= 1.2 * plain_s + 5.0


@pytest.mark.parametrize("rates", BROWN_OUTS)
def test_r1_a_brown_out_ends_with_a_quota_in_each_of_8_clients(rates):
    # 8 full quotas hold 280 retries, at these small rates seconds of work: later, but it ends.
    ours_s = brown_out(*rates, clients=8)
    assert ours_s is not None
    assert ours_s <= 70.0


@pytest.mark.parametrize("rates", BROWN_OUTS)
def test_r1_naive_retries_keep_a_brown_out_alive(rates):
    assert brown_out(*rates, tokens=ENDLESS) is None


def ramp(now_s: float) -> float:
    """Requests a second that an endpoint holds while it scales from 80 to 320 in 120 s."""
    return 80.0 + 2.0 * min(max(now_s - 20.0, 0.0), 120.0)


def scale_up(**given) -> Told:
    return simulate(Slots(ramp), steady(240.0, 160.0, random.Random(1)), **given)


def test_r1_429_while_the_endpoint_scales_up():
    told = scale_up()
    could = sum(min(ramp(20.0 + second), 240.0) for second in range(120)) / 120
    assert told.goodput(20.0, 140.0) >= 0.85 * could
    assert told.amplification <= 1.30
    recovered_s = told.well_after(100.0)  # from there on the endpoint holds the load
    assert recovered_s is not None
    assert recovered_s <= 15.0


def test_r1_the_429_control_is_worse():
    assert scale_up(tokens=ENDLESS).amplification >= 1.8
    hasty_s = scale_up(settings=Retry(throttled_base_s=0.0)).well_after(100.0)
    assert hasty_s is None or hasty_s > 15.0


def test_r4_a_crowd_told_to_wait_comes_back_later_and_spread():
    chance = random.Random(4)
    told = hinted(reply(429), 2.0)
    backs = [ask(told, rand=chance.random()).wait_s for _ in range(1000)]
    assert min(backs) >= 2.0
    bins = [
        sum(low <= back - 2.0 < low + 0.02 for back in backs) for low in (i / 50 for i in range(10))
    ]
    assert sum(bins) == 1000
    assert max(bins) <= 1.5 * 100
