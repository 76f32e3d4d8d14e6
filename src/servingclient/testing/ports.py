"""What a fake client has in place of connections, queue and sign-in."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NoReturn

import orjson

from servingclient._ports import Grant
from servingclient._stats import ConcurrencyStats, LaneStats, TokenStats
from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Target, WireFault
from servingclient.errors import ConfigError
from servingclient.payload.signature import Schema
from servingclient.testing.endpoint import FakeEndpoint, SentRequest, due_s, is_late
from servingclient.testing.script import (
    Answer,
    Events,
    NoAnswer,
    Raised,
    Step,
    event_bytes,
    wraps,
)

_ORIGIN = Origin("https", "fake.invalid", 443)
_LIMIT_BYTES = 16_777_216
_DONE = b"data: [DONE]\n\n"

Sleep = Callable[[float], Awaitable[None]]


class FakeWire:
    """Carries requests to a fake endpoint. Both colours: what waits is ``sleep``."""

    def __init__(self, endpoint: FakeEndpoint, sleep: Sleep) -> None:
        self._endpoint = endpoint
        self._sleep = sleep

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """See ``_ports.Wire.send``."""
        request, step = self._endpoint.next(target.path, body, deadline_s)
        await self._answered(step, request)
        if not isinstance(step, Answer):
            raise TypeError("this request is none for a stream, and the script has events(...)")
        value = step.value
        if step.status == 200 and wraps(request.body):
            value = {"predictions": value}
        now_s = self._endpoint.clock.now()
        return Reply(step.status, _lines(step), orjson.dumps(value), request.at_s, now_s, 0.0)

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> FakeStream:
        """See ``_ports.Wire.open``."""
        request, step = self._endpoint.next(target.path, body, deadline_s)
        await self._answered(step, request)
        if isinstance(step, Answer):
            if step.status == 200:
                step = Events(tuple(step.value) if isinstance(step.value, list) else (step.value,))
            else:
                return FakeStream(
                    step.status, _lines(step), [orjson.dumps(step.value)], self._sleep
                )
        assert isinstance(step, Events)
        pieces: list[bytes | WireFault] = [event_bytes(value) for value in step.values]
        pieces.append(_broken() if step.breaks else _DONE)
        headers = ((b"content-type", b"text/event-stream"),)
        return FakeStream(200, headers, pieces, self._sleep, step.gap_s)

    async def _answered(self, step: Step, request: SentRequest) -> None:
        """Wait for the answer.

        Raises:
            WireFault: There is none, or none in time.
        """
        wait_s = due_s(step, request) - request.at_s
        if wait_s > 0.0:
            await self._sleep(wait_s)
        if is_late(step, request):
            raise WireFault(FaultKind.TIMEOUT, "nothing had come", sent="maybe", host=_ORIGIN.host)
        if isinstance(step, NoAnswer):
            raise WireFault(step.kind, step.detail, sent=step.sent, host=_ORIGIN.host)
        if isinstance(step, Raised):
            raise step.error

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Nothing: there are no connections."""

    def lanes(self) -> LaneStats:
        """No figures, for the same reason."""
        return LaneStats()

    def close(self) -> None:
        """Nothing."""

    async def aclose(self) -> None:
        """Nothing."""

    def __repr__(self) -> str:
        return f"fake, {self._endpoint.left} steps left"


def _lines(step: Answer) -> RawHeaders:
    named = (("content-type", "application/json"), *step.headers)
    return [(name.encode(), value.encode()) for name, value in named]


def _broken() -> WireFault:
    return WireFault(
        FaultKind.CUT_OFF, "connection reset, as scripted", sent="yes", host=_ORIGIN.host
    )


