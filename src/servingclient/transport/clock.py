"""The real clock, both colours."""

from __future__ import annotations

import asyncio
import threading
import time


class ThreadClock:
    """For threads. ``wake`` ends all sleeps, so that closing a client waits for no backoff."""

    def __init__(self) -> None:
        self._woken = threading.Event()

    now = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """See ``_ports.Clock.sleep``."""
        self._woken.wait(seconds)

    def wake(self) -> None:
        """End all sleeps, now and from now on."""
        self._woken.set()


class LoopClock:
    """For asyncio. Arguments and meaning as for ``ThreadClock``."""

    def __init__(self) -> None:
        self._sleepers: set[asyncio.Future[None]] = set()
        self._woken = False

    now = staticmethod(time.monotonic)

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
