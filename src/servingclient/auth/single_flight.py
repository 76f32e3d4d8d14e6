"""One action for all who want its result at the same time: with threads, and with tasks.

The action runs in a thread or task of its own, not in its first caller's: nobody's deadline,
cancellation or interrupt ends what others wait for, and an answer that came too late for one caller
serves the next. Each caller waits as long as its own deadline allows. Nothing is kept: the next
caller after the end starts anew.
"""

from __future__ import annotations

import asyncio
import copy
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar, cast

from servingclient import _step
from servingclient._once import Once
from servingclient._ports import Clock
from servingclient._types import FaultKind, WireFault

T = TypeVar("T")


def too_late(what: str) -> WireFault:
    """A deadline that came while waiting, before anything of the call itself was sent."""
    return WireFault(FaultKind.TIMEOUT, what, sent="no")


def own_copy(error: BaseException) -> BaseException:
    """A copy for one caller: callers add to the error they get, and must not share it."""
    if isinstance(error, WireFault):
        return WireFault(error.kind, error.detail, sent=error.sent, host=error.host)
    try:
        mine = copy.copy(error)
    except Exception:  # noqa: BLE001 - a foreign error that cannot be copied is better than none
        return error
    mine.__cause__ = error.__cause__
    mine.__suppress_context__ = True
    return mine.with_traceback(error.__traceback__)


def spawn(loop: asyncio.AbstractEventLoop, action: Callable[[], Awaitable[T]]) -> asyncio.Task[T]:
    """A task outside the caller's context: its trace span ends before this does."""
    task = Context().run(loop.create_task, cast("Coroutine[Any, Any, T]", action()))
    task.add_done_callback(_seen)
    return task


def _seen(task: asyncio.Task[Any]) -> None:
    """Mark its error as looked at: all who waited may have left by then."""
    if not task.cancelled():
        task.exception()


class _Flight:
    __slots__ = ("deserted", "done", "error", "result")

    def __init__(self) -> None:
        self.deserted = False  # who was to start it, or did it, was interrupted
        self.done = Once()
        self.result: Any = None
        self.error: BaseException | None = None


class _Process:
    """What belongs to one process: after a fork the child has neither the thread nor the lock."""

    __slots__ = ("flight", "lock")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.flight: _Flight | None = None


class ThreadSingleFlight:
    """For callers in threads: the action is stepped in a daemon thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._processes: dict[int, _Process] = {}

    async def run(self, action: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        """Join the action under way or start ``action``.

        Raises:
            WireFault: ``TIMEOUT``: the deadline (an instant of the clock) came first.
        """
        pid = os.getpid()
        here = self._processes.get(pid) or self._processes.setdefault(pid, _Process())
        mine = None
        try:
            with here.lock:
                flight = here.flight
                if flight is None:
                    mine = _Flight()
                    here.flight = flight = mine
            if mine is not None and not _started(lambda: _fly(here, flight, action)):
                _fly(here, flight, action, shared=Exception)
        except BaseException as error:  # an interrupt: nobody flies it
            if mine is not None and not mine.done.done:
                mine.deserted = True
                _land(here, mine, error)
            raise
        if not flight.done.wait(deadline_s - self._clock.now()):
            raise too_late("waiting for a token or route")
        if flight.deserted:
            return await self.run(action, deadline_s)
        if flight.error is not None:
            raise own_copy(flight.error)
        return cast("T", flight.result)

    async def close(self) -> None:
        """Nothing to do: the thread ends with its action, and does not keep the process alive."""


def _fly(
    here: _Process,
    flight: _Flight,
    action: Callable[[], Awaitable[Any]],
    shared: type[BaseException] = BaseException,
) -> None:
    """Run it, and hand its end to all who wait: of errors, those that are theirs too."""
    try:
        flight.result = _step.run(cast("Coroutine[Any, Any, Any]", action()))
    except shared as error:
        _land(here, flight, error)
    else:
        _land(here, flight, None)


def _land(here: _Process, flight: _Flight, error: BaseException | None) -> None:
    flight.error = error
    if here.flight is flight:  # nobody puts another in its place before that is done
        here.flight = None
    flight.done.set()


def _started(work: Callable[[], None]) -> bool:
    try:
        threading.Thread(target=work, name="servingclient-token", daemon=True).start()
    except RuntimeError:  # no more threads, or the interpreter is ending: the caller does it
        return False
    return True


class TaskSingleFlight:
    """For callers on one event loop: the action runs in a task. Another loop starts its own."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._task: asyncio.Task[Any] | None = None

    async def run(self, action: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        """Join the action under way or start ``action``.

        Raises:
            WireFault: ``TIMEOUT``: the deadline (an instant of the clock) came first. ``CLOSED``:
                the flight was ended by ``close`` or with its loop.
        """
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or task.done() or task.get_loop() is not loop:
            task = self._task = spawn(loop, action)
        # asyncio.wait leaves the task alone when this caller is cancelled or comes too late
        await asyncio.wait((task,), timeout=max(deadline_s - self._clock.now(), 0.0))
        if not task.done():
            raise too_late("waiting for a token or route")
        if self._task is task:
            self._task = None
        if task.cancelled():
            raise WireFault(FaultKind.CLOSED, "ended while fetching a token or route", sent="no")
        error = task.exception()
        if error is not None:
            raise own_copy(error)
        return cast("T", task.result())

    async def close(self) -> None:
        """End the action under way; those who wait get ``CLOSED``."""
        await end(self._task)


async def end(task: asyncio.Task[Any] | None) -> None:
    """Cancel ``task`` and wait for its end, if it belongs to the running loop."""
    if task is not None and not task.done() and task.get_loop() is asyncio.get_running_loop():
        task.cancel()
        await asyncio.wait((task,))
