"""The real clock, both colours."""

from __future__ import annotations

import asyncio
import os
import time
import weakref

from servingclient._once import Once
from servingclient.transport.fork_lock import fork_lock


class ThreadClock:
    """For threads. ``wake`` ends all sleeps, so that closing a client waits for no backoff."""

    def __init__(self) -> None:
        self._woken = Once()
        self._parts: weakref.WeakSet[ThreadClock] = weakref.WeakSet()
        self._lock = fork_lock()
        _clocks.add(self)

    now: staticmethod[[], float] = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """See ``_ports.Clock.sleep``."""
        self._woken.wait(seconds)

    def wake(self) -> None:
        """End all sleeps, now and from now on."""
        self._woken.set()
        with self._lock:
            parts = list(self._parts)
        for part in parts:
            part.wake()

    def part(self) -> ThreadClock:
        """A clock whose sleeps end with those of this one, and can be ended apart from them."""
        part = ThreadClock()
        with self._lock:
            self._parts.add(part)
        if self._woken.done:
            part.wake()
        return part

    def renew(self) -> None:
        """In a forked child: a thread of the parent may have been coming through."""
        was_woken = self._woken.done
        self._woken = Once()
        if was_woken:
            self._woken.set()


_clocks: weakref.WeakSet[ThreadClock] = weakref.WeakSet()


def _renew_all() -> None:
    for clock in list(_clocks):
        clock.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


class LoopClock:
    """For asyncio. Arguments and meaning as for ``ThreadClock``."""

    def __init__(self) -> None:
        self._sleepers: set[asyncio.Future[None]] = set()
        self._woken = False

    now: staticmethod[[], float] = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """See ``_ports.Clock.sleep``."""
        if self._woken:
            return
        loop = asyncio.get_running_loop()
        sleeper: asyncio.Future[None] = loop.create_future()
        timer = loop.call_later(seconds, _finish, sleeper)
        self._sleepers.add(sleeper)
        try:
            await sleeper
        finally:
            timer.cancel()
            self._sleepers.discard(sleeper)

    def wake(self) -> None:
        """End all sleeps, now and from now on."""
        self._woken = True
        for sleeper in list(self._sleepers):
            _finish(sleeper)


def _finish(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
