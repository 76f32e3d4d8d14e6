"""Two requests at once on an event loop: each is a task, and who loses is cancelled.

Over lanes a cancelled task closes its lane; over an httpx transport it ends as any cancelled call
does there (see ``async_httpx_wire``), so no cancel reaches httpx's pool.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from servingclient._ports import Hedged, Second, Wire
from servingclient._types import Reply, Target
from servingclient.policies.hedge import End, choice

_Task = asyncio.Task[Reply]


class TaskHedger:
    """Hedges over any wire of an async client.

    Args:
        wire: The client's own.
    """

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def send(
        self,
        target: Target,
        body: bytes,
        deadline_s: float,
        *,
        max_idle_s: float,
        after_s: float,
        second: Second,
    ) -> Hedged:
        """See ``_ports.HedgingWire.send``."""
        send = partial(self._wire.send, target, body, deadline_s, max_idle_s=max_idle_s)
        tasks = [asyncio.ensure_future(send())]
        try:
            await asyncio.wait(tasks, timeout=after_s)
            if not tasks[0].done() and second.admitted():
                tasks.append(asyncio.ensure_future(send()))
            return await _outcome(tasks)
        finally:
            for task in tasks:
                _drop(task)
            # A task holds its error, that by its traceback this frame: which must not hold a task.
            tasks.clear()
            del task


async def _outcome(tasks: Sequence[_Task]) -> Hedged:
    while (chosen := choice([_end(task) for task in tasks])) is None:
        await asyncio.wait(
            [task for task in tasks if not task.done()], return_when=asyncio.FIRST_COMPLETED
        )
    reply = tasks[chosen].result()
    other = tasks[1 - chosen] if len(tasks) > 1 else None
    answered = other is not None and isinstance(_end(other), int)
    return Hedged(reply, chosen > 0, other.result() if other and answered else None)


def _end(task: _Task) -> End:
    if not task.done():
        return "running"
    if task.cancelled() or task.exception() is not None:
        return "broken"
    return task.result().status


def _drop(task: _Task) -> None:
    if task.done():
        _look_at(task)
    else:
        task.cancel()
        task.add_done_callback(_look_at)


def _look_at(task: _Task) -> None:
    """So that nobody reports its error as never retrieved."""
    if not task.cancelled():
        task.exception()
