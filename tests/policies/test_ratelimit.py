"""How fast an API is asked: the bucket, and what it learns from replies."""

from __future__ import annotations

import sys
from threading import Lock, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import settings
from servingclient.policies.ratelimit import FIRST_UNSAID_S, Bucket

WALL_S = 1_700_000_000.0
LONGEST_S = settings.RateLimit().max_pause_s


def bucket(**rules: float | bool | None) -> Bucket:
    return Bucket(settings.RateLimit(**rules))


def headers(**lines: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").encode(), text.encode()) for name, text in lines.items()]


def learned(*, status: int = 200, now_s: float = 0.0, made: Bucket | None = None, **lines: str):
    made = made or bucket()
    made.learn(status, headers(**lines), now_s, WALL_S + now_s)
    return made


def waits(made: Bucket, now_s: float, calls: int) -> list[float]:
    return [round(made.reserve(now_s), 6) for _ in range(calls)]


class Counting:
    """A guard that counts how often it was entered."""

    entered = 0

    def __enter__(self):
        self.entered += 1

    def __exit__(self, *exc):
        pass


# -- the bucket -----------------------------------------------------------------------------------


def test_without_a_limit_nobody_waits():
    made = bucket()
    assert waits(made, 0.0, 1000) == [0.0] * 1000
    assert made.calls_per_s is None
    assert repr(made) == "Bucket(no limit)"


def test_a_burst_leaves_at_once_and_the_rest_in_even_steps():
    made = bucket(calls_per_s=2.0, burst_calls=3)
    assert waits(made, 0.0, 7) == [0.0, 0.0, 0.0, 0.5, 1.0, 1.5, 2.0]
    assert made.calls_per_s == 2.0
    assert repr(made) == "Bucket(2 calls/s)"


def test_a_pause_saves_up_a_burst_and_no_more():
    made = bucket(calls_per_s=2.0, burst_calls=3)
    waits(made, 0.0, 3)
    assert waits(made, 0.5, 2) == [0.0, 0.5]
    assert waits(made, 1000.0, 4) == [0.0, 0.0, 0.0, 0.5]


def test_a_wait_of_no_use_takes_nothing():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    assert made.reserve(0.0) == 0.0
    for _ in range(1000):
        assert made.reserve(0.0, most_s=0.5) == 1.0
    assert made.reserve(0.0, most_s=1.0) == 1.0
    assert made.reserve(0.0) == 2.0


def test_an_instant_given_back_goes_to_the_next_who_asks():
    made = bucket(calls_per_s=1.0, burst_calls=2)
    assert waits(made, 0.0, 6) == [0.0, 0.0, 1.0, 2.0, 3.0, 4.0]
    made.unreserve(0.5, 3.0)
    made.unreserve(0.5, 2.0)
    assert waits(made, 0.5, 3) == [1.5, 2.5, 4.5]


def test_an_instant_given_back_is_lost_when_nobody_takes_it_in_time():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    assert waits(made, 0.0, 3) == [0.0, 1.0, 2.0]
    made.unreserve(0.5, 1.0)
    assert made.reserve(1.5, most_s=0.4) == 1.5
    assert waits(made, 1.5, 1) == [1.5]


def test_an_instant_given_back_is_no_way_around_a_pause():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    assert waits(made, 0.0, 3) == [0.0, 1.0, 2.0]
    made.unreserve(0.5, 1.0)
    learned(made=made, status=429, now_s=0.5, Retry_After="1")
    assert waits(made, 0.5, 1) == [2.5]


def test_an_instant_given_back_is_not_taken_by_who_cannot_wait_for_it():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    waits(made, 0.0, 3)
    made.unreserve(0.0, 1.0)
    assert made.reserve(0.0, most_s=0.5) == 1.0
    assert made.reserve(0.0, most_s=1.0) == 1.0
    assert made.reserve(0.0) == 3.0


def test_callers_with_little_patience_do_not_fill_the_line_with_nobody():
    # 100 calls a second that give up after half a second, at an API that takes 10: whoever gave up
    # must leave no gap behind, or the line would be full of gaps and nobody be sent.
    made = bucket(calls_per_s=10.0, burst_calls=1)
    waiting: list[tuple[float, float]] = []
    sent = 0
    for tick in range(2000):
        now_s = tick / 100
        for asked_s, go_s in waiting:
            if asked_s + 0.5 <= now_s < go_s:
                made.unreserve(now_s, go_s)
            sent += go_s <= min(now_s, asked_s + 0.5)
        waiting = [(a, g) for a, g in waiting if now_s < g and now_s < a + 0.5]
        waiting.append((now_s, now_s + made.reserve(now_s)))
    assert sent >= 180


def test_the_tokens_of_a_burst_that_did_not_leave_are_had_again():
    made = bucket(calls_per_s=1.0, burst_calls=10)
    waits(made, 0.0, 10)
    for _ in range(10):
        made.unreserve(0.1, 0.0)
    assert waits(made, 0.1, 11) == [0.0] * 10 + [1.0]


def test_a_token_that_others_followed_is_not_made_up_for():
    made = bucket(calls_per_s=1.0, burst_calls=2)
    assert waits(made, 0.0, 1) == [0.0]
    assert waits(made, 0.5, 1) == [0.0]
    made.unreserve(0.5, 0.0)
    assert waits(made, 0.5, 1) == [0.5]


def test_giving_back_where_there_is_no_limit_changes_nothing():
    made = bucket()
    made.reserve(0.0)
    made.unreserve(0.0, 0.0)
    assert waits(made, 0.0, 100) == [0.0] * 100


RATES = st.sampled_from([0.5, 1.0, 4.0, 16.0])
STEPS = st.lists(
    st.tuples(st.sampled_from(["go", "go", "go", "leave"]), st.integers(0, 16), st.integers(0, 9)),
    max_size=120,
)


@given(RATES, st.integers(1, 8), STEPS)
def test_never_more_than_burst_and_rate_in_any_span(
    rate: float, burst: int, steps: list[tuple[str, int, int]]
):
    made = bucket(calls_per_s=rate, burst_calls=burst)
    now_s = 0.0
    going: list[float] = []
    for what, sixteenths, which in steps:
        now_s += sixteenths / 16  # as exact as the rates, so nothing hides behind rounding
        if what == "go":
            wait_s = made.reserve(now_s)
            assert wait_s >= 0.0
            going.append(now_s + wait_s)
        elif going:  # somebody leaves the line, or has not been sent after all
            made.unreserve(now_s, going.pop(-1 - which % len(going)))
    going.sort()
    for first, begin_s in enumerate(going):
        for last in range(first, len(going)):
            span_s = going[last] - begin_s
            assert last - first + 1 <= burst + rate * span_s


@given(RATES, st.integers(1, 8), st.lists(st.integers(0, 16), min_size=1, max_size=120))
def test_nobody_waits_longer_than_those_before_need(rate: float, burst: int, arrivals: list[int]):
    made = bucket(calls_per_s=rate, burst_calls=burst)
    now_s = last_s = 0.0
    for before, sixteenths in enumerate(arrivals):
        now_s += sixteenths / 16
        go_s = now_s + made.reserve(now_s)
        assert go_s >= last_s  # first come, first served
        assert go_s - now_s <= max(0, before + 1 - burst) / rate
        last_s = go_s


@given(
    RATES,
    st.integers(1, 8),
    st.lists(st.tuples(st.integers(0, 16), st.floats(0.0, 4.0)), max_size=120),
)
def test_those_who_are_refused_make_nobody_wait(
    rate: float, burst: int, calls: list[tuple[int, float]]
):
    made, alone = (bucket(calls_per_s=rate, burst_calls=burst) for _ in range(2))
    now_s = 0.0
    for sixteenths, most_s in calls:
        now_s += sixteenths / 16
        wait_s = made.reserve(now_s, most_s)
        if wait_s <= most_s:
            assert alone.reserve(now_s) == wait_s


def test_threads_share_the_tokens_exactly():
    made = Bucket(settings.RateLimit(calls_per_s=1.0, burst_calls=100), Lock())
    found: list[float] = []

    def take() -> None:
        mine = [made.reserve(0.0) for _ in range(100)]
        found.extend(mine)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
    finally:
        sys.setswitchinterval(before)
    assert sorted(found) == [0.0] * 100 + [float(n) for n in range(1, 701)]


# -- Retry-After ----------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429, 503])
def test_retry_after_pauses_all_calls_to_the_api(status: int):
    made = learned(status=status, Retry_After="7")
    assert waits(made, 1.0, 3) == [6.0, 6.0, 6.0]
    assert waits(made, 7.0, 100) == [0.0] * 100


@pytest.mark.parametrize("status", [200, 202, 301, 404, 500, 502])
def test_elsewhere_it_means_something_else(status: int):
    assert waits(learned(status=status, Retry_After="7"), 0.0, 1) == [0.0]


def test_a_date_counts_against_the_reply_s_own_clock():
    made = learned(
        status=503,
        Date="Fri, 29 Sep 2023 16:26:50 GMT",
        Retry_After="Fri, 29 Sep 2023 16:26:57 GMT",
    )
    assert waits(made, 0.0, 1) == [7.0]


@pytest.mark.parametrize("text", ["61", "3600", "99999999999", "1e9"])
def test_no_pause_is_longer_than_the_longest(text: str):
    made = learned(status=429, Retry_After=text)
    assert made.reserve(0.0) == (FIRST_UNSAID_S if text == "1e9" else LONGEST_S)
    made = learned(status=429, made=bucket(max_pause_s=2.0), Retry_After=text)
    assert made.reserve(0.0) <= 2.0


def test_a_pause_can_be_asked_for_by_those_who_wait():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    assert waits(made, 0.0, 2) == [0.0, 1.0]
    assert not made.paused(0.0)
    learned(made=made, status=429, now_s=0.5, Retry_After="10")
    assert made.paused(1.0)
    made.unreserve(1.0, 1.0)
    assert waits(made, 1.0, 2) == [9.5, 10.5]
    assert not made.paused(10.5)


def test_a_later_hint_makes_a_pause_longer_and_never_shorter():
    made = learned(status=429, Retry_After="10")
    learned(made=made, status=429, now_s=1.0, Retry_After="2")
    assert waits(made, 1.0, 1) == [9.0]
    learned(made=made, status=429, now_s=8.0, Retry_After="5")
    assert waits(made, 8.0, 1) == [5.0]


def test_after_a_pause_the_calls_leave_at_their_rate():
    made = bucket(calls_per_s=1.0, burst_calls=2)
    learned(made=made, status=429, Retry_After="10")
    assert waits(made, 0.0, 5) == [10.0, 10.0, 11.0, 12.0, 13.0]


def test_who_does_not_want_to_learn_does_not():
    made = bucket(learn=False)
    learned(made=made, status=429, Retry_After="7", RateLimit='"default";r=0;t=9')
    assert waits(made, 0.0, 100) == [0.0] * 100


# -- so many are left -----------------------------------------------------------------------------


def test_what_is_left_is_used_and_then_the_window_waited_for():
    made = learned(RateLimit='"default";r=3;t=5')
    assert waits(made, 0.0, 5) == [0.0, 0.0, 0.0, 5.0, 5.0]
    assert waits(made, 5.0, 100) == [0.0] * 100  # of the next window nothing is known


def test_with_a_policy_the_next_windows_are_known_too():
    made = learned(RateLimit='"default";r=1;t=5', RateLimit_Policy='"default";q=2;w=10')
    assert waits(made, 0.0, 6) == [0.0, 5.0, 5.0, 15.05, 15.05, 25.1]
    assert made.calls_per_s == 0.2


def test_the_rate_that_is_set_holds_from_window_to_window():
    made = bucket(calls_per_s=10.0, burst_calls=5)
    learned(made=made, RateLimit='"default";r=1;t=5', RateLimit_Policy='"default";q=2;w=10')
    assert waits(made, 0.0, 4) == [0.0, 5.0, 5.0, 15.05]


def test_of_windows_longer_than_the_longest_pause_only_the_present_one_counts():
    made = learned(RateLimit='"default";r=1;t=5', RateLimit_Policy='"default";q=2;w=3600')
    assert waits(made, 0.0, 6) == [0.0, 5.0, 5.0, 5.0, 5.0, 5.0]


def test_a_policy_alone_is_a_limit_from_the_first_reply_on():
    made = learned(RateLimit_Policy='"default";q=3;w=10')
    assert waits(made, 0.0, 6) == [0.0, 0.0, 10.0, 10.0, 10.0, 20.05]
    learned(made=made, now_s=1.0, RateLimit_Policy='"default";q=3;w=10')  # nothing new
    assert waits(made, 1.0, 1) == [19.05]


def test_a_policy_told_again_and_again_is_one_window():
    made = learned(RateLimit_Policy='"default";q=3;w=10')
    waits(made, 0.0, 1)
    learned(made=made, now_s=5.0, RateLimit_Policy='"default";q=3;w=10')
    assert waits(made, 5.0, 2) == [0.0, 5.0]


def test_a_window_nobody_used_up_is_forgotten():
    lock = Counting()
    made = Bucket(settings.RateLimit(), lock)
    learned(made=made, RateLimit='"default";r=3;t=5')
    waits(made, 0.0, 1)
    assert waits(made, 6.0, 1) == [0.0]
    entered = lock.entered
    assert waits(made, 6.0, 100) == [0.0] * 100
    assert lock.entered == entered  # what binds nobody costs no lock


def test_nothing_left_is_a_pause():
    made = learned(X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(WALL_S) + 9))
    assert waits(made, 2.0, 2) == [7.0, 7.0]


