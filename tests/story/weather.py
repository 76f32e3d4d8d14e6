"""The weather of a schedule: what requests meet, drawn by chance."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import Final, NamedTuple

from servingclient._types import FaultKind, Sent

TICKS_S: Final = (0.0, 0.01, 0.01, 0.02, 0.05, 0.1, 0.3)
"""How long things take: few values, so that much falls on one instant."""
SLOW_TICKS_S: Final = (0.5, 1.0, 3.0, 4.9, 30.0, math.inf)
HINTS: Final = ("0", "1", "2", "7", "59", "3600", "nan", "-1")


class Weather(NamedTuple):
    """What requests meet, as shares; the rest goes well.

    Attributes:
        faults: Of calls whose connection breaks.
        refusals: Of calls that are answered 429, or 503 with Retry-After.
        errors: Of calls that are answered with another status.
        slow: Of calls and logins that take long, or for ever.
        denied: Of calls whose token is refused although it should be good.
        logins: Of logins and descriptions that fail.
    """

    faults: float = 0.0
    refusals: float = 0.0
    errors: float = 0.0
    slow: float = 0.0
    denied: float = 0.0
    logins: float = 0.0


CALM: Final = Weather()
WEATHERS: Final = (
    CALM,
    Weather(faults=0.6),
    Weather(refusals=0.7),
    Weather(errors=0.6),
    Weather(slow=0.6),
    Weather(denied=0.4),
    Weather(logins=0.7),
    Weather(1.0),
    Weather(refusals=1.0),
    Weather(logins=1.0),
    Weather(0.15, 0.15, 0.15, 0.15, 0.1, 0.3),
)


class Fate(NamedTuple):
    """What one request meets.

    Attributes:
        takes_s: Until the reply, or until what broke it.
        status: Of the reply.
        fault: What broke it instead.
        sent: What the client is told of a fault.
        runs: Whether the model really ran it.
        hint: The Retry-After of the reply.
        code: The error code in its body.
    """

    takes_s: float
    status: int = 200
    fault: FaultKind | None = None
    sent: Sent = "maybe"
    runs: bool = True
    hint: str | None = None
    code: str | None = None


def of_call(weather: Weather, chance: random.Random, *, good: bool, max_idle_s: float) -> Fate:
    """What a call meets.

    Args:
        weather: Of the moment.
        chance: What is drawn from.
        good: Its token is one that should be taken.
        max_idle_s: Longest that its connection may have been idle.
    """
    takes_s = _takes_s(weather, chance)
    if not good or chance.random() < weather.denied:
        return Fate(takes_s, 401, runs=False, code="401")
    dice = chance.random()
    if dice < weather.faults:
        return _broken(chance, takes_s, max_idle_s)
    if dice < weather.faults + weather.refusals:
        return _refused(chance, takes_s)
    if dice < weather.faults + weather.refusals + weather.errors:
        return _failed(chance, takes_s)
    return Fate(takes_s)


def of_login(weather: Weather, chance: random.Random) -> Fate:
    """What a login or the reading of a description meets."""
    takes_s = _takes_s(weather, chance)
    if chance.random() >= weather.logins:
        return Fate(takes_s)
    return chance.choice(
        (
            Fate(takes_s, 500),
            Fate(takes_s, 429),
            Fate(takes_s, 401),
            Fate(takes_s, 0, FaultKind.NOT_CONNECTED, "no"),
            Fate(takes_s, 0, FaultKind.CUT_OFF),
            Fate(math.inf),
        )
    )


def _takes_s(weather: Weather, chance: random.Random) -> float:
    slow = chance.random() < weather.slow
    return chance.choice(SLOW_TICKS_S if slow else TICKS_S)


def _broken(chance: random.Random, takes_s: float, max_idle_s: float) -> Fate:
    kinds: Sequence[tuple[FaultKind, Sent]] = [
        (FaultKind.NOT_CONNECTED, "no"),
        (FaultKind.NO_NAME, "no"),
        (FaultKind.TLS, "no"),
        (FaultKind.CUT_OFF, "maybe"),
        (FaultKind.CUT_OFF, "no"),
        (FaultKind.UNREADABLE, "maybe"),
        (FaultKind.CORRUPT, "yes"),
        (FaultKind.TOO_LARGE, "yes"),
    ]
    if max_idle_s > 0.0:  # a new connection has not been idle
        kinds = [*kinds, (FaultKind.STALE, "maybe"), (FaultKind.STALE, "maybe")]
    kind, sent = chance.choice(kinds)
    runs = sent == "yes" or (sent == "maybe" and chance.random() < 0.5)
    return Fate(takes_s, 0, kind, sent, runs)


def _refused(chance: random.Random, takes_s: float) -> Fate:
    hint = chance.choice((None, None, *HINTS))
    if chance.random() < 0.7:
        return Fate(takes_s, 429, runs=False, hint=hint)
    return Fate(takes_s, 503, runs=chance.random() < 0.5, hint=hint)


def _failed(chance: random.Random, takes_s: float) -> Fate:
    status = chance.choice((302, 400, 403, 404, 404, 408, 413, 415, 500, 502, 504))
    if status in (403, 413, 415):
        return Fate(takes_s, status, runs=False)
    code = None
    if status == 404:  # of the front end, or of a model that had run
        code = chance.choice(("ENDPOINT_NOT_FOUND", "RESOURCE_DOES_NOT_EXIST"))
        return Fate(takes_s, status, runs=code != "ENDPOINT_NOT_FOUND", code=code)
    return Fate(takes_s, status, runs=chance.random() < 0.5, code=code)
