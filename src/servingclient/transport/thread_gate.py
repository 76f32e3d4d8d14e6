"""The gate for threads."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable

from servingclient._once import Once
from servingclient.errors import QueueFull
from servingclient.policies.concurrency import Limiter
from servingclient.settings import Queue
from servingclient.transport import gate
from servingclient.transport.line import Line


class _Turn:
    """A thread's place in the line.

    Attributes:
        come: Released when the waiting ends.
        admitted: It ended with a place.
        refusal: It ended without one.
    """

    __slots__ = ("admitted", "come", "refusal")

    def __init__(self) -> None:
        self.admitted = False
        self.refusal: QueueFull | None = None
        self.come = threading.Lock()
        self.come.acquire()


class ThreadGate(gate.Admission):
    """For threads.

    Free places lie in a list: popping and appending are atomic, so a gate with room takes no lock.
    Whoever frees a place looks afterwards whether the gate is watched, and whoever lines up has it
    watched and then looks for a place: one of the two sees the other.

    Args:
        limiter: How many calls are admitted at once.
        queue: How many may wait.
        now: A clock that never jumps.
    """

    def __init__(
        self, limiter: Limiter, queue: Queue, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(limiter, queue, now)
        self._renew()
        _gates.add(self)

    def _renew(self) -> None:
        # Reentrant: a signal handler may close the client while the very thread it runs in holds
        # this. So each change below is one that may find itself closed in its midst.
        self._guard = threading.RLock()
        self.places: int = self._limiter.calls
        self._free: list[None] = [None] * self.places
        self._surplus = 0  # places that go when they are left: the limit sank while they were taken
        self._line: Line[_Turn] = Line()
        self._all_left: Once | None = None
        self._closed = False
        self._watched = False

    @property
    def room(self) -> bool:
        """See ``_ports.Gate.room``."""
        return not self._watched and bool(self._free)

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        if self._watched:
            return False
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        """See ``_ports.Gate.enter``."""
        turn = self._line_up(deadline_s, priority, size_bytes, again=again)
        if turn is None:
            return
        try:
            left_s = 0.0 if self._closed else min(deadline_s - self._now(), threading.TIMEOUT_MAX)
            turn.come.acquire(timeout=max(0.0, left_s))
        except BaseException:
            self._give_up(turn)
            raise
        if self._closed:
            self._give_up(turn)
            raise gate.closed()
        if not turn.admitted:
            self._not_admitted(turn)

    def _line_up(
        self, deadline_s: float, priority: int, size_bytes: int, *, again: bool
    ) -> _Turn | None:
        """A place in the line; None when there is one behind the gate at once."""
        with self._guard:
            if self._closed:
                raise gate.closed()
            self._watched = True  # before looking for a place: see the class
            try:
                self._admit()
                if not self._line.count and self._take():
                    return None
                ahead = self._line.ahead(priority, again=again)
                self._check_room_in_line(ahead, deadline_s, size_bytes)
                turn = _Turn()
                self._line.add(turn, priority, deadline_s, size_bytes, again=again)
            finally:
                self._watch()
            return turn

    def _take(self) -> bool:
        try:
            self._free.pop()
        except IndexError:
            return False
        return True

    def _admit(self) -> None:
        """Under the lock: take back the places that are to go, give the others to who waits."""
        while self._surplus and self._take():
            self._surplus -= 1
        while self._line.count and self._take():
            first = self._line.pop()
            if first is None:
                self._free.append(None)
                return
            turn, deadline_s = first
            turn.refusal = self._too_late(deadline_s)
            turn.admitted = turn.refusal is None
            if not turn.admitted:
                self._free.append(None)
            turn.come.release()

    def _watch(self) -> None:
        """Under the lock: whether who comes and goes has to look."""
        self._watched = bool(
            self._line.count or self._surplus or self._closed or self._all_left is not None
        )

    def _not_admitted(self, turn: _Turn) -> None:
        """The time is up: leave the line, unless the turn came in the same instant."""
        with self._guard:
            if turn.admitted:
                return
            if self._closed:
                raise gate.closed()
            refusal, turn.refusal = turn.refusal, None  # raised, it holds the frames that hold it
            if refusal is not None:
                try:
                    raise refusal
                finally:
                    del refusal
            self._line.discard(turn)
            self._watch()
            raise gate.late()

    def _give_up(self, turn: _Turn) -> None:
        """Leave the line; a place that came in the same instant goes to the next."""
        with self._guard:
            self._line.discard(turn)
            self._watch()
        if turn.admitted:
            self.leave()

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        self._free.append(None)
        if self._watched:
            self._look_again()

    def _look_again(self) -> None:
        with self._guard:
            self._admit()
            self._watch()
            if self._all_left is not None and not self.inside:
                self._all_left.set()

    def _fit(self, places: int) -> None:
        more = places - self.places
        self.places = places
        self._surplus -= more  # below zero: places there are not enough of
        while self._surplus < 0:
            self._surplus += 1
            self._free.append(None)
        self._watched = True
        self._admit()
        self._watch()

    def refuse(self) -> None:
        """Admit nobody any more; those who wait are told."""
        with self._guard:
            self._closed = self._watched = True
            waiting = self._line.clear()
        for turn in waiting:
            turn.come.release()

    def wait_empty(self, timeout_s: float) -> bool:
        """Wait for those inside.

        Returns:
            True when all have left.
        """
        with self._guard:
            if self._all_left is None:
                self._all_left = Once()
            self._watched = True
            all_left = self._all_left
            if not self.inside:
                return True
        return all_left.wait(timeout_s)

    @property
    def inside(self) -> int:
        """Calls admitted now."""
        return max(0, self.places + self._surplus - len(self._free))

    def __repr__(self) -> str:
        state = "closed, " if self._closed else ""
        return f"{state}{self.inside} running, {self.waiting} waiting"


_gates: weakref.WeakSet[ThreadGate] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: a thread of the parent may have held the lock, and calls and waiters are
    the parent's.
    """
    for one in list(_gates):
        one._renew()  # noqa: SLF001 - the same module
        one._forget_counts()  # noqa: SLF001 - likewise


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
