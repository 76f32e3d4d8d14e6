"""The limit on calls at once: each rule alone, what always holds, and where it settles."""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient._types import FaultKind
from servingclient.policies.concurrency import (
    NOTHING_RECENT,
    Limiter,
    Window,
    fixed,
    says_no_room,
)
from servingclient.settings import Concurrency
from servingclient.settings.concurrency import INITIAL_CALLS
from tests.policies.cases import fault, hinted, reply

MOST = 256
RULES = Concurrency()


def window(took_s: float, calls: int = 20, *, pressed: bool = True) -> Window:
    """All calls answered, each in the same time."""
    return Window(calls, took_s * calls, calls, took_s * calls, calls, pressed)


def at(calls: int, **rules: object) -> Limiter:
    """A limiter that stands at ``calls`` and knows replies of 0.1 s."""
    limiter = Limiter(Concurrency(initial_calls=calls, **rules), MOST)  # type: ignore[arg-type]
    limiter.learn(window(0.1, pressed=False), 0.0)
    return limiter


# -- where it starts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rules", "most", "provisioned", "starts"),
    [
        (Concurrency(), 256, None, INITIAL_CALLS),
        (Concurrency(), 256, 64, 64),
        (Concurrency(), 32, 64, 32),
        (Concurrency(), 1, None, 1),
        (Concurrency(client_processes=8), 256, 64, 8),
        (Concurrency(client_processes=8), 256, 4, 2),  # its part is none at all: the least
        (Concurrency(client_processes=8), 256, None, INITIAL_CALLS),
        (Concurrency(client_processes=8, min_calls=1), 256, 4, 1),
        (Concurrency(initial_calls=50), 256, 4, 50),
        (Concurrency(initial_calls=1), 256, None, 2),
        (Concurrency(initial_calls=500), 256, None, 256),
        (Concurrency(adaptive=False), 256, 4, 256),
        (Concurrency(adaptive=False, initial_calls=1), 256, 4, 1),
        (Concurrency(adaptive=False, initial_calls=300), 256, 4, 256),
    ],
)
def test_where_the_limit_starts(
    rules: Concurrency, most: int, provisioned: int | None, starts: int
) -> None:
    limiter = Limiter(rules, most)
    limiter.provisioned(provisioned)
    assert limiter.calls == starts


def test_an_endpoint_that_is_described_again_does_not_start_the_limit_anew():
    limiter = Limiter(RULES, MOST)
    limiter.provisioned(16)
    limiter.throttled(16, 0.0)
    limiter.provisioned(16)
    limiter.provisioned(None)  # this reading did not say
    assert limiter.calls == 14
    limiter.provisioned(64)  # it was made larger
    assert limiter.calls == 64


# -- latency --------------------------------------------------------------------------------------


def test_it_grows_while_calls_wait_and_replies_come_as_fast_as_ever():
    limiter = at(16)
    limiter.learn(window(0.1), 1.0)
    limiter.learn(window(0.1), 2.0)
    # each time by smoothing * sqrt(limit): 16 + 1.2 + 1.24
    assert limiter.calls == 18


def test_it_stays_where_nobody_waits():
    limiter = at(16)
    for second in range(50):
        limiter.learn(window(0.1, pressed=False), float(second))
    assert limiter.calls == 16


@pytest.mark.parametrize(
    ("took_s", "changes"),
    [(0.1, +1), (0.14, +1), (0.25, -1), (10.0, -1)],
)
def test_it_sinks_when_replies_take_longer_than_the_tolerance(took_s: float, changes: int):
    limiter = at(100)
    for _ in range(3):
        limiter.learn(window(took_s, 100), 1.0)
    assert math.copysign(1, limiter.calls - 100) == changes


def test_one_slow_window_takes_an_eighth_at_most():
    limiter = at(100)
    limiter.learn(window(1000.0, 100), 1.0)
    assert limiter.calls >= 88


def test_what_replies_take_with_half_the_limit_is_what_the_endpoint_takes():
    limiter = at(40)
    for _ in range(10):  # slow: it is looked at soon
        full = limiter.calls
        limiter.learn(window(0.3, 40), 1.0)
    eased = limiter.calls
    assert eased == full // 2
    limiter.learn(window(0.3, 40), 2.0)  # calls sent before
    assert limiter.calls == eased
    limiter.learn(window(0.3, 40), 3.0)  # the model is slow, whatever we do
    assert limiter.calls == full
    limiter.learn(window(0.3, 40), 4.0)
    assert limiter.calls >= full, "which is no reason to send fewer"


