"""Both gates, driven step by step on a clock of the test's own: callers come, wait, leave."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from servingclient._types import WireFault
from servingclient.errors import QueueFull
from servingclient.policies.concurrency import Limiter
from servingclient.settings import Concurrency, Queue
from servingclient.transport.gate import Admission
from servingclient.transport.loop_gate import LoopGate
from servingclient.transport.thread_gate import ThreadGate
from tests.overload.virtual import VirtualLoop

RULES = Concurrency(min_calls=1)


class Caller(Protocol):
    """One who came to a gate."""

    @property
    def state(self) -> str:
        """waits, inside, gone, or why it was sent away: full, late, closed."""


class Driven(Protocol):
    """A gate and those before it."""

    gate: Any
    now_s: float

    def arrive(self, deadline_s: float = 1e9, rank: int = 1, size_bytes: int = 0) -> Caller: ...

    def cancel(self, caller: Any) -> None:
        """Whoever waits stops waiting: a cancelled task, an interrupted thread."""

    def advance(self, seconds: float) -> None:
        """Let time pass, and deadlines with it."""

    def close(self) -> None: ...


def limiter(places: int, rules: Concurrency = RULES) -> Limiter:
    made = Limiter(rules, 256)
    made.provisioned(places)
    return made


def why(error: BaseException) -> str:
    if isinstance(error, QueueFull):
        return "full"
    assert isinstance(error, WireFault), error
    return {"timeout": "late", "closed": "closed"}[error.kind.value]


class TaskCaller:
    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.state = "waits"
        self.error: BaseException | None = None
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            self.state = "gone"
            return
        self.error = task.exception()
        self.state = "inside" if self.error is None else why(self.error)


class Tasks:
    """``LoopGate`` on virtual time."""

    def __init__(self, limiter: Limiter, queue: Queue) -> None:
        self.loop = VirtualLoop()
        self.gate = LoopGate(limiter, queue, self.loop.time)
        self._settle()

    @property
    def now_s(self) -> float:
        return self.loop.now_s

    def arrive(
        self, deadline_s: float = 1e9, rank: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> TaskCaller:
        entering = self.gate.enter(deadline_s, rank, size_bytes, again=again)
        caller = TaskCaller(self.loop.create_task(entering))
        self._settle()
        return caller

    def cancel(self, caller: TaskCaller) -> None:
        caller.task.cancel()
        self._settle()

    def leave_and_cancel(self, caller: TaskCaller) -> None:
        """In the same round of the loop: the turn comes, and then its waiter goes."""
        self.gate.leave()
        self.cancel(caller)

    def advance(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))
        self._settle()

    def settle(self) -> None:
        self._settle()

    def _settle(self) -> None:
        async def some_rounds() -> None:
            for _ in range(4):
                await asyncio.sleep(0)

        self.loop.run_until_complete(some_rounds())

    def close(self) -> None:
        self.gate.refuse()
        self._settle()
        self.loop.close()


class ThreadCaller:
    """What a thread would be, without one: its turn is looked at instead of waited for."""

    def __init__(
        self, driven: Threads, deadline_s: float, rank: int, size_bytes: int, *, again: bool
    ) -> None:
        self._driven = driven
        self.deadline_s = deadline_s
        self.error: BaseException | None = None
        self.turn: Any = None
        self._gone = False
        try:
            if not driven.gate.try_enter():
                self.turn = driven.gate._line_up(deadline_s, rank, size_bytes, again=again)
        except (QueueFull, WireFault) as error:
            self.error = error

    @property
    def state(self) -> str:
        if self.error is not None:
            return why(self.error)
        if self._gone:
            return "gone"
        turn, gate = self.turn, self._driven.gate
        if turn is None or turn.admitted:
            return "inside"
        if turn.refusal is not None or gate._closed or self.deadline_s <= self._driven.now_s:
            try:
                gate._not_admitted(turn)
            except (QueueFull, WireFault) as error:
                self.error = error
                return why(error)
        return "waits"

    def interrupt(self) -> None:
        self._gone = True
        self._driven.gate._give_up(self.turn)


class Threads:
    """``ThreadGate`` as threads use it, all steps in this one."""

    def __init__(self, limiter: Limiter, queue: Queue) -> None:
        self.now_s = 0.0
        self.gate = ThreadGate(limiter, queue, lambda: self.now_s)
        self._callers: list[ThreadCaller] = []

    def arrive(
        self, deadline_s: float = 1e9, rank: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> ThreadCaller:
        caller = ThreadCaller(self, deadline_s, rank, size_bytes, again=again)
        self._callers.append(caller)
        return caller

    def cancel(self, caller: ThreadCaller) -> None:
        caller.interrupt()

    def leave_and_cancel(self, caller: ThreadCaller) -> None:
        """The turn comes, and its waiter is interrupted before it has seen it."""
        self.gate.leave()
        caller.interrupt()

    def advance(self, seconds: float) -> None:
        self.now_s += seconds
        self.settle()

    def settle(self) -> None:
        """Whose time is up notices."""
        for caller in self._callers:
            caller.state  # noqa: B018 - a thread would notice by itself

    def close(self) -> None:
        self.gate.refuse()


COLOURS: dict[str, type[Tasks | Threads]] = {"tasks": Tasks, "threads": Threads}


def check_books(gate: Admission, inside: int, waiting: int) -> None:
    assert (gate.inside, gate.waiting) == (inside, waiting)
    stats = gate.stats()
    assert (stats.limit, stats.in_flight, stats.waiting) == (gate.places, inside, waiting)
