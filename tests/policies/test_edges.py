"""Policies at their edges: formulas by their numbers, limits to the point, causes in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest

from servingclient.policies.concurrency import Limiter, Window
from servingclient.policies.failure import FailureClass
from servingclient.policies.hedge import HedgePolicy
from servingclient.policies.quota import Quota
from servingclient.policies.rate_headers import Told
from servingclient.policies.rate_window import SAME_WINDOW_S, TheirWindow
from servingclient.policies.ratelimit import Bucket
from servingclient.policies.retry import Action
from servingclient.settings import Concurrency, Hedge, RateLimit
from tests.policies.cases import STALE, ask, reply

RULES = Concurrency(min_calls=1, initial_calls=40)


def window(took_s: float, calls: int = 10, *, answered: int | None = None, **more: bool) -> Window:
    answered = calls if answered is None else answered
    pressed = more.get("pressed", True)
    return Window(calls, calls * took_s, answered, answered * took_s, calls, pressed)


# ------------------------------------------------------------------------------- the limit


def long_average(before_s: float, took_s: float, calls: int) -> float:
    """Gradient2's: an exponential average over 600 calls, by calls."""
    return before_s + (1.0 - (1.0 - 2.0 / 601) ** calls) * (took_s - before_s)


@pytest.mark.parametrize("calls", [10, 100])
@pytest.mark.parametrize("took_s", [0.9, 1.3])
def test_the_long_average_follows_while_nobody_waits(took_s: float, calls: int):
    limiter = Limiter(RULES, 256)
    limiter.learn(window(1.0, pressed=False), 1.0)
    limiter.learn(window(took_s, calls, pressed=False), 2.0)
    assert limiter._usual_s == pytest.approx(long_average(1.0, took_s, calls))


def test_under_pressure_it_only_sinks():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(1.0), 1.0)
    limiter.learn(window(1.2), 2.0)
    assert limiter._usual_s == 1.0
    limiter.learn(window(0.9), 3.0)
    assert limiter._usual_s == pytest.approx(long_average(1.0, 0.9, 10))


@pytest.mark.parametrize(("took_s", "forgets"), [(0.4, 0.95), (0.6, 1.0)])
def test_more_than_twice_what_replies_take_is_forgotten_sooner(took_s: float, forgets: float):
    limiter = Limiter(RULES, 256)
    limiter.learn(window(1.0, pressed=False), 1.0)
    limiter.learn(window(took_s, pressed=False), 2.0)
    assert limiter._usual_s == pytest.approx(forgets * long_average(1.0, took_s, 10))


def looks(limiter: Limiter, windows: int, took_s: Callable[[bool], float]) -> list[int]:
    """Numbers of the windows after which it begins to look, of so many that are pressed.

    Args:
        took_s: What replies take, with the limit halved or not.
    """
    begun, eased = [], bool(limiter._eased)
    for number in range(1, windows + 1):
        limiter.learn(window(took_s(eased)), float(number))
        if limiter._eased and not eased:
            begun.append(number)
        eased = bool(limiter._eased)
    return begun


def steady(_: bool) -> float:
    return 0.1


@pytest.mark.parametrize(("pressed", "until"), [(True, 9), (False, 50)])
def test_the_endpoint_is_looked_at_after_so_many_windows(pressed: bool, until: int):
    """Ten when the first replies may have waited already, else fifty behind the first."""
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1, pressed=pressed), 0.0)
    assert looks(limiter, 60, steady) == [until]


def test_a_look_that_finds_nothing_doubles_the_time_until_the_next():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    begun = looks(limiter, 2000, steady)
    # each takes two windows
    between = [later - earlier - 2 for earlier, later in itertools.pairwise(begun)]
    assert between == [100, *[200] * 9]


@pytest.mark.parametrize(("with_half_s", "until_next"), [(0.067, 100), (0.066, 10)])
def test_a_look_that_finds_a_queue_is_soon_made_again(with_half_s: float, until_next: int):
    """Within the tolerance it found nothing; beyond it what follows is slow, and looked into."""
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    first, second, *_ = looks(limiter, 160, lambda eased: with_half_s if eased else 0.1)
    assert second - first - 2 == until_next


def test_after_a_queue_was_found_the_time_until_a_look_is_short_again():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    looks(limiter, 50 + 2 + 100 + 2, steady)
    looks(limiter, 200, lambda eased: 0.06 if eased else 0.1)  # the endpoint's own time is less
    looks(limiter, 2, lambda _: 0.06)
    assert looks(limiter, 51, lambda _: 0.06)


