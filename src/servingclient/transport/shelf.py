"""The idle lanes of one origin: which may be used again, and for how long one may idle. Pure."""

from __future__ import annotations

import math
from typing import Generic, Protocol, TypeVar

_LEARN_DOWN = 0.8  # of the idle time that proved fatal
_FIRST_PAUSE_S = 1.0  # until the full idle time is tried again: one restart is soon forgotten
_PRUNE_EVERY_S = 0.5  # of 4 us a call: looking at the oldest lane each time is 0.2
_LONGEST_PAUSE_S = 60.0  # a server whose limit is lower costs one resend in this time


class IdleLane(Protocol):
    """What the shelf knows of a lane."""

    idle_since_s: float
    retire_s: float

    def quiet(self) -> bool: ...

    def close(self) -> None: ...


L = TypeVar("L", bound=IdleLane)


class Shelf(Generic[L]):
    """Last in, first out: the warmest lane is used next and the others may grow old.

    Appending to and popping from the list are atomic, so threads need no lock here.

    Args:
        keepalive_s: Longest idle time at the start and at most.

    Attributes:
        idle: The lanes, the warmest last; who gives one back appends it.
        keepalive_s: Longest idle time now: learned down when a reused lane dies, and after a pause
            tried in full again.
        prune_s: When to look again for lanes that idled too long; none of those is lent meanwhile.
    """

    __slots__ = ("_again_s", "_died_s", "_most_s", "_pause_s", "idle", "keepalive_s", "prune_s")

    def __init__(self, keepalive_s: float) -> None:
        self.idle: list[L] = []
        self.keepalive_s: float = keepalive_s
        self._most_s = keepalive_s
        self._pause_s = _FIRST_PAUSE_S
        self._again_s = math.inf
        self._died_s = -math.inf
        self.prune_s: float = -math.inf

    def take(self, now_s: float, max_idle_s: float) -> L | None:
        """The warmest lane that may be used again; those found unfit on the way are closed."""
        if now_s >= self._again_s:
            self.keepalive_s, self._again_s = self._most_s, math.inf
        idle = self.idle
        while idle:
            try:
                lane = idle.pop()
            except IndexError:  # another thread was quicker
                return None
            idle_s = now_s - lane.idle_since_s
            if idle_s <= self.keepalive_s and now_s < lane.retire_s and lane.quiet():
                if idle_s < max_idle_s:
                    return lane
                idle.append(lane)  # all others idled longer
                return None
            lane.close()
        return None

    def died(self, idle_s: float, now_s: float) -> None:
        """A lane that had idled this long was dead: the server's limit is lower."""
        if self._again_s == math.inf:  # the full idle time was being tried
            long_ago = now_s - self._died_s > 2 * _LONGEST_PAUSE_S
            self._pause_s = _FIRST_PAUSE_S if long_ago else min(_LONGEST_PAUSE_S, 2 * self._pause_s)
            self._again_s = now_s + self._pause_s
        self._died_s = now_s
        self.keepalive_s = min(self.keepalive_s, idle_s * _LEARN_DOWN)

    def prune(self, now_s: float) -> None:
        """Close the lanes that idled too long; they lie at the bottom."""
        self.prune_s = now_s + _PRUNE_EVERY_S
        # A slice, since between a test and idle[0] another thread may take the last lane.
        while (oldest := self.idle[:1]) and now_s - oldest[0].idle_since_s > self.keepalive_s:
            try:
                self.idle.remove(oldest[0])
            except ValueError:  # another thread was quicker
                return
            oldest[0].close()

    def clear(self) -> None:
        """Close all."""
        while self.idle:
            try:
                self.idle.pop().close()
            except IndexError:
                return
