"""Callers that leave early: by their own deadline, cancelled, interrupted, or because it closes."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import pytest

from servingclient import ClientClosedError, ConnectionLost, DeadlineExceeded, Prediction
from servingclient._running import Call
from servingclient.batching.batch import Batch
from servingclient.batching.company import Slot
from servingclient.settings import Retry
from tests.batching.world import Caller, Company, Tasks, Threads, rows, settings_of

SPAN: ContextVar[str | None] = ContextVar("span", default=None)

Make = Callable[..., Company]
MakeTasks = Callable[..., Tasks]
MakeThreads = Callable[..., Threads]


# -- B2: cancelled ---------------------------------------------------------------------------------


def test_B2_one_of_eight_cancelled_before_it_is_sent(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(8)]
    company.cancel(waiting[3])
    company.request(0).echo()
    assert company.request(1).ids == [0.0, 1.0, 2.0, 4.0, 5.0, 6.0, 7.0]
    company.requests[1].echo()
    company.ended(*waiting)
    assert [caller.got for caller in waiting if caller is not waiting[3]] == [
        [float(n)] for n in range(8) if n != 3
    ]


def test_B2_all_cancelled_before_they_are_sent(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    lone = company.busy()
    waiting = [company.call(rows(float(n))) for n in range(8)]
    company.cancel(*waiting)
    assert company.batcher.stats().waiting == 0
    company.request(0).echo()
    company.ended(*lone)
    company.rounds()
    assert len(company.requests) == 1


def test_B2_all_cancelled_while_their_request_waits_at_the_gate(make_tasks: MakeTasks) -> None:
    company = make_tasks(max_in_flight=2)
    company.busy()
    company.room = False
    waiting = [company.call(rows(float(n))) for n in range(3)]
    company.settle(lambda: company.at_gate == 1)
    company.cancel(*waiting)
    assert company.at_gate == 0, "it keeps no place in the queue"
    company.open_gate()
    after = company.call(rows(9.0))
    company.request(1).echo()
    company.requests[0].echo()
    company.ended(after)
    assert after.got == [9.0]
    assert len(company.requests) == 2


def test_B2_one_cancelled_in_flight_does_not_disturb_the_others(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(3)]
    company.request(0).echo()
    request = company.request(1)
    company.cancel(waiting[1])
    assert not request.aborted
    request.echo()
    company.ended(*waiting)
    assert [waiting[0].got, waiting[2].got] == [[0.0], [2.0]]


def test_B2_all_cancelled_in_flight_aborts_the_request(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(3)]
    company.request(0).echo()
    request = company.request(1)
    company.cancel(*waiting)
    assert request.aborted
    after = company.call(rows(9.0))  # its slot is free
    company.request(2).echo()
    company.ended(after)
    assert after.got == [9.0]


def test_who_comes_while_a_deserted_request_is_aborted_is_served(make_tasks: MakeTasks) -> None:
    company = make_tasks(max_in_flight=2)
    company.busy()
    company.room = False
    first = company.call(rows(1.0))
    company.settle(lambda: company.at_gate == 1)
    assert first.task is not None
    first.task.cancel()
    # in the same breath: the group's request is being called off
    second = company.call(rows(2.0))
    company.open_gate()
    company.request(1).echo()
    company.requests[0].echo()
    company.ended(first, second)
    assert second.got == [2.0]


def test_who_left_between_two_tries_is_not_sent_again(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(3)]
    company.request(0).echo()
    request = company.request(1)
    company.cancel(waiting[0])
    request.answer(429, {"error_code": "X", "message": "busy"})
    again = company.request(2)
    assert again.ids == [1.0, 2.0]
    again.echo()
    company.ended(*waiting)
    assert [waiting[1].got, waiting[2].got] == [[1.0], [2.0]]


def test_a_deserted_half_is_not_sent(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(4)]
    company.request(0).echo()
    company.request(1).refuse()
    first_half = company.request(2)
    assert first_half.ids == [0.0, 1.0]
    company.cancel(waiting[2], waiting[3])
    first_half.echo()
    company.ended(*waiting)
    company.rounds()
    assert len(company.requests) == 3
    assert [waiting[0].got, waiting[1].got] == [[0.0], [1.0]]


def test_a_deserted_half_in_flight_does_not_cost_the_other(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(4)]
    company.request(0).echo()
    company.request(1).refuse()
    first_half = company.request(2)
    company.cancel(waiting[0], waiting[1])
    assert first_half.aborted
    second_half = company.request(3)
    assert second_half.ids == [2.0, 3.0]
    second_half.echo()
    company.ended(*waiting)
    assert [waiting[2].got, waiting[3].got] == [[2.0], [3.0]]


def test_a_request_runs_in_the_context_of_none_of_its_callers(make_tasks: MakeTasks) -> None:
    # a trace span of one caller must not become the parent of what all share
    company = make_tasks()
    seen: list[str | None] = []
    company.on_send = lambda: seen.append(SPAN.get())
    SPAN.set("of the caller")
    company.busy()
    waiting = [company.call(rows(1.0)), company.call(rows(2.0))]
    company.answer_all()
    assert seen == ["of the caller", None]
    assert [caller.got for caller in waiting] == [[1.0], [2.0]]


def test_a_cancelled_loner_gives_its_slot_to_who_waits(make_tasks: MakeTasks) -> None:
    company = make_tasks()
    (lone,) = company.busy()
    waiting = company.call(rows(1.0))
    company.cancel(lone)
    company.request(1).echo()
    company.ended(waiting)
    assert waiting.got == [1.0]


def test_a_loop_that_ends_takes_its_requests_with_it() -> None:
    # asyncio.run cancels all tasks, ours included: no warning, and the client goes on in the next
    company = Tasks(settings_of())
    company.busy()
    waiting = [company.call(rows(1.0)), company.call(rows(2.0))]
    company.request(0).echo()
    company.request(1)

    async def cancel_all() -> None:
        me = asyncio.current_task()
        tasks = [task for task in asyncio.all_tasks() if task is not me]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    company.loop.run_until_complete(cancel_all())
    assert all(isinstance(caller.error, asyncio.CancelledError) for caller in waiting)
    company.loop.close()
    company.loop = asyncio.new_event_loop()
    after = company.call(rows(3.0))
    company.request(2).echo()
    company.ended(after)
    assert after.got == [3.0]
    assert company.batcher.stats().releases["idle"] == 2, "all slots are free again"
    company.callers = [after]
    company.end()


def test_a_loop_that_is_closed_without_a_word_leaves_no_slot_taken() -> None:
    company = Tasks(settings_of())
    company.busy()
    company.call(rows(1.0))
    old = company.loop
    tasks = asyncio.all_tasks(old)
    for task in tasks:
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    old.close()
    company.callers.clear()
    company.loop = asyncio.new_event_loop()
    del tasks, task
    company._holding.clear()
    gc.collect()
    after = company.call(rows(3.0))
    company.request(1).echo()
    company.ended(after)
    assert after.got == [3.0]
    company.end()


# -- out of time -----------------------------------------------------------------------------------


def test_a_caller_out_of_time_while_it_waits_leaves_alone(make: Make) -> None:
    company = make()
    company.busy()
    hurried = company.call(rows(1.0), timeout_s=0.03)
    patient = company.call(rows(2.0))
    company.ended(hurried)
    error = hurried.error
    assert isinstance(error, DeadlineExceeded)
    assert (error.sent, error.stopped_by) == ("no", "deadline")
    assert error.elapsed_s is not None
    assert error.elapsed_s >= 0.03
    assert "still waited for a request" in str(error)
    assert company.batcher.stats().waiting == 1
    company.request(0).echo()
    assert company.request(1).ids == [2.0]
    company.requests[1].echo()
    company.ended(patient)
    assert company.told[0].error == "DeadlineExceeded"


def test_a_caller_out_of_time_in_flight_leaves_alone(make: Make) -> None:
    company = make()
    company.busy()
    hurried = company.call(rows(1.0), timeout_s=0.1)
    patient = company.call(rows(2.0), timeout_s=15.0)
    company.request(0).echo()
    request = company.request(1)
    assert request.ids == [1.0, 2.0]
    company.ended(hurried)
    error = hurried.error
    assert isinstance(error, DeadlineExceeded)
    assert error.sent == "maybe", "the endpoint may be running it"
    assert not request.aborted
    request.echo()
    company.ended(patient)
    assert patient.got == [2.0]


def test_a_request_has_the_time_of_its_most_patient_member(make: Make) -> None:
    company = make()
    company.busy()
    callers = [company.call(rows(n), timeout_s=t) for n, t in ((1.0, 5.0), (2.0, 15.0), (3.0, 9.0))]
    company.request(0).echo()
    request = company.request(1)
    began_s = {
        caller: request.deadline_s - t for caller, t in zip(callers, (5, 15, 9), strict=True)
    }
    assert request.ids == [1.0, 2.0, 3.0]
    assert began_s[callers[1]] == pytest.approx(company.callers[0].began_s, abs=1.0)
    request.echo()
    company.ended(*callers)


def test_who_has_much_more_time_than_the_leader_stays_for_another(
    make_threads: MakeThreads,
) -> None:
    company = make_threads(max_in_flight=2, max_wait_s=0.02)
    company.busy()
    company.room = False
    leader = company.call(rows(1.0), timeout_s=5.0)
    company.settle(lambda: company.at_gate == 1)  # it is under way, its deadline is settled
    alike = company.call(rows(2.0), timeout_s=5.0)
    patient = company.call(rows(3.0), timeout_s=15.0)
    company.open_gate()
    assert company.request(1).ids == [1.0, 2.0]
    assert company.request(2).ids == [3.0]
    for request in company.requests:
        request.echo()
    company.ended(leader, alike, patient)
    assert patient.got == [3.0]


def test_the_most_patient_leads(make_threads: MakeThreads) -> None:
    # a leader that had to leave early would take the request of the others with it
    company = make_threads()
    company.busy()
    company.call(rows(1.0), timeout_s=2.0)
    company.call(rows(2.0), timeout_s=15.0)
    company.call(rows(3.0), timeout_s=2.0)
    company.request(0).echo()
    request = company.request(1)
    assert request.ids == [1.0, 2.0, 3.0]
    assert request.sender is company.threads[2]
    request.echo()


# -- interrupted -----------------------------------------------------------------------------------


def test_a_leader_interrupted_at_the_gate_hands_over(make_threads: MakeThreads) -> None:
    company = make_threads(max_in_flight=2)
    company.busy()
    company.room = False
    leader = company.call(rows(1.0))
    company.settle(lambda: company.at_gate == 1)
    follower = company.call(rows(2.0))
    company.gate_error = KeyboardInterrupt()
    company.changed()
    company.ended(leader)
    assert isinstance(leader.error, KeyboardInterrupt)
    company.open_gate()
    request = company.request(1)
    assert request.ids == [2.0]
    request.echo()
    company.ended(follower)
    company.requests[0].echo()
    assert follower.got == [2.0]


def test_who_waits_behind_an_interrupted_leader_is_not_forgotten(
    make_threads: MakeThreads,
) -> None:
    # its group has no request coming any more, and all slots are taken
    company = make_threads(max_in_flight=2, max_wait_s=0.05)
    lone = company.busy(2)
    company.room = False
    leader = company.call(rows(1.0))
    company.settle(lambda: company.at_gate == 1)  # it waited long enough for a slot
    follower = company.call(rows(2.0))
    company.gate_error = KeyboardInterrupt()
    company.changed()
    company.ended(leader)
    company.open_gate()
    assert company.request(2).ids == [2.0]
    for request in company.requests:
        request.echo()
    company.ended(follower, *lone)


@pytest.mark.parametrize("where", ["before", "behind"])
def test_an_interrupt_beside_the_taking_of_a_slot_leaves_it_free(
    make_threads: MakeThreads, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    # Python looks for interrupts as a function begins and as its call returns
    company = make_threads(max_in_flight=1)
    start_alone = company.batcher.start_alone

    def start(slot: Slot, rows: int, now_s: float) -> bool:
        monkeypatch.undo()
        if where == "behind":
            assert start_alone(slot, rows, now_s)
        raise KeyboardInterrupt

    monkeypatch.setattr(company.batcher, "start_alone", start)
    caller = company.call(rows(1.0))
    company.ended(caller)
    assert isinstance(caller.error, KeyboardInterrupt)
    after = company.call(rows(2.0))
    company.request(0).echo()
    company.ended(after)
    assert after.got == [2.0]
    assert company.batcher.stats().releases["idle"] == (2 if where == "behind" else 1)


def interrupted(company: Threads, **options: Any) -> list[Caller]:
    """Three callers, whose leader is interrupted while their request is under way."""
    lone = company.busy()
    waiting = [company.call(rows(float(n)), **options) for n in range(3)]
    company.request(0).echo()
    company.ended(*lone)
    request = company.request(1)
    request.fail(KeyboardInterrupt())
    leader = company.caller_of(request.sender)
    company.ended(leader)
    assert isinstance(leader.error, KeyboardInterrupt)
    return [caller for caller in waiting if caller is not leader]


def test_an_interrupted_leaders_request_is_sent_again_where_that_does_no_harm(
    make_threads: MakeThreads,
) -> None:
    company = make_threads()
    before = company.quota.available
    others = interrupted(company)
    again = company.request(2)
    assert len(again.ids) == 2, "without the rows of who left"
    assert company.quota.available < before, "it is a retry"
    again.echo()
    company.ended(*others)
    for caller in others:
        assert isinstance(caller.outcome, Prediction)
        assert [attempt.status for attempt in caller.outcome.attempts] == [None, 200]
    assert company.quota.available == before


def test_what_may_not_run_twice_is_an_error_for_the_others(make_threads: MakeThreads) -> None:
    company = make_threads()
    others = interrupted(company, idempotent=False)
    company.ended(*others)
    for caller in others:
        assert isinstance(caller.error, ConnectionLost)
        assert caller.error.ambiguous
        assert "interrupted" in str(caller.error)
    assert len(company.requests) == 2
    after = company.call(rows(9.0))
    company.request(2).echo()
    company.ended(after)
    assert after.got == [9.0]


def test_interrupted_again_and_again_nobody_hangs(make_threads: MakeThreads) -> None:
    settings = settings_of().replace(retry=Retry(max_attempts=10))
    company = make_threads(settings)
    others = interrupted(company)
    for number in (2, 3):
        request = company.request(number)
        request.fail(KeyboardInterrupt())
        company.ended(company.caller_of(request.sender))
    company.ended(*others)
    assert {type(caller.error) for caller in others} == {KeyboardInterrupt}
    after = company.call(rows(9.0))
    company.request(4).echo()
    company.ended(after)
    assert after.got == [9.0]


def test_each_interrupted_leader_is_a_try(make_threads: MakeThreads) -> None:
    company = make_threads()
    others = interrupted(company)
    request = company.request(2)
    request.fail(KeyboardInterrupt())
    second = company.caller_of(request.sender)
    company.request(3).echo()
    company.ended(*others)
    (last,) = (caller for caller in others if caller is not second)
    assert isinstance(last.outcome, Prediction)
    assert [attempt.status for attempt in last.outcome.attempts] == [None, None, 200]


def test_an_interrupt_between_two_halves_leaves_the_other_half(make_threads: MakeThreads) -> None:
    company = make_threads()
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(4)]
    company.request(0).echo()
    request = company.request(1)
    request.refuse()
    half = company.request(2)
    half.fail(KeyboardInterrupt())
    company.ended(company.caller_of(half.sender))
    company.answer_all()
    outcomes = [caller.outcome for caller in waiting]
    assert sum(isinstance(outcome, KeyboardInterrupt) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Prediction) for outcome in outcomes) == 3


# -- closed ----------------------------------------------------------------------------------------


def test_who_waits_is_told_when_the_client_closes(make: Make) -> None:
    company = make()
    lone = company.busy()
    waiting = [company.call(rows(float(n))) for n in range(3)]
    company.close()
    company.ended(*waiting)
    for caller in waiting:
        assert isinstance(caller.error, ClientClosedError)
        assert caller.error.sent == "no"
    late = company.call(rows(5.0))
    assert isinstance(late.error, ClientClosedError)
    company.request(0).echo()
    company.ended(*lone)
    assert lone[0].got == [-1.0], "what was sent goes on"
    assert len(company.requests) == 1


def test_a_request_at_the_gate_goes_nowhere_when_the_client_closes(make: Make) -> None:
    company = make(max_in_flight=2)
    company.busy()
    company.room = False
    waiting = [company.call(rows(1.0))]
    company.settle(lambda: company.at_gate == 1)
    waiting.append(company.call(rows(2.0)))
    company.close()
    company.ended(*waiting)
    assert {type(caller.error) for caller in waiting} == {ClientClosedError}
    company.request(0).echo()
    assert len(company.requests) == 1


# -- memory ----------------------------------------------------------------------------------------


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Cycles stay: what is freed here is freed at once for users too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def alive() -> int:
    """Calls and batches somebody holds, and with each its rows."""
    return sum(type(thing) in (Call, Batch) for thing in gc.get_objects())


@pytest.mark.parametrize("how", ["echo", "refuse", "cut_off", "scatter", "busy"])
def test_nothing_holds_the_rows_once_all_have_ended(
    make: Make, no_collector: None, how: str
) -> None:
    before = alive()
    company = make(settings_of().replace(retry=Retry(max_attempts=2)))
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(4)]
    company.request(0).echo()
    endings: dict[str, Callable[[Any], None]] = {
        "echo": lambda request: request.echo(),
        "refuse": lambda request: request.refuse(),
        "cut_off": lambda request: request.cut_off(),
        "scatter": lambda request: request.reply("one"),
        "busy": lambda request: request.answer(429, {"message": "busy"}),
    }
    company.end_all(endings[how])
    kept = [caller.outcome for caller in waiting]
    company.forget()
    for outcome in kept:
        if isinstance(outcome, BaseException):
            outcome.__traceback__ = None  # whose frames are the callers' own
    assert alive() == before
