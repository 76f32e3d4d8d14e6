"""The caller's functions beside an event loop: the asyncio client's.

``async`` functions are awaited, others run in threads, so that one that blocks holds up nobody.
Either sees the context variables of its caller.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from servingclient.stages.functions import Stage, stopped
from servingclient.stages.staging import NotDone
from servingclient.stages.threads import closed


class TaskHands:
    """See ``staging.Hands``.

    Args:
        most_threads: Plain functions that run at once; more wait for a thread.
    """

    def __init__(self, most_threads: int) -> None:
        self._most_threads = most_threads
        self._executor: ThreadPoolExecutor | None = None
        self._pid = 0
        self._calls = 0
        self._closed = False

    def begin(self) -> None:
        """See ``Hands.begin``."""
        if self._closed:
            raise closed()
        self._calls += 1

    def end(self) -> None:
        """See ``Hands.end``. The last call of a closed client lets its threads go."""
        self._calls -= 1
        self._let_go()

    def refuse(self) -> None:
        """Begin nothing more; calls under way are brought to their end."""
        self._closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._closed and not self._calls and self._executor is not None:
            self._executor.shutdown(wait=False)

    def _threads(self) -> ThreadPoolExecutor:
        if self._executor is None or self._pid != os.getpid():  # a forked child has no threads
            self._pid = os.getpid()
            self._executor = ThreadPoolExecutor(self._most_threads, "servingclient-stage")
        return self._executor

    async def run(self, stage: Stage, arguments: tuple[Any, ...], left_s: float) -> Any:
        """See ``Hands.run``."""
        if stage.asynchronous:
            return await _awaited(stage.function(*arguments), left_s)
        loop = asyncio.get_running_loop()
        ends_s = loop.time() + left_s
        context = contextvars.copy_context()
        thread = self._threads().submit(context.run, _outcome, stage, arguments)
        running = asyncio.wrap_future(thread)
        try:
            await asyncio.wait((running,), timeout=left_s)
            if not running.done():
                raise NotDone(began=thread.running() or thread.done())
            outcome = running.result()
            made, error = outcome
            outcome.clear()  # the thread's frame holds it, the error holds that frame
        finally:
            running.cancel()
        if error is not None:
            try:
                raise error
            finally:
                del error
        if inspect.iscoroutine(made):  # of a lambda or the like
            return await _awaited(made, ends_s - loop.time())
        return made


def _outcome(stage: Stage, arguments: tuple[Any, ...]) -> list[Any]:
    """What a function returns and raises."""
    try:
        return [stage.function(*arguments), None]
    except StopIteration as error:
        stop = stopped(stage)
        stop.__cause__ = error
        return [None, stop]
    except BaseException as error:  # noqa: BLE001 - raised where it is awaited
        return [None, error]


async def _awaited(made: Any, left_s: float) -> Any:
    """The result of a coroutine, which is cancelled when the time is up."""
    task = asyncio.get_running_loop().create_task(made)
    try:
        await asyncio.wait((task,), timeout=left_s)
        if not task.done():
            raise NotDone
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled():
                task.exception()  # seen: it came too late to matter
        del task  # its error holds this frame
