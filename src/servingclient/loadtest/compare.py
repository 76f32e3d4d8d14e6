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
    old, new = _figures(before.measured), _figures(after.measured)
    drawn = [
        tuple(map(_ratio, _resampled(before.measured, rand), _resampled(after.measured, rand)))
        for _ in range(RESAMPLES)
    ]
    return tuple(
        _change(name, old[place], new[place], sorted(ratios[place] for ratios in drawn), confidence)
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


def _figures(points: Sequence[Point]) -> list[float]:
    """Those of ``NAMES``: three latencies in seconds, and good answers a second."""
    latency = merged(point.latency for point in points).quantiles(_SHARES)
    good = sum(point.good for point in points) / len(points)
    return [math.nan if value is None else value for value in latency] + [good]


def _change(
    name: str, before: float, after: float, ratios: Sequence[float], confidence: float
) -> Change:
    tail = (1.0 - confidence) / 2.0
    low = ratios[int(tail * RESAMPLES)]
    high = ratios[min(RESAMPLES - 1, math.ceil((1.0 - tail) * RESAMPLES))]
    verdict = "no difference shown"
    if low > 1.0 or high < 1.0:
        verdict = "better" if (high < 1.0) == (name in _LESS_IS_BETTER) else "worse"
    return Change(name, before, after, _ratio(before, after), low, high, verdict)


def _ratio(before: float, after: float) -> float:
    return after / before if before else math.inf


def _resampled(points: Sequence[Point], rand: random.Random) -> list[float]:
    """The figures of as many seconds, drawn in runs of neighbours that go on at the start."""
    count = len(points)
    run = math.ceil(math.sqrt(count))
    drawn: list[Point] = []
    while len(drawn) < count:
        first = rand.randrange(count)
        drawn += [points[(first + i) % count] for i in range(run)]
    return _figures(drawn[:count])
