"""The checker of row 28 finds each kind of wrong that it is there for."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.chaos.history import Call, History, Outcome, problems


def good() -> History:
    """Three calls: answered at the second try, refused unsent, cancelled on its way."""
    calls = [
        Call("a", True, 5.0, [Outcome(answer="a", attempts=2)], 0.2),
        Call("b", False, 5.0, [Outcome("QueueFull", attempts=1, sent="no")], 0.0),
        Call("c", False, 5.0, [Outcome("CancelledError", sent="maybe")], 0.1),
    ]
    return History(4, 500, calls, {"a": 2, "c": 1}, [500, 486, 0], {"tasks": 0})


def test_row_28_the_checker_is_content_with_what_may_be() -> None:
    assert problems(good()) == []
    assert good().outcomes == {"ok": 1, "QueueFull": 1, "CancelledError": 1}


def never_ended(history: History) -> None:
    history.calls[0].outcomes.clear()


def ended_twice(history: History) -> None:
    history.calls[0].outcomes *= 2


def anothers_answer(history: History) -> None:
    history.calls[0].outcomes[0] = Outcome(answer="b", attempts=2)


def made_up_answer(history: History) -> None:
    history.processed = {"c": 1}


def a_bug(history: History) -> None:
    history.calls[0].outcomes[0] = Outcome("KeyError('x')", attempts=2, ours=False)


def untold_try(history: History) -> None:
    history.processed = {"a": 3, "c": 1}


def ran_twice(history: History) -> None:
    history.processed = {"a": 2, "c": 2}


def sent_after_all(history: History) -> None:
    history.processed = {"a": 2, "b": 1, "c": 1}


def late(history: History) -> None:
    history.calls[0].took_s = 10.3


def nobodys(history: History) -> None:
    history.processed = {"a": 2, "c": 1, "d": 1}


def overdrawn(history: History) -> None:
    history.quota.append(-1)


def overfull(history: History) -> None:
    history.quota.append(501)


def leaking(history: History) -> None:
    history.left["lanes"] = 1


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (never_ended, "a: 0 outcomes"),
        (ended_twice, "a: 2 outcomes"),
        (anothers_answer, "a: answered with 'b'"),
        (made_up_answer, "a: answered, and nobody processed it"),
        (a_bug, "a: ended with KeyError('x')"),
        (untold_try, "a: processed 3 times in 2 tries"),
        (ran_twice, "c: processed 2 times, and may run only once"),
        (sent_after_all, "b: processed, and QueueFull says that it was not sent"),
        (late, "a: ended after 10.300 s, with 5.000 s to go"),
        (nobodys, "d: processed, and nobody called it"),
        (overdrawn, "retry quota of [-1], which is from 0 to 500"),
        (overfull, "retry quota of [501], which is from 0 to 500"),
        (leaking, "1 lanes left"),
    ],
)
def test_row_28_the_checker_finds(spoil: Callable[[History], None], said: str) -> None:
    history = good()
    spoil(history)
    assert problems(history) == [said]
