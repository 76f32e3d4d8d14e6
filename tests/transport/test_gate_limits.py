"""Who goes first, who is sent away, how both gates follow the limit. No thread, no real time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servingclient._explain import shown_s
from servingclient._stats import ConcurrencyStats
from servingclient.policies.concurrency import Limiter
from servingclient.settings import Concurrency, Queue
from tests.transport.gates import COLOURS, Caller, check_books, limiter

Make = Callable[..., Any]


@pytest.fixture(params=list(COLOURS))
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    """``make(places)`` is a gate of one colour, with time and callers."""
    made: list[Any] = []

    def build(places: int | Limiter = 1, **queue: int) -> Any:
        limit = limiter(places) if isinstance(places, int) else places
        made.append(COLOURS[request.param](limit, Queue(**queue)))
        return made[-1]

    yield build
    for driven in made:
        driven.close()


def states(driven: Any, *callers: Caller) -> list[str]:
    driven.settle()
    return [caller.state for caller in callers]


def turns(driven: Any, waiting: dict[str, Caller]) -> str:
    """Names in the order in which they get in, as one after the other leaves."""
    order = ""
    while waiting:
        driven.gate.leave()
        driven.settle()
        name = next(name for name, caller in waiting.items() if caller.state == "inside")
        del waiting[name]
        order += name
    return order


def knows(driven: Any, reply_s: float, calls: int = 10) -> None:
    """Have the gate see a window of replies."""
    for _ in range(calls):
        driven.gate.answered(reply_s)


# -- who goes first -------------------------------------------------------------------------------


def test_within_one_priority_first_in_is_first_out(make: Make):
    driven = make(1)
    driven.arrive()
    assert turns(driven, {name: driven.arrive() for name in "abcdef"}) == "abcdef"


def test_critical_goes_before_default_before_batch(make: Make):
    driven = make(1)
    driven.arrive()
    ranks = {"x": 2, "y": 2, "m": 1, "n": 1, "a": 0, "b": 0}
    waiting = {name: driven.arrive(rank=rank) for name, rank in ranks.items()}
    assert turns(driven, waiting) == "abmnxy"


def test_who_comes_again_goes_before_others_of_the_same_priority(make: Make):
    driven = make(1)
    driven.arrive()
    waiting = {name: driven.arrive(rank=rank) for name, rank in {"x": 2, "m": 1, "a": 0}.items()}
    again = {"y": 2, "n": 1, "o": 1, "b": 0}
    waiting |= {name: driven.arrive(rank=rank, again=True) for name, rank in again.items()}
    assert turns(driven, waiting) == "banomyx"


def test_every_eighth_turn_goes_to_who_waits_longest(make: Make):
    driven = make(1)
    driven.arrive()
    waiting = {name: driven.arrive(rank=2) for name in "xyz"}
    waiting |= {name: driven.arrive(rank=1) for name in "abcdefghijklmn"}
    assert turns(driven, waiting) == "abcdefgxhijklmnyz"


def test_whoever_is_alone_has_every_turn(make: Make):
    driven = make(1)
    driven.arrive()
    names = "abcdefghijklmnopq"
    assert turns(driven, {name: driven.arrive(rank=2) for name in names}) == names


# -- the limit moves ------------------------------------------------------------------------------


def test_a_limit_that_grows_admits_who_waits_at_once(make: Make):
    driven = make(1)
    callers = [driven.arrive() for _ in range(5)]
    driven.gate.provisioned(3)
    assert states(driven, *callers) == ["inside"] * 3 + ["waits"] * 2
    check_books(driven.gate, 3, 2)


def test_a_limit_that_sinks_sends_nobody_away(make: Make):
    driven = make(4)
    callers = [driven.arrive() for _ in range(6)]
    driven.gate.provisioned(2)
    check_books(driven.gate, 4, 2)
    for inside in (3, 2):
        driven.gate.leave()
        assert states(driven, *callers[4:]) == ["waits", "waits"]
        check_books(driven.gate, inside, 2)
    driven.gate.leave()
    assert states(driven, *callers[4:]) == ["inside", "waits"]


def test_places_that_were_free_go_first(make: Make):
    driven = make(4)
    driven.arrive()
    driven.gate.provisioned(2)
    assert driven.gate.room
    assert states(driven, driven.arrive(), driven.arrive()) == ["inside", "waits"]


def test_replies_as_fast_as_ever_raise_it_while_calls_wait(make: Make):
    driven = make(Limiter(Concurrency(initial_calls=10), 256))
    callers = [driven.arrive() for _ in range(13)]
    knows(driven, 0.1, 20)
    knows(driven, 0.1, 20)
    assert driven.gate.stats().limit == 12
    assert states(driven, *callers[10:]) == ["inside", "inside", "waits"]


def test_replies_do_not_raise_it_while_there_is_room(make: Make):
    driven = make(Limiter(Concurrency(initial_calls=10), 256))
    driven.arrive()
    knows(driven, 0.1, 200)
    assert driven.gate.stats().limit == 10


def test_429_lowers_it(make: Make):
    driven = make(Limiter(Concurrency(initial_calls=10), 256))
    callers = [driven.arrive() for _ in range(10)]
    driven.gate.leave()
    driven.gate.throttled()
    assert driven.gate.stats() == ConcurrencyStats(9, 9, 0, throttled=1)
    assert states(driven, *callers) == ["inside"] * 10


def test_calls_without_an_answer_lower_it_too(make: Make):
    driven = make(Limiter(Concurrency(initial_calls=10), 256))
    for _ in range(10):
        driven.arrive()
    knows(driven, 0.1, 10)
    limit = driven.gate.stats().limit
    for _ in range(15):
        driven.gate.answered(0.1)
        driven.gate.unanswered(5.0)
    assert driven.gate.stats().limit < limit


def test_a_fixed_limit_stays(make: Make):
    driven = make(Limiter(Concurrency(adaptive=False, initial_calls=3), 256))
    driven.gate.throttled()
    driven.gate.provisioned(64)
    knows(driven, 0.1, 200)
    assert driven.gate.stats() == ConcurrencyStats(3, 0, 0, throttled=1)


# -- who is sent away -----------------------------------------------------------------------------


def test_a_full_line_takes_nobody(make: Make):
    driven = make(1, max_calls=2)
    callers = [driven.arrive() for _ in range(4)]
    assert states(driven, *callers) == ["inside", "waits", "waits", "full"]
    assert "2 calls already wait, and 1 are under way" in str(callers[-1].error)
    assert callers[-1].error.retryable
    assert driven.gate.stats().rejected == 1


def test_no_line_at_all(make: Make):
    driven = make(1, max_calls=0)
    assert states(driven, driven.arrive(), driven.arrive()) == ["inside", "full"]
    driven.gate.leave()
    assert driven.arrive().state == "inside"


def test_the_line_is_bounded_in_bytes(make: Make):
    driven = make(1, max_bytes=10_000_000)
    driven.arrive(size_bytes=9_000_000)
    first, second, third = (driven.arrive(size_bytes=size) for size in (6_000_000, 6_000_000, 100))
    assert states(driven, first, second, third) == ["waits", "full", "waits"]
    assert "6.0 MB already wait, and this one has 6.0 MB" in str(second.error)
    driven.gate.leave()
    driven.settle()
    assert driven.arrive(size_bytes=6_000_000).state == "waits"


def test_one_large_request_may_wait_alone(make: Make):
    driven = make(1, max_bytes=1000)
    driven.arrive()
    assert driven.arrive(size_bytes=16_000_000).state == "waits"


def test_who_would_come_too_late_is_told_at_once(make: Make):
    driven = make(1)
    driven.arrive()
    knows(driven, 1.0)
    waiting = [driven.arrive() for _ in range(4)]
    assert states(driven, *waiting) == ["waits"] * 4
    assert driven.arrive(deadline_s=driven.now_s + 6.1).state == "waits"  # 5 turns and its own
    late = driven.arrive(deadline_s=driven.now_s + 6.0)  # 6 turns, with the last one's
    assert late.state == "full"
    assert str(late.error) == (
        "5 calls wait ahead of this one and 1 run at once: its turn would come in about 6.00 s and "
        "its reply take 1.00 s more, but it has 6.00 s. Send fewer at once, allow a longer "
        "timeout, or give the endpoint more concurrency."
    )
    assert late.error.retryable
    assert driven.gate.stats().rejected == 1


def test_only_those_who_would_go_before_count(make: Make):
    driven = make(1)
    driven.arrive()
    knows(driven, 1.0)
    for rank in (1, 1, 1, 2, 2, 2):
        driven.arrive(rank=rank)
    deadline_s = driven.now_s + 2.5
    assert driven.arrive(deadline_s, rank=2).state == "full"
    assert driven.arrive(deadline_s, rank=1).state == "full"
    assert driven.arrive(deadline_s, rank=0).state == "waits"


def test_of_who_comes_again_only_those_before_count(make: Make):
    driven = make(1)
    driven.arrive()
    knows(driven, 1.0)
    for rank in (0, 1, 1, 1):
        driven.arrive(rank=rank)
    first_s, second_s = (driven.now_s + left_s for left_s in (3.5, 3.2))
    assert driven.arrive(first_s, rank=1).state == "full"
    assert driven.arrive(first_s, rank=1, again=True).state == "waits"
    assert driven.arrive(second_s, rank=1, again=True).state == "full", "behind the one before"


def test_nobody_is_sent_away_from_a_free_place(make: Make):
    driven = make(2)
    driven.arrive()
    knows(driven, 60.0)
    assert driven.arrive(deadline_s=driven.now_s + 0.1).state == "inside"


def test_old_figures_send_nobody_away(make: Make):
    # after a slow spell the first burst finds the endpoint as it is now, not as it was
    driven = make(1)
    driven.arrive()
    knows(driven, 10.0)
    assert driven.arrive(deadline_s=driven.now_s + 5.0).state == "full"
    driven.advance(60.0)
    assert driven.arrive(deadline_s=driven.now_s + 5.0).state == "waits"


def test_a_turn_that_comes_too_late_goes_to_the_next(make: Make):
    driven = make(1)
    driven.arrive()
    knows(driven, 1.0)
    hasty, patient = driven.arrive(driven.now_s + 3.5), driven.arrive(driven.now_s + 60.0)
    driven.advance(3.0)
    driven.gate.leave()
    assert states(driven, hasty, patient) == ["full", "inside"]
    assert "came with 500 ms left, and replies take 1.00 s" in str(hasty.error)
    check_books(driven.gate, 1, 0)


def test_the_deadline_ends_the_waiting(make: Make):
    driven = make(1)
    driven.arrive()
    callers = [driven.arrive(deadline_s=seconds) for seconds in (3.0, 1.0, 2.0)]
    driven.advance(1.5)
    assert states(driven, *callers) == ["waits", "late", "waits"]
    driven.advance(2.0)
    assert states(driven, *callers) == ["late"] * 3
    check_books(driven.gate, 1, 0)
    assert driven.gate.stats().rejected == 0


def test_closing_tells_all(make: Make):
    driven = make(1)
    driven.arrive()
    callers = [driven.arrive(rank=rank) for rank in (0, 1, 2)]
    driven.gate.refuse()
    assert states(driven, *callers, driven.arrive()) == ["closed"] * 4
    assert not driven.gate.room


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (12.345, "12.35 s"),
        (1.0, "1.00 s"),
        (0.9994, "999 ms"),
        (0.05, "50 ms"),
        (0.0042, "4.2 ms"),
        (0.0, "0 ms"),
        (-0.5, "0 ms"),
    ],
)
def test_a_short_time_is_shown_in_milliseconds(seconds: float, text: str) -> None:
    assert shown_s(seconds) == text
