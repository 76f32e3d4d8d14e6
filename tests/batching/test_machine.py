"""The batcher as a state machine: whatever happens in whatever order, everybody gets their own."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from servingclient import (
    BadRequest,
    BatchScatterError,
    ClientClosedError,
    DeadlineExceeded,
    Prediction,
    QueueFull,
    ServingError,
)
from servingclient.settings import Batching, Queue, Retry, Settings
from tests.batching.world import Caller, Request, VirtualTasks
from tests.trials import machine

MOST_ROWS = 8
MOST_WAITING = 12
BAD = 0.5
"""A row whose second value is this is one the model refuses."""


class Call:
    """A caller, and what the test knows of it."""

    def __init__(self, caller: Caller, ids: list[float], bad: bool, ends_s: float) -> None:
        self.caller = caller
        self.ids = ids
        self.bad = bad
        self.ends_s = ends_s
        self.cancelled = False
        self.short = False

    @property
    def ended(self) -> bool:
        return self.caller.outcome is not None


class Machine(RuleBasedStateMachine):
    """Tasks that come, leave and wait, in virtual time."""

    @initialize(slots=st.integers(1, 3), max_wait_s=st.sampled_from([0.0, 0.005, 1.0]))
    def begin(self, slots: int, max_wait_s: float) -> None:
        limits = Batching(max_batch_rows=MOST_ROWS, max_in_flight=slots, max_wait_s=max_wait_s)
        self.company = VirtualTasks(
            Settings(
                batching=limits,
                queue=Queue(max_calls=MOST_WAITING),
                retry=Retry(max_attempts=3),
            )
        )
        self.calls: list[Call] = []
        self.next_id = 0.0
        self.closed = False
        self.disturbed = False

    # -------------------------------------------------------------------------------- what happens

    @rule(
        rows=st.integers(1, 4),
        group=st.integers(0, 1),
        timeout_s=st.sampled_from([0.003, 0.05, 5.0]),
        idempotent=st.sampled_from([True, True, False]),
        priority=st.integers(0, 2),
        bad=st.sampled_from([False, False, False, True]),
    )
    def submit(self, rows: int, group: int, timeout_s: float, bad: bool, **options: Any) -> None:
        ids = [self.next_id + n for n in range(rows)]
        self.next_id += rows
        given = [{"id": one, "b": BAD if bad and one == ids[-1] else 1.0} for one in ids]
        caller = self.company.call(given, params={"k": group}, timeout_s=timeout_s, **options)
        self.calls.append(Call(caller, ids, bad, self.company.now() + timeout_s))

    @rule(seconds=st.sampled_from([0.0, 0.001, 0.006, 0.1, 10.0]))
    def advance(self, seconds: float) -> None:
        self.company.advance(seconds)

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        call = data.draw(st.sampled_from(self.running()))
        call.cancelled = True
        self.company.cancel(call.caller)

    @precondition(lambda self: self.held())
    @rule(data=st.data(), how=st.sampled_from(["model", "model", "short", "busy", "cut", "lost"]))
    def reply(self, data: st.DataObject, how: str) -> None:
        request = data.draw(st.sampled_from(self.held()))
        if how == "model":
            answer_as_the_model(request)
        else:
            self.disturbed = True
            for call in self.calls:
                # a single caller gets what came, whatever it is
                call.short |= how == "short" and request.ids == call.ids
            ENDINGS[how](request)
        self.company.rounds()

    @rule()
    def close_gate(self) -> None:
        self.company.room = False

    @rule()
    def open_gate(self) -> None:
        self.company.open_gate()
        self.company.rounds()

    @rule()
    def close(self) -> None:
        self.closed = True
        self.company.close()
        self.company.rounds()

    # -------------------------------------------------------------------------------- what holds

    def running(self) -> list[Call]:
        return [call for call in self.calls if not call.ended]

    def held(self) -> list[Request]:
        return [one for one in self.company.requests if not (one.answered or one.aborted)]

    @invariant()
    def no_row_is_under_way_twice(self) -> None:
        under_way = Counter(one for request in self.held() for one in request.ids)
        assert not [one for one, times in under_way.items() if times > 1]

    @invariant()
    def no_request_is_too_large(self) -> None:
        assert all(len(request.ids) <= MOST_ROWS for request in self.company.requests)

    @invariant()
    def the_rows_of_one_caller_stay_together_and_in_order(self) -> None:
        for request in self.held():
            ids = request.ids
            for call in self.calls:
                if call.ids[0] in ids:
                    at = ids.index(call.ids[0])
                    assert ids[at : at + len(call.ids)] == call.ids

    @invariant()
    def nobody_waits_beyond_the_bound(self) -> None:
        assert self.company.batcher.stats().waiting <= MOST_WAITING

    @invariant()
    def nobody_runs_beyond_the_deadline(self) -> None:
        late = [call for call in self.running() if call.ends_s < self.company.now() - 0.001]
        assert late == []

    @invariant()
    def who_has_left_keeps_no_request_alive(self) -> None:
        wanted = {one for call in self.running() for one in call.ids}
        assert [request.ids for request in self.held() if not wanted & set(request.ids)] == []

    @invariant()
    def everybody_gets_their_own(self) -> None:
        for call in self.calls:
            outcome = call.caller.outcome
            if isinstance(outcome, Prediction):
                assert outcome.predictions == (call.ids[:-1] if call.short else call.ids)
                assert call.short or not call.bad
            elif isinstance(outcome, BadRequest):
                assert call.bad or outcome.attempts[0].status != 200
            elif isinstance(outcome, asyncio.CancelledError):
                assert call.cancelled

    @invariant()
    def the_figures_add_up(self) -> None:
        stats = self.company.batcher.stats()
        assert sum(stats.releases.values()) == stats.batches == sum(stats.batch_rows.values())
        assert stats.waiting <= len(self.running())

    def teardown(self) -> None:
        if not hasattr(self, "company"):
            return
        company = self.company
        company.gate_error = None if not self.closed else company.gate_error
        company.open_gate()
        company.rounds()
        while self.held():
            for request in self.held():
                answer_as_the_model(request)
            company.rounds()
        company.advance(20.0)
        assert self.running() == []
        for call in self.calls:
            expected(call, self.closed, self.disturbed)
        assembler = company.batcher._assembler
        assert (assembler.busy, assembler.waiting) == (0, 0)
        assert not any(assembler._ranks)
        assert not company.batcher._runners
        assert company.inside == 0
        company.end()


def answer_as_the_model(request: Request) -> None:
    if any(row[1] == BAD for row in request.content["dataframe_split"]["data"]):
        request.refuse()
    else:
        request.echo()


ENDINGS: dict[str, Any] = {
    "short": lambda request: request.reply(request.ids[:-1]),
    "busy": lambda request: request.answer(429, {"message": "busy"}),
    "cut": lambda request: request.cut_off(),
    "lost": lambda request: request.answer(503, {"message": "no"}),
}


def expected(call: Call, closed: bool, disturbed: bool) -> None:
    """Nobody ends in a way that nothing explains."""
    outcome = call.caller.outcome
    if isinstance(outcome, (Prediction, asyncio.CancelledError, DeadlineExceeded, QueueFull)):
        return
    if isinstance(outcome, ClientClosedError):
        assert closed
    elif isinstance(outcome, BatchScatterError):
        assert disturbed
    else:
        assert isinstance(outcome, ServingError)
        assert disturbed or call.bad or isinstance(outcome, BadRequest)


TestMachine = Machine.TestCase
TestMachine.settings = machine(120, 40, suppress_health_check=list(HealthCheck))
