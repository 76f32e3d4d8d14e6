"""Who waits before a gate, and whose turn it is. Pure: whoever calls it holds a lock."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

RANKS: Final = 3
_FAIR_TURN: Final = 8
"""Every eighth turn goes to whoever waits longest, whatever the rank: nobody starves, and those who
go first keep seven eighths of the places."""

T = TypeVar("T", bound=Hashable)


_Waiting = tuple[int, float, int]
"""Number in the order of arrival, deadline, size of the request."""


class Line(Generic[T]):
    """By rank, 0 first; within one rank those who come again, then first in, first out.

    Who comes again had a turn before, and it came to nothing: no room at the endpoint, most often.
    At the end of the line many would run out of time.

    Attributes:
        count: How many wait.
        size_bytes: Size of their requests together.
    """

    __slots__ = ("_number", "_queues", "_turns", "count", "size_bytes")

    def __init__(self) -> None:
        self._queues: tuple[OrderedDict[T, _Waiting], ...] = tuple(
            OrderedDict() for _ in range(2 * RANKS)
        )
        self._number = 0
        self._turns = 0
        self.count: int = 0
        self.size_bytes: int = 0

    def add(
        self, turn: T, rank: int, deadline_s: float, size_bytes: int, *, again: bool = False
    ) -> None:
        """Line up."""
        self._number += 1
        self._queues[2 * rank + (not again)][turn] = (self._number, deadline_s, size_bytes)
        self.count += 1
        self.size_bytes += size_bytes

    def pop(self) -> tuple[T, float] | None:
        """Whose turn it is, with the deadline; None where nobody waits."""
        self._turns += 1
        critical_again, critical, default_again, default, batch_again, batch = self._queues
        queue = critical_again or critical or default_again or default or batch_again or batch
        if self._turns % _FAIR_TURN == 0 and self.count > len(queue):
            queue = min(self._queues, key=_longest_waiting)
        return self._popped(queue)

    def _popped(self, queue: OrderedDict[T, _Waiting]) -> tuple[T, float] | None:
        try:
            turn, (_, deadline_s, size_bytes) = queue.popitem(last=False)
        except KeyError:  # a signal handler may have closed the client this very moment
            return None
        self.count -= 1
        self.size_bytes -= size_bytes
        return turn, deadline_s

    def discard(self, turn: T) -> bool:
        """Leave the line; False when ``turn`` was not in it."""
        for queue in self._queues:
            waiting = queue.pop(turn, None)
            if waiting is not None:
                self.count -= 1
                self.size_bytes -= waiting[2]
                return True
        return False

    def ahead(self, rank: int, *, again: bool = False) -> int:
        """How many would go before one who lines up now."""
        behind = self._queues[2 * rank + 2 - again :]
        return self.count - sum(map(len, behind))

    def clear(self) -> list[T]:
        """Send all away."""
        popped = (self._popped(queue) for queue in self._queues for _ in range(len(queue)))
        return [one[0] for one in popped if one is not None]

    def late(self, now_s: float) -> list[T]:
        """Take out those whose time is up."""
        turns = [turn for turn, (_, deadline_s, _) in self._items() if deadline_s <= now_s]
        for turn in turns:
            self.discard(turn)
        return turns

    def nearest_deadline_s(self) -> float:
        """The instant at which the next one's time is up. The line must not be empty."""
        return min(deadline_s for _, (_, deadline_s, _) in self._items())

    def _items(self) -> Iterator[tuple[T, _Waiting]]:
        for queue in self._queues:
            yield from queue.items()


def _longest_waiting(queue: OrderedDict[T, _Waiting]) -> float:
    try:
        return next(iter(queue.values()))[0]
    except (StopIteration, RuntimeError):  # nobody, or a signal handler sends them all away now
        return math.inf