def test_a_queue_of_our_own_making_is_found_out():
    limiter = at(40)
    for _ in range(40):  # an endpoint that holds 10: replies take as long as the limit makes them
        limiter.learn(window(0.01 * limiter.calls, limiter.window_calls), 1.0)
    assert limiter.calls < 25


@pytest.mark.parametrize("start", [20, 200])
def test_what_the_callers_own_loop_takes_to_read_replies_is_no_queue(start: int):
    limiter = Limiter(Concurrency(initial_calls=start), MOST)
    limits = []
    for _ in range(2000):  # an endpoint that answers at once, and 25 us for each reply
        limiter.learn(window(25e-6 * limiter.calls, limiter.window_calls), 1.0)
        limits.append(limiter.calls)
    assert min(limits[1000:]) >= 32, "sent in twos and threes, calls take more CPU each"


def test_a_model_that_becomes_fast_again_is_remembered_as_fast():
    limiter = at(40)
    for _ in range(200):
        limiter.learn(window(1.0, 40, pressed=False), 1.0)
    for _ in range(60):
        limiter.learn(window(0.1, 40), 2.0)
    limit = limiter.calls
    limiter.learn(window(0.3, 40), 3.0)
    assert limiter.calls <= limit


# -- 429 ------------------------------------------------------------------------------------------


def test_it_is_cut_once_per_round_trip():
    limiter = at(100)
    for _ in range(50):
        limiter.throttled(100, 10.0)
    assert limiter.calls == 90
    limiter.throttled(90, 10.05)
    assert limiter.calls == 90
    limiter.throttled(90, 10.11)
    assert limiter.calls == 81
    assert limiter.throttles == 52


def test_a_limit_that_was_never_tried_out_is_cut_to_what_was():
    limiter = at(100)
    limiter.learn(window(0.1, 5, pressed=False), 0.5)
    limiter.throttled(10, 1.0)
    assert limiter.calls == 9


def test_calls_that_a_429_sent_into_their_backoff_were_under_way_too():
    """Else a client whose line is empty is cut to 2 within half a second, as its calls end and none
    finds room; others wait to take it."""
    limiter = at(14)
    limiter.learn(window(0.1, 7, pressed=False), 0.5)
    for at_s, under_way in ((1.0, 6), (1.2, 4), (1.4, 2)):
        limiter.throttled(under_way, at_s)
    assert limiter._limit == pytest.approx(7 * 0.9**3)


def test_what_was_under_way_long_ago_was_not_tried_now():
    limiter = at(100)
    assert limiter.recent.until_s == pytest.approx(5.5)
    limiter.throttled(10, 5.6)
    assert limiter.calls == 9


def test_it_does_not_grow_in_a_window_that_saw_a_429():
    limiter = at(100)
    limiter.throttled(100, 1.0)
    limiter.learn(window(0.1, 100), 1.1)
    assert limiter.calls == 90
    limiter.learn(window(0.1, 100), 1.2)
    assert limiter.calls > 90


def test_it_comes_back_when_few_calls_are_under_way():
    limiter = at(20)
    for second in range(100):
        limiter.throttled(20, float(second))
    assert limiter.calls == RULES.min_calls
    for second in range(100, 120):
        limiter.learn(window(0.1, pressed=False), float(second))
    assert limiter.calls == 20


def test_a_storm_of_429_ends_at_the_least():
    limiter = at(200)
    for tick in range(10_000):
        limiter.throttled(200, tick * 0.01)
    assert limiter.calls == RULES.min_calls


@pytest.mark.parametrize(
    ("failure", "says_so"),
    [
        (reply(429), True),
        (reply(503, "2"), True),
        (reply(504), True),
        (reply(503), False),  # an outage: whatever is sent, nothing comes of it
        (reply(500), False),
        (reply(502), False),
        (reply(400), False),
        (hinted(reply(429), None), True),
        (fault(FaultKind.TIMEOUT), False),  # how long a caller waits is the caller's choice
        (fault(FaultKind.CUT_OFF), False),
    ],
)
def test_what_says_that_there_is_no_room(failure, says_so: bool):
    assert says_no_room(failure) is says_so


