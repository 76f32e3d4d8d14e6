"""What the stories of enrichment need of the tasks of one event loop."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, cast

from servingclient.enrichment.threads import MOST_WAITING

_log = logging.getLogger("servingclient.enrichment")

Job = Callable[[], Awaitable[None]]


class TaskBehind:
    """Runs actions in tasks of the running loop, held so that they are not collected."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    def start(self, action: Job) -> bool:
        """See ``world.Behind.start``."""
        loop = asyncio.get_running_loop()
        self._tasks = {task for task in self._tasks if task.get_loop() is loop}
        if self._closed or len(self._tasks) >= MOST_WAITING:
            return False
        # outside the caller's context: its trace span ends before this does
        task = Context().run(loop.create_task, cast("Coroutine[Any, Any, None]", action()))
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return True

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("background_failed", exc_info=error)

    async def aclose(self) -> None:
        """End what runs, and begin nothing more."""
        self._closed = True
        loop = asyncio.get_running_loop()
        mine = [task for task in self._tasks if task.get_loop() is loop and not task.done()]
        for task in mine:
            task.cancel()
        if mine:
            await asyncio.wait(mine)


class TaskCrew:
    """Runs several jobs at once, in tasks that end with their caller."""

    async def run(self, jobs: Sequence[Job], most: int) -> None:
        """See ``world.Crew.run``."""
        waiting = deque(jobs)

        async def work() -> None:
            while waiting:
                await waiting.popleft()()

        workers = [asyncio.ensure_future(work()) for _ in range(min(most, len(jobs)))]
        try:
            await asyncio.gather(*workers)
        finally:
            waiting.clear()
            left = [worker for worker in workers if not worker.done()]
            for worker in left:
                worker.cancel()
            if left:
                await asyncio.wait(left)
