"""When an API is left alone, how it is looked at again, and what may not decide it (R8)."""

from __future__ import annotations

import itertools
import sys
from threading import Barrier, Lock, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import settings
from servingclient.policies.breaker import Breaker, Pass

RULES = settings.Breaker()
LEASE_S = RULES.probe_lease_s
PROBES = RULES.probe_calls


def call(breaker: Breaker, now_s: float, *, ok: bool) -> bool:
    """One call from start to end; whether it was let through."""
    leave = breaker.admit(now_s)
    if leave is not None:
        breaker.settle(leave, ok, now_s)
    return leave is not None


def opened(now_s: float = 0.0, **rules: float) -> Breaker:
    breaker = Breaker(settings.Breaker(**rules))
    while call(breaker, now_s, ok=False):
        pass
    breaker.refused = 0
    return breaker


def half_open() -> tuple[Breaker, float]:
    return opened(), RULES.open_s


def admitted(breaker: Breaker, now_s: float, most: int = 1000) -> list[Pass]:
    passes = [breaker.admit(now_s) for _ in range(most)]
    return [one for one in passes if one is not None]


# -- closed ---------------------------------------------------------------------------------------


def test_it_starts_closed_and_asks_nobody_to_wait():
    breaker = Breaker(RULES)
    assert breaker.state(0.0) == "closed"
    assert breaker.retry_after_s(0.0) == 0.0
    assert breaker.admit(0.0) == Pass(0, probe=False)
    assert breaker.refused == 0


def test_with_few_calls_nothing_is_decided():
    breaker = Breaker(RULES)
    for _ in range(RULES.min_calls - 1):
        assert call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "closed"
    assert call(breaker, 0.0, ok=False)
    assert breaker.state(0.0) == "open"


@pytest.mark.parametrize(
    ("pattern", "calls"),
    [
        ([True, False], 20),  # half of them fail: decided as soon as there are enough
        ([True, True, False], None),
        ([True] * 11 + [False] * 10, None),
        ([True] * 10 + [False] * 10, 20),
        ([True] * 30 + [False] * 19 + [True] + [False] * 19, 62),  # 31 of 62, and never 20 in a row
    ],
)
def test_it_opens_when_half_of_the_calls_failed(pattern: list[bool], calls: int | None):
    breaker, ends = Breaker(RULES), itertools.cycle(pattern)
    made = 0
    while made < 1000 and call(breaker, 0.0, ok=next(ends)):
        made += 1
    assert made == (calls or 1000)


def test_r8_a_total_outage_is_seen_within_20_calls_however_busy_it_was_before():
    breaker = Breaker(RULES)
    for n in range(10_000):
        call(breaker, 0.003 * n, ok=True)
    failed = 0
    while breaker.state(30.0) == "closed":
        call(breaker, 30.0, ok=False)
        failed += 1
    assert failed == 20


def test_one_success_ends_a_run():
    breaker = Breaker(RULES)
    for n in range(1000):
        call(breaker, 0.01 * n, ok=True)
    for _ in range(10):
        for _ in range(RULES.min_calls - 1):
            call(breaker, 10.0, ok=False)
        call(breaker, 10.0, ok=True)
    assert breaker.state(10.0) == "closed"


def test_failures_are_forgotten_with_the_window():
    breaker = Breaker(RULES)
    for second in range(300):
        call(breaker, float(second), ok=True)
        call(breaker, float(second), ok=second % 2 == 0)
    assert breaker.state(300.0) == "closed"
    assert breaker._counts.calls == 2 * RULES.window_s
    assert breaker._counts.failures == RULES.window_s / 2
    call(breaker, 300.0 + RULES.window_s, ok=True)
    assert (breaker._counts.calls, breaker._counts.failures) == (1, 0)


@given(
    st.lists(
        st.tuples(st.floats(0, 20, allow_subnormal=False), st.booleans()), min_size=1, max_size=80
    )
)
def test_what_is_counted_lies_within_the_window(steps: list[tuple[float, bool]]):
    breaker = Breaker(settings.Breaker(min_calls=1000))
    now_s, seen = 0.0, []
    for after_s, ok in steps:
        now_s += after_s
        call(breaker, now_s, ok=ok)
        seen.append((now_s, ok))
        certain = [ok for at_s, ok in seen if now_s - at_s < 0.9 * RULES.window_s]
        possible = [ok for at_s, ok in seen if now_s - at_s < RULES.window_s]
        assert len(certain) <= breaker._counts.calls <= len(possible)
        assert certain.count(False) <= breaker._counts.failures <= possible.count(False)


def test_a_clock_read_a_little_earlier_does_no_harm():
    breaker = Breaker(RULES)
    for now_s in (3.0, 2.9999, 3.0):  # in two slices of the window
        call(breaker, now_s, ok=False)
    assert (breaker._counts.calls, breaker._counts.failures) == (3, 3)


# -- open -----------------------------------------------------------------------------------------


def test_open_it_refuses_all_and_says_for_how_long():
    breaker = opened()
    assert not admitted(breaker, 4.999)
    assert breaker.refused == 1000
    assert breaker.retry_after_s(1.0) == RULES.open_s - 1.0
    assert breaker.state(4.999) == "open"
    assert breaker.state(5.0) == "half_open"
    assert breaker.retry_after_s(5.0) == 0.0


