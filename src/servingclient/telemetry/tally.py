"""What is counted over one span of time, and the spans that are kept. Pure: time is an argument.

A *slot* is 5 s; the last 60 are kept, closed ones packed, and everything since the start is kept
apart. A window is put together of slots when somebody asks for it, so noting costs the same however
many windows there are.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from servingclient.telemetry.histogram import Histogram

SLOT_S: Final = 5.0
"""Two make the shortest window; 60 are as many points as a curve of 5 min needs."""
SLOTS: Final = 60


class Event(NamedTuple):
    """Something that happened.

    Attributes:
        at_s: When.
        name: What; it is counted under this name.
        label: Counted apart by this, if given: the class of an error.
        value: Goes into the histogram of this name, if given: seconds or bytes.
    """

    at_s: float
    name: str
    label: str | None = None
    value: float | None = None


class Tally:
    """Counters and histograms by name.

    Attributes:
        counts: How often each thing happened.
        labels: The same, by label.
        histograms: Of the values that came with it.
    """

    __slots__ = ("counts", "histograms", "labels")

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.labels: dict[str, Counter[str]] = {}
        self.histograms: dict[str, Histogram] = {}

    def histogram(self, name: str) -> Histogram:
        """The histogram of that name, empty if it is new."""
        found = self.histograms.get(name)
        if found is None:
            found = self.histograms[name] = Histogram()
        return found

    def enter(self, events: Iterable[Event]) -> None:
        """Count events."""
        values: dict[str, list[float]] = {}
        for _, name, label, value in events:
            self.counts[name] += 1
            if label is not None:
                self.labels.setdefault(name, Counter())[label] += 1
            if value is not None:
                values.setdefault(name, []).append(value)
        for name, column in values.items():
            self.histogram(name).take(column)

    def merge(self, other: Tally) -> None:
        """Count what ``other`` did."""
        for name, count in other.counts.items():
            self.counts[name] += count
        for name, labels in other.labels.items():
            self.labels.setdefault(name, Counter()).update(labels)
        for name, histogram in other.histograms.items():
            self.histogram(name).merge(histogram)

    def copy(self) -> Tally:
        """One of its own."""
        made = Tally()
        made.counts.update(self.counts)
        made.labels = {name: labels.copy() for name, labels in self.labels.items()}
        made.histograms = {name: found.copy() for name, found in self.histograms.items()}
        return made

    def pack(self) -> None:
        """Take little memory: nothing is counted in it any more."""
        self.histograms = {name: found.packed() for name, found in self.histograms.items()}


@dataclass(frozen=True, slots=True)
class Slot:
    """What was counted in one slot.

    Attributes:
        number: Of the slot: its instants divided by ``SLOT_S``, rounded down.
        tally: What was counted.
    """

    number: int
    tally: Tally


@dataclass(frozen=True, slots=True)
class Recent:
    """The last 5 min, as they were at one instant.

    Attributes:
        since_s: When counting began.
        now_s: That instant.
        slots: The last 60 in which anything was counted and the one begun, the oldest first. They
            do not change.
    """

    since_s: float = 0.0
    now_s: float = 0.0
    slots: tuple[Slot, ...] = ()

    def last(self, seconds: float) -> tuple[list[Tally], float]:
        """The tallies of a window, and how long it is.

        A window is whole slots and the one that has just begun, so it is up to ``SLOT_S`` longer
        than asked for; it begins with the counting at the earliest.
        """
        first = int(self.now_s // SLOT_S) - round(seconds / SLOT_S)
        tallies = [slot.tally for slot in self.slots if slot.number >= first]
        return tallies, self.now_s - max(self.since_s, first * SLOT_S)


class Windows:
    """The tallies of a running count. Whoever calls it holds a lock.

    Args:
        now_s: When counting begins.

    Attributes:
        since_s: When it began.
    """

    __slots__ = ("_closed", "_number", "_past", "_tally", "since_s")

    def __init__(self, now_s: float) -> None:
        self.since_s: float = now_s
        self._number = int(now_s // SLOT_S)
        self._tally = Tally()
        self._closed: deque[Slot] = deque(maxlen=SLOTS)
        self._past = Tally()  # all closed slots, those no longer kept included

    def at(self, number: int) -> Tally:
        """Where to count what happened in that slot; what comes late counts in the present one."""
        if number > self._number:
            closed = Slot(self._number, self._tally)
            self._number, self._tally = number, Tally()
            # Only then the rest: an interrupt may lose a slot, and never count it twice.
            self._past.merge(closed.tally)
            closed.tally.pack()
            self._closed.append(closed)
        return self._tally

    def past(self) -> Tally:
        """All since the start but for the present slot, which ``recent`` has."""
        return self._past.copy()

    def recent(self, now_s: float) -> Recent:
        """The last 5 min. Changes nothing here."""
        slots = (*self._closed, Slot(self._number, self._tally.copy()))
        return Recent(self.since_s, now_s, slots)
