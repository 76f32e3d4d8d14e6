"""Which rates to try to find the knee: the highest rate at which the goal is still met. Pure."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import NamedTuple

from servingclient.errors import ConfigError

_GROWTH = 1.6
"""Factor from one rate to the next while all is well: finds the decade in few trials, and oversteps
the knee by little (an endpoint pushed far above it takes long to recover)."""


class Knee(NamedTuple):
    """What the trials have shown.

    Attributes:
        qps: Highest rate that met the goal; 0.0 if none did.
        missed_qps: Lowest rate that missed it; None if none did.
        trials: How many rates were tried.
        deciding: Which of the trials, from 0, are behind the two rates; empty where that is not
            known, and any of them may be.
    """

    qps: float
    missed_qps: float | None
    trials: int
    deciding: tuple[int, ...] = ()


Search = Generator[float, bool | None, Knee]
"""Yields the rate to try next and is sent whether it met the goal, or None where that cannot be
told and the search ends; returns what was found."""


def search(
    start_qps: float, *, most_qps: float, trials: int = 10, precision: float = 0.05
) -> Search:
    """Try rates upwards until one misses the goal, then halve the gap. Bounds are checked at once.

    Args:
        start_qps: The first rate.
        most_qps: None above this one is tried.
        trials: Most rates tried.
        precision: Ends when the two bounds are within this share of each other.

    Raises:
        ConfigError: The bounds are none.
    """
    bounded = 0.0 < start_qps <= most_qps and math.isfinite(start_qps)
    if not (bounded and trials > 0 and precision > 0.0):
        raise ConfigError(
            f"The knee cannot be looked for from {start_qps:g} to {most_qps:g} calls/s in {trials} "
            "trials, to within a share of "
            f"{precision:g}: give a start above 0, an end not below it, at least one trial, and a "
            "share above 0."
        )
    return _search(start_qps, most_qps, trials, precision)


def _search(start_qps: float, most_qps: float, trials: int, precision: float) -> Search:
    met, missed = _Bound(0.0), _Bound(math.inf)
    done, qps = 0, start_qps
    while done < trials and missed.qps > met.qps * (1.0 + precision):
        held = yield qps
        if held is None:
            break
        if held:
            met = _Bound(qps, done)
        else:
            missed = _Bound(qps, done)
        done += 1
        if met.qps >= most_qps:
            break
        qps = _next(met.qps, missed.qps, most_qps)
    deciding = tuple(bound.trial for bound in (met, missed) if bound.trial is not None)
    return Knee(met.qps, None if missed.trial is None else missed.qps, done, deciding)


class _Bound(NamedTuple):
    """A rate, and which trial it is from; None as long as none has set it."""

    qps: float
    trial: int | None = None


def _next(met: float, missed: float, most: float) -> float:
    """The rate to try next: upwards while all is well; below a first miss, a fraction of it."""
    if missed == math.inf:
        return min(most, met * _GROWTH)
    return math.sqrt(met * missed) if met else missed / 2.0
