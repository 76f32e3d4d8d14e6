"""An event loop that wakes when it is due.

epoll counts in whole milliseconds and is told too many rather than too few, so on asyncio's own
loop calls begin up to 1 ms late, in steps. At 200 calls a second that is no longer a Poisson
process: a Kolmogorov-Smirnov test of what a server received gave 2.4 where 1.63 is the bound, and
1.1 to 1.5 here.
"""

from __future__ import annotations

import asyncio
import select
import selectors
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final

from servingclient.telemetry.histogram import Histogram

_SELECT_FILES: Final = 1024
"""``select`` takes no descriptor from this number on."""
_TICK_S: Final = 0.01


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run ``main`` to its end on such a loop, as ``asyncio.run`` does on its own."""
    loop = asyncio.SelectorEventLoop(_selector())
    try:
        loop.run_until_complete(main)
    finally:
        try:
            loop.run_until_complete(_end_tasks(loop))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


class Lateness:
    """How late the loop wakes whoever is due. ``watch`` finds it out.

    A closed loop needs it: its calls are due when they begin, so they are never late themselves.

    Args:
        warmup_s: What is seen before does not count, unless there is nothing else.
        now: A clock that never jumps.
    """

    def __init__(self, warmup_s: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self._warmup_s = warmup_s
        self._now = now
        self._late = Histogram()

    @property
    def p99_s(self) -> float:
        """99th percentile, over instants spread evenly in time."""
        return self._late.quantile(0.99) or 0.0

    async def watch(self) -> None:
        """Note it until this is cancelled.

        Ticks are due at fixed instants: a loop that stands still for long has many of them late,
        as many as calls from outside would be.
        """
        due_s = self._now() + _TICK_S
        warm_s, warming = self._now() + self._warmup_s, self._warmup_s > 0.0
        while True:
            await asyncio.sleep(due_s - self._now())
            now_s = self._now()
            if warming and due_s >= warm_s:
                self._late, warming = Histogram(), False
            while due_s <= now_s:
                self._late.add(now_s - due_s)
                due_s += _TICK_S


if hasattr(selectors, "EpollSelector"):

    class _Punctual(selectors.EpollSelector):
        """Waits with ``select`` for epoll's own descriptor: it counts in microseconds."""

        def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
            if timeout is not None and timeout > 0.0 and self.fileno() < _SELECT_FILES:
                select.select([self], [], [], timeout)
                timeout = 0.0
            return super().select(timeout)

    def _selector() -> selectors.BaseSelector:
        return _Punctual()

else:

    def _selector() -> selectors.BaseSelector:
        return selectors.DefaultSelector()
