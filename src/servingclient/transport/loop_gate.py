"""The gate for the tasks of one event loop."""

from __future__ import annotations

import asyncio
import math
import os
import time
import weakref
from collections.abc import Callable
from contextlib import nullcontext

from servingclient.policies.concurrency import Limiter
from servingclient.settings import Queue
from servingclient.transport import gate
from servingclient.transport.line import Line


class LoopGate(gate.Admission):
    """For the tasks of one event loop. Arguments as for ``ThreadGate``."""

    _guard = nullcontext()

    def __init__(
        self, limiter: Limiter, queue: Queue, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(limiter, queue, now)
        self._renew()
        _gates.add(self)

    def _renew(self) -> None:
        self.places: int = self._limiter.calls
        self._free = self.places  # below zero when the limit sank while places were taken
        self._line: Line[asyncio.Future[None]] = Line()
        self._closed = False
        self._watched = False
        self._all_left: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = math.inf

    @property
    def room(self) -> bool:
        """See ``_ports.Gate.room``."""
        return self._free > 0 and not self._watched

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        if self._free > 0 and not self._watched:
            self._free -= 1
            return True
        return False

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        """See ``_ports.Gate.enter``; to be called where ``try_enter`` said no, before any wait."""
        # Where others wait, ``try_enter`` has just said no on this very loop: which one runs is not
        # asked again, 0.2 us of the 2.5 that waiting takes.
        if not self._watched and self.try_enter():
            return
        if self._closed:
            raise gate.closed()
        loop, line = self._loop, self._line
        assert loop is not None
        self._check_room_in_line(line.ahead(priority, again=again), deadline_s, size_bytes)
        turn = loop.create_future()
        line.add(turn, priority, deadline_s, size_bytes, again=again)
        self._watched = True
        if deadline_s < self._timer_s:
            self._set_timer(deadline_s)
        try:
            await turn
        except BaseException:
            self._line.discard(turn)
            self._watch()
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # the turn came in the instant its waiter left: the next one's now
            raise
        finally:
            del turn  # an error in it would hold this frame, which held the error

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        self._free += 1
        if self._watched:
            self._look_again()

    def _look_again(self) -> None:
        """Give free places to who waits."""
        line, loop = self._line, self._loop
        if loop is None or loop.is_closed():
            line.clear()
        while self._free > 0 and line.count and (first := line.pop()):
            turn, deadline_s = first
            if turn.done():
                continue
            in_time = deadline_s - self._now() >= self._limiter.recent.reply_s
            refusal = None if in_time else self._too_late(deadline_s)
            if refusal is None:
                self._free -= 1
                turn.set_result(None)
            else:
                turn.set_exception(refusal)
        if not line.count:
            self._watch()
            if self._all_left is not None and not self.inside and not self._all_left.done():
                self._all_left.set_result(None)

    def _watch(self) -> None:
        """Whether who comes and goes has to look."""
        self._watched = bool(self._line.count or self._closed or self._all_left is not None)

    def _fit(self, places: int) -> None:
        self._free += places - self.places
        self.places = places
        if self._watched:
            self._look_again()

    # One timer for the whole line, set for the nearest deadline: one per waiting call costs 2 us,
    # and with equal time-outs this one is set once per time-out.

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = at_s
        delay_s = max(0.0, at_s - self._now())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._refuse_late)

    def _refuse_late(self) -> None:
        self._timer, self._timer_s = None, math.inf
        for turn in self._line.late(self._now()):
            if not turn.done():
                turn.set_exception(gate.late())
        self._watch()
        if self._line.count:
            self._set_timer(self._line.nearest_deadline_s())

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to the running loop. Calls that a closed loop never finished wait for nothing; those
        that were inside give their places back when their coroutines are collected.
        """
        if self._loop is not None:
            if self._loop.is_running():  # its waiters would not wake when one of ours leaves
                raise gate.wrong_loop()
            if self._loop.is_closed():
                self._line.clear()
                self._watch()
        self._timer, self._timer_s = None, math.inf
        self._loop = loop

    def refuse(self) -> None:
        """Admit nobody any more; those who wait are told."""
        self._closed = self._watched = True
        if self._timer is not None:
            self._timer.cancel()
        for turn in self._line.clear():
            if not turn.done():
                turn.set_exception(gate.closed())

    async def wait_empty(self, timeout_s: float) -> bool:
        """Wait for those inside.

        Returns:
            True when all have left.
        """
        if not self.inside:
            return True
        if self._all_left is None:
            self._all_left = asyncio.get_running_loop().create_future()
        self._watched = True
        await asyncio.wait({self._all_left}, timeout=timeout_s)
        return self._all_left.done()

    @property
    def inside(self) -> int:
        """Calls admitted now."""
        return self.places - self._free

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"{state}{self.inside} running, {self.waiting} waiting"


_gates: weakref.WeakSet[LoopGate] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: calls and waiters are the parent's, whose loop seems to run for ever."""
    for one in list(_gates):
        one._renew()  # noqa: SLF001 - the same module
        one._forget_counts()  # noqa: SLF001 - likewise


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
