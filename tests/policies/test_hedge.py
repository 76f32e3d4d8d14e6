"""When a call may be sent twice: delay, share, cost and pause."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import Hedge
from servingclient.policies.hedge import BURST, WINDOW, HedgePolicy, choice
from servingclient.policies.quota import Quota

COST = 14


def policy(capacity: int = 500, **options: float) -> HedgePolicy:
    return HedgePolicy(Hedge(**options), Quota(capacity), COST)


def learned(times: list[float], **options: float) -> HedgePolicy:
    made = policy(**options)
    for took_s in times:
        made.answered(took_s)
    return made


# -- the delay ------------------------------------------------------------------------------------


def test_nothing_is_hedged_before_enough_is_known():
    made = learned([1.0] * 49)
    assert made.delay_s(0.0) is None
    assert made.stats().delay_s is None
    made.answered(1.0)
    assert made.delay_s(0.0) == 1.0


@pytest.mark.parametrize(
    ("quantile", "delay_s"), [(0.95, 95.0), (0.5, 50.0), (0.99, 99.0), (0.999, 100.0)]
)
def test_the_delay_is_the_quantile_of_what_replies_took(quantile: float, delay_s: float):
    times = [float(n) for n in range(100, 0, -1)]
    assert learned(times, quantile=quantile).delay_s(0.0) == delay_s


def test_only_recent_replies_count():
    made = learned([9.0] * WINDOW)
    for _ in range(WINDOW - 1):
        made.answered(1.0)
    assert made.stats().delay_s == 1.0
    for _ in range(WINDOW // 10):
        made.answered(5.0)
    assert made.stats().delay_s == 5.0


def test_as_many_samples_as_are_asked_for_are_kept():
    made = learned([1.0] * 999, min_samples=1000)
    assert made.delay_s(0.0) is None
    made.answered(2.0)
    assert made.delay_s(0.0) == 1.0


@given(
    st.lists(st.floats(0, 100), min_size=50, max_size=2 * WINDOW),
    st.floats(0.01, 0.99),
)
def test_so_many_of_the_window_took_no_longer_than_the_delay(times: list[float], quantile: float):
    window = times[-WINDOW:]
    delay_s = learned(times, quantile=quantile).delay_s(0.0)
    assert delay_s in window
    rank = math.ceil(quantile * len(window))
    assert sum(took_s <= delay_s for took_s in window) >= rank
    assert sum(took_s < delay_s for took_s in window) < rank


# -- share and cost -------------------------------------------------------------------------------


@given(
    st.lists(st.sampled_from(["call", "hedge", "hedge unsent", "won", "lost"]), max_size=400),
    st.floats(0.01, 1.0),
)
def test_hedges_never_exceed_their_share_of_calls(steps: list[str], share: float):
    made = learned([1.0] * 50, max_share=share)
    calls = hedges = 0
    for step in steps:
        if step == "call":
            made.delay_s(0.0)
            calls += 1
        elif step.startswith("hedge") and made.take():
            if step == "hedge":
                hedges += 1
            else:
                made.untake()
        elif hedges and step in ("won", "lost"):
            made.answered(1.0, hedged=True, won=step == "won")
        assert hedges <= share * calls + 1e-9
    stats = made.stats()
    assert (stats.calls, stats.hedges) == (calls, hedges)


def test_a_quiet_day_does_not_save_up_hedges():
    made = learned([1.0] * 50)
    for _ in range(100_000):
        made.delay_s(0.0)
    assert sum(made.take() for _ in range(100)) == BURST


def test_a_hedge_pays_what_a_retry_pays_and_gets_it_back_with_a_good_reply():
    quota = Quota(2 * COST)
    made = HedgePolicy(Hedge(max_share=1.0), quota, COST)
    for _ in range(4):
        made.delay_s(0.0)
    assert [made.take(), made.take(), made.take()] == [True, True, False]
    assert quota.available == 0
    made.answered(1.0, hedged=True)
    assert quota.available == COST
    assert made.take()


def test_an_outage_ends_hedging_within_the_quota():
    """No reply comes, so no token comes back: 500 / 14 hedges, whatever the share would allow."""
    made = learned([1.0] * 50, max_share=1.0)
    sent = 0
    for _ in range(1000):
        made.delay_s(0.0)
        sent += made.take()
    assert sent == 500 // COST


def test_what_could_not_be_sent_costs_nothing():
    quota = Quota(COST)
    made = HedgePolicy(Hedge(max_share=1.0), quota, COST)
    made.delay_s(0.0)
    assert made.take()
    made.untake()
    assert quota.available == COST
    assert made.stats().hedges == 0
    assert made.take()


# -- the pause ------------------------------------------------------------------------------------


def test_no_room_pauses_hedging():
    made = learned([1.0] * 50, pause_s=10.0)
    made.no_room(100.0)
    assert made.delay_s(109.9) is None
    assert made.delay_s(110.0) == 1.0


def test_a_late_word_of_no_room_does_not_shorten_the_pause():
    made = learned([1.0] * 50, pause_s=10.0)
    made.no_room(100.0)
    made.no_room(99.0)
    assert made.delay_s(109.9) is None


# -- which reply counts ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ends", "chosen"),
    [
        (["running"], None),
        (["broken"], 0),
        ([200], 0),
        ([500], 0),
        (["running", "running"], None),
        ([200, "running"], 0),
        (["running", 200], 1),
        ([200, 200], 0),
        ([500, "running"], None),
        (["running", 503], None),
        ([429, "running"], None),
        (["broken", "running"], None),
        (["running", "broken"], None),
        ([400, "running"], 0),
        (["running", 401], 1),
        ([500, 200], 1),
        ([200, 500], 0),
        (["broken", 200], 1),
        ([503, 500], 0),
        (["broken", 500], 1),
        ([500, "broken"], 0),
        (["broken", "broken"], 0),
    ],
)
def test_which_request_a_call_goes_on_with(ends: list[int | str], chosen: int | None):
    assert choice(ends) == chosen


def test_wins_are_counted():
    made = learned([1.0] * 50, max_share=1.0)
    for won in (True, False, True):
        made.delay_s(0.0)
        assert made.take()
        made.answered(1.0, hedged=True, won=won)
    stats = made.stats()
    assert (stats.calls, stats.hedges, stats.wins, stats.delay_s) == (3, 3, 2, 1.0)