def test_replies_that_overtake_each_other_do_not_add_up():
    made = learned(RateLimit='"default";r=10;t=30')
    assert waits(made, 0.0, 4) == [0.0] * 4  # 6 left by our count
    learned(made=made, now_s=0.5, RateLimit='"default";r=6;t=30')
    learned(made=made, now_s=0.5, RateLimit='"default";r=9;t=29')  # was sent earlier
    assert waits(made, 0.5, 7) == [0.0] * 6 + [29.5]


def test_of_calls_under_way_the_api_has_not_heard():
    made = bucket()
    waits(made, 0.0, 6)
    learned(made=made, RateLimit='"default";r=9;t=30')  # the reply to one of the six
    assert waits(made, 0.0, 5) == [0.0] * 4 + [30.0]


def test_calls_that_leave_in_steps_are_under_way_too():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    assert waits(made, 0.0, 10) == [float(n) for n in range(10)]
    made.unreserve(0.0, 2.0)
    assert waits(made, 0.0, 1) == [2.0]
    learned(made=made, RateLimit='"default";r=9;t=3')
    assert made._window.left == 7  # two more of the ten leave before the window ends


def test_threads_may_leave_while_another_learns():
    made = Bucket(settings.RateLimit(), Lock())
    failed: list[Exception] = []

    def call() -> None:
        try:
            for _ in range(300):
                for _ in range(30):
                    made.reserve(0.0)
                learned(made=made, RateLimit='"default";r=9;t=0')
                made.unreserve(0.0, 0.0)
        except Exception as error:  # noqa: BLE001 - whatever it is
            failed.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=call) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
    finally:
        sys.setswitchinterval(before)
    assert failed == []


