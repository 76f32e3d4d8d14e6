"""Admission before the lanes: so many calls at once, the others wait in order."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
import weakref
from collections import OrderedDict, deque

from servingclient._stats import ConcurrencyStats
from servingclient._types import FaultKind, WireFault
from servingclient.errors import QueueFull, WrongLoopError


def _full(waiting: int, places: int) -> QueueFull:
    error = QueueFull(
        f"{waiting} calls already wait for one of {places} connections. Send fewer at once, or "
        "raise Pool.max_lanes (more connections) or Queue.max_calls (a longer queue)."
    )
    error.retryable = True
    return error


def _late() -> WireFault:
    return WireFault(FaultKind.TIMEOUT, "no connection became free in time", sent="no")


def _closed() -> WireFault:
    return WireFault(FaultKind.CLOSED, "the client is closed", sent="no")


def _wrong_loop() -> WrongLoopError:
    """Places and connections belong to one loop at a time."""
    return WrongLoopError(
        "This client is in use on another running event loop; connections cannot cross loops. "
        "Make one AsyncServingClient per loop."
    )


class _Turn:
    """A thread's place in the queue."""

    __slots__ = ("admitted", "come")

    def __init__(self) -> None:
        self.admitted = False
        self.come = threading.Lock()
        self.come.acquire()


class ThreadGate:
    """For threads.

    Free places lie in a list: popping and appending are atomic, so a gate with room takes no lock.
    Whoever frees a place looks for waiters afterwards, and whoever lines up looks for a place
    afterwards: one of the two sees the other.

    Args:
        places: Calls admitted at once.
        max_waiting: Calls that may wait; one more is refused.
    """

    def __init__(self, places: int, max_waiting: int) -> None:
        self.places = places
        self._max_waiting = max_waiting
        self._renew()
        _gates.add(self)

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._free: list[None] = [None] * self.places
        self._waiting: deque[_Turn] = deque()
        self._all_left: threading.Event | None = None
        self._closed = False

    @property
    def room(self) -> bool:
        """See ``_ports.Gate.room``."""
        return not self._waiting and not self._closed and bool(self._free)

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        if self._waiting or self._closed:
            return False
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    async def enter(self, deadline_s: float, priority: int = 1) -> None:
        """See ``_ports.Gate.enter``."""
        turn = self._line_up()
        try:
            left_s = min(deadline_s - time.monotonic(), threading.TIMEOUT_MAX)
            turn.come.acquire(timeout=max(0.0, left_s))
        except BaseException:
            self._give_up(turn)
            raise
        if self._closed:
            self._give_up(turn)
            raise _closed()
        if not turn.admitted and not self._admitted_late(turn):
            raise _late()

    def _line_up(self) -> _Turn:
        with self._lock:
            if self._closed:
                raise _closed()
            if len(self._waiting) >= self._max_waiting:
                self._admit()
                if len(self._waiting) >= self._max_waiting and not self._free:
                    raise _full(len(self._waiting), self.places)
            turn = _Turn()
            self._waiting.append(turn)
            self._admit()
            return turn

    def _admit(self) -> None:
        """Under the lock: give free places to those who wait longest."""
        while self._waiting:
            try:
                self._free.pop()
            except IndexError:
                return
            turn = self._waiting.popleft()
            turn.admitted = True
            turn.come.release()

    def _admitted_late(self, turn: _Turn) -> bool:
        """The time is up: leave the queue, unless the turn came in the same instant."""
        with self._lock:
            if turn.admitted:
                return True
            if self._closed:
                raise _closed()
            self._waiting.remove(turn)
            return False

    def _give_up(self, turn: _Turn) -> None:
        """Leave the queue; a turn that came in the same instant goes to the next."""
        with self._lock:
            admitted = turn.admitted
            if not admitted and turn in self._waiting:
                self._waiting.remove(turn)
        if admitted:
            self.leave()

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        self._free.append(None)
        if self._waiting or self._all_left is not None:
            self._look_again()

    def _look_again(self) -> None:
        with self._lock:
            self._admit()
            if self._all_left is not None and len(self._free) == self.places:
                self._all_left.set()

    def answered(self, reply_s: float) -> None:
        """See ``_ports.Gate.answered``."""

    def throttled(self) -> None:
        """See ``_ports.Gate.throttled``."""

    def refuse(self) -> None:
        """Admit nobody any more; those who wait are told."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
        for turn in waiting:
            turn.come.release()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait for those inside.

        Returns:
            True when all have left.
        """
        with self._lock:
            if self._all_left is None:
                self._all_left = threading.Event()
            all_left = self._all_left
            if len(self._free) == self.places:
                return True
        return all_left.wait(timeout_s)

    def stats(self) -> ConcurrencyStats:
        """The limit, and who is before and behind it."""
        return ConcurrencyStats(self.places, self.inside, self.waiting)

    @property
    def inside(self) -> int:
        """Calls admitted now."""
        return self.places - len(self._free)

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        return len(self._waiting)

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"{state}{self.inside} running, {self.waiting} waiting"