# -- what it tells --------------------------------------------------------------------------------


def test_how_long_calls_took():
    limiter = at(10)
    assert limiter.recent.held_s == pytest.approx(0.1)
    assert limiter.recent.reply_s == pytest.approx(0.1)
    assert limiter.recent.turn_s == pytest.approx(0.01)
    assert Limiter(RULES, MOST).recent == NOTHING_RECENT


def test_calls_without_an_answer_keep_their_place_all_the_same():
    limiter = at(10)
    limiter.learn(Window(20, 10 * 0.1 + 10 * 2.0, 10, 10 * 0.1, 10, pressed=True), 1.0)
    assert limiter.recent.held_s == pytest.approx(1.05)
    assert limiter.recent.reply_s == pytest.approx(0.1)
    limiter.learn(Window(20, 20 * 2.0, 0, 0.0, 10, pressed=True), 2.0)
    assert limiter.recent.reply_s == pytest.approx(0.1), "what a reply takes is not known better"


@pytest.mark.parametrize(("answered", "limit"), [(10, 20), (9, 4), (0, 4)])
def test_it_is_cut_to_half_of_what_is_under_way_when_most_get_no_answer(answered: int, limit: int):
    limiter = at(20)
    limiter.learn(Window(20, 40.0, answered, 1.0, under_way=8, pressed=False), 1.0)
    assert limiter.calls == limit


def test_figures_are_good_for_a_while():
    limiter = at(10)
    limiter.learn(window(3.0), 1.0)
    assert limiter.recent.until_s == pytest.approx(1.0 + 5.0 + 5 * 3.0)


def test_a_fixed_limit_stays():
    limiter = fixed(7)
    for second in range(200):
        limiter.learn(window(0.1 * (1 + second % 7)), float(second))
        limiter.throttled(7, float(second))
        limiter.provisioned(second)
    assert limiter.calls == 7
    assert limiter.throttles == 200
    assert limiter.recent.turn_s > 0.0


def test_it_shows_its_bounds():
    assert repr(Limiter(RULES, MOST)) == "Limiter(20 of 2 to 256)"


# -- whatever happens -----------------------------------------------------------------------------

EVENTS = st.lists(
    st.one_of(
        st.builds(
            window,
            st.floats(0.0, 1e4),
            st.integers(1, 1000),
            pressed=st.booleans(),
        ),
        st.integers(0, 300),  # 429 with so many calls under way
        st.none() | st.integers(1, 5000).map(lambda calls: ("provisioned", calls)),
    ),
    max_size=200,
)


@given(
    EVENTS,
    st.integers(1, 300),
    st.builds(
        Concurrency,
        initial_calls=st.none() | st.integers(1, 500),
        min_calls=st.integers(1, 20),
        client_processes=st.integers(1, 50),
        smoothing=st.floats(0.01, 1.0),
        tolerance=st.floats(1.0, 5.0),
        long_window_calls=st.integers(1, 5000),
        throttled_factor=st.floats(0.01, 1.0),
    ),
)
def test_it_keeps_its_bounds(events: list[object], most: int, rules: Concurrency):
    limiter = Limiter(rules, most)
    least = min(rules.min_calls, most)
    for second, event in enumerate(events):
        if isinstance(event, Window):
            limiter.learn(event, float(second))
        elif isinstance(event, int):
            limiter.throttled(event, float(second))
        else:
            limiter.provisioned(event[1] if isinstance(event, tuple) else None)
        assert least <= limiter.calls <= most
        assert limiter.window_calls >= 1
        assert all(seconds >= 0.0 for seconds in limiter.recent)


@given(
    st.lists(st.floats(0.05, 0.5), min_size=1, max_size=60),
    st.floats(0.05, 5.0),
    st.floats(1.0, 4.0),
)
def test_slower_replies_never_make_it_larger(before: list[float], took_s: float, times: float):
    fast, slow = at(60), at(60)
    for earlier_s in before:
        fast.learn(window(earlier_s, 60), 1.0)
        slow.learn(window(earlier_s, 60), 1.0)
    fast.learn(window(took_s, 60), 2.0)
    slow.learn(window(took_s * times, 60), 2.0)
    assert slow.calls <= fast.calls


