"""Bulk jobs of the asyncio client: tasks that are there only while someone asks for results."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from servingclient._call import Story
from servingclient.bulk.job import Job
from servingclient.bulk.options import BulkOptions
from servingclient.bulk.results import AsyncMapResult
from servingclient.bulk.source import opened
from servingclient.stages.staging import Staging


class TaskCrew:
    """A task for each request at a time; see ``bulk.Crew``."""

    reserve = 0  # who encodes and who sends share one thread: nobody would gain

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, work: Callable[[], Coroutine[Any, Any, None]], most: int) -> None:
        """See ``Crew.start``."""
        del most
        self._tasks.add(asyncio.get_running_loop().create_task(work()))

    async def wait(self, timeout_s: float | None) -> None:
        """See ``Crew.wait``."""
        done, self._tasks = await asyncio.wait(
            self._tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        for task in done:
            task.result()

    async def pause(self) -> None:
        """See ``Crew.pause``: encoding holds the loop up."""
        await asyncio.sleep(0)

    async def end(self) -> None:
        """See ``Crew.end``."""
        tasks, self._tasks = self._tasks, set()  # one that was cancelled holds the job's frames
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


def begin(
    story: Story,
    limit: Callable[[], int],
    staging: Staging,
    options: BulkOptions,
    inputs: Any,
) -> AsyncMapResult:
    """A bulk job over the connections, queue and token of a client."""
    source = opened(inputs, asynchronous=True)
    # Its long requests are nothing to measure the delay of hedges by, and there are always more.
    own = Story(story.endpoint, story.settings, replace(story.world, hedging=None))
    job = Job(own, options, source, TaskCrew(), limit, staging)
    return AsyncMapResult(job.blocks())
