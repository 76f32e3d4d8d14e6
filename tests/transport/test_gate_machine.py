"""Any order of coming, leaving, giving up and changing limits: no place is lost or lent twice."""

from __future__ import annotations

from typing import Any

from hypothesis import Phase
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from servingclient.settings import Queue
from tests.transport.gates import COLOURS, check_books, limiter
from tests.trials import machine

MOST_WAITING = 6
MOST_BYTES = 100


class Gate(RuleBasedStateMachine):
    """What is expected stands in two lists: who is inside, and who waits, in order of arrival."""

    colour: str

    @initialize(places=st.integers(1, 4))
    def open(self, places: int) -> None:
        self.driven = COLOURS[self.colour](
            limiter(places), Queue(max_calls=MOST_WAITING, max_bytes=MOST_BYTES)
        )
        self.gate = self.driven.gate
        self.inside: list[Any] = []
        self.waiting: list[tuple[Any, int, int]] = []
        self.most = places
        self.closed = False

    @rule(
        rank=st.integers(0, 2),
        size=st.integers(0, 60),
        patience_s=st.sampled_from([5.0, 1e9]),
        again=st.booleans(),
    )
    def arrive(self, rank: int, size: int, patience_s: float, again: bool) -> None:
        room = self.gate.room
        waiting_bytes = sum(size for _, _, size in self.waiting)
        caller = self.driven.arrive(self.driven.now_s + patience_s, rank, size, again=again)
        if self.closed:
            assert caller.state == "closed"
        elif len(self.inside) < self.gate.places and not self.waiting:
            assert room
            assert caller.state == "inside"
            self.inside.append(caller)
        elif len(self.waiting) >= MOST_WAITING or (
            self.waiting and waiting_bytes + size > MOST_BYTES
        ):
            assert caller.state == "full"
        else:
            assert not room
            assert caller.state == "waits"
            self.waiting.append((caller, rank, size))

    @precondition(lambda self: self.inside)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        self.inside.remove(data.draw(st.sampled_from(self.inside)))
        self.gate.leave()

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(one)
        self.driven.cancel(one[0])

    @precondition(lambda self: self.inside and self.waiting)
    @rule(data=st.data())
    def give_up_as_the_turn_comes(self, data: st.DataObject) -> None:
        self.inside.remove(data.draw(st.sampled_from(self.inside)))
        one = data.draw(st.sampled_from(self.waiting))
        self.waiting.remove(one)
        self.driven.leave_and_cancel(one[0])

    @rule(places=st.integers(1, 8))
    def resize(self, places: int) -> None:
        self.gate.provisioned(places)

    @rule(seconds=st.sampled_from([0.1, 3.0]))
    def wait(self, seconds: float) -> None:
        self.driven.advance(seconds)

    @precondition(lambda self: len(self.inside) > 2)
    @rule()
    def close(self) -> None:
        self.gate.refuse()
        self.closed = True

    @invariant()
    def books_are_right(self) -> None:
        self.driven.settle()
        came = [one for one in self.waiting if one[0].state == "inside"]
        self.waiting = [one for one in self.waiting if one[0].state == "waits"]
        self.inside += [one[0] for one in came]
        check_books(self.gate, len(self.inside), len(self.waiting))
        assert all(caller.state == "inside" for caller in self.inside)
        assert len(self.inside) <= max(self.most, self.gate.places), "lent twice"
        self.most = max(len(self.inside), self.gate.places) if self.inside else self.gate.places
        if self.waiting:
            assert len(self.inside) >= self.gate.places, "somebody waits before a free place"
        if self.closed:
            assert not self.waiting

    def teardown(self) -> None:
        if not hasattr(self, "driven"):
            return
        for _ in self.inside:
            self.gate.leave()
        if not self.closed:
            self.driven.settle()
            assert self.gate.inside == sum(one[0].state == "inside" for one in self.waiting)
        self.driven.close()


class OfTasks(Gate):
    colour = "tasks"


class OfThreads(Gate):
    colour = "threads"


# Forty steps read well enough as they are; shrinking them takes longer than a test may.
ONE_RUN = machine(60, 40, phases=[Phase.explicit, Phase.reuse, Phase.generate])

TestTasks = OfTasks.TestCase
TestTasks.settings = ONE_RUN
TestThreads = OfThreads.TestCase
TestThreads.settings = ONE_RUN