@given(st.integers(2, 256), st.integers(1, 256))
def test_a_429_never_makes_it_larger(start: int, under_way: int):
    limiter = at(start)
    before = limiter.calls
    limiter.throttled(under_way, 1.0)
    assert limiter.calls <= before


# -- where it settles: a closed loop of callers before an endpoint with slots ----------------------


@dataclass
class Endpoint:
    """``slots`` at work, ``queue`` waiting, 429 beyond; replies take 50 ms and some chance."""

    slots: Callable[[float], int]
    queue: float
    chance: random.Random = field(default_factory=lambda: random.Random(5))
    ends: list[float] = field(default_factory=list)

    def take(self, now_s: float) -> tuple[bool, float]:
        ends = self.ends
        while ends and ends[0] <= now_s:
            heapq.heappop(ends)
        slots = self.slots(now_s)
        if len(ends) >= slots + self.queue:
            return False, now_s + 0.001
        starts_s = now_s if len(ends) < slots else sorted(ends)[len(ends) - slots]
        end_s = starts_s + 0.05 * (0.5 + 0.5 * self.chance.expovariate(1.0))
        heapq.heappush(ends, end_s)
        return True, end_s


@dataclass
class Course:
    """Limits over time and how many calls came to a good end."""

    limits: list[tuple[float, int]] = field(default_factory=list)
    good: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    def limit(self, start_s: float, end_s: float) -> float:
        """Its mean."""
        limits = [limit for at_s, limit in self.limits if start_s <= at_s < end_s]
        return sum(limits) / len(limits)

    def goodput(self, start_s: float, end_s: float) -> float:
        return sum(start_s <= at_s < end_s for at_s in self.good) / (end_s - start_s)


def play(endpoint: Endpoint, seconds: float, limiter: Limiter) -> Course:
    """As many callers as there are places, always."""
    course = Course()
    under_way: list[tuple[float, float, bool]] = []
    now_s, calls, total_s = 0.0, 0, 0.0
    while now_s < seconds:
        while len(under_way) < limiter.calls:
            served, end_s = endpoint.take(now_s)
            heapq.heappush(under_way, (end_s, now_s, served))
        now_s, sent_s, served = heapq.heappop(under_way)
        if served:
            course.good.append(now_s)
            calls, total_s = calls + 1, total_s + now_s - sent_s
            if calls >= limiter.window_calls:
                limiter.learn(
                    Window(calls, total_s, calls, total_s, len(under_way), pressed=True), now_s
                )
                calls, total_s = 0, 0.0
        else:
            course.refused.append(now_s)
            limiter.throttled(len(under_way) + 1, now_s)
        course.limits.append((now_s, limiter.calls))
    return course


@pytest.mark.parametrize(
    ("slots", "queue", "start", "least", "most"),
    [
        (16, 0, 2, 12, 18),  # refuses: the limit lies at its slots
        (16, 0, 200, 12, 18),
        (64, 0, 20, 55, 66),
        (64, 20, 20, 60, 90),  # refuses late: it lies below slots and queue
        (64, 20, 200, 60, 90),
        (16, math.inf, 2, 16, 64),  # only gets slower: it lies at a few times its slots, and stays
        (16, math.inf, 20, 16, 64),
        (64, math.inf, 20, 64, 160),
        (64, math.inf, 200, 64, 160),
    ],
)
def test_it_settles_near_what_the_endpoint_holds(
    slots: int, queue: float, start: int, least: int, most: int
) -> None:
    course = play(
        Endpoint(lambda _: slots, queue), 20.0, Limiter(Concurrency(initial_calls=start), MOST)
    )
    assert least <= course.limit(10.0, 20.0) <= most
    assert course.goodput(10.0, 20.0) >= 0.9 * slots / 0.05
    late = [at_s for at_s in course.refused if at_s >= 5.0]
    assert len(late) <= 0.05 * len(course.good)


def test_it_follows_an_endpoint_that_scales_up_and_down():
    slots = {0: 16, 1: 64, 2: 16}
    course = play(Endpoint(lambda now_s: slots[int(now_s // 10)], 0), 29.9, Limiter(RULES, MOST))
    assert course.goodput(5.0, 10.0) >= 0.9 * 16 / 0.05
    assert course.goodput(14.0, 20.0) >= 0.85 * 64 / 0.05
    assert 12 <= course.limit(25.0, 30.0) <= 18
