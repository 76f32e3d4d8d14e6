"""How long a model takes: from a mean and a spread, or from times that were recorded.

Whatever it came from, it is a list of durations with weights that add up to 1, ordered, fine where
quantiles of responses are read. Waits are independent of the call's own service, so a response time
is one of these plus a wait.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from numbers import Real
from typing import Any, Final

from servingclient.capacity import checks
from servingclient.capacity.queueing import Waits, falls_to
from servingclient.errors import ConfigError

MAX_POINTS: Final = 400
"""Enough for three figures of a P99, and a quantile of a response takes some 20 passes over them.
"""
_STEPS: Final = 100
_DECADES: Final = 6
"""How far into the tail points go: the last stands for one call in a million."""
_RESPONSE_WITHIN: Final = 1e-5
"""Figures are shown to a hundredth; each digit costs three passes over the points."""
_STEADY: Final = 0.0025
"""A squared coefficient of variation below which service counts as constant: a spread of 5 %."""


@dataclass(frozen=True, slots=True)
class Service:
    """The time a model takes for one request.

    Attributes:
        mean_s: Seconds, on average.
        scv: Squared coefficient of variation: variance over the square of the mean.
        points: Durations in seconds with their weights, shortest first.
    """

    mean_s: float
    scv: float
    points: tuple[tuple[float, float], ...]

    def quantile_s(self, share: float) -> float:
        """The time that a ``share`` of the requests, such as 0.99, does not exceed."""
        sums = list(itertools.accumulate(weight for _, weight in self.points))
        at = bisect.bisect_left(sums, share)
        return self.points[min(at, len(self.points) - 1)][0]

    def scaled(self, factor: float) -> Service:
        """The same with all times ``factor`` times as long."""
        points = tuple((time_s * factor, weight) for time_s, weight in self.points)
        return Service(self.mean_s * factor, self.scv, points)

    def response_s(self, waits: Waits, share: float) -> float:
        """Seconds of waiting and service that a ``share`` of the requests does not exceed.

        Args:
            waits: In units of the mean service time.
            share: Such as 0.99.

        Returns:
            The seconds; infinite where the line grows without end.
        """
        if not waits.delayed:
            return self.quantile_s(share)
        wait_s = waits.quantile(share) * self.mean_s
        if len(self.points) == 1 or math.isinf(wait_s):
            return wait_s + self.points[0][0]

        def later(time_s: float) -> float:
            return self.later(waits, time_s)

        guess_s = self.quantile_s(share) + wait_s
        return falls_to(1.0 - share, later, guess_s, within=_RESPONSE_WITHIN)

    def later(self, waits: Waits, time_s: float) -> float:
        """Share of requests whose waiting and service take longer than ``time_s``.

        Args:
            waits: In units of the mean service time.
            time_s: Seconds.
        """
        # those that take so long by themselves, and those whom only a wait nobody has would bring
        # there, need no exponential function
        slower = bisect.bisect_right(self.points, (time_s, math.inf))
        from_s = time_s - waits.longest * self.mean_s
        first = bisect.bisect_left(self.points, (from_s, 0.0))
        late = sum(weight for _, weight in self.points[slower:])
        return late + sum(
            weight * waits.beyond((time_s - own_s) / self.mean_s)
            for own_s, weight in self.points[first:slower]
        )


def of_mean(mean_s: float, scv: float) -> Service:
    """A service time of which only mean and spread are known.

    The usual fits to two moments (Tijms 2003, appendix B): constant, a mix of two Erlang
    distributions up to ``scv`` 1, of two exponentials above.

    Args:
        mean_s: Seconds, above 0.
        scv: Squared coefficient of variation, at least 0.
    """
    if scv < _STEADY:
        return Service(mean_s, scv, ((mean_s, 1.0),))
    fitted = tuple((mean_s * time, weight) for time, weight in _fitted(scv))
    return Service(mean_s, scv, fitted)


@lru_cache(maxsize=64)
def _fitted(scv: float) -> tuple[tuple[float, float], ...]:
    """Points of a distribution of mean 1."""
    later = _erlang_mix(scv) if scv <= 1.0 else _exponential_mix(scv)
    points = list(_sampled(later))
    mean = math.fsum(time * weight for time, weight in points)
    return tuple((time / mean, weight) for time, weight in points)


def of_times(times_s: Iterable[float] | Mapping[float, int]) -> Service:
    """A service time as it was recorded.

    Args:
        times_s: Seconds of each request, or how many requests took so many seconds.

    Raises:
        ConfigError: There are fewer than two, or one is no time.
    """
    counts = _counted(times_s)
    total = math.fsum(counts.values())
    mean_s = math.fsum(time_s * count for time_s, count in counts.items()) / total
    spread = math.fsum((time_s - mean_s) ** 2 * count for time_s, count in counts.items()) / total
    ordered = [(time_s, counts[time_s] / total) for time_s in sorted(counts)]
    return Service(mean_s, spread / mean_s**2, tuple(_thinned(ordered)))


def _counted(times_s: Any) -> dict[float, float]:
    if not isinstance(times_s, Iterable) or isinstance(times_s, (str, bytes)):
        raise ConfigError(
            f"service_times must be seconds of each call, not {type(times_s).__name__}."
        )
    pairs = times_s.items() if isinstance(times_s, Mapping) else ((one, 1) for one in times_s)
    counts: dict[float, float] = {}
    for number, (time_s, count) in enumerate(pairs):
        seconds, times = _number(time_s), _number(count)
        if not checks.LEAST <= seconds <= _LONGEST_S:
            raise ConfigError(
                f"service_times[{number}] is {_shown(time_s)}; each must be a number of seconds "
                "above 0."
            )
        if not 0 <= times <= _MOST_COUNTED:
            raise ConfigError(
                f"service_times counts {seconds:g} s {_shown(count)} times; give a number up to "
                f"{_MOST_COUNTED:g}."
            )
        if times:
            counts[seconds] = counts.get(seconds, 0.0) + times
    if sum(counts.values()) < 2:
        raise ConfigError("service_times holds fewer than two times; record some hundred.")
    return counts


_LONGEST_S: Final = 1e9
_MOST_COUNTED: Final = 1e15
"""Of each: with sums of such, and their squares, one can still reckon."""


def _number(value: object) -> float:
    """NaN where it is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return math.nan
    return checks.as_float(value)


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < _MOST_COUNTED else "too large"
    return text if len(text) < 40 else type(value).__name__


