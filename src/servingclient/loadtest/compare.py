"""Whether two trials differ by more than chance. Pure.

Seconds of one trial resemble their neighbours, so they are resampled in runs (moving block
bootstrap, Künsch 1989) of about the square root of their number. A difference whose interval holds
no change is not called one.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from servingclient.errors import ConfigError
from servingclient.loadtest.trial import Point, Trial
from servingclient.telemetry.histogram import merged

RESAMPLES: Final = 500
_LEAST_SECONDS: Final = 8
"""With fewer seconds there is little to draw from."""

_SHARES: Final = (0.5, 0.9, 0.99)
NAMES: Final = ("P50", "P90", "P99", "goodput")
_LESS_IS_BETTER: Final = frozenset({"P50", "P90", "P99"})


class Change(NamedTuple):
    """One figure of two trials.

    Attributes:
        name: What it is.
        before: In the first trial.
        after: In the second.
        ratio: After over before.
        low: Lower end of its confidence interval.
        high: Upper end.
        verdict: ``"better"``, ``"worse"``, or ``"no difference shown"``.
    """

    name: str
    before: float
    after: float
    ratio: float
    low: float
    high: float
    verdict: str


def compare(
    before: Trial, after: Trial, *, confidence: float = 0.95, seed: int = 0
) -> tuple[Change, ...]:
    """Compare latency and goodput of two trials.

    Args:
        before: The first.
        after: The second.
        confidence: Of the intervals.
        seed: Of the resampling.

    Raises:
        ConfigError: One is too short, was not answered, or is not to be believed.
    """
    for trial in (before, after):
        _check(trial)
    if not 0.0 < confidence < 1.0:
        raise ConfigError("confidence lies between 0 and 1, such as 0.95.")
    rand = random.Random(seed)  # noqa: S311 - resampling, no secret
    first, second = _Measured.of(before), _Measured.of(after)
    old, new = first.figures(first.points), second.figures(second.points)
    drawn = [
        tuple(map(_ratio, first.resampled(rand), second.resampled(rand))) for _ in range(RESAMPLES)
    ]
    return tuple(
        _change(name, old[place], new[place], [ratios[place] for ratios in drawn], confidence)
        for place, name in enumerate(NAMES)
    )


def _check(trial: Trial) -> None:
    if trial.doubts:
        raise ConfigError(f"The trial with {trial.load} is not to be believed: {trial.doubts[0]}.")
    answered = [point for point in trial.measured if point.latency.count]
    if len(answered) < _LEAST_SECONDS:
        raise ConfigError(
            f"The trial with {trial.load} has {len(answered)} seconds with answers; to compare it, "
            f"measure at least {_LEAST_SECONDS}."
        )


class _Measured(NamedTuple):
    """What counts of a trial.

    Attributes:
        points: Every second, those without a call due too: a rate is a mean over all of them.
        seconds: How long they are together; the last may be a part of one.
    """

    points: Sequence[Point]
    seconds: float

    @classmethod
    def of(cls, trial: Trial) -> _Measured:
        return cls(trial.measured, trial.seconds)

    def figures(self, points: Sequence[Point]) -> list[float]:
        """Those of ``NAMES``, of as many seconds: three latencies, and good answers a second."""
        latency = merged(point.latency for point in points if point.calls).quantiles(_SHARES)
        good = sum(point.good for point in points) / self.seconds
        return [math.nan if value is None else value for value in latency] + [good]

    def resampled(self, rand: random.Random) -> list[float]:
        """The figures of as many seconds, drawn in runs of neighbours that go on at the start."""
        points, count = self.points, len(self.points)
        run = math.ceil(math.sqrt(count))
        drawn: list[Point] = []
        while len(drawn) < count:
            first = rand.randrange(count)
            drawn += [points[(first + i) % count] for i in range(run)]
        return self.figures(drawn[:count])


def _change(
    name: str, before: float, after: float, drawn: Sequence[float], confidence: float
) -> Change:
    # seconds drawn without an answer have no latency, and nothing sorts around a NaN
    ratios = sorted(ratio for ratio in drawn if not math.isnan(ratio)) or [math.nan]
    tail, count = (1.0 - confidence) / 2.0, len(ratios)
    low = ratios[int(tail * count)]
    high = ratios[min(count - 1, math.ceil((1.0 - tail) * count))]
    verdict = "no difference shown"
    if low > 1.0 or high < 1.0:
        verdict = "better" if (high < 1.0) == (name in _LESS_IS_BETTER) else "worse"
    return Change(name, before, after, _ratio(before, after), low, high, verdict)


def _ratio(before: float, after: float) -> float:
    if before:
        return after / before
    return math.inf if after else 1.0
