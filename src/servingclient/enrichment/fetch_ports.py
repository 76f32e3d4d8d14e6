"""What the story of a request needs of the world. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from servingclient._ports import Gate, Wire
from servingclient.enrichment.figures import Figures
from servingclient.policies.breaker import Breaker
from servingclient.policies.quota import Quota
from servingclient.policies.ratelimit import Bucket


@dataclass(frozen=True, slots=True)
class Ports:
    """What the story needs of the world.

    Attributes:
        now: The monotonic clock, in seconds.
        wall: The wall clock, in seconds since 1970.
        sleep: Waits; ends early when the client is closed.
        rand: A number in [0, 1).
        wire: Sends.
        gate: Admits so many at once.
        breaker: Says when to leave the API alone; None never does.
        bucket: Says how fast to ask.
        quota: Tokens for retries.
        provide: Gives header lines for one request, before a deadline; None where they are fixed.
        figures: Counts.
    """

    now: Callable[[], float]
    wall: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rand: Callable[[], float]
    wire: Wire
    gate: Gate
    breaker: Breaker | None
    bucket: Bucket
    quota: Quota
    provide: Callable[[float], Awaitable[object]] | None
    figures: Figures