def test_a_call_that_did_not_leave_is_not_under_way():
    made = bucket()
    waits(made, 0.0, 6)
    for _ in range(5):
        made.unreserve(0.0, 0.0)
    learned(made=made, RateLimit='"default";r=9;t=30')
    assert waits(made, 0.0, 10) == [0.0] * 9 + [30.0]


def test_a_call_that_was_never_answered_is_not_under_way_for_ever():
    made = bucket()
    waits(made, 0.0, 6)
    learned(made=made, now_s=10.0, RateLimit='"default";r=9;t=30')
    assert waits(made, 10.0, 10) == [0.0] * 9 + [30.0]


def test_a_limit_without_a_window_is_one_of_so_many_seconds_as_were_left():
    made = learned(X_RateLimit_Limit="2", X_RateLimit_Remaining="1", X_RateLimit_Reset="9.6")
    assert waits(made, 0.0, 5) == [0.0, 9.6, 9.6, 19.65, 19.65]
    learned(
        made=made,
        now_s=19.7,
        X_RateLimit_Limit="2",
        X_RateLimit_Remaining="1",
        X_RateLimit_Reset="30",
    )
    assert made.calls_per_s == 2 / 30


def test_of_the_windows_of_one_limit_the_longest_seen_counts():
    made = bucket()
    for limit, reset, rate in [("2", "30", 2 / 30), ("2", "5", 2 / 30), ("4", "5", 4 / 5)]:
        learned(
            made=made, X_RateLimit_Limit=limit, X_RateLimit_Remaining="1", X_RateLimit_Reset=reset
        )
        assert made.calls_per_s == rate