class FakeStream:
    """A streamed reply; a fault among the pieces breaks it."""

    def __init__(
        self,
        status: int,
        headers: RawHeaders,
        pieces: list[bytes | WireFault] | list[bytes],
        sleep: Sleep,
        gap_s: float = 0.0,
    ) -> None:
        self.status = status
        self.headers = headers
        self._pieces = pieces
        self._sleep = sleep
        self._gap_s = gap_s

    async def chunks(self, deadline_s: float = math.inf) -> AsyncGenerator[bytes, None]:
        """See ``_ports.StreamedReply.chunks``."""
        for piece in self._pieces:
            if self._gap_s and piece is not _DONE:
                await self._sleep(self._gap_s)
            if isinstance(piece, WireFault):
                raise piece
            yield piece

    async def aclose(self) -> None:
        """Nothing is held."""


class OpenGate:
    """Room for everyone, until it is closed."""

    room = True

    def __init__(self) -> None:
        self._inside = 0
        self._closed = False

    def try_enter(self) -> bool:
        """See ``_ports.Gate.try_enter``."""
        if self._closed:
            return False
        self._inside += 1
        return True

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> NoReturn:
        """See ``_ports.Gate.enter``; only who comes too late waits, and in vain."""
        raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")

    def leave(self) -> None:
        """See ``_ports.Gate.leave``."""
        self._inside -= 1

    def answered(self, reply_s: float) -> None:
        """See ``_ports.Gate.answered``."""

    def unanswered(self, waited_s: float) -> None:
        """See ``_ports.Gate.unanswered``."""

    def throttled(self) -> None:
        """See ``_ports.Gate.throttled``."""

    def refuse(self) -> None:
        """Admit no more."""
        self._closed = True

    def stats(self) -> ConcurrencyStats:
        """Who is behind it. The limit is what a bulk job sends at once: one request, in order."""
        return ConcurrencyStats(1, max(0, self._inside), 0)

    def __repr__(self) -> str:
        return f"{max(0, self._inside)} calls in flight"


class ThreadOpenGate(OpenGate):
    """For a blocking client."""

    def wait_empty(self, timeout_s: float) -> None:
        """Nobody is held up by anything, so nobody is waited for."""


class TaskOpenGate(OpenGate):
    """For an async client."""

    async def wait_empty(self, timeout_s: float) -> None:
        """Nobody is held up by anything, so nobody is waited for."""


class FakeAccess:
    """A token that is always at hand, and another one whenever one is refused."""

    description = None
    schema: Schema | None = None

    def __init__(self, endpoint: str) -> None:
        self._path = f"/serving-endpoints/{endpoint}"

    def ready(self, served_model: str | None, now_s: float) -> Grant:
        """See ``_ports.Access.ready``."""
        part = "" if served_model is None else f"/served-models/{served_model}"
        target = Target(_ORIGIN, "POST", f"{self._path}{part}/invocations", (), b"")
        return Grant(target, 0, _LIMIT_BYTES)

    async def obtain(self, served_model: str | None, deadline_s: float) -> Grant:
        """See ``_ports.Access.obtain``."""
        return self.ready(served_model, 0.0)

    def reject(self, grant: Grant) -> bool:
        """See ``_ports.Access.reject``."""
        return True

    def moved(self, grant: Grant) -> bool:
        """See ``_ports.Access.moved``."""
        return False

    async def learn(self, deadline_s: float) -> None:
        """No signature can be had, which is no error: inputs are sent as they are."""

    def token_stats(self) -> TokenStats | None:
        """There is no token."""
        return None

    async def figures(self, deadline_s: float) -> NoReturn:
        """See ``auth.access.Access.figures``.

        Raises:
            ConfigError: Always.
        """
        raise ConfigError(
            "A fake client has no endpoint that could tell its figures; use the emulator."
        )

    async def look(self, deadline_s: float) -> NoReturn:
        """See ``auth.access.Access.look``; as ``figures``."""
        await self.figures(deadline_s)
        raise AssertionError  # figures has raised

    async def pause(self) -> None:
        """Nothing."""

    async def close(self) -> None:
        """Nothing."""