@pytest.mark.parametrize("quiet_windows", [0, 900])
def test_ten_slow_windows_are_looked_into(quiet_windows: int):
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    looks(limiter, quiet_windows, steady)
    limiter._pressed_windows = 0
    assert looks(limiter, 12, lambda eased: 0.1 if eased else 0.16) == [10]


def test_an_endpoint_of_another_size_is_soon_looked_at_again():
    limiter = Limiter(Concurrency(), 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    looks(limiter, 400, steady)
    limiter.provisioned(64)
    assert looks(limiter, 60, steady) == [50]


def test_what_was_under_way_at_another_size_was_not_tried_at_this_one():
    limiter = Limiter(Concurrency(), 256)
    limiter.learn(window(0.1, 40, pressed=False), 0.0)
    limiter.provisioned(64)
    limiter.throttled(10, 1.0)
    assert limiter.calls == 9


# A window of 200 was one round trip, though the limit sank to 4 meanwhile.
@pytest.mark.parametrize(
    ("start", "calls", "rounds"), [(40, 40, 1), (40, 20, 1), (4, 10, 2.5), (4, 200, 2.5)]
)
@pytest.mark.parametrize(("took_s", "gradient"), [(0.1, 1.0), (0.2, 0.75)])
def test_it_moves_once_a_round_trip(
    start: int, calls: int, rounds: float, took_s: float, gradient: float
):
    rules = Concurrency(initial_calls=start)
    limiter = Limiter(rules, 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    limiter.learn(window(took_s, calls), 1.0)
    share = 1 - (1 - rules.smoothing) ** rounds
    aim = start * gradient + math.sqrt(start)
    assert limiter._limit == pytest.approx(start + share * (aim - start), rel=0.01)


@pytest.mark.parametrize(("initial", "looks"), [(4, True), (3, False)])
def test_only_a_limit_that_can_be_halved_is(initial: int, looks: bool):
    limiter = Limiter(Concurrency(min_calls=2, initial_calls=initial), initial)
    for number in range(30):
        limiter.learn(window(0.1), float(number))
        if limiter._eased:
            break
    assert bool(limiter._eased) is looks


def test_a_cut_comes_once_a_round_trip():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(1.0, pressed=False), 0.0)
    for at_s, calls in ((10.0, 36), (10.5, 36), (10.99, 36), (11.0, 32)):
        limiter.throttled(40, at_s)
        assert limiter.calls == calls


def test_a_silent_window_counts_as_a_cut():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(1.0, pressed=False), 0.0)
    limiter.learn(window(1.0, 40, answered=10), 10.0)
    assert limiter.calls == 20
    limiter.throttled(20, 10.5)
    assert limiter.calls == 20, "within the same round trip"
    limiter.throttled(20, 11.0)
    assert limiter.calls == 18


def test_a_cut_while_it_looks_is_of_the_whole_limit():
    limiter = Limiter(RULES, 256)
    while not limiter._eased:
        limiter.learn(window(0.1), 1.0)
    whole = limiter._limit
    limiter.throttled(1, 100.0)
    assert limiter._limit == pytest.approx(0.9 * whole)


def test_after_a_refusal_a_quiet_window_raises_nothing():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1, pressed=False), 0.0)
    limiter.throttled(20, 1.0)
    assert limiter.calls == 18
    limiter.learn(window(0.1, pressed=False), 2.0)
    assert limiter.calls == 18
    limiter.learn(window(0.1, pressed=False), 3.0)
    assert limiter._limit == pytest.approx(18 + math.sqrt(18))


def test_the_first_window_may_raise_it():
    limiter = Limiter(RULES, 256)
    limiter.learn(window(0.1), 0.0)
    assert limiter._limit == pytest.approx(40 + RULES.smoothing * math.sqrt(40))


def test_a_start_that_was_set_is_not_overridden():
    limiter = Limiter(Concurrency(initial_calls=5), 256)
    limiter.throttled(5, 0.0)
    limiter.provisioned(64)
    assert limiter.calls == 4


def test_several_processes_share_in_whole_calls():
    limiter = Limiter(Concurrency(client_processes=2), 256)
    limiter.provisioned(7)
    assert limiter._limit == 3.0


# ------------------------------------------------------------------------------- rate limits

LONGEST_S = 60.0


def their() -> TheirWindow:
    return TheirWindow(LONGEST_S)


def test_what_is_left_without_an_end_says_nothing():
    one = their()
    assert one.told(Told(left=3), 0.0, 0) is False
    assert one.left is None
    assert one.told(Told(limit=5), 0.0, 0) is False
    assert one.told(Told(window_s=5.0), 0.0, 0) is False
    assert one.left is None


