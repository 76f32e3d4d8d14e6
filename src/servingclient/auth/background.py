"""One action behind the calls: in a daemon thread, or in a task of the running loop."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from servingclient import _step
from servingclient.auth.single_flight import end, spawn

_log = logging.getLogger("servingclient.token")


class _Process:
    """What belongs to one process: after a fork the child has neither the thread nor the lock."""

    __slots__ = ("lock", "running")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.running = False


class ThreadBackground:
    """A daemon thread per action, at most one at a time; none while there is nothing to do.

    A pool's worker would keep the process alive until its action ends, and would be missing after
    a fork.
    """

    def __init__(self) -> None:
        self._processes: dict[int, _Process] = {}

    def start(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run ``action`` unless one is running."""
        pid = os.getpid()
        here = self._processes.get(pid) or self._processes.setdefault(pid, _Process())
        thread = threading.Thread(
            target=_run, args=(here, action), name="servingclient-refresh", daemon=True
        )
        with here.lock:
            if here.running:
                return
            try:
                here.running = True
                thread.start()
            except BaseException as error:
                if thread.ident is None:  # it does not run; what runs says itself when it has ended
                    here.running = False
                # No more threads, or the interpreter is ending: a later call tries.
                if not isinstance(error, RuntimeError):
                    raise

    async def close(self) -> None:
        """Nothing to do: the thread ends with its action, and does not keep the process alive."""


def _run(here: _Process, action: Callable[[], Awaitable[None]]) -> None:
    try:
        _step.run(cast("Coroutine[Any, Any, None]", action()))
    except BaseException:  # noqa: BLE001 - an action deals with its errors; a thread dies quietly
        _log.exception("background_failed")
    finally:
        here.running = False


class TaskBackground:
    """A task of the running loop, held so that it is not collected; another loop starts its own."""

    def __init__(self) -> None:
        self._task: asyncio.Task[None] | None = None

    def start(self, action: Callable[[], Awaitable[None]]) -> None:
        """Run ``action`` unless one is running."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is not None and not task.done() and task.get_loop() is loop:
            return
        self._task = spawn(loop, action)
        self._task.add_done_callback(_report)

    async def close(self) -> None:
        """End the action."""
        await end(self._task)


def _report(task: asyncio.Task[None]) -> None:
    error = None if task.cancelled() else task.exception()
    if error is not None:
        _log.error("background_failed", exc_info=error)
