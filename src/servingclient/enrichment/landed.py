"""The end of a fetch, told to those who wait: in threads and in tasks."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from typing import Any

from servingclient._once import Once
from servingclient._ports import Clock
from servingclient.enrichment.flight import Flights
from servingclient.transport.fork_lock import fork_lock


class ThreadLanded:
    """For threads.

    Args:
        clock: On which deadlines are instants.
    """

    __slots__ = ("_clock", "_leader", "_over")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._over = Once()
        self._leader = threading.get_ident()

    def set(self) -> None:
        """See ``Landed.set``."""
        self._over.set()

    async def wait(self, deadline_s: float) -> bool:
        """See ``Landed.wait``."""
        return self._over.done or self._over.wait(deadline_s - self._clock.now())

    def usable(self) -> bool:
        """See ``Landed.usable``."""
        return True

    def mine(self) -> bool:
        """See ``Landed.mine``."""
        return self._leader == threading.get_ident()


class TaskLanded:
    """For tasks of one event loop.

    Args:
        clock: On which deadlines are instants.
    """

    __slots__ = ("_clock", "_leader", "_waiting", "done", "loop")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self._leader = asyncio.current_task()
        self._waiting: asyncio.Future[None] | None = None
        self.done: bool = False

    def set(self) -> None:
        """See ``Landed.set``."""
        self.done = True
        if self._waiting is not None and not self._waiting.done() and not self.loop.is_closed():
            self._waiting.set_result(None)

    async def wait(self, deadline_s: float) -> bool:
        """See ``Landed.wait``."""
        if self.done:
            return True
        if self._waiting is None:
            self._waiting = self.loop.create_future()
        left_s = min(deadline_s - self._clock.now(), threading.TIMEOUT_MAX)
        # asyncio.wait leaves the future alone when this caller is cancelled or comes too late
        await asyncio.wait((self._waiting,), timeout=max(0.0, left_s))
        return self.done

    def usable(self) -> bool:
        """See ``Landed.usable``."""
        return self.loop is asyncio.get_running_loop()

    def mine(self) -> bool:
        """See ``Landed.mine``."""
        return self._leader is not None and self._leader is asyncio.current_task()


def thread_flights(clock: Clock) -> Flights[Any]:
    """What is being fetched now by threads."""
    return _noted(Flights(lambda: ThreadLanded(clock), fork_lock()))


def task_flights(clock: Clock) -> Flights[Any]:
    """What is being fetched now by tasks of one event loop."""
    return _noted(Flights(lambda: TaskLanded(clock)))


_tables: weakref.WeakSet[Flights[Any]] = weakref.WeakSet()


def _noted(flights: Flights[Any]) -> Flights[Any]:
    _tables.add(flights)
    return flights


def _forget_all() -> None:
    for table in list(_tables):
        table.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