def test_a_policy_is_a_window_that_began_with_the_request():
    one = their()
    assert one.told(Told(limit=10, window_s=LONGEST_S), 0.0, 0) is False
    assert one.left == 9
    assert one.told(Told(limit=10, window_s=LONGEST_S), 1.0, 0) is False
    assert one.left == 9, "told again it is the same"
    one = their()
    one.told(Told(limit=1, window_s=1.0), 0.0, 0)
    assert one.left == 0
    one = their()
    one.told(Told(limit=10, window_s=LONGEST_S + 0.1), 0.0, 0)
    assert one.left is None, "too long to be believed in"


@pytest.mark.parametrize("shift_s", [-SAME_WINDOW_S, 0.0, SAME_WINDOW_S])
def test_resets_as_close_as_whole_seconds_are_one_window(shift_s: float):
    one = their()
    one.told(Told(left=5, reset_s=20.0), 0.0, 0)
    assert one.told(Told(left=9, reset_s=20.0 + shift_s), 0.0, 0) is False
    assert one.left == 5, "the lower count holds"
    assert one.earliest(0.0) == 0.0


def test_a_later_reset_is_a_new_window_and_an_earlier_one_pauses():
    one = their()
    one.told(Told(left=5, reset_s=20.0), 0.0, 0)
    assert one.told(Told(left=9, reset_s=22.0), 0.0, 2) is False
    assert one.left == 7, "two of its nine are on their way"
    assert one.told(Told(left=0, reset_s=5.0), 0.0, 0) is True
    assert one.told(Told(left=1, reset_s=5.0), 0.0, 0) is False


def test_windows_of_the_longest_length_go_on():
    one = their()
    one.told(Told(limit=2, window_s=LONGEST_S), 0.0, 0)
    one.take(0.0)
    assert (one.left, one.earliest(1.0)) == (0, LONGEST_S)
    one.take(LONGEST_S)
    assert one.left == 1
    one.take(2 * LONGEST_S + 1.0)
    assert one.left is None, "nothing was heard in the second one"


def test_a_window_without_a_length_is_not_followed_by_another():
    one = their()
    one.told(Told(left=1, reset_s=5.0), 0.0, 0)
    one.take(0.0)
    one.take(5.0)
    assert one.left is None


@pytest.mark.parametrize("calls_per_s", [None, 10.0])
def test_who_holds_calls_up(calls_per_s: float | None):
    bucket = Bucket(RateLimit(calls_per_s=calls_per_s))
    assert bucket.held_up(0.0) is (calls_per_s is None), "what is set is not the API"
    headers = [(b"x-ratelimit-remaining", b"0"), (b"x-ratelimit-reset", b"30")]
    bucket.learn(200, headers, 0.0, 0.0)
    assert bucket.held_up(1.0) is True
    assert bucket.held_up(30.0) is (calls_per_s is None)
    bucket.learn(429, [(b"retry-after", b"7")], 40.0, 0.0)
    assert bucket.held_up(46.9) is True


# ------------------------------------------------------------------------------- the rest


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (408, FailureClass.AMBIGUOUS),
        (499, FailureClass.FATAL),
        (500, FailureClass.AMBIGUOUS),
        (599, FailureClass.AMBIGUOUS),
        (600, FailureClass.FATAL),
    ],
)
def test_which_statuses_are_ambiguous(status: int, cls: FailureClass):
    assert reply(status).cls is cls


@pytest.mark.parametrize(("status", "sent"), [(200, "yes"), (299, "yes"), (300, "maybe")])
def test_a_status_of_success_says_that_it_ran(status: int, sent: str):
    assert reply(status).sent == sent


def test_a_refused_token_is_named_in_the_cause():
    assert reply(401).cause == "401 Unauthorized, token refused"
    assert reply(404).cause == "404 Not Found"


def test_a_free_resend_needs_some_time_and_no_more():
    assert ask(STALE, remaining_s=0.001).action is Action.RESEND_NEW_LANE
    assert ask(STALE, remaining_s=0.0).stopped_by == "deadline"


def test_a_hedge_that_was_not_sent_gives_back_what_it_took():
    quota = Quota(100)
    hedge = HedgePolicy(Hedge(min_samples=1, max_share=1.0), quota, 14)
    for _ in range(3):
        hedge.delay_s(0.0)
    assert hedge.take()
    hedge.untake()
    assert quota.available == 100
    assert [hedge.take() for _ in range(4)] == [True, True, True, False]


def test_a_reply_without_a_hedge_wins_nothing_and_pays_nothing():
    quota = Quota(100)
    quota.take(14)
    hedge = HedgePolicy(Hedge(min_samples=1), quota, 14)
    hedge.answered(0.1)
    assert (quota.available, hedge.stats().wins) == (86, 0)
    hedge.answered(0.1, hedged=True)
    assert (quota.available, hedge.stats().wins) == (100, 0)
