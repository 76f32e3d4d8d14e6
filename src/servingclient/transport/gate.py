"""Admission before the lanes: so many calls at once, the others wait in order."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections import deque

from servingclient._types import FaultKind, WireFault
from servingclient.errors import QueueFull


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


class ThreadGate:
    """For threads.

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
        self._free = self.places
        self._waiting: deque[threading.Lock] = deque()
        self._all_left: threading.Event | None = None
        self._closed = False

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        with self._lock:
            if self._free > 0 and not self._waiting and not self._closed:
                self._free -= 1
                return True
            return False

    async def enter(self, deadline_s: float) -> None:
        """See ``_ports.Gate.enter``."""
        turn = self._line_up()
        if turn is None:
            return
        try:
            admitted = turn.acquire(timeout=max(0.0, deadline_s - time.monotonic()))
        except BaseException:
            self._give_up(turn)
            raise
        if self._closed:
            self._give_up(turn)
            raise _closed()
        if not admitted:
            self._give_up(turn)
            raise _late()

    def _line_up(self) -> threading.Lock | None:
        with self._lock:
            if self._closed:
                raise _closed()
            if self._free > 0 and not self._waiting:
                self._free -= 1
                return None
            if len(self._waiting) >= self._max_waiting:
                raise _full(len(self._waiting), self.places)
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
            return turn

    def _give_up(self, turn: threading.Lock) -> None:
        """Leave the queue; a turn that came in the same instant goes to the next."""
        with self._lock:
            try:
                self._waiting.remove(turn)
            except ValueError:
                self._pass_on()

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        with self._lock:
            if self._waiting or self._all_left is not None:
                self._pass_on()
            else:
                self._free += 1

    def _pass_on(self) -> None:
        if self._waiting:
            self._waiting.popleft().release()
            return
        self._free += 1
        if self._all_left is not None and self._free == self.places:
            self._all_left.set()

    def refuse(self) -> None:
        """Admit nobody any more; those who wait are told."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, deque()
            self._free -= len(waiting)  # each wakes, sees the gate closed and passes its place on
        for turn in waiting:
            turn.release()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait for those inside.

        Returns:
            True when all have left.
        """
        with self._lock:
            self._all_left = threading.Event()
            if self._free == self.places:
                return True
        return self._all_left.wait(timeout_s)

    @property
    def inside(self) -> int:
        """Calls admitted now."""
        return self.places - self._free

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        return len(self._waiting)


_gates: weakref.WeakSet[ThreadGate] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: a thread of the parent may have held a lock, and none runs here."""
    for gate in list(_gates):
        gate._renew()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)


class LoopGate:
    """For the tasks of one event loop. Arguments as for ``ThreadGate``."""

    def __init__(self, places: int, max_waiting: int) -> None:
        self.places = places
        self._max_waiting = max_waiting
        self._free = places
        self._queue: deque[asyncio.Future[None]] = deque()
        self._waiting = 0
        self._closed = False
        self._all_left: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        if self._free > 0 and not self._waiting and not self._closed:
            self._free -= 1
            return True
        return False

    async def enter(self, deadline_s: float) -> None:
        """See ``_ports.Gate.enter``."""
        self._adopt()
        if self._closed:
            raise _closed()
        if self.try_enter():
            return
        if self._waiting >= self._max_waiting:
            raise _full(self._waiting, self.places)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()
        self._queue.append(turn)
        self._waiting += 1
        timer = loop.call_later(max(0.0, deadline_s - time.monotonic()), _refuse, turn)
        try:
            await turn
        except BaseException as error:
            self._give_up(turn, error)
            raise
        finally:
            timer.cancel()

    def _give_up(self, turn: asyncio.Future[None], error: BaseException) -> None:
        """A waiter left; a turn that came in the same instant goes to the next."""
        if turn.done() and not turn.cancelled() and turn.exception() is None:
            self.leave()
        elif not (isinstance(error, WireFault) and error.kind is FaultKind.CLOSED):
            self._waiting -= 1

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        queue = self._queue
        while queue:
            turn = queue.popleft()
            if not turn.done():
                self._waiting -= 1
                turn.set_result(None)
                return
        self._free += 1
        if self._all_left is not None and self._free == self.places and not self._all_left.done():
            self._all_left.set_result(None)

    def _adopt(self) -> None:
        """On a new loop: calls of a loop that ended without finishing them hold no place."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and self._loop.is_closed():
            self._queue.clear()
            self._waiting = 0
            self._free = self.places
        self._loop = loop

    def refuse(self) -> None:
        """Admit nobody any more; those who wait are told."""
        self._closed = True
        waiting, self._queue = self._queue, deque()
        self._waiting = 0
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
        self._all_left = asyncio.get_running_loop().create_future()
        await asyncio.wait({self._all_left}, timeout=timeout_s)
        return self._all_left.done()

    @property
    def inside(self) -> int:
        """Calls admitted now."""
        return self.places - self._free

    @property
    def waiting(self) -> int:
        """Calls in the queue now."""
        return self._waiting


def _refuse(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_exception(_late())