def test_a_guess_at_the_end_of_a_window_is_put_right_by_the_next_reply():
    made = learned(RateLimit='"default";r=0;t=5', RateLimit_Policy='"default";q=2;w=10')
    assert waits(made, 0.0, 1) == [5.0]
    learned(made=made, now_s=5.2, RateLimit='"default";r=1;t=11')
    assert waits(made, 5.2, 2) == [0.0, 11.0]


def test_what_the_api_told_once_is_not_held_to_for_ever():
    made = learned(RateLimit='"default";r=1;t=5', RateLimit_Policy='"default";q=2;w=10')
    assert waits(made, 6.0, 3) == [0.0, 0.0, 10.05]  # the next window, though nobody told
    assert waits(made, 40.0, 100) == [0.0] * 100


def test_what_others_used_is_heard_of():
    made = learned(RateLimit='"default";r=10;t=30')
    learned(made=made, now_s=1.0, RateLimit='"default";r=2;t=29')
    assert waits(made, 1.0, 3) == [0.0, 0.0, 29.0]


def test_a_new_window_is_a_new_count():
    made = learned(RateLimit='"default";r=1;t=3')
    waits(made, 0.0, 1)
    learned(made=made, now_s=2.9, RateLimit='"default";r=50;t=60')
    assert waits(made, 2.9, 50) == [0.0] * 50
    made = learned(RateLimit='"default";r=2;t=3')
    learned(made=made, now_s=3.0, RateLimit='"default";r=3;t=1')
    assert waits(made, 3.0, 4) == [0.0, 0.0, 0.0, 1.0]


