"""Making the calls of one trial on an event loop."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, NamedTuple

from servingclient._prediction import Prediction
from servingclient._types import Timing
from servingclient.errors import ServingError
from servingclient.loadtest.guards import REFUSALS
from servingclient.loadtest.series import Done

Predict = Callable[[], Awaitable[Prediction]]
"""One call."""

_QUEUE_S: Final = list(Timing.__dataclass_fields__).index("queue_s")
_BURST_CALLS: Final = 16
"""Calls that begin in one round of the loop when the generator is behind: in the next one replies
are read, so that they are not late by its doing."""


class Refusal(NamedTuple):
    """A call that was refused for what it is.

    Attributes:
        call: Which one it was, counted from 0 in the order in which calls began.
        message: What the error says; it never holds the payload.
    """

    call: int
    message: str


class Driver:
    """Begins calls when they are due, or with a fixed number of callers, and notes their ends.

    Args:
        predict: Makes one call.
        now: A clock that never jumps.
        most: No more calls are begun.
        most_refusals: After so many calls refused for what they are, none is begun.

    Attributes:
        ended: Calls that ended since the list was last emptied.
        due: Calls that were due so far.
        began: Calls that began.
        refused: The first call that was refused for what it is, or None.
        stopped: No more calls are begun.
    """

    began: int
    due: int

    def __init__(
        self,
        predict: Predict,
        now: Callable[[], float] = time.monotonic,
        *,
        most: float = math.inf,
        most_refusals: float = math.inf,
    ) -> None:
        self._predict = predict
        self._now = now
        self._most = most
        self._refusals_left = most_refusals
        self.refused: Refusal | None = None
        self._start_s = 0.0
        self.stopped: bool = False
        self._tasks: set[asyncio.Task[None]] = set()
        self.ended: list[Done] = []
        self.due = self.began = 0

    @property
    def running(self) -> int:
        """Calls under way."""
        return len(self._tasks)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._now() - self._start_s

    def stop(self) -> None:
        """Begin no more calls."""
        self.stopped = True

    async def open_loop(self, instants: Iterator[float], until_s: float = math.inf) -> None:
        """Begin a call at each of ``instants``, whatever became of those before.

        How late the loop wakes is in the latency from when a call was due; see ``punctual``.

        Args:
            instants: Seconds from now, in ascending order.
            until_s: No call begins later: those that are due by then and could not begin are
                missing.
        """
        loop = asyncio.get_running_loop()
        self._start_s = self._now()
        for due_s in instants:
            if self.elapsed_s >= until_s:
                self.due += 1 + sum(1 for _ in instants)
                break
            left_s = due_s - self.elapsed_s
            if left_s > 0.0:
                await asyncio.sleep(left_s)
            elif self.due % _BURST_CALLS == 0:
                await asyncio.sleep(0)
            if self.due >= self._most:
                self.stop()
            if self.stopped:
                break
            self.due += 1
            self._tasks.add(loop.create_task(self._alone(due_s)))

    async def closed_loop(self, callers: int, seconds: float) -> None:
        """Have so many callers ask, each again when it has its answer."""
        self._start_s = self._now()
        for _ in range(callers):
            task = asyncio.get_running_loop().create_task(self._caller(seconds))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await asyncio.wait(set(self._tasks))

    async def _caller(self, seconds: float) -> None:
        while not self.stopped and self.elapsed_s < seconds:
            if self.due >= self._most:
                self.stop()
                return
            self.due += 1
            await self._call(self.elapsed_s)

    async def _alone(self, due_s: float) -> None:
        await self._call(due_s)
        self._tasks.discard(_current_task())  # a callback would be a round of the loop: 1 us

    async def _call(self, due_s: float) -> None:
        now, start_s = self._now, self._start_s
        began_s = now() - start_s
        which = self.began
        self.began += 1
        error, lane_s = None, 0.0
        try:
            prediction = await self._predict()
        except ServingError as failure:
            error = type(failure).__name__
            if error in REFUSALS:
                self._refuse(which, failure)
        else:
            lane_s = prediction._timing[_QUEUE_S]  # noqa: SLF001 - all of it takes 1 us to make
        done = (due_s, began_s, now() - start_s, error, lane_s)
        self.ended.append(tuple.__new__(Done, done))  # its own __new__ is Python: 0.1 us

    def _refuse(self, which: int, failure: ServingError) -> None:
        if self.refused is None:
            self.refused = Refusal(which, str(failure))
        self._refusals_left -= 1
        if self._refusals_left <= 0:
            self.stop()

    async def drain(self, seconds: float) -> int:
        """Wait for the calls under way, then cancel those left.

        Returns:
            How many were left.
        """
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=seconds)
        left = list(self._tasks)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        self._tasks.clear()  # one that was cancelled before it began has not left by itself
        return len(left)


def _current_task() -> asyncio.Task[None]:
    task = asyncio.current_task()
    assert task is not None
    return task
