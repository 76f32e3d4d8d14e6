"""When calls are to begin. Pure.

The load is an open one: calls begin when they are due, whatever became of those before. A closed
loop, in which a caller waits for its answer before it asks again, slows down together with the
endpoint and so hides how long others would have waited (coordinated omission). With one stall of
the server a closed loop reported a P99 of 12 ms where an open one saw 975.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from servingclient.errors import ConfigError

Gap = Callable[[], float]
"""The distance to the next call, in units of the mean distance."""


def poisson(rand: Callable[[], float]) -> Gap:
    """Gaps of callers who know nothing of each other: exponentially distributed.

    Args:
        rand: Gives numbers in [0, 1).
    """
    return lambda: -math.log(1.0 - rand())


def constant() -> Gap:
    """Gaps that are all the same: kinder than any crowd of callers."""
    return lambda: 1.0


class Phase(NamedTuple):
    """A stretch of time in which the rate goes from one value to another in a straight line.

    Attributes:
        seconds: How long it lasts.
        from_qps: Calls a second at its start.
        to_qps: Calls a second at its end.
    """

    seconds: float
    from_qps: float
    to_qps: float

    @property
    def calls(self) -> float:
        """How many calls are due in it on average."""
        return self.seconds * (self.from_qps + self.to_qps) / 2

    def instant(self, calls: float) -> float:
        """When so many calls of it are due, in seconds from its start.

        The inverse of ``from*t + (to - from)*t**2 / (2*seconds)``, in the form that also holds for
        a rate that does not change.
        """
        slope = (self.to_qps - self.from_qps) / self.seconds
        if slope > 0.0:  # no product of two small numbers, which could be 0
            root = math.hypot(self.from_qps, math.sqrt(2.0 * slope) * math.sqrt(calls))
        else:
            root = math.sqrt(max(0.0, self.from_qps**2 + 2.0 * slope * calls))
        return 2.0 * calls / (self.from_qps + root) if calls else 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A rate of calls over time.

    Attributes:
        phases: One after the other.
        name: What it is called in reports.
    """

    phases: tuple[Phase, ...]
    name: str = "profile"

    def __post_init__(self) -> None:
        if not self.phases:
            raise ConfigError("A load profile needs at least one phase.")
        for phase in self.phases:
            rates = (phase.from_qps, phase.to_qps)
            sound = all(math.isfinite(rate) and rate >= 0.0 for rate in rates)
            if not (sound and 0.0 < phase.seconds < math.inf):
                raise ConfigError(
                    f"A phase of {phase.seconds:g} s from {phase.from_qps:g} to {phase.to_qps:g} "
                    "calls/s cannot be: give a duration above 0 s and finite rates of at least 0."
                )

    @classmethod
    def constant(cls, qps: float, seconds: float) -> Profile:
        """The same rate all the time.

        Args:
            qps: Calls a second.
            seconds: For how long.
        """
        return cls((Phase(seconds, qps, qps),), f"{qps:g} calls/s")

    @classmethod
    def ramp(cls, from_qps: float, to_qps: float, seconds: float) -> Profile:
        """A rate that rises, or falls, in a straight line.

        Args:
            from_qps: Calls a second at the start.
            to_qps: Calls a second at the end.
            seconds: How long it takes.
        """
        return cls((Phase(seconds, from_qps, to_qps),), f"{from_qps:g} to {to_qps:g} calls/s")

    @classmethod
    def steps(cls, rates: Sequence[float], seconds: float) -> Profile:
        """One rate after the other.

        Args:
            rates: Calls a second.
            seconds: How long each lasts.
        """
        phases = tuple(Phase(seconds, qps, qps) for qps in rates)
        return cls(phases, f"steps {', '.join(f'{qps:g}' for qps in rates)} calls/s")

    @classmethod
    def spike(cls, qps: float, peak_qps: float, seconds: float) -> Profile:
        """A rate, for the middle fifth of the time a peak, and the rate again.

        Args:
            qps: Calls a second before and after.
            peak_qps: Calls a second in the peak.
            seconds: How long all of it takes.
        """
        calm, high = Phase(seconds * 0.4, qps, qps), Phase(seconds * 0.2, peak_qps, peak_qps)
        return cls((calm, high, calm), f"{qps:g} calls/s with a peak of {peak_qps:g}")

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return sum(phase.seconds for phase in self.phases)

    @property
    def calls(self) -> float:
        """How many calls are due on average."""
        return sum(phase.calls for phase in self.phases)

    def calls_between(self, from_s: float, to_s: float) -> float:
        """How many calls are due on average between two instants; none beyond its end.

        Args:
            from_s: Seconds from the start.
            to_s: Likewise, the later one.
        """
        return self._calls_until(to_s) - self._calls_until(from_s)

    def _calls_until(self, until_s: float) -> float:
        calls, left_s = 0.0, until_s
        for phase in self.phases:
            part_s = min(phase.seconds, max(0.0, left_s))
            slope = (phase.to_qps - phase.from_qps) / phase.seconds
            calls += phase.from_qps * part_s + slope * part_s**2 / 2.0
            left_s -= phase.seconds
        return calls

    def shared(self, processes: int) -> Profile:
        """The part of one of several processes that make this load together."""
        part = tuple(Phase(s, a / processes, b / processes) for s, a, b in self.phases)
        return Profile(part, self.name)

    def instants(self, gap: Gap) -> Iterator[float]:
        """When each call is due, in seconds from the start, in ascending order.

        Gaps are laid out in units of calls and then put onto the clock by the rate, so a rate that
        changes bends them as it should (the time change of a Poisson process).

        Args:
            gap: Distance from one call to the next, 1.0 in the mean.
        """
        due, before, begun_s = gap(), 0.0, 0.0
        for phase in self.phases:
            while due - before < phase.calls:
                yield begun_s + phase.instant(due - before)
                due += gap()
            before += phase.calls
            begun_s += phase.seconds


def recorded(instants: Iterable[float], *, faster: float = 1.0) -> list[float]:
    """When calls are due that came at these instants once, the first at 0.

    Args:
        instants: Seconds on any clock.
        faster: How many times as fast as then.

    Raises:
        ConfigError: There is none, or one is no number.
    """
    given = sorted(float(instant) for instant in instants)
    if not given or not all(map(math.isfinite, given)) or not 0.0 < faster < math.inf:
        raise ConfigError(
            "A recorded load needs instants in seconds, all of them finite numbers, and a speed "
            "above 0."
        )
    return [(instant - given[0]) / faster for instant in given]
