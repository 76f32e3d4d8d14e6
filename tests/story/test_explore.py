"""Schedules by chance break no promise, and would be told of if they did."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from servingclient import _call, _failures
from servingclient._types import FaultKind
from servingclient.auth.book import Book
from servingclient.auth.single_flight import TaskSingleFlight
from servingclient.policies import retry
from servingclient.policies.failure import FailureClass
from servingclient.policies.quota import Quota
from servingclient.policies.retry import Cost, Rule
from servingclient.transport.loop_gate import LoopGate
from tests.story.explore import explore, main
from tests.story.remote import Remote

SCHEDULES = 250
"""Of ten thousand under ``make schedules``."""


def test_no_schedule_breaks_a_promise() -> None:
    reports = explore(range(SCHEDULES))
    assert {one.seed: one.wrong for one in reports if one.wrong} == {}
    assert sum(one.hours for one in reports) > SCHEDULES, "more than an hour each"
    met = set().union(*(one.calls for one in reports))
    assert met >= {"Prediction", "OpenStream", "CancelledError", "ClientClosedError", "AuthError"}
    assert met >= {"DeadlineExceeded", "QueueFull", "Throttled", "ConnectionLost", "StreamError"}


def test_a_seed_is_a_schedule() -> None:
    once, again = explore([45, 46]), explore([46])
    assert once[1] == again[0]
    assert once[0].calls != once[1].calls


# ------------------------------------------------------------------ what is wrong would be found

Patch = Callable[[pytest.MonkeyPatch], None]


def lost_place(patch: pytest.MonkeyPatch) -> None:
    real, calls = LoopGate.leave, count(1)
    patch.setattr(LoopGate, "leave", lambda gate: real(gate) if next(calls) % 9 else None)


def place_given_twice(patch: pytest.MonkeyPatch) -> None:
    real = LoopGate.leave

    def leave(gate: LoopGate) -> None:
        real(gate)
        if gate.inside > 1:
            real(gate)

    patch.setattr(LoopGate, "leave", leave)


def no_bound_on_the_line(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LoopGate, "_check_room_in_line", lambda *_: None)


def overfull_quota(patch: pytest.MonkeyPatch) -> None:
    def refund(quota: Quota, amount: int) -> None:
        quota.spent -= amount + 1

    patch.setattr(Quota, "refund", refund)


def run_twice(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retry, "_may_resend", lambda rule, *_, **__: rule.idempotent == "yes")


def slow_ones_again(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(retry.RESEND, FailureClass.SLOW, Rule("yes", "no", None, Cost.RETRY))


def stale_ones_anywhere(patch: pytest.MonkeyPatch) -> None:
    patch.setitem(retry.RESEND, FailureClass.STALE, Rule("yes", "no", None, Cost.RETRY))


def hints_unheard(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retry, "_spread", lambda *_, **__: 0.0)


def attempts_uncounted(patch: pytest.MonkeyPatch) -> None:
    real = retry.Progress.after
    patch.setattr(
        retry.Progress, "after", lambda self, advice: real(self, advice._replace(counted=False))
    )


def tries_without_end(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_call, "attempt_deadline", lambda _, limit_s, now_s: now_s + 1000.0 * limit_s)


def waits_beyond_the_deadline(patch: pytest.MonkeyPatch) -> None:
    real = _failures.advise
    patch.setattr(
        _failures, "advise", lambda *args, **more: real(*args, **{**more, "remaining_s": 1e9})
    )


def refused_token_again(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Book, "refused", Book.close)


def logins_side_by_side(patch: pytest.MonkeyPatch) -> None:
    async def run(flight: object, action: Any, deadline_s: float) -> object:
        return await action()

    patch.setattr(TaskSingleFlight, "run", run)


def ends_told_twice(patch: pytest.MonkeyPatch) -> None:
    real = _failures.tell

    def tell(observers: Any, event: Any) -> None:
        real(observers, event)
        real(observers, event)

    patch.setattr(_failures, "tell", tell)


def open_after_the_close(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(LoopGate, "refuse", lambda gate: None)


def answers_of_others(patch: pytest.MonkeyPatch) -> None:
    real = Remote._content
    patch.setattr(Remote, "_content", lambda self, call, fate: real(self, call ^ 1, fate))


def an_error_of_no_kind(patch: pytest.MonkeyPatch) -> None:
    patch.delitem(_failures.classify_fault.__globals__["_FAULTS"], FaultKind.CORRUPT)


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (lost_place, "at rest, inside"),
        (place_given_twice, "under way, and"),
        (no_bound_on_the_line, "wait, of 1 at most"),
        (overfull_quota, "the quota holds"),
        (run_twice, "may not be run twice"),
        (slow_ones_again, "sent again after a time-out"),
        (stale_ones_anywhere, "on an old connection"),
        (hints_unheard, "and was asked for"),
        (attempts_uncounted, "times, of"),
        (tries_without_end, "may last longer than the call"),
        (waits_beyond_the_deadline, "after it began, and had"),
        (refused_token_again, "that was refused"),
        (logins_side_by_side, "logins were under way at once"),
        (ends_told_twice, "observers were told"),
        (open_after_the_close, "after the close"),
        (answers_of_others, "was given"),
        (an_error_of_no_kind, "ended with KeyError"),
    ],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_broken_promise_is_found(
    monkeypatch: pytest.MonkeyPatch, broken: Patch, told: str
) -> None:
    broken(monkeypatch)
    for first in range(40, 440, 20):
        found = [text for one in explore(range(first, first + 20)) for text in one.wrong]
        if any(told in text for text in found):
            return
    pytest.fail("no schedule noticed")


def test_what_broke_is_told_with_the_seed_to_play_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--count", "2", "--first", "45"]) == 0
    assert "2 schedules" in capsys.readouterr().out
    answers_of_others(monkeypatch)
    assert main(["--seed", "45"]) == 1
    told = capsys.readouterr().out
    assert "1 schedules" in told
    assert "--seed 45\n    call " in told
    assert "1 broke a promise" in told
