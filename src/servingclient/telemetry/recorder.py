"""Notes what calls came to. Always on, so a call may cost it less than a microsecond.

On the way of a call there is one tuple and one ``list.append``, which is atomic: no lock, and
nothing is worked out. Every 256 calls, and whenever somebody asks, what was noted is counted column
by column, which is ten times cheaper than call by call. No clock of its own, no thread.

Nothing here fails a call: a value that is no duration is left out.
"""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Final, TypeVar

from servingclient.telemetry.tally import SLOT_S, Event, Recent, Tally, Windows
from servingclient.telemetry.traffic import Traffic

SETTLE_AT: Final = 256
"""Calls noted before they are counted: 0.2 ms of work. Fewer cost more a call, more a longer halt
of the event loop."""

_PARTS: Final = (
    "encode",
    "queue",
    "token",
    "connect",
    "first_byte",
    "decode",
    "backoff",
    "answered",
)
"""Names of the histograms for the fields of ``Timing``, in order; the last is ``total_s``."""


Answered = tuple[float, tuple[float, ...], int, int, bool]
"""A call that was answered: when, the fields of ``Timing``, bytes of the request, bytes of the
reply or of the caller's part of it, and whether it had a request of its own; one that many share is
noted apart. A named tuple would cost three times as much to make."""

R = TypeVar("R", Answered, Event)


class Recorder:
    """What one client has done since it was made; in a forked child since the fork.

    Args:
        now: A clock that never jumps.
        new_guard: Makes what makes counting atomic, here and once more in a forked child. It must
            let the same thread in twice: a signal handler may ask for figures in the midst of
            counting, and then gets them without what is being counted.

    Attributes:
        answered: Calls noted and not counted yet; who appends looks whether it is long.
    """

    __slots__ = (
        "__weakref__",
        "_events",
        "_guard",
        "_new_guard",
        "_now",
        "_settling",
        "_windows",
        "answered",
    )

    def __init__(
        self,
        now: Callable[[], float] = float,  # at rest at 0.0, for who has no clock
        new_guard: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.answered: list[Answered] = []
        self._events: list[Event] = []
        self._now = now
        self._new_guard = new_guard
        self._guard = new_guard()
        self._windows = Windows(now())
        self._settling = False
        _recorders.add(self)

    def note(
        self, at_s: float, name: str, label: str | None = None, value: float | None = None
    ) -> None:
        """Note something rarer than an answer; the arguments are those of ``Event``."""
        self._events.append(Event(at_s, name, label, value))
        if len(self._events) >= SETTLE_AT:
            self.settle()

    def settle(self) -> None:
        """Count what was noted."""
        with self._guard:
            if self._settling:
                return
            self._settling = True
            try:
                noted = _taken(self.answered), _taken(self._events)
                for number, answered, events in _by_slot(*noted):
                    tally = self._windows.at(number)
                    _enter(tally, answered)
                    tally.enter(events)
            finally:
                self._settling = False

    def read(self) -> tuple[Traffic, Recent]:
        """Everything since the start, and what the windows are made of."""
        self.settle()
        with self._guard:
            now_s = self._now()
            recent = self._windows.recent(now_s)
            return Traffic.of(
                [self._windows.past(), recent.slots[-1].tally], now_s - recent.since_s
            ), recent

    def renew(self) -> None:
        """Forget all: what the parent of a forked child did is not the child's."""
        self._guard = self._new_guard()
        self.answered.clear()
        self._events.clear()
        self._settling = False
        self._windows = Windows(self._now())


def _taken(noted: list[R]) -> list[R]:
    """All that was noted so far. Others append meanwhile, at the end."""
    count = len(noted)
    taken = noted[:count]
    del noted[:count]
    return taken


def _by_slot(
    answered: list[Answered], events: list[Event]
) -> Iterator[tuple[int, list[Answered], list[Event]]]:
    """What was noted by the slot it happened in, the oldest first."""
    ends = [_slot_of(noted[end]) for noted in (answered, events) if noted for end in (0, -1)]
    if len(set(ends)) <= 1:  # as a rule; who is out of order was late by a thread switch
        if ends:
            yield ends[0], answered, events
        return
    slots: dict[int, tuple[list[Answered], list[Event]]] = {}
    for call in answered:
        slots.setdefault(_slot_of(call), ([], []))[0].append(call)
    for event in events:
        slots.setdefault(_slot_of(event), ([], []))[1].append(event)
    for number in sorted(slots):
        yield number, *slots[number]


def _slot_of(noted: Answered | Event) -> int:
    return int(noted[0] // SLOT_S)


def _enter(tally: Tally, answered: list[Answered]) -> None:
    if not answered:
        return
    _, timings, request_bytes, reply_bytes, own = zip(*answered, strict=True)
    tally.counts["answered"] += len(answered)
    tally.counts["attempt"] += sum(own)
    tally.histogram("request").take(request_bytes)
    tally.histogram("reply").take(reply_bytes)
    for name, column in zip(_PARTS, zip(*timings, strict=False), strict=False):
        tally.histogram(name).take(column)


_recorders: weakref.WeakSet[Recorder] = weakref.WeakSet()


def _renew_all() -> None:
    for recorder in list(_recorders):
        recorder.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
