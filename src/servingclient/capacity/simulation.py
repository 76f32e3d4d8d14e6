"""A line before slots, played through call by call: what the formulas are held against.

For a user it answers what they cannot: service times with a long tail, arrivals from a log.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

from servingclient.capacity import checks
from servingclient.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Simulated:
    """What calls met, in order of size.

    Attributes:
        waits_s: Seconds each call waited for a slot.
        responses_s: Seconds each took, wait and service.
    """

    waits_s: tuple[float, ...]
    responses_s: tuple[float, ...]

    @property
    def delayed(self) -> float:
        """Share of calls that waited at all."""
        return sum(wait > 0.0 for wait in self.waits_s) / len(self.waits_s)

    @property
    def mean_wait_s(self) -> float:
        """Mean wait, over all calls."""
        return math.fsum(self.waits_s) / len(self.waits_s)

    def wait_s(self, share: float) -> float:
        """The wait that a ``share`` of the calls, such as 0.99, did not exceed."""
        return _at(self.waits_s, share)

    def response_s(self, share: float) -> float:
        """The response time that a ``share`` of the calls did not exceed."""
        return _at(self.responses_s, share)


def simulate(
    slots: int,
    gaps_s: Iterable[float],
    services_s: Iterable[float],
    *,
    discard: int = 0,
) -> Simulated:
    """Let calls come, wait in one line, and run.

    Args:
        slots: How many run at once.
        gaps_s: Seconds from each arrival to the next; its end ends the simulation.
        services_s: Seconds each call holds its slot.
        discard: So many calls from the start are not counted: the line begins empty.

    Returns:
        What the calls met.

    Raises:
        ConfigError: ``slots`` is no whole number from 1, or no call is left to count.

    Example:
        >>> import random
        >>> from servingclient.capacity import simulate
        >>> chance = random.Random(1)
        >>> met = simulate(
        ...     4,
        ...     (chance.expovariate(70.0) for _ in range(100_000)),
        ...     iter(lambda: chance.expovariate(1 / 0.040), None),
        ... )
        >>> round(met.wait_s(0.99), 1)
        0.1
    """
    checks.whole("slots", slots)
    free_at_s = [0.0] * slots  # a heap: the slot that is free first is the next call's
    now_s = 0.0
    waits_s: list[float] = []
    responses_s: list[float] = []
    for gap_s, service_s in zip(gaps_s, services_s, strict=False):
        now_s += gap_s
        start_s = max(free_at_s[0], now_s)
        heapq.heapreplace(free_at_s, start_s + service_s)
        waits_s.append(start_s - now_s)
        responses_s.append(start_s - now_s + service_s)
    if len(waits_s) <= discard:
        raise ConfigError(
            f"{len(waits_s):,} calls were simulated, and the first {discard:,} are not counted. "
            "Give more gaps_s and services_s."
        )
    return Simulated(tuple(sorted(waits_s[discard:])), tuple(sorted(responses_s[discard:])))


def _at(ordered: tuple[float, ...], share: float) -> float:
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]
