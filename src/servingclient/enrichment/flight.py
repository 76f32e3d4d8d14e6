"""One fetch for all who want the same at the same time, in threads or in tasks.

Who comes first leads: it fetches in its own thread or task, within its own time. Others wait, each
as long as its own time allows. When the leader was cancelled or had too little time, one of those
who wait leads in its place. When what it asked failed, one of them tries once more, and only when
that fails too do the others take the error: no caller ends by the failure alone of a fetch that
began before it came, and a crowd does not ask a failing API one by one. Pure.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Hashable
from contextlib import nullcontext
from typing import Any, Final, Generic, Protocol, TypeVar

from servingclient._ports import Guard
from servingclient._types import FaultKind, WireFault
from servingclient.errors import ClientClosedError, DeadlineExceeded

T = TypeVar("T")

_MOST_CLAIMS: Final = 10_000
"""From so many on, those that have run out are looked for and dropped."""
_UNGUARDED: Final = nullcontext()
MOST_FAILURES: Final = 2
"""Failed fetches that a follower sees before it takes the error."""


class Landed(Protocol):
    """Tells those who wait that a flight has ended."""

    def set(self) -> None:
        """It has."""

    async def wait(self, deadline_s: float) -> bool:
        """Wait for it; False when ``deadline_s`` came first."""

    def usable(self) -> bool:
        """Whether who leads can come to an end: a loop that has ended takes its tasks along."""

    def mine(self) -> bool:
        """Whether who leads is the thread or task that asks, which would wait for itself."""


class Flight(Generic[T]):
    """One fetch under way.

    Attributes:
        landed: Whether it has ended, for those who wait.
        result: What it brought; None while it has not, or failed.
        error: How it failed, where that says something about what was asked.
    """

    __slots__ = ("error", "landed", "result")

    def __init__(self, landed: Landed) -> None:
        self.landed: Landed = landed
        self.result: T | None = None
        self.error: Exception | None = None


class Flights(Generic[T]):
    """What is being fetched now, by key.

    Args:
        make: Makes what tells of a flight's end, one kind per colour.
        guard: Makes a change atomic: a lock for threads, nothing on an event loop.
    """

    def __init__(self, make: Callable[[], Landed], guard: Guard = _UNGUARDED) -> None:
        self._make = make
        self._flights: dict[Hashable, Flight[T]] = {}
        self._claimed: dict[Hashable, float] = {}
        self._guard = guard

    def ticket(self) -> Flight[T]:
        """A flight that has not begun. Made before the ``try`` whose ``finally`` ends it."""
        return Flight(self._make())

    def enter(self, key: Hashable, mine: Flight[T]) -> Flight[T]:
        """Lead with ``mine``, or follow the flight under way.

        Returns:
            ``mine`` when it leads.
        """
        flight = self._flights.setdefault(key, mine)  # atomic
        if flight is not mine and not flight.landed.usable():
            self._flights[key] = flight = mine  # its loop has ended, and with it whoever led
        return flight

    def flying(self, key: Hashable) -> bool:
        """Whether ``key`` is being fetched."""
        flight = self._flights.get(key)
        return flight is not None and flight.landed.usable()

    def leave(self, key: Hashable, mine: Flight[T]) -> None:
        """End ``mine``, if it led and has not been ended. May be called again."""
        flights = self._flights  # ``forget`` leaves it as it is, and begins another
        try:
            if flights.get(key) is mine:
                del flights[key]
        finally:
            mine.landed.set()

    def claim(self, key: Hashable, now_s: float) -> bool:
        """Whether the caller shall see to a new value for ``key`` behind the callers: nobody else
        does, and it did not fail a moment ago.
        """
        with self._guard:
            if self._claimed.get(key, -math.inf) > now_s or self.flying(key):
                return False
            if len(self._claimed) >= _MOST_CLAIMS:
                self._claimed = {one: s for one, s in self._claimed.items() if s > now_s}
            self._claimed[key] = math.inf
            return True

    def disclaim(self, key: Hashable, until_s: float | None = None) -> None:
        """It has; or it could not, and nobody shall try before ``until_s``."""
        with self._guard:
            if until_s is None:
                self._claimed.pop(key, None)
            elif key in self._claimed:
                self._claimed[key] = until_s

    def forget(self) -> None:
        """Let nobody join what is under way now: something was invalidated, or in a forked child,
        where those who lead do not run.
        """
        self._flights = {}
        with self._guard:
            self._claimed = {}

    def __len__(self) -> int:
        return len(self._flights)


def fail(mine: Flight[Any], error: Exception) -> None:
    """Note a failure, unless it says only that this leader could not go on."""
    if not isinstance(error, (DeadlineExceeded, ClientClosedError, WireFault)):
        mine.error = error


def copied(error: Exception) -> Exception:
    """An error for one of several callers, who add to what they get."""
    try:
        mine = copy.copy(error)
    except Exception:  # noqa: BLE001 - a foreign error that cannot be copied is better than none
        return error
    mine.__cause__ = error.__cause__
    mine.__suppress_context__ = True
    return mine.with_traceback(error.__traceback__)


async def follow(flight: Flight[T], deadline_s: float) -> T | None:
    """Wait for the end of another caller's flight.

    Returns:
        What it brought; None when it ended without.

    Raises:
        WireFault: ``TIMEOUT``: the deadline came first.
    """
    if not await flight.landed.wait(deadline_s):
        raise WireFault(FaultKind.TIMEOUT, "another call is asking for the same", sent="no")
    return flight.result
