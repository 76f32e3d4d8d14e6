"""The load: an open loop, so that calls begin whether or not earlier ones have ended.

What a busy machine takes from the whole process is no load: the schedule moves by it, so that no
burst follows, and it is told.

Phases follow each other without a pause; what a phase begins with (a fault, or its end) happens
between two calls.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.chaos.meter import Call

Caller = Callable[[str], Any]
"""Makes one call with this id at one client; returns a ``Prediction``, or an awaitable of one."""

_SAMPLES_PER_S = 10
_MOST_THREADS = 512
_HELD_UP_S = 0.02
"""A call that begins so late moves those after it."""


def unchanged() -> None:
    """A phase that begins with nothing."""


@contextmanager
def no_full_collections() -> Iterator[None]:
    """What is noted of calls and requests only grows, and a full collection goes through all of it:
    in row 18 that took 0.6 s, in which no client ran.
    """
    young, middle, old = gc.get_threshold()
    gc.set_threshold(young, middle, 1_000_000)
    try:
        yield
    finally:
        gc.set_threshold(young, middle, old)


@dataclass(frozen=True)
class Phase:
    """So many seconds of load, after ``begin``."""

    seconds: float
    begin: Callable[[], object] = unchanged


@dataclass
class Load:
    """Calls ``per_s`` times a second, evenly, at one client after the other.

    Args:
        callers: One for each client.
        phases: What happens, in its order.
        per_s: Calls a second over all clients.
        sample: Is called ten times a second.
        in_a_row: Calls that follow each other at once, each time; rows about reused connections
            need some.
        catches_up: Calls that are late are made all at once; for rows in which time stands still.

    Attributes:
        calls: Those that have ended.
        started: How many were begun.
        turned_s: When each phase began, and when the last one ended; ``time.monotonic``.
        stall_s: The longest that something was late here. Clients, endpoint and proxy share this
            process, so whatever has a time of its own may have been late by as much.
        lost_s: The sum of what moved the schedule.
    """

    callers: Sequence[Caller]
    phases: Sequence[Phase]
    per_s: float
    sample: Callable[[], object] = unchanged
    in_a_row: int = 1
    catches_up: bool = False

    def __post_init__(self) -> None:
        self.calls: list[Call] = []
        self.started = 0
        self.turned_s: list[float] = []
        self.stall_s = self.lost_s = 0.0

    async def run(self) -> None:
        """Make the calls as tasks of the running loop; returns when all have ended."""
        with no_full_collections():
            await self._run()

    async def _run(self) -> None:
        loop, running = asyncio.get_running_loop(), set()
        for due_s, phase in self._steps():
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            self._woke(due_s)
            if phase is not None:
                self._turn(phase)
                continue
            task = loop.create_task(self._call(*self._next(), due_s))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    def run_threads(self) -> None:
        """Make the calls in threads; returns when all have ended."""
        never = threading.Event()
        with no_full_collections(), ThreadPoolExecutor(_MOST_THREADS) as pool:
            running = []
            for due_s, phase in self._steps():
                never.wait(max(0.0, due_s - time.monotonic()))
                self._woke(due_s)
                if phase is not None:
                    self._turn(phase)
                    continue
                running.append(pool.submit(self._call_blocking, *self._next(), due_s))
            for one in running:
                one.result()

    def _steps(self) -> Iterator[tuple[float, Phase | None]]:
        """Instants at which a phase or, without one, a call is due."""
        every = max(1, round(self.per_s / _SAMPLES_PER_S))
        at_s = time.monotonic()
        for phase in self.phases:
            yield at_s, phase
            # a fault that takes a moment to set up must not be followed by a burst
            at_s, lost_s = self.turned_s[-1], self.lost_s
            for number in range(max(1, round(phase.seconds * self.per_s))):
                if number % every == 0:
                    self.sample()
                yield at_s + number / self.per_s + self.lost_s - lost_s, None
            at_s += phase.seconds + self.lost_s - lost_s
        yield at_s, Phase(0.0)

    def _woke(self, due_s: float) -> None:
        late_s = time.monotonic() - due_s
        self.stall_s = max(self.stall_s, late_s)
        if late_s > _HELD_UP_S and not self.catches_up:
            self.lost_s += late_s

    def _turn(self, phase: Phase) -> None:
        phase.begin()
        self.turned_s.append(time.monotonic())

    def _next(self) -> tuple[Caller, list[str]]:
        number = self.started // self.in_a_row
        ids = [f"c{self.started + n}" for n in range(self.in_a_row)]
        self.started += self.in_a_row
        return self.callers[number % len(self.callers)], ids

    async def _call(self, caller: Caller, ids: list[str], due_s: float) -> None:
        for call_id in ids:
            began_s = time.monotonic()
            try:
                outcome: Any = await caller(call_id)
            except Exception as error:  # noqa: BLE001 - an outcome like any other here
                outcome = error
            self._ended(call_id, due_s, began_s, outcome)

    def _call_blocking(self, caller: Caller, ids: list[str], due_s: float) -> None:
        for call_id in ids:
            began_s = time.monotonic()
            try:
                outcome: Any = caller(call_id)
            except Exception as error:  # noqa: BLE001 - as above
                outcome = error
            self._ended(call_id, due_s, began_s, outcome)

    def _ended(self, call_id: str, due_s: float, began_s: float, outcome: Any) -> None:
        name, error = outcome_of(call_id, outcome)
        tries = len(getattr(outcome, "attempts", ()))
        ended_s = time.monotonic()
        self.calls.append(Call(call_id, due_s, began_s, ended_s, name, tries, error))


def outcome_of(call_id: str, outcome: Any) -> tuple[str, BaseException | None]:
    """What a call came to: its own answer, another one's, or an error."""
    if isinstance(outcome, BaseException):
        return type(outcome).__name__, outcome
    return ("ok" if list(outcome.predictions) == [call_id] else "WRONG"), None