def _thinned(ordered: list[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """At most ``MAX_POINTS`` or so: neighbours become their mean, less so in the tail."""
    if len(ordered) <= MAX_POINTS:
        yield from ordered
        return
    edges = iter(_edges())
    edge, done = next(edges), 0.0
    weights = times = 0.0
    for time_s, weight in ordered:
        weights, times, done = weights + weight, times + weight * time_s, done + weight
        if done >= edge:
            yield times / weights, weights
            weights = times = 0.0
            while done >= edge:
                edge = next(edges, math.inf)
    if weights:
        yield times / weights, weights


def _edges() -> list[float]:
    """Shares at which a distribution is cut: even steps to 0.9, then each decade of the rest."""
    body = [step / _STEPS for step in range(1, round(0.9 * _STEPS) + 1)]
    per_decade = _STEPS // 3
    tail = [1.0 - 10 ** -(1.0 + step / per_decade) for step in range(1, per_decade * _DECADES)]
    return body + tail


def _sampled(later: Callable[[float], float]) -> Iterator[tuple[float, float]]:
    """Points of a distribution of mean 1, each in the middle of the share it stands for."""
    before, time = 0.0, 1.0
    for edge in [*_edges(), 1.0]:
        share = edge - before
        # the middle of the logarithm of what is left: even in the tail, where time goes as it does
        left = math.sqrt((1.0 - before) * (1.0 - edge)) if edge < 1.0 else (1.0 - before) / math.e
        time = falls_to(left, later, time)
        yield time, share
        before = edge


def _erlang_mix(scv: float) -> Callable[[float], float]:
    """A sum of ``phases - 1`` or of ``phases`` exponential times."""
    phases = math.ceil(1.0 / scv)
    short = (phases * scv - math.sqrt(phases * (1.0 + scv) - phases**2 * scv)) / (1.0 + scv)
    rate = phases - short

    def later(time: float) -> float:
        reach = rate * time
        term = math.exp(-reach)
        left = 0.0
        for phase in range(phases):
            left += term * (1.0 if phase < phases - 1 else 1.0 - short)
            term *= reach / (phase + 1)
        return left

    return later


def _exponential_mix(scv: float) -> Callable[[float], float]:
    """One of two exponential times, each of which makes half the mean."""
    first = (1.0 + math.sqrt((scv - 1.0) / (scv + 1.0))) / 2.0

    def later(time: float) -> float:
        slow = (1.0 - first) * math.exp(-2.0 * (1.0 - first) * time)
        return first * math.exp(-2.0 * first * time) + slow

    return later