def test_a_shorter_limit_that_is_used_up_pauses_too():
    made = learned(RateLimit='"hour";r=100;t=50')
    learned(made=made, RateLimit='"second";r=0;t=1')
    assert waits(made, 0.0, 2) == [1.0, 1.0]
    learned(made=made, now_s=1.0, RateLimit='"second";r=5;t=1')
    assert waits(made, 1.0, 99) == [0.0] * 98 + [49.0]


def test_a_reset_far_away_is_looked_at_again_after_the_longest_pause():
    made = learned(X_RateLimit_Limit="5000", X_RateLimit_Remaining="0", X_RateLimit_Reset="3600")
    assert waits(made, 0.0, 2) == [LONGEST_S, LONGEST_S]
    made = learned(RateLimit='"default";r=0;t=3600', RateLimit_Policy='"default";q=5;w=3600')
    assert waits(made, 0.0, 2) == [LONGEST_S, LONGEST_S]
    assert waits(learned(RateLimit_Policy='"default";q=5;w=3600'), 0.0, 9) == [0.0] * 9


def test_a_hint_never_raises_the_rate_that_is_set():
    made = bucket(calls_per_s=1.0, burst_calls=1)
    learned(made=made, RateLimit='"default";r=1000;t=1', RateLimit_Policy='"default";q=1000;w=1')
    assert waits(made, 0.0, 3) == [0.0, 1.0, 2.0]
    assert made.calls_per_s == 1.0


