"""How long calls wait for a slot: the mean, and the tail the mean hides.

Calls arrive at random (Poisson), wait in one line, first in first out, and take one of ``slots``
for their service time. Loads are in erlangs: calls a second times seconds of service. Times are in
units of the mean service time unless a name ends in ``_s``.

Sources, by what varies:

* Exponential service, M/M/c: Erlang's formulas (1917), exact.
* Constant service, M/D/c: Crommelin (1932), exact; see :mod:`~servingclient.capacity.constant`.
* Anything between: what is known of the two ends, weighed by the squared coefficient of variation
  of the service (Tijms, *A First Course in Stochastic Models*, 2003, chapter 9.6).
* Arrivals that are not Poisson: waits stretched by the ratio of Allen and Cunneen (1978).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from servingclient.capacity import checks, constant

MAX_SLOTS: Final = 4096
"""What one workspace may have; the recursions below are linear in it."""
_NOBODY: Final = 1e-9
"""A chance of having to wait below which the rest is rounding error."""
_NEVER: Final = -math.log(_NOBODY)
_EXPONENTIAL_WITHIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Waits:
    """How long calls wait: ``P(wait > t) = tail e^(-slow t) - (tail - delayed) e^(-fast t)``.

    The first term is what the true distribution tends to, the second corrects it near 0 so that the
    chance of waiting and the mean wait are right.

    Attributes:
        delayed: Share of calls that wait at all.
        mean: Mean wait, over all calls.
        tail: Weight of the slow term.
        slow: Its rate of decay.
        fast: Rate of decay of the correction; infinite where none is needed.
    """

    delayed: float
    mean: float
    tail: float = 0.0
    slow: float = math.inf
    fast: float = math.inf

    @property
    def longest(self) -> float:
        """A wait that fewer than one call in a thousand million exceeds."""
        slowest = min(self.slow, self.fast)
        return _NEVER / slowest if slowest else math.inf

    def beyond(self, wait: float) -> float:
        """Share of calls that wait longer than ``wait``."""
        if wait < 0.0:
            return 1.0
        if not self.delayed or math.isinf(wait):
            return 0.0
        left = self.tail * math.exp(-self.slow * wait)
        if math.isfinite(self.fast):
            left -= (self.tail - self.delayed) * math.exp(-self.fast * wait)
        return min(max(left, 0.0), self.delayed)

    def quantile(self, share: float) -> float:
        """The wait that a ``share`` of the calls, such as 0.99, does not exceed."""
        late = 1.0 - share
        if self.delayed <= late:
            return 0.0
        return falls_to(late, self.beyond, 1.0 / self.slow) if self.slow else math.inf

    def stretched(self, factor: float) -> Waits:
        """The same with all waits ``factor`` times as long."""
        return Waits(
            self.delayed, self.mean * factor, self.tail, self.slow / factor, self.fast / factor
        )


def erlang_b(slots: int, load: float) -> float:
    """Share of calls turned away where nobody may wait (Erlang B).

    The recursion over slots only adds and divides positive numbers, so it is stable for any number
    of them; the formula's factorials overflow at 171.

    Args:
        slots: How many calls run at once, from 1 to 4,096.
        load: Calls a second times mean seconds of service.

    Raises:
        ConfigError: A number is outside that.
    """
    _check(slots, load)
    refused = 1.0
    for number in range(1, slots + 1):
        refused = load * refused / (number + load * refused)
    return refused


def erlang_c(slots: int, load: float) -> float:
    """Share of calls that have to wait, under exponential service (Erlang C).

    Args:
        slots: How many calls run at once, from 1 to 4,096.
        load: Calls a second times mean seconds of service.

    Returns:
        The share; 1.0 where the load is too much, and the line grows without end.

    Raises:
        ConfigError: A number is outside that.
    """
    refused = erlang_b(slots, load)
    if load >= slots:
        return 1.0
    return refused / (1.0 - load / slots * (1.0 - refused))


def allen_cunneen(slots: int, load: float, scv: float = 1.0, arrival_scv: float = 1.0) -> float:
    """Mean wait, in units of the mean service time, where arrivals and service vary as they like.

    Allen and Cunneen's approximation: the mean wait of M/M/c times ``(arrival_scv + scv) / 2``.
    :func:`waits` is closer for steady service on many slots; this is the formula people check with.

    Args:
        slots: How many calls run at once, from 1 to 4,096.
        load: Calls a second times mean seconds of service.
        scv: Squared coefficient of variation of the service time: 0 constant, 1 exponential.
        arrival_scv: The same of the time between arrivals: 1 random, 0 clockwork.

    Raises:
        ConfigError: A number is outside that.
    """
    _check(slots, load, scv, arrival_scv)
    if load >= slots:
        return math.inf
    return erlang_c(slots, load) / (slots - load) * (arrival_scv + scv) / 2.0


def waits(slots: int, load: float, scv: float = 1.0, arrival_scv: float = 1.0) -> Waits:
    """How long calls wait, in units of the mean service time.

    Held against simulation by ``benchmarks/bench_capacity.py``: P99 within 15 % for constant and
    exponential service at 0.5 to 0.9 busy. Where ``scv`` is above 2 the tail of the service time
    decides, which no two numbers describe: simulate (:func:`~servingclient.capacity.simulate`).

    Args:
        slots: How many calls run at once, from 1 to 4,096.
        load: Calls a second times mean seconds of service.
        scv: Squared coefficient of variation of the service time: 0 constant, 1 exponential.
        arrival_scv: The same of the time between arrivals: 1 random, 0 clockwork.

    Returns:
        Their distribution. Where the load is too much, the mean is infinite and so are quantiles.

    Raises:
        ConfigError: A number is outside that.
    """
    _check(slots, load, scv, arrival_scv)
    if load >= slots:
        return Waits(1.0, math.inf, 1.0, 0.0)
    found = _poisson_arrivals(slots, load, scv)
    if arrival_scv == 1.0:
        return found
    # clockwork at both ends: nobody waits, and 0 cannot be divided by
    ratio = (arrival_scv + scv) / (1.0 + scv)
    return found.stretched(ratio) if ratio else Waits(0.0, 0.0)


@lru_cache(maxsize=4096)
def _poisson_arrivals(slots: int, load: float, scv: float) -> Waits:
    delayed = erlang_c(slots, load)
    if delayed < _NOBODY:
        return Waits(0.0, 0.0)
    rate = slots - load
    if abs(scv - 1.0) < _EXPONENTIAL_WITHIN:
        return Waits(delayed, delayed / rate, delayed, rate)
    steady = constant.waits(slots, load)

    def weighed(constant: float, exponential: float) -> float:
        return (1.0 - scv) * constant + scv * exponential

    # drawn beyond exponential the line leads too far up: simulated, as many wait as do there
    share = min(weighed(steady.delayed, delayed), delayed)
    mean = weighed(steady.mean, delayed / rate)
    slow = 1.0 / weighed(1.0 / steady.slow, 1.0 / rate)
    tail = max(weighed(steady.tail, delayed), 0.0)
    return _matched(share, mean, tail, slow)


def _matched(delayed: float, mean: float, tail: float, slow: float) -> Waits:
    """The correction near 0 that makes the mean right.

    The mean is the area below ``beyond``: ``tail / slow - (tail - delayed) / fast``.
    """
    if mean <= 0.0 or delayed < _NOBODY:
        return Waits(0.0, 0.0)
    area = tail / slow - mean
    excess = tail - delayed
    if area * excess <= 0.0 or not tail:
        return Waits(delayed, mean, delayed, delayed / mean)
    return Waits(delayed, mean, tail, slow, excess / area)


def falls_to(
    level: float, falling: Callable[[float], float], guess: float, within: float = 1e-9
) -> float:
    """Where a function that falls towards 0 reaches ``level``.

    Args:
        level: Above 0.
        falling: The function, of numbers from 0 on.
        guess: Some number of the right order.
        within: How exactly, as a share of the number.

    Returns:
        The number; infinite where the function does not fall.
    """
    if math.isinf(guess):
        return math.inf
    low, high = 0.0, max(guess, _NOBODY)
    while falling(high) > level:
        low, high = high, 2.0 * high
        if math.isinf(high):
            return high
    while high - low > within * high:
        middle = (low + high) / 2.0
        if falling(middle) > level:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True, slots=True)
class ClosedLoop:
    """What clients see that each wait for their answer before they call again.

    Attributes:
        qps: Calls a second of all of them together.
        latency_s: How long one call takes.
    """

    qps: float
    latency_s: float


def closed_loop(clients: int, slots: int, service_s: float, overhead_s: float = 0.0) -> ClosedLoop:
    """What a load test with so many clients shows, where service takes the same time each call.

    The bound of operational analysis (Denning and Buzen, 1978), which constant service reaches: one
    client makes ``1 / (overhead_s + service_s)`` calls a second, all together no more than ``slots
    / service_s``; the latency follows by Little's law.

    Args:
        clients: How many, from 1.
        slots: Calls that run at once, from 1 to 4,096.
        service_s: Seconds a call holds its slot.
        overhead_s: Seconds it takes besides.

    Raises:
        ConfigError: A number is outside that.
    """
    checks.whole("clients", clients)
    checks.whole("slots", slots, most=MAX_SLOTS)
    checks.number("service_s", service_s, above=True)
    checks.number("overhead_s", overhead_s)
    qps = min(clients / (overhead_s + service_s), slots / service_s)
    return ClosedLoop(qps, clients / qps)


def _check(slots: int, load: float, scv: float = 1.0, arrival_scv: float = 1.0) -> None:
    checks.whole("slots", slots, most=MAX_SLOTS)
    checks.number("load", load)
    checks.number("scv", scv, most=checks.MOST_SCV)
    checks.number("arrival_scv", arrival_scv, most=checks.MOST_SCV)
