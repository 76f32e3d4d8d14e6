"""Calls into code that blocks and has no time-out of its own, given a hard one.

Each call gets a daemon thread: one that never returns keeps neither the event loop nor the process.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeVar, cast

from servingclient._ports import Clock
from servingclient.auth.single_flight import too_late

T = TypeVar("T")

_MOST_HANGING = 4
"""Calls given up on that may still hang; beyond that a new one would only add another."""
DOUBT_S = 1.0
"""How often whoever waits looks whether there is anything to wait for. An import alone takes up to
two seconds."""

Doubt = Callable[[], Awaitable[None]]
"""Awaited now and then while the work goes on; what it raises ends the waiting."""


class Blocking(Protocol):
    """Runs one blocking call with a deadline."""

    async def call(self, work: Callable[[], T], deadline_s: float, doubt: Doubt | None = None) -> T:
        """The result of ``work``, or its error.

        Args:
            work: Blocks.
            deadline_s: Instant of the clock to wait until.
            doubt: Awaited every ``DOUBT_S`` seconds while ``work`` goes on.

        Raises:
            WireFault: ``TIMEOUT``: the deadline came first; ``work`` is left to itself.
            ServingError: Of ``doubt``; ``work`` is left to itself.
        """


class _Work:
    """A thread with an outcome."""

    __slots__ = ("_work", "done", "error", "result", "thread")

    def __init__(self, work: Callable[[], Any], done: Callable[[], None] | None = None) -> None:
        self._work = work
        self.done = done
        self.result: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, name="servingclient-login", daemon=True)

    def _run(self) -> None:
        try:
            self.result = self._work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            self.error = error
        if self.done is not None:
            self.done()

    def outcome(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class _Hanging:
    """Threads that were given up on."""

    __slots__ = ("_threads",)

    def __init__(self) -> None:
        self._threads: list[threading.Thread] = []

    def check(self) -> None:
        self._threads = [one for one in self._threads if one.is_alive()]
        if len(self._threads) >= _MOST_HANGING:
            raise too_late(f"{_MOST_HANGING} earlier logins still hang")

    def add(self, work: _Work) -> None:
        self._threads.append(work.thread)


class ThreadBlocking:
    """For callers in threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hanging = _Hanging()

    async def call(self, work: Callable[[], T], deadline_s: float, doubt: Doubt | None = None) -> T:
        """The result of ``work``, or its error; see :class:`Blocking`."""
        self._hanging.check()
        running = _Work(work)
        running.thread.start()
        try:
            left_s = max(deadline_s - self._clock.now(), 0.0)
            while doubt is not None and left_s > DOUBT_S:
                running.thread.join(DOUBT_S)
                if not running.thread.is_alive():
                    break
                await doubt()
                left_s = max(deadline_s - self._clock.now(), 0.0)
            running.thread.join(left_s)
        finally:
            if running.thread.is_alive():
                self._hanging.add(running)
        if running.thread.is_alive():
            raise too_late("a login did not return")
        return cast("T", running.outcome())


class TaskBlocking:
    """For callers on an event loop, which goes on meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hanging = _Hanging()

    async def call(self, work: Callable[[], T], deadline_s: float, doubt: Doubt | None = None) -> T:
        """The result of ``work``, or its error; see :class:`Blocking`."""
        self._hanging.check()
        loop = asyncio.get_running_loop()
        returned = asyncio.Event()

        def wake() -> None:
            try:
                loop.call_soon_threadsafe(returned.set)
            except RuntimeError:  # the loop has ended, and with it whoever waited
                pass

        running = _Work(work, wake)
        running.thread.start()
        try:
            left_s = max(deadline_s - self._clock.now(), 0.0)
            while doubt is not None and left_s > DOUBT_S and not await _came(returned, DOUBT_S):
                await doubt()
                left_s = max(deadline_s - self._clock.now(), 0.0)
            if not await _came(returned, left_s):
                raise too_late("a login did not return")
        finally:
            if not returned.is_set():
                self._hanging.add(running)
        return cast("T", running.outcome())


async def _came(event: asyncio.Event, within_s: float) -> bool:
    try:
        await asyncio.wait_for(event.wait(), within_s)
    except asyncio.TimeoutError:
        pass
    return event.is_set()
