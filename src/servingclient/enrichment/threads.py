"""What the stories of enrichment need of threads."""

from __future__ import annotations

import contextvars
import logging
import os
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, cast

from servingclient import _step

_log = logging.getLogger("servingclient.enrichment")

Job = Callable[[], Awaitable[None]]

_MOST_WORKERS: Final = 4
"""Threads that fetch behind the callers. They are there only while there is something to do."""
MOST_WAITING: Final = 1000
"""Actions that may wait behind the callers; what is turned away is asked for again by a later
caller."""


class _Process:
    """What belongs to one process: after a fork the child has neither the threads nor the lock."""

    __slots__ = ("lock", "waiting", "workers")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting: deque[Job] = deque()
        self.workers = 0


class ThreadBehind:
    """Runs actions in a few daemon threads, which do not keep the process alive."""

    def __init__(self) -> None:
        self._processes: dict[int, _Process] = {}
        self._closed = False

    def start(self, action: Job) -> bool:
        """See ``world.Behind.start``."""
        pid = os.getpid()
        here = self._processes.get(pid) or self._processes.setdefault(pid, _Process())
        with here.lock:
            if self._closed or len(here.waiting) >= MOST_WAITING:
                return False
            here.waiting.append(action)
            needed = here.workers < _MOST_WORKERS
            here.workers += needed
        if needed:
            worker = threading.Thread(
                target=self._work, args=(here,), name="servingclient-refresh", daemon=True
            )
            try:
                worker.start()
            except RuntimeError:  # no more threads, or the interpreter is ending
                with here.lock:
                    here.workers -= 1
                    if here.workers == 0:
                        here.waiting.clear()
                return False
        return True

    def _work(self, here: _Process) -> None:
        while True:
            with here.lock:
                if not here.waiting or self._closed:
                    here.workers -= 1
                    return
                action = here.waiting.popleft()
            run_quietly(action)
            del action

    def close(self) -> None:
        """Begin nothing more."""
        self._closed = True


def run_quietly(action: Job) -> None:
    """Step ``action``; a thread of ours dies of nothing."""
    try:
        _step.run(cast("Coroutine[Any, Any, None]", action()))
    except Exception:  # noqa: BLE001 - the story deals with errors; this would be one of its own
        _log.exception("background_failed")


class ThreadCrew:
    """Runs several jobs at once, each worker in a copy of its caller's context."""

    async def run(self, jobs: Sequence[Job], most: int) -> None:
        """See ``world.Crew.run``."""
        waiting = deque(jobs)
        failed: list[BaseException] = []

        def work() -> None:
            while True:
                try:
                    job = waiting.popleft()
                except IndexError:
                    return
                _step.run(cast("Coroutine[Any, Any, None]", job()))

        def work_apart() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised where the caller waits
                waiting.clear()
                failed.append(error)

        others = [
            threading.Thread(
                target=contextvars.copy_context().run,
                args=(work_apart,),
                name="servingclient-enrich",
                daemon=True,
            )
            for _ in range(min(most, len(jobs)) - 1)
        ]
        started = []
        try:
            for thread in others:
                try:
                    thread.start()
                except RuntimeError:  # no more threads: those there are do it
                    break
                started.append(thread)
            work()
            for thread in started:
                thread.join()
        finally:
            waiting.clear()  # interrupted: no further job is begun
        if failed:
            try:
                raise failed[0]
            finally:
                failed.clear()  # its traceback holds this frame
