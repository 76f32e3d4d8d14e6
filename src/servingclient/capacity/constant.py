"""Waiting where each call takes the same time, M/D/c: exact chance, mean and tail.

After Crommelin (1932). Look at the line every service time: who was in service is gone, a Poisson
number has come. So the number of calls has the generating function ::

    P(z) = K (z - 1) (z - z_1) ... (z - z_(c-1)) / (1 - z^c e^(load (1 - z)))

where ``1, z_1, ...`` are the zeros of the denominator within the unit circle, and ``K = -(c - load)
/ ((1 - z_1) ... (1 - z_(c-1)))`` makes ``P(1) = 1``. The chance of finding a slot free is the
coefficient of ``z^c`` in the numerator, ``-K``; the mean is ``P'(1)``; the tail decays as the zero
of the denominator next beyond 1 says, with the residue there as its weight.
"""

from __future__ import annotations

import cmath
import math
from typing import Final, NamedTuple

_SWEEPS: Final = 200
_EXACT: Final = 1e-15


class ConstantWaits(NamedTuple):
    """Waits in units of the service time.

    Attributes:
        delayed: Share of calls that wait at all.
        mean: Mean wait, over all calls.
        tail: ``P(wait > t)`` tends to ``tail e^(-slow t)``.
        slow: See ``tail``.
    """

    delayed: float
    mean: float
    tail: float
    slow: float


def waits(slots: int, load: float) -> ConstantWaits:
    """How long calls wait.

    Args:
        slots: How many calls run at once.
        load: Calls per service time; above 0 and below ``slots``.
    """
    next_zero = _zero_beyond_one(slots, load)
    log_free = math.log(slots - load)
    log_tail = math.log((slots - load) / (load - slots / next_zero)) - slots * math.log(next_zero)
    in_line = (load * load - slots * slots + slots) / (2.0 * (slots - load))
    # zeros come in conjugate pairs, and only real parts count: half of them will do
    for number in range(1, slots // 2 + 1):
        times = 1.0 if 2 * number == slots else 2.0
        zero = _zero_within(number, slots, load)
        log_free -= times * math.log(abs(1.0 - zero))
        log_tail += times * math.log(abs(next_zero - zero) / abs(1.0 - zero))
        in_line += times * (1.0 / (1.0 - zero)).real
    return ConstantWaits(
        max(1.0 - math.exp(log_free), 0.0),
        max(in_line / load, 0.0),
        math.exp(log_tail),
        load * (next_zero - 1.0),
    )


def _zero_within(number: int, slots: int, load: float) -> complex:
    """The zero with ``z = root of unity * e^(load (z - 1) / slots)``, by Newton's method."""
    share = load / slots
    root = cmath.exp(2j * math.pi * number / slots)
    zero = 0j
    for sweep in range(_SWEEPS):
        image = root * cmath.exp(share * (zero - 1.0))
        # the map contracts, Newton may leap: a few plain steps first
        step = image - zero if sweep < 3 else (image - zero) / (1.0 - share * image)
        zero += step
        if abs(step) < _EXACT:
            break
    return zero


def _zero_beyond_one(slots: int, load: float) -> float:
    """Where ``slots ln z = load (z - 1)``, beyond the largest distance of the two."""

    def gap(z: float) -> float:
        return slots * math.log(z) - load * (z - 1.0)

    low = slots / load
    high = 2.0 * low
    while gap(high) > 0.0:
        low, high = high, 2.0 * high
    for _ in range(_SWEEPS):
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        low, high = (middle, high) if gap(middle) > 0.0 else (low, middle)
    return high
