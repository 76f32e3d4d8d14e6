"""A scripted world under virtual time: the ports of one story, driven step by step.

Each port does what the script says next, records what it was asked, and moves the clock instead of
waiting. In the async colour every port also suspends once, so that a test may cancel there.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

from servingclient import Prediction, ServingError, Settings, _step
from servingclient._call import Story
from servingclient._opening import open_stream
from servingclient._ports import Grant, StreamedReply, World
from servingclient._stream import OpenStream
from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Sent, Target, WireFault
from servingclient._watching import AttemptEnded, CallEnded
from servingclient.errors import QueueFull
from servingclient.payload.signature import Schema
from servingclient.policies.compression import Compression
from servingclient.policies.quota import Quota
from servingclient.telemetry.recorder import Recorder
from servingclient.transport.exchange import request_head

T = TypeVar("T")

ENDPOINT = "fraud"
TOKEN = "dapi-canary-0123456789"
ROWS: list[dict[str, Any]] = [{"a": 1.5, "b": 2}]
GOOD = b'{"predictions": [3.5]}'
TIMEOUT_S = 10.0
START_S = 1000.0
HEADERS = (
    ("X-Accept", "application/json"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
)
REFUSED_UNPROCESSED = {401, 403, 404, 413, 415, 429}


# -- the script -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """A whole reply."""

    status: int = 200
    body: bytes = GOOD
    headers: tuple[tuple[str, str], ...] = ()
    takes_s: float = 0.1
    connect_s: float = 0.0


@dataclass(frozen=True)
class Breaks:
    """No complete reply."""

    kind: FaultKind
    sent: Sent = "maybe"
    takes_s: float = 0.1
    detail: str = "as scripted"


@dataclass(frozen=True)
class Streams:
    """A streamed reply: its head at once, then the pieces; a fault among them breaks it."""

    pieces: tuple[bytes | WireFault, ...]
    status: int = 200
    takes_s: float = 0.1
    headers: tuple[tuple[str, str], ...] = (("x-request-id", "stream-1"),)


Step = Answer | Breaks | Streams


def refused(status: int, code: str | None = None, message: str = "no", **more: Any) -> Answer:
    """An error reply as the service words it."""
    body: dict[str, Any] = {"message": message}
    if code is not None:
        body["error_code"] = code
    return Answer(status, json.dumps(body).encode(), **more)


NOT_CONNECTED = Breaks(FaultKind.NOT_CONNECTED, "no")
STALE = Breaks(FaultKind.STALE, takes_s=0.0)
CUT_OFF = Breaks(FaultKind.CUT_OFF)
NO_REPLY = Breaks(FaultKind.TIMEOUT, takes_s=math.inf)
TOKEN_401 = refused(401, "401", "Token is expired")
TOKEN_403 = refused(403, "403", "Invalid access token.")
BUSY = refused(429, "REQUEST_LIMIT_EXCEEDED", "busy")


# -- the ports ------------------------------------------------------------------------------------


class Sends(NamedTuple):
    """One request as the wire was given it."""

    target: Target
    body: bytes
    deadline_s: float
    max_idle_s: float
    at_s: float


@dataclass
class FakeWorld:
    """All ports, in one colour.

    Attributes:
        suspends: The async colour: each port suspends once when asked.
        steps: What the wire does, request by request; the last step repeats.
        rand: What chance says.
        queue_s: How long each entry waits; further ones find a place free.
        token_s: How long fetching a grant takes; None while one is at hand.
        renewable: Whether another token can be had after a refusal.
        movable: How often reading the description again is worth a try.
        schema_there: What the workspace tells of the model's columns.
        schema_s: How long reading that takes; None takes no time.
    """

    suspends: bool
    steps: Sequence[Step] = (Answer(),)
    settings: Settings = field(default_factory=lambda: Settings(timeout_s=TIMEOUT_S))
    rand: float = 1.0
    queue_s: list[float] = field(default_factory=list)
    token_s: float | None = None
    token_error: ServingError | None = None
    renewable: bool = True
    movable: int = 1
    route_optimized: bool = False
    max_request_bytes: int = 1 << 20
    queue_full: bool = False
    schema_there: Schema | None = None
    schema_s: float | None = None

    def __post_init__(self) -> None:
        self.now_s = START_S
        self.slept: list[float] = []
        self.sends: list[Sends] = []
        self.events: list[CallEnded | AttemptEnded] = []
        self.answers: list[float] = []
        self.silences: list[float] = []
        self.entries: list[tuple[int, int, bool]] = []
        self.throttles = 0
        self.inside = 0
        self.most_inside = 0
        self.open_streams = 0
        self.token = 1
        self.rejected: list[int] = []
        self.fetches = 0
        self.warmed: list[int] = []
        self.refuses: list[Grant] = []
        self.quota = Quota(self.settings.retry.quota_capacity)
        self.compression = Compression()
        self.recorder = Recorder(self.now)
        self.schema: Schema | None = None
        self.learns = 0
        self._steps = deque(self.steps)
        self.warm_fault: WireFault | None = None
        self.closed = False
        self.may_have_run = 0

    # what the tests use

    @property
    def story(self) -> Story:
        """A story over this world."""
        return Story(ENDPOINT, self.settings, self.world())

    def world(self) -> World:
        """The ports as the story takes them."""
        ports = (self.now, self.sleep, lambda: self.rand, self, self, self, self.quota, (self,))
        return World(*ports, self.compression, recorder=self.recorder)

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        """Step or await ``job``."""
        if self.suspends:
            return asyncio.run(_awaited(job))
        return _step.run(job)

    def predict(self, inputs: object = ROWS, **options: Any) -> Prediction:
        """One call to its end."""
        return self.run(self.calling(inputs, **options))

    def calling(
        self,
        inputs: object = ROWS,
        *,
        idempotent: bool = True,
        timeout_s: float = TIMEOUT_S,
        served_model: str | None = None,
    ) -> Coroutine[Any, Any, Prediction]:
        """One call, not begun."""
        return self.story.predict(inputs, None, None, None, served_model, timeout_s, idempotent, 1)

    def opening(
        self,
        inputs: object = ROWS,
        *,
        idempotent: bool = True,
        timeout_s: float = TIMEOUT_S,
    ) -> Coroutine[Any, Any, OpenStream]:
        """One streamed call, not begun."""
        return open_stream(self.story, inputs, None, None, None, None, timeout_s, idempotent, 1)

    @property
    def statuses(self) -> list[int | None]:
        """Status of each failed try that observers were told of."""
        return [event.attempt.status for event in self.failed]

    @property
    def failed(self) -> list[AttemptEnded]:
        """Failed tries that observers were told of."""
        return [event for event in self.events if isinstance(event, AttemptEnded)]

    @property
    def ended(self) -> list[CallEnded]:
        """Ends of calls that observers were told of."""
        return [event for event in self.events if isinstance(event, CallEnded)]

    # clock

    def now(self) -> float:
        return self.now_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._pause()
        self.now_s += seconds

    async def _pause(self) -> None:
        if self.suspends:
            await asyncio.sleep(0)

    # gate

    @property
    def room(self) -> bool:
        return not (self.queue_s or self.queue_full or self.closed)

    def try_enter(self) -> bool:
        if self.queue_s or self.queue_full or self.closed:
            return False
        self._entered()
        return True

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        self.entries.append((priority, size_bytes, again))
        if self.closed:
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        if self.queue_full:
            raise QueueFull("too many wait")
        wait_s = self.queue_s.pop(0)
        await self._pause()
        if self.now_s + wait_s >= deadline_s:
            self.now_s = max(self.now_s, deadline_s)
            raise WireFault(FaultKind.TIMEOUT, "no place became free in time", sent="no")
        self.now_s += wait_s
        self._entered()

    def _entered(self) -> None:
        self.inside += 1
        self.most_inside = max(self.most_inside, self.inside)

    def answered(self, reply_s: float) -> None:
        self.answers.append(reply_s)

    def unanswered(self, waited_s: float) -> None:
        self.silences.append(waited_s)

    def throttled(self) -> None:
        self.throttles += 1

    def leave(self) -> None:
        assert self.inside > 0, "left without having entered"
        self.inside -= 1

    # access

    def ready(self, served_model: str | None, now_s: float) -> Grant | None:
        return None if self.token_s is not None else self._grant(served_model)

    async def obtain(self, served_model: str | None, deadline_s: float) -> Grant:
        self.fetches += 1
        await self._pause()
        takes_s = self.token_s or 0.0
        if self.now_s + takes_s >= deadline_s:
            self.now_s = max(self.now_s, deadline_s)
            raise WireFault(FaultKind.TIMEOUT, "waiting for a token or route", sent="no")
        self.now_s += takes_s
        if self.token_error is not None:
            raise self.token_error
        self.token_s = None
        return self._grant(served_model)

    def _grant(self, served_model: str | None) -> Grant:
        path = f"/serving-endpoints/{served_model or ENDPOINT}/invocations"
        origin = Origin("https", f"host{len(self.refuses)}", 443)
        target = Target(origin, "POST", path, HEADERS, request_head("POST", origin, path, HEADERS))
        secrets = (TOKEN,)
        return Grant(target, self.token, self.max_request_bytes, self.route_optimized, secrets)

    async def learn(self, deadline_s: float) -> None:
        self.learns += 1
        if self.schema_s is not None:
            if self.now_s + self.schema_s >= deadline_s:
                self.now_s = max(self.now_s, deadline_s)
                raise WireFault(FaultKind.TIMEOUT, "no schema in time", sent="no")
            self.now_s += self.schema_s
        await self._pause()
        self.schema = self.schema_there

    def reject(self, grant: Grant) -> bool:
        self.rejected.append(grant.token)
        if self.renewable and grant.token == self.token:
            self.token += 1
            self.token_s = 0.5
        return self.renewable

    def moved(self, grant: Grant) -> bool:
        if self.movable <= 0:
            return False
        self.movable -= 1
        self.refuses.append(grant)
        self.token_s = 0.2
        return True

    # wire

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        step = await self._next(target, body, deadline_s, max_idle_s)
        assert isinstance(step, Answer)
        arrived_s = self.now_s
        return Reply(
            step.status,
            _raw(step.headers),
            step.body,
            arrived_s - step.takes_s,
            arrived_s,
            step.connect_s,
        )

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> StreamedReply:
        step = await self._next(target, body, deadline_s, max_idle_s)
        if isinstance(step, Answer):
            step = Streams((step.body,), step.status, step.takes_s, step.headers)
        assert isinstance(step, Streams)
        self.open_streams += 1
        return FakeStream(self, step)

    async def _next(
        self, target: Target, body: bytes, deadline_s: float, max_idle_s: float
    ) -> Step:
        self.sends.append(Sends(target, body, deadline_s, max_idle_s, self.now_s))
        step = self._steps.popleft() if len(self._steps) > 1 else self._steps[0]
        await self._pause()
        if self.now_s + step.takes_s > deadline_s:
            self.now_s = max(self.now_s, deadline_s)
            self.may_have_run += 1
            raise WireFault(FaultKind.TIMEOUT, "no complete reply in time", sent="maybe", host="h")
        self.now_s += step.takes_s
        if isinstance(step, Breaks):
            self.may_have_run += step.sent != "no"
            raise WireFault(step.kind, step.detail, sent=step.sent, host="h")
        self.may_have_run += step.status not in REFUSED_UNPROCESSED
        return step

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        await self._pause()
        if self.warm_fault is not None:
            raise self.warm_fault
        self.warmed.append(count)

    # observers

    def call_ended(self, event: CallEnded) -> None:
        self.events.append(event)

    def attempt_failed(self, event: AttemptEnded) -> None:
        self.events.append(event)


class FakeStream:
    """A reply in pieces; counts as open until it is closed."""

    def __init__(self, world: FakeWorld, step: Streams) -> None:
        self.status = step.status
        self.headers = _raw(step.headers)
        self._world = world
        self._pieces = step.pieces
        self._open = True

    async def chunks(self, deadline_s: float = math.inf) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            await self._world._pause()
            if self._world.now() >= deadline_s:
                raise WireFault(FaultKind.TIMEOUT, "scripted to be late", sent="maybe")
            if isinstance(piece, WireFault):
                raise piece
            yield piece

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._world.open_streams -= 1


async def _awaited(job: Coroutine[Any, Any, T]) -> T:
    return await job


def _raw(headers: tuple[tuple[str, str], ...]) -> RawHeaders:
    return [(name.encode(), value.encode()) for name, value in headers]


# -- driving by hand ------------------------------------------------------------------------------


class Steps:
    """A coroutine run by hand, one suspension at a time, so that cancelling it is exact."""

    def __init__(self, job: Coroutine[Any, Any, Any]) -> None:
        self._job = job
        self.done = False
        self.result: Any = None

    def step(self) -> bool:
        """Run to the next suspension; False when it has ended."""
        return self._drive(lambda: self._job.send(None))

    def cancel(self) -> bool:
        """Cancel where it is suspended now. True: it went on regardless."""
        return self._drive(lambda: self._job.throw(asyncio.CancelledError()))

    def _drive(self, go: Callable[[], object]) -> bool:
        try:
            go()
        except StopIteration as end:
            self.result, self.done = end.value, True
            return False
        except BaseException:
            self.done = True
            raise
        return True


def drive(job: Coroutine[Any, Any, T]) -> T:
    """Run ``job`` by hand: asyncio's own frames would hold what a traceback shows."""
    steps = Steps(job)
    while steps.step():
        pass
    result: T = steps.result
    return result


def suspensions(job: Coroutine[Any, Any, Any]) -> int:
    """How often ``job`` suspends on its way to its end or error."""
    steps, count = Steps(job), 0
    try:
        while steps.step():
            count += 1
    except ServingError:
        pass
    return count


def event_stream(*values: object, done: bool = True) -> tuple[bytes, ...]:
    """Events as the service sends them."""
    pieces = [b"data: " + json.dumps(value).encode() + b"\n\n" for value in values]
    return (*pieces, b"data: [DONE]\n\n") if done else tuple(pieces)


def with_retry(**changes: Any) -> Settings:
    """Settings with other retry rules."""
    settings = Settings(timeout_s=TIMEOUT_S)
    return settings.replace(retry=replace(settings.retry, **changes))
