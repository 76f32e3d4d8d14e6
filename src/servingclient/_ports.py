"""What the story needs from the world. Two small classes behind each, one per colour.

A sync port is ``async def`` that blocks and never suspends, so that ``_step.run`` can step it.
Every wait takes a deadline: an instant of the client's monotonic clock, in seconds.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from servingclient._types import Origin, RawHeaders, Reply, Target
from servingclient._watching import Observer, Tracer
from servingclient.payload.signature import Schema
from servingclient.policies.compression import Compression
from servingclient.policies.hedge import HedgePolicy
from servingclient.policies.quota import Quota
from servingclient.telemetry.recorder import Recorder

T = TypeVar("T")

Guard = AbstractContextManager[object]
"""Makes a few lines atomic: a lock where threads share a client, nothing on an event loop."""


class Clock(Protocol):
    """Time."""

    def now(self) -> float:
        """Seconds on a clock that never jumps."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""


class Random(Protocol):
    """Chance."""

    def random(self) -> float:
        """A number in [0, 1)."""


class StreamedReply(Protocol):
    """A reply whose body arrives in pieces. The connection is held until ``aclose``."""

    status: int
    headers: RawHeaders

    def chunks(self, deadline_s: float = math.inf) -> AsyncGenerator[bytes, None]:
        """The decoded body, piece by piece; waits at most the idle limit for each.

        Args:
            deadline_s: Instant at which to give up, for a body that is read as a whole.

        Raises:
            WireFault: The stream broke, or nothing came in time.
        """

    async def aclose(self) -> None:
        """Give the connection back, or drop it when the reply was not read to its end."""