class LoopGate:
    """For the tasks of one event loop. Arguments as for ``ThreadGate``."""

    def __init__(self, places: int, max_waiting: int) -> None:
        self.places = places
        self._max_waiting = max_waiting
        self._renew()
        _gates.add(self)

    def _renew(self) -> None:
        self._free = self.places
        self._queue: OrderedDict[asyncio.Future[None], float] = OrderedDict()
        self._closed = False
        self._all_left: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf

    @property
    def room(self) -> bool:
        """See ``_ports.Gate.room``."""
        return self._free > 0 and not self._queue and not self._closed

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if self._free > 0 and not self._queue and not self._closed:
            self._free -= 1
            return True
        return False

    async def enter(self, deadline_s: float, priority: int = 1) -> None:
        """See ``_ports.Gate.enter``."""
        if self.try_enter():
            return
        if self._closed:
            raise _closed()
        if len(self._queue) >= self._max_waiting:
            raise _full(len(self._queue), self.places)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue[turn] = deadline_s
        if deadline_s < self._timer_s:
            self._set_timer(deadline_s)
        try:
            await turn
        except BaseException:
            self._queue.pop(turn, None)
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the turn came in the instant its waiter left: the next one's now
            raise

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        while self._queue:
            turn, _ = self._queue.popitem(last=False)
            if not turn.done() and not turn.get_loop().is_closed():
                turn.set_result(None)
                return
        self._free += 1
        if self._all_left is not None and self._free == self.places and not self._all_left.done():
            self._all_left.set_result(None)

    # One timer for the whole queue, set for the nearest deadline: one per waiting call costs 2 us,
    # and with equal time-outs this one is set once per time-out.

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = at_s
        delay_s = max(0.0, at_s - time.monotonic())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._refuse_late)

    def _refuse_late(self) -> None:
        self._timer, self._timer_s = None, math.inf
        now_s = time.monotonic()
        for turn in [turn for turn, deadline_s in self._queue.items() if deadline_s <= now_s]:
            del self._queue[turn]
            if not turn.done():
                turn.set_exception(_late())
        if self._queue:
            self._set_timer(min(self._queue.values()))

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to the running loop. Calls that a closed loop never finished wait for nothing; those
        that were inside give their places back when their coroutines are collected.
        """
        if self._loop is not None:
            if self._loop.is_running():  # its waiters would not wake when one of ours leaves
                raise _wrong_loop()
            if self._loop.is_closed():
                self._queue.clear()
        self._timer, self._timer_s = None, math.inf
        self._loop = loop

    def answered(self, reply_s: float) -> None:
        """See ``_ports.Gate.answered``."""

    def throttled(self) -> None:
        """See ``_ports.Gate.throttled``."""

    def refuse(self) -> None:
        """Admit nobody any more; those who wait are told."""
        self._closed = True
        waiting, self._queue = self._queue, OrderedDict()
        if self._timer is not None:
            self._timer.cancel()
        for turn in waiting:
            if not turn.done():
                turn.set_exception(_closed())

    async def wait_empty(self, timeout_s: float) -> bool:
        """Wait for those inside.

        Returns:
            True when all have left.
        """
        if self._free == self.places:
            return True
        if self._all_left is None:
            self._all_left = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._all_left}, timeout=timeout_s)
        return self._all_left.done()

    def stats(self) -> ConcurrencyStats:
        """The limit, and who is before and behind it."""
        return ConcurrencyStats(self.places, self.inside, self.waiting)

    @property
    def inside(self) -> int:
        """Calls admitted now."""
        return self.places - self._free

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        return len(self._queue)

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"{state}{self.inside} running, {self.waiting} waiting"


_gates: weakref.WeakSet[ThreadGate | LoopGate] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: a thread of the parent may have held a lock, calls and waiters are the
    parent's, and its loop seems to run for ever.
    """
    for gate in list(_gates):
        gate._renew()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