def test_each_failed_probe_doubles_the_time_up_to_the_longest():
    breaker, now_s = opened(), 0.0
    waits = []
    for _ in range(8):
        waits.append(breaker.retry_after_s(now_s))
        now_s += waits[-1]
        assert call(breaker, now_s, ok=False)
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0, 60.0, 60.0]


def test_an_api_that_stays_down_for_years_is_no_overflow():
    breaker, now_s = opened(), 0.0
    for _ in range(2000):
        now_s += breaker.retry_after_s(now_s)
        assert call(breaker, now_s, ok=False)
    assert breaker.retry_after_s(now_s) == pytest.approx(RULES.max_open_s)


def test_once_closed_the_first_outage_is_a_first_one_again():
    breaker, now_s = opened(), 0.0
    for _ in range(3):
        now_s += breaker.retry_after_s(now_s)
        call(breaker, now_s, ok=False)
    now_s += breaker.retry_after_s(now_s)
    for _ in range(PROBES):
        assert call(breaker, now_s, ok=True)
    assert breaker.state(now_s) == "closed"
    while call(breaker, now_s, ok=False):
        pass
    assert breaker.retry_after_s(now_s) == RULES.open_s


# -- half open ------------------------------------------------------------------------------------


def test_r8_of_200_at_once_three_are_probes():
    breaker, now_s = half_open()
    probes = admitted(breaker, now_s, 200)
    assert [one.number for one in probes] == [1, 2, 3]
    assert all(one.probe for one in probes)
    assert breaker.refused == 197
    assert breaker.state(now_s) == "half_open"


def test_r8_of_200_threads_at_once_three_are_probes():
    breaker = Breaker(RULES, Lock())
    while call(breaker, 0.0, ok=False):
        pass
    probes: list[Pass | None] = []
    together = Barrier(200)

    def ask() -> None:
        together.wait(10)
        probes.append(breaker.admit(5.0))

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=ask) for _ in range(200)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    finally:
        sys.setswitchinterval(before)
    assert len(probes) == 200
    assert sum(one is not None for one in probes) == 3


def test_it_closes_when_all_probes_have_succeeded_and_not_before():
    breaker, now_s = half_open()
    probes = admitted(breaker, now_s)
    for one in probes[:-1]:
        breaker.settle(one, True, now_s)
        assert breaker.state(now_s) == "half_open"
        assert not admitted(breaker, now_s)  # a place is not had again: so many probes, no more
    breaker.settle(probes[-1], True, now_s)
    assert breaker.state(now_s) == "closed"
    assert len(admitted(breaker, now_s)) == 1000


def test_what_failed_before_the_outage_ended_is_not_held_against_it():
    breaker, now_s = half_open()
    for one in admitted(breaker, now_s):
        breaker.settle(one, True, now_s)
    for _ in range(RULES.min_calls - 1):
        call(breaker, now_s, ok=False)
    assert breaker.state(now_s) == "closed"


def test_the_first_failed_probe_opens_it_again():
    breaker, now_s = half_open()
    first, second, third = admitted(breaker, now_s)
    breaker.settle(first, True, now_s)
    breaker.settle(second, False, now_s)
    assert breaker.state(now_s) == "open"
    breaker.settle(third, False, now_s)  # late: it must not double the time once more
    assert breaker.retry_after_s(now_s) == 2 * RULES.open_s


def test_r8_a_probe_that_is_stuck_holds_its_place_only_for_a_while():
    breaker, now_s = half_open()
    stuck = admitted(breaker, now_s)
    assert breaker.retry_after_s(now_s + 1.0) == LEASE_S - 1.0
    assert not admitted(breaker, now_s + LEASE_S - 0.001)
    now_s += LEASE_S
    assert len(admitted(breaker, now_s)) == PROBES
    # and what it finds in the end is as good as what any other finds
    breaker.settle(stuck[0], False, now_s)
    assert breaker.state(now_s) == "open"


def test_an_api_that_is_back_but_slow_is_not_shut_out():
    breaker, now_s = half_open()
    slow = admitted(breaker, now_s)
    now_s += 2 * LEASE_S
    for one in slow:
        breaker.settle(one, True, now_s)
    assert breaker.state(now_s) == "closed"


def test_r8_a_cancelled_probe_gives_its_place_to_the_next():
    breaker, now_s = half_open()
    first, *_ = admitted(breaker, now_s)
    breaker.release(first, now_s)
    assert breaker.retry_after_s(now_s) == 0.0
    (instead,) = admitted(breaker, now_s)
    assert instead.number == PROBES + 1


def test_callers_that_give_up_quickly_do_not_probe_without_end():
    breaker, now_s = half_open()
    sent = 0
    for tick in range(1000):  # 10 s of calls to an API that hangs, given up at once
        leave = breaker.admit(now_s + 0.0099 * tick)
        if leave is not None:
            sent += 1
            breaker.release(leave, now_s + 0.0099 * tick)
    assert sent == 2 * PROBES