class Wire(Protocol):
    """Sends one request and reads one reply. Nothing here knows of retries or tokens."""

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """One exchange.

        Args:
            target: Where to, with which headers.
            body: The request's body; may be empty.
            deadline_s: Instant at which to give up.
            max_idle_s: Reuse no connection that idled longer; 0 asks for a new one.

        Raises:
            WireFault: No complete reply; says what is known.
        """

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> StreamedReply:
        """Like ``send``, but returns at the end of the reply's head."""

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Open connections ahead of the first calls."""


class Second(Protocol):
    """The second request of a call, as long as it is not sent."""

    def admitted(self) -> bool:
        """The first is late: whether a second may leave, which then has a place of its own."""

    def unsent(self) -> None:
        """It was admitted and could not be sent after all."""


class Hedged(NamedTuple):
    """How a call that may be sent twice was answered.

    Attributes:
        reply: The reply to go on with.
        won: The second request brought it.
        other: What the other request was answered, where that came first and was no good.
    """

    reply: Reply
    won: bool = False
    other: Reply | None = None


class HedgingWire(Protocol):
    """Sends one request, or two when the reply is late. Who loses is ended, its lane closed."""

    async def send(
        self,
        target: Target,
        body: bytes,
        deadline_s: float,
        *,
        max_idle_s: float,
        after_s: float,
        second: Second,
    ) -> Hedged:
        """One or two exchanges.

        The first reply counts, unless the other request may do better than it (see
        ``policies.hedge.choice``): then both are waited for.

        Args:
            target: Where to, with which headers.
            body: The request's body.
            deadline_s: Instant at which to give up.
            max_idle_s: Reuse no connection that idled longer.
            after_s: Seconds without a reply after which ``second`` is asked.
            second: Says whether the second request may leave.

        Raises:
            WireFault: No complete reply to either; says what is known of the first.
        """


class Hedging(NamedTuple):
    """What a client that hedges has for it."""

    policy: HedgePolicy
    wire: HedgingWire


class Gate(Protocol):
    """Admission before the connections, as many at once as the endpoint takes.

    Those who wait go by priority, within one priority who comes again before the others, else first
    in, first out; every eighth turn goes to whoever waits longest.
    """

    @property
    def room(self) -> bool:
        """Whether ``try_enter`` would admit a call now."""

    def try_enter(self) -> bool:
        """Take a place if one is free and nobody waits."""

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        """Wait for a place.

        Args:
            deadline_s: Instant at which to give up.
            priority: 0 is critical, 1 the default, 2 batch.
            size_bytes: Of the request that waits.
            again: It had a place before and needs another.

        Raises:
            QueueFull: Too many wait already, or it would take longer than there is time.
            WireFault: ``TIMEOUT`` with ``sent="no"``: the deadline came first.
                ``CLOSED``: the client was closed meanwhile.
        """

    def leave(self) -> None:
        """Give the place to who waits longest."""

    def answered(self, reply_s: float) -> None:
        """A call was answered ``reply_s`` seconds after it was sent: the limit may move."""

    def unanswered(self, waited_s: float) -> None:
        """A call was sent and not answered in ``waited_s`` seconds. Without these, an endpoint that
        has become too slow for its callers would seem as fast as its few replies in time.
        """

    def throttled(self) -> None:
        """The endpoint said that it has no room for a call: the limit sinks."""


class Grant(NamedTuple):
    """Where a call goes, with a credential that is good now.

    Attributes:
        target: Destination; its headers hold the bearer.
        token: Number of the token in it: ``Access.reject`` drops that one and no newer one.
        max_request_bytes: Largest body the endpoint takes.
        route_optimized: The target is the endpoint's own host.
        secrets: What must not appear in a message: the bearer.
    """

    target: Target
    token: int
    max_request_bytes: int
    route_optimized: bool = False
    secrets: tuple[str, ...] = ()


class Access(Protocol):
    """Routes and credentials of one endpoint."""

    def ready(self, served_model: str | None, now_s: float) -> Grant | None:
        """The grant at hand, if it is good enough. May start a refresh behind the calls."""

    async def obtain(self, served_model: str | None, deadline_s: float) -> Grant:
        """Resolve the endpoint or fetch a token, once for all who wait.

        Raises:
            ServingError: ``AuthError``, ``TokenRefreshError``, ``NotFound``, ``ConfigError`` …
                with a message for the user.
            WireFault: ``TIMEOUT`` with ``sent="no"``: the deadline came first.
        """

    def reject(self, grant: Grant) -> bool:
        """The service refused this grant's token: never use that token again.

        Returns:
            True when a different token can be had (a static token cannot be refreshed).
        """

    def moved(self, grant: Grant) -> bool:
        """The endpoint's own host no longer knows it: read its description again.

        Returns:
            True when it is worth another try (once per ``Token.reresolve_min_s``, and only where a
            description gave the address).
        """

    @property
    def schema(self) -> Schema | None:
        """What columns the model takes, as last read; None before ``learn``."""

    async def learn(self, deadline_s: float) -> None:
        """Read what columns the model takes, once for all who wait, and again when that is old.

        A schema that cannot be had is no error: ``schema`` then says why there is none.

        Raises:
            ServingError: As ``obtain``.
            WireFault: As ``obtain``.
        """


class SingleFlight(Protocol):
    """Runs one action for all who want its result at the same time."""

    async def run(self, action: Callable[[], Awaitable[T]], deadline_s: float) -> T:
        """Join the flight under way or start one; a cancelled leader hands over to a follower."""


class Background(Protocol):
    """Runs one action behind the calls."""

    def start(self, action: Callable[[], Awaitable[None]]) -> None:
        """Start ``action`` unless one is running; its errors are the action's own business."""


@dataclass(frozen=True, slots=True)
class World:
    """All that a story needs of its surroundings. Clients that share a pool share it."""

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rand: Callable[[], float]
    wire: Wire
    gate: Gate
    access: Access
    quota: Quota
    observers: tuple[Observer, ...]
    compression: Compression = field(default_factory=Compression)
    hedging: Hedging | None = None
    recorder: Recorder = field(default_factory=Recorder)
    tracer: Tracer | None = None
