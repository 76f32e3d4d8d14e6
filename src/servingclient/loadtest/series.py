"""What became of the calls of a load test, second by second. Pure.

Every call is counted in the second in which it was *due*, and its latency counts from then: a call
that could not begin in time has waited already, as its user would have. ``raw`` is the latency from
when it began, for comparison; waiting inside the client for a connection is in both. A call that
failed has no latency: it is in no percentile, and not among the good ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from servingclient.telemetry.histogram import Histogram, merged


class Done(NamedTuple):
    """A call that came to its end. Instants are seconds from the start of the trial.

    Attributes:
        due_s: When it was to begin.
        began_s: When it did.
        ended_s: When its answer was there, or its error.
        error: Class of the error, or None.
        lane_s: Seconds it waited inside the client.
    """

    due_s: float
    began_s: float
    ended_s: float
    error: str | None
    lane_s: float


@dataclass(slots=True)
class Second:
    """The calls that were due in one second, or in several put together.

    Attributes:
        calls: How many have ended.
        good: How many were answered within the goal.
        errors: How many failed, by class of the error.
        latency: Seconds from when a call was due to its answer; failed ones are not in it.
        raw: The same from when it began, before any waiting inside the client.
        late: Seconds from when it was due to when it began, failed ones too.
        lane: Seconds it waited inside the client.
    """

    calls: int = 0
    good: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    latency: Histogram = field(default_factory=Histogram)
    raw: Histogram = field(default_factory=Histogram)
    late: Histogram = field(default_factory=Histogram)
    lane: Histogram = field(default_factory=Histogram)

    @property
    def answered(self) -> int:
        """Calls that did not fail."""
        return self.calls - self.errors.total()

    def take(self, calls: Sequence[Done], goal_s: float) -> None:
        """Count calls.

        Args:
            calls: They.
            goal_s: Up to this latency an answer is a good one.
        """
        answered = [call for call in calls if call.error is None]
        latency = [call.ended_s - call.due_s for call in answered]
        self.calls += len(calls)
        self.good += sum(1 for took_s in latency if took_s <= goal_s)
        self.errors.update(call.error for call in calls if call.error is not None)
        self.latency.take(latency)
        self.raw.take([call.ended_s - call.began_s for call in answered])
        self.late.take([max(0.0, call.began_s - call.due_s) for call in calls])
        self.lane.take([call.lane_s for call in answered])

    def encode(self) -> list[Any]:
        """As plain lists, for another process or a file; see ``decode``."""
        histograms = (self.latency, self.raw, self.late, self.lane)
        return [self.calls, self.good, dict(self.errors), [one.encode() for one in histograms]]

    @classmethod
    def decode(cls, encoded: Sequence[Any]) -> Second:
        """What ``encode`` gave.

        Raises:
            ValueError: It did not give this.
        """
        try:
            calls, good, errors, histograms = encoded
            latency, raw, late, lane = map(Histogram.decode, histograms)
            return cls(int(calls), int(good), Counter(errors), latency, raw, late, lane)
        except (TypeError, ValueError):
            raise ValueError("this is no encoded second of a load test") from None


def together(seconds: Iterable[Second]) -> Second:
    """Several as one."""
    parts = list(seconds)
    errors: Counter[str] = Counter()
    for part in parts:
        errors.update(part.errors)
    return Second(
        sum(part.calls for part in parts),
        sum(part.good for part in parts),
        errors,
        merged(part.latency for part in parts),
        merged(part.raw for part in parts),
        merged(part.late for part in parts),
        merged(part.lane for part in parts),
    )


class Series:
    """A trial, second by second.

    Args:
        goal_s: Up to this latency an answer is a good one.

    Attributes:
        seconds: By the second in which calls were due.
    """

    __slots__ = ("_goal_s", "seconds")

    def __init__(self, goal_s: float) -> None:
        self._goal_s = goal_s
        self.seconds: dict[int, Second] = {}

    def take(self, calls: Iterable[Done]) -> None:
        """Count calls, in any order."""
        by_second: dict[int, list[Done]] = {}
        for call in calls:
            by_second.setdefault(int(call.due_s), []).append(call)
        for second, some in by_second.items():
            self.second(second).take(some, self._goal_s)

    def second(self, second: int) -> Second:
        """That one, empty if it is new."""
        found = self.seconds.get(second)
        if found is None:
            found = self.seconds[second] = Second()
        return found

    def add(self, second: int, part: Second) -> None:
        """Count what another process saw of one second."""
        self.seconds[second] = together((self.second(second), part))

    def span(self, from_s: int, to_s: int) -> Second:
        """The seconds from ``from_s`` up to, without, ``to_s`` as one."""
        return together(
            part for second, part in sorted(self.seconds.items()) if from_s <= second < to_s
        )


def settled(windows: Sequence[Second], seconds: float, *, tolerance: float = 0.1) -> bool:
    """Whether a trial has come to rest: the last three windows agree (perf_analyzer's rule).

    Args:
        windows: Of equal length, in order.
        seconds: How long each is.
        tolerance: How far answers a second, and their median latency, may be from their mean.
    """
    last = windows[-3:]
    if len(last) < 3 or not all(window.answered for window in last):
        return False
    rates = [window.answered / seconds for window in last]
    medians = [window.latency.quantile(0.5) or 0.0 for window in last]
    return _agree(rates, tolerance) and _agree(medians, tolerance)


def _agree(values: Sequence[float], tolerance: float) -> bool:
    mean = sum(values) / len(values)
    return all(abs(value - mean) <= tolerance * mean for value in values)