def test_each_round_has_its_own_places_and_its_own_patience():
    breaker = opened(probe_lease_s=1000.0)
    now_s = RULES.open_s
    for _ in range(3):
        for _ in range(PROBES):
            breaker.release(admitted(breaker, now_s, 1)[0], now_s)
        probes = admitted(breaker, now_s)
        assert len(probes) == PROBES
        breaker.settle(probes[0], False, now_s)
        now_s += breaker.retry_after_s(now_s)


def test_a_place_that_was_free_already_is_no_place_given_back():
    breaker, now_s = half_open()
    stuck = admitted(breaker, now_s)
    now_s += LEASE_S
    for one in stuck:
        breaker.release(one, now_s)
    for _ in range(PROBES):
        (one,) = admitted(breaker, now_s, 1)
        breaker.release(one, now_s)
    assert len(admitted(breaker, now_s)) == PROBES


def test_giving_a_place_back_twice_frees_one():
    breaker, now_s = half_open()
    first, *_ = admitted(breaker, now_s)
    breaker.release(first, now_s)
    breaker.release(first, now_s)
    assert len(admitted(breaker, now_s)) == 1


# -- generations ----------------------------------------------------------------------------------


@pytest.mark.parametrize("ok", [True, False])
@pytest.mark.parametrize("after_s", [0.0, 5.0])
def test_r8_what_was_sent_before_the_outage_decides_nothing_in_it(ok: bool, after_s: float):
    breaker = Breaker(RULES)
    late = admitted(breaker, 0.0, 10)
    while call(breaker, 0.0, ok=False):
        pass
    before = (breaker.state(after_s), breaker.retry_after_s(after_s))
    for one in late[:-1]:
        breaker.settle(one, ok, after_s)
    breaker.release(late[-1], after_s)
    assert (breaker.state(after_s), breaker.retry_after_s(after_s)) == before
    assert len(admitted(breaker, 5.0)) == PROBES


def test_r8_probes_of_an_earlier_round_decide_nothing_in_a_later_one():
    breaker, now_s = half_open()
    one, other, third = admitted(breaker, now_s)
    breaker.settle(one, False, now_s)
    now_s += breaker.retry_after_s(now_s)
    probes = admitted(breaker, now_s)
    assert len(probes) == PROBES
    breaker.settle(other, True, now_s)
    breaker.release(third, now_s)
    for two in probes[:2]:
        breaker.settle(two, True, now_s)
    assert breaker.state(now_s) == "half_open"
    assert not admitted(breaker, now_s)


def test_who_waited_while_it_opened_may_not_go():
    breaker = Breaker(RULES)
    waiting = admitted(breaker, 0.0, 3)
    assert all(breaker.stands(one) for one in waiting)
    while call(breaker, 0.0, ok=False):
        pass
    assert not any(breaker.stands(one) for one in waiting)
    first, second, _ = admitted(breaker, 5.0)
    assert breaker.stands(second)
    breaker.settle(first, False, 5.0)
    assert not breaker.stands(second)


# -- how often an API that is down is asked -------------------------------------------------------


@pytest.mark.parametrize(("took_s", "most"), [(0.001, 1), (0.5, 3), (5.0, 3), (9.0, 3)])
def test_r8_an_api_that_is_down_is_probed_at_most_three_times_in_10_s(took_s: float, most: int):
    breaker = opened()
    starts: list[float] = []
    under_way: list[tuple[float, Pass]] = []
    for tick in range(60_000):  # ten minutes, a hundred calls a second
        now_s = tick / 100
        while under_way and under_way[0][0] <= now_s:
            breaker.settle(under_way.pop(0)[1], False, now_s)
        leave = breaker.admit(now_s)
        if leave is not None:
            starts.append(now_s)
            under_way.append((now_s + took_s, leave))
    assert len(starts) >= 10
    assert most_within(starts, 10.0) == most


def test_r8_an_api_that_never_answers_is_probed_at_most_three_times_in_10_s():
    breaker = opened()
    starts = [tick / 100 for tick in range(60_000) if breaker.admit(tick / 100) is not None]
    assert len(starts) > 100
    assert most_within(starts, 10.0) == 3


def most_within(starts: list[float], span_s: float) -> int:
    """Most starts in any span that has its beginning and not its end."""
    return max(sum(begin <= at < begin + span_s for at in starts) for begin in starts)


# -- the rest -------------------------------------------------------------------------------------


def test_its_repr_tells_how_it_stands():
    assert repr(Breaker(RULES)) == "Breaker(closed, refused 0)"
    assert repr(opened()) == "Breaker(not closed, refused 0)"


def test_rules_that_are_tight_work_too():
    breaker = Breaker(
        settings.Breaker(min_calls=1, probe_calls=1, failure_ratio=1.0, open_s=1.0, max_open_s=1.0)
    )
    assert call(breaker, 0.0, ok=False)
    assert not call(breaker, 0.5, ok=True)
    assert call(breaker, 1.0, ok=False)
    assert breaker.retry_after_s(1.0) == 1.0
    assert call(breaker, 2.0, ok=True)
    assert breaker.state(2.0) == "closed"
