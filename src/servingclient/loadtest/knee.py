"""Which rates to try to find the knee: the highest rate at which the goal is still met. Pure."""

from __future__ import annotations

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
    """

    qps: float
    missed_qps: float | None
    trials: int


Search = Generator[float, bool, Knee]
"""Yields the rate to try next and is sent whether it met the goal; returns what was found."""


def search(
    start_qps: float, *, most_qps: float, trials: int = 10, precision: float = 0.05
) -> Search:
    """Try rates upwards until one misses the goal, then halve the gap.

    Args:
        start_qps: The first rate.
        most_qps: None above this one is tried.
        trials: Most rates tried.
        precision: Ends when the two bounds are within this share of each other.

    Raises:
        ConfigError: The bounds are none.
    """
    if not (0.0 < start_qps <= most_qps and trials > 0 and precision > 0.0):
        raise ConfigError(
            f"The knee cannot be looked for from {start_qps:g} to {most_qps:g} calls/s in {trials} "
            "trials: give a start above 0, an end not below it, and at least one trial."
        )
    met, missed, done, qps = 0.0, None, 0, start_qps
    while done < trials and (missed is None or missed > met * (1.0 + precision)):
        if (yield qps):
            met = qps
            if missed is None and qps >= most_qps:
                done += 1
                break
        else:
            missed = qps
        done += 1
        qps = min(most_qps, met * _GROWTH) if missed is None else _between(met, missed)
    return Knee(met, missed, done)


def _between(met: float, missed: float) -> float:
    """The rate to try next; below a first one that missed, a fraction of it."""
    return (met * missed) ** 0.5 if met else missed / 2.0
