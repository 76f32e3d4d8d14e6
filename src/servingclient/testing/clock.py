"""Time that passes only when someone waits.

Blocking callers move it forward themselves. Tasks that wait at the same time wait together: it goes
on when all of them wait, to the instant at which the first is due.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable

_ROUNDS = 3
"""Turns of the event loop for tasks that are about to wait as well."""


class VirtualClock:
    """A clock for fake clients; several may share one.

    Threads that wait at the same time each move it, in any order: for exact figures use one thread,
    or tasks.
    """

    def __init__(self) -> None:
        self._now_s = 0.0
        self._lock = threading.Lock()
        self._numbers = itertools.count()
        self._waiting: set[tuple[float, int]] = set()

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
        turn = (self._now_s + seconds, next(self._numbers))
        self._waiting.add(turn)
        try:
            for _ in range(_ROUNDS):
                await asyncio.sleep(0)
            while min(self._waiting) != turn:  # noqa: ASYNC110 - time is what is waited for
                await asyncio.sleep(0)
            self.reach(turn[0])
        finally:
            self._waiting.discard(turn)

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
