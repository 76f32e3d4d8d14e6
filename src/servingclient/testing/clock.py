"""Time that passes only when someone waits.

Blocking callers move it forward themselves. Tasks that wait at the same time wait together: it goes
on when all of them wait, to the instant at which the first is due.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import threading
from collections.abc import Callable
from typing import NamedTuple

_ROUNDS = 10
"""Turns of the event loop for tasks that are about to wait as well."""


class _Waiting(NamedTuple):
    """A task that waits."""

    due_s: float
    number: int
    released: asyncio.Future[None]


class VirtualClock:
    """A clock for fake clients; several may share one.

    Threads that wait at the same time each move it, in any order: for exact figures use one thread,
    or tasks.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: list[_Waiting] = []
        self._rounds_left = 0

    def now(self) -> float:
        """Seconds since it was made."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.reach(self._now_s + seconds)

    def reach(self, instant_s: float) -> None:
        """Go on to an instant; one that has passed changes nothing."""
        with self._lock:
            self._now_s = max(self._now_s, instant_s)

    async def wait(self, seconds: float) -> None:
        """Wait, as a task among others of one event loop."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:  # what waits on one that has ended waits for ever
            self._loop, self._waiting, self._rounds_left = loop, [], 0
        turn = _Waiting(self._now_s + seconds, next(self._numbers), loop.create_future())
        heapq.heappush(self._waiting, turn)
        if not self._rounds_left:
            loop.call_soon(self._round, loop)
        self._rounds_left = _ROUNDS
        await turn.released

    def _round(self, loop: asyncio.AbstractEventLoop) -> None:
        """Once all had their turn, go on to the instant at which the first is due."""
        if loop is not self._loop:
            return
        self._rounds_left -= 1
        if not self._rounds_left:
            self._go_on()
        if self._rounds_left:
            loop.call_soon(self._round, loop)

    def _go_on(self) -> None:
        waiting = self._waiting
        while waiting and waiting[0].released.done():  # cancelled meanwhile
            heapq.heappop(waiting)
        if not waiting:
            return
        self.reach(waiting[0].due_s)
        while waiting and waiting[0].due_s <= self._now_s:
            released = heapq.heappop(waiting).released
            if not released.done():
                released.set_result(None)
        if waiting:
            self._rounds_left = _ROUNDS

    def __repr__(self) -> str:
        return f"VirtualClock({self._now_s:.3f} s)"


class ThreadTime:
    """The clock as a blocking client uses it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.now: Callable[[], float] = clock.now

    async def sleep(self, seconds: float) -> None:
        """See ``_ports.Clock.sleep``; nobody is held up."""
        self._clock.advance(seconds)

    def part(self) -> ThreadTime:
        """The same for one job."""
        return self

    def wake(self) -> None:
        """Nobody sleeps."""


class TaskTime:
    """The clock as an async client uses it."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.now: Callable[[], float] = clock.now

    async def sleep(self, seconds: float) -> None:
        """See ``_ports.Clock.sleep``."""
        await self._clock.wait(seconds)

    def wake(self) -> None:
        """Sleeps end by themselves."""