HINTS = st.one_of(
    st.builds(
        lambda r, t: {"RateLimit": f'"d";r={r};t={t}'}, st.integers(0, 20), st.integers(0, 200)
    ),
    st.builds(
        lambda r, t, q, w: {
            "RateLimit": f'"d";r={r};t={t}',
            "RateLimit_Policy": f'"d";q={q};w={w}',
        },
        st.integers(0, 20),
        st.integers(0, 200),
        st.integers(1, 20),
        st.integers(1, 200),
    ),
    st.builds(lambda s: {"Retry_After": str(s)}, st.integers(0, 10**6)),
    st.builds(
        lambda r, t: {"X_RateLimit_Remaining": str(r), "X_RateLimit_Reset": str(t)},
        st.integers(0, 20),
        st.integers(0, 200),
    ),
)
EVENTS = st.lists(
    st.tuples(st.integers(0, 64), st.one_of(st.just("go"), st.just("leave"), HINTS)), max_size=80
)


@given(st.sampled_from([None, 4.0]), st.integers(1, 4), EVENTS)
def test_whatever_an_api_says_the_rate_holds_and_the_pause_ends(
    rate: float | None, burst: int, events: list[tuple[int, object]]
):
    made = bucket(calls_per_s=rate, burst_calls=burst)
    now_s, going, last_s = 0.0, [], 0.0
    for sixteenths, event in events:
        now_s += sixteenths / 16
        if isinstance(event, dict):
            learned(made=made, status=429, now_s=now_s, **event)
            continue
        if event == "leave":
            if going:
                made.unreserve(now_s, going.pop())
            continue
        # seconds for those before, then for the API's longest pause
        wait_s = made.reserve(now_s, most_s=LONGEST_S)
        assert wait_s <= max(0.0, last_s - now_s) + LONGEST_S + 1.0
        if wait_s <= LONGEST_S:
            last_s = max(last_s, now_s + wait_s)
            going.append(now_s + wait_s)
    going.sort()
    if rate is not None:
        for first, begin_s in enumerate(going):
            for last in range(first, len(going)):
                assert last - first + 1 <= burst + rate * (going[last] - begin_s)
    assert made.reserve(max(now_s, last_s) + LONGEST_S + 1.0) == 0.0


# -- a 429 that says nothing ----------------------------------------------------------------------


def test_a_429_that_does_not_say_how_long_makes_everybody_wait_a_moment():
    made = learned(status=429)
    assert waits(made, 0.0, 2) == [0.1, 0.1]
    assert waits(made, 0.1, 1) == [0.0]


def test_further_ones_make_them_wait_longer_up_to_a_bound():
    made, now_s, pauses = bucket(), 0.0, []
    for _ in range(6):
        learned(status=429, now_s=now_s, made=made)
        pauses.append(made.reserve(now_s))
        now_s += pauses[-1]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])


def test_those_of_calls_already_under_way_are_one():
    made = learned(status=429)
    learned(status=429, now_s=0.05, made=made)
    assert waits(made, 0.05, 1) == [0.05]


@pytest.mark.parametrize("status", [200, 404, 500])
def test_any_other_reply_ends_the_doubling(status: int):
    made = learned(status=429)
    learned(status=status, now_s=0.2, made=made)
    learned(status=429, now_s=0.3, made=made)
    assert waits(made, 0.3, 1) == [0.1]


def test_it_is_not_heeded_where_nothing_is_to_be_learned():
    assert waits(learned(status=429, made=bucket(learn=False)), 0.0, 1) == [0.0]
