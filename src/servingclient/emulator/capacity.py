"""Slots and the queue before them: latency grows first, then requests are refused."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.endpoints import EndpointSpec

QUEUE_PER_SLOT = 4


class Capacity:
    """Provisioned concurrency of one endpoint, growing late when requests have to wait.

    A request whose client has gone keeps its place and is executed all the same: that is what the
    reference server does, and what makes careless retries expensive.

    A start is told the instant its slot became free, not the one at which the loop came round to
    it: event loops fire timers up to 1 ms late, and 5 ms of service would become 6.
    """

    def __init__(self, spec: EndpointSpec) -> None:
        """Offer the slots and the queue an endpoint was specified with."""
        self._running = 0
        self._waiting: deque[tuple[float, Callable[[float], None]]] = deque()
        self._scaling = False
        self._draining = False
        self._step: asyncio.TimerHandle | None = None
        self._specify(spec)

    def _specify(self, spec: EndpointSpec) -> None:
        self.slots = spec.slots
        self._queue = spec.queue
        self._max_slots = spec.max_slots
        self._scale_lag_s = spec.scale_lag_s

    def resize(self, spec: EndpointSpec) -> None:
        """Take a new size; who runs goes on, who waits may start."""
        self._stop_scaling()
        self._specify(spec)
        self._start_waiting(time.monotonic())

    def scale(self, slots: int, over_s: float) -> None:
        """Let the slots go to a number, one at a time and evenly over ``over_s``."""
        self._stop_scaling()
        steps = abs(slots - (self.slots or 0))
        if over_s <= 0 or steps == 0 or self.slots is None:
            self.slots = slots
            self._start_waiting(time.monotonic())
        else:
            self._one_step_after(over_s / steps, slots)

    def _one_step_after(self, interval_s: float, goal: int) -> None:
        def step() -> None:
            assert self.slots is not None
            self._step = None
            self.slots += 1 if goal > self.slots else -1
            if self.slots != goal:
                self._one_step_after(interval_s, goal)
            self._start_waiting(time.monotonic())

        self._step = asyncio.get_running_loop().call_later(interval_s, step)

    def _stop_scaling(self) -> None:
        if self._step is not None:
            self._step.cancel()
            self._step = None

    @property
    def running(self) -> int:
        """Requests that hold a slot."""
        return self._running

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    def admit(self, start: Callable[[float], None]) -> bool:
        """Start now or later; ``False`` means neither, the queue is full."""
        now_s = time.monotonic()
        if self.slots is None or self._running < self.slots:
            self._running += 1
            start(now_s)
            return True
        self._scale_up()
        room = self._queue if self._queue is not None else QUEUE_PER_SLOT * self.slots
        if len(self._waiting) >= room:
            return False
        self._waiting.append((now_s, start))
        return True

    def release(self, at_s: float) -> None:
        """Give back a slot that was free from ``at_s`` on, and start whoever waits for it."""
        self._running -= 1
        self._start_waiting(at_s)

    def _start_waiting(self, at_s: float) -> None:
        if self._draining:  # a start that releases at once must not nest: the loop below goes on
            return
        self._draining = True
        try:
            while self._waiting and (self.slots is None or self._running < self.slots):
                self._running += 1
                since_s, start = self._waiting.popleft()
                start(max(since_s, at_s))
        finally:
            self._draining = False

    def _scale_up(self) -> None:
        if (
            self._scaling
            or self._step is not None
            or self.slots is None
            or self._max_slots is None
            or self.slots >= self._max_slots
        ):
            return
        self._scaling = True
        asyncio.get_running_loop().call_later(self._scale_lag_s, self._grow)

    def _grow(self) -> None:
        self._scaling = False
        if self.slots is not None and self._max_slots is not None:
            self.slots = min(self._max_slots, max(1, 2 * self.slots))
        self._start_waiting(time.monotonic())
        if self._waiting:
            self._scale_up()
