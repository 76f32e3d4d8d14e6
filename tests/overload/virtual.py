"""An event loop whose clock moves only when there is nothing left to do: minutes pass in no time.

Whatever is given the loop's time as its clock (stories, gates, sleeping tasks) runs as it does in
real life, in the same order every time.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Skipping(selectors.SelectSelector):
    """Where a loop would wait for its sockets, the clock is put forward instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("nothing is left that could ever happen: a call waits for ever")
        self.loop.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Reaches no socket."""

    def __init__(self) -> None:
        self.now_s = 0.0
        selector = _Skipping()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now_s


def run(job: Coroutine[Any, Any, T]) -> T:
    """``asyncio.run`` on virtual time."""
    loop = VirtualLoop()
    try:
        return loop.run_until_complete(job)
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
