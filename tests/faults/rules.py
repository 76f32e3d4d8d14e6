"""Which connection or reply gets which toxics, and when. Pure functions that make pure functions.

A rule is asked when a connection was accepted, and again for each request and each reply, so a rule
that changes with time also changes connections that are open::

    proxy.use(always(Latency(0.2)))
    proxy.use(share(0.1, DripBody(0.2), seed=3))              # a tenth of the connections
    proxy.use(every(20, CutBody("rst")))                      # each 20th reply
    proxy.use(phases((10.0, nothing), (20.0, always(Blackhole())), (math.inf, nothing)))
    proxy.use(both(always(FinAfter(10)), share(0.1, Latency(1.0))))
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from tests.faults.toxics import Toxic, Toxics


class Moment(NamedTuple):
    """What a rule goes by.

    Attributes:
        connection: Number of the connection, from 0 over the life of the proxy.
        request: Number of the request it is about, from 0 over the life of the proxy; None when the
            connection was just accepted.
        at_s: Seconds since the rule is in force.
    """

    connection: int
    request: int | None
    at_s: float


Rule = Callable[[Moment], Toxics]


def nothing(moment: Moment) -> Toxics:
    """All is well."""
    return ()


def always(*toxics: Toxic) -> Rule:
    """For everybody."""
    return lambda moment: toxics


def connections(*numbers: int, toxics: Toxics) -> Rule:
    """For connections of these numbers."""
    return lambda moment: toxics if moment.connection in numbers else ()


def every_connection(nth: int, *toxics: Toxic) -> Rule:
    """For each ``nth`` connection."""
    return lambda moment: toxics if moment.connection % nth == nth - 1 else ()


def every(nth: int, *toxics: Toxic) -> Rule:
    """For each ``nth`` request, counted over all connections."""

    def rule(moment: Moment) -> Toxics:
        if moment.request is None:
            return ()
        return toxics if moment.request % nth == nth - 1 else ()

    return rule


def share(part: float, *toxics: Toxic, seed: int = 1) -> Rule:
    """For a share of the connections, drawn by seed and number."""
    return lambda moment: toxics if _drawn(seed, moment.connection) < part else ()


def share_of_requests(part: float, *toxics: Toxic, seed: int = 1) -> Rule:
    """For a share of the requests, drawn by seed and number."""

    def rule(moment: Moment) -> Toxics:
        if moment.request is None:
            return ()
        return toxics if _drawn(seed, moment.request) < part else ()

    return rule


def phases(*timed: tuple[float, Rule]) -> Rule:
    """One rule after the other; each is in force for its seconds. After the last, nothing."""

    def rule(moment: Moment) -> Toxics:
        left_s = moment.at_s
        for seconds, one in timed:
            if left_s < seconds:
                return one(moment._replace(at_s=left_s))
            left_s -= seconds
        return ()

    return rule


def changing(toxics_at: Callable[[float], Toxics]) -> Rule:
    """For everybody, what ``toxics_at`` says of the seconds since the rule is in force."""
    return lambda moment: toxics_at(moment.at_s)


def both(*rules: Rule) -> Rule:
    """The toxics of all of them, in this order."""
    return lambda moment: tuple(toxic for rule in rules for toxic in rule(moment))


def _drawn(seed: int, number: int) -> float:
    return random.Random(f"{seed}:{number}").random()
