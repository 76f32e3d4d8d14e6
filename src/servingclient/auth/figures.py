"""Reading the endpoint's own figures from its workspace, when someone asks for them.

Asked for on the flight, like all that takes a token; what is in the way of them is the answer then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from servingclient import _explain
from servingclient._ports import Gate
from servingclient._types import WireFault
from servingclient.auth.endpoint import metrics_path
from servingclient.auth.token_state import Token
from servingclient.auth.workspace import Workspace, unanswered
from servingclient.errors import ServingError
from servingclient.telemetry.endpoint_metrics import (
    EndpointFigures,
    Parser,
    Reading,
    figures_read,
    parser,
    pieces,
    why_no_text,
)

_ACCEPT = "application/openmetrics-text, text/plain"


class Answered(NamedTuple):
    """What came.

    Attributes:
        status: HTTP status; None when nobody answered.
        body: The text.
        why: Why nobody answered.
    """

    status: int | None
    body: bytes = b""
    why: str | None = None


class FiguresReading:
    """Whether someone waits for the figures, and what the last reading came to."""

    __slots__ = ("asked", "found", "read")

    def __init__(self) -> None:
        self.asked: int = 0
        self.read: int = 0
        self.found: Answered = Answered(None)

    @property
    def wanted(self) -> bool:
        """Someone has asked since they were last read."""
        return self.read < self.asked

    def want(self) -> int:
        """Ask; the number is reached when they have been read."""
        self.asked += 1
        return self.asked

    async def ask(self, workspace: Workspace, endpoint: str, token: Token) -> None:
        """Read them for all who have asked so far."""
        asked = self.asked
        try:
            reply = await workspace.get(metrics_path(endpoint), token.headers, _ACCEPT)
        except WireFault as fault:
            self.found = Answered(None, b"", unanswered(fault, workspace.host).rstrip("."))
        else:
            self.found = Answered(reply.status, reply.body)
        self.read = asked

    def failed(self, error: ServingError) -> None:
        """There was no token to ask with."""
        self.found = Answered(None, b"", f"no token to ask with ({type(error).__name__})")
        self.read = self.asked


class Asks(Protocol):
    """Has the figures read; ``Access`` does."""

    async def figures(self, deadline_s: float) -> Answered:
        """See ``Access.figures``."""

    async def pause(self) -> None:
        """See ``Access.pause``."""


async def read_figures(
    access: Asks, gate: Gate, now: Callable[[], float], endpoint: str, timeout_s: float
) -> EndpointFigures:
    """The endpoint's own figures, or why there are none.

    Raises:
        ConfigError: prometheus-client is not installed.
        ServingError: The workspace cannot be asked at all.
    """
    parse = parser()
    started_s = now()
    deadline_s = started_s + timeout_s
    try:
        # A place like any call's: a closed client has none, and closing waits for it.
        if not gate.try_enter():
            await gate.enter(deadline_s)
        try:
            answered = await access.figures(deadline_s)
        finally:
            gate.leave()
    except WireFault as fault:
        spent_s = now() - started_s
        error = _explain.fault_error(
            fault, endpoint, 0, spent_s=spent_s, in_time=spent_s < timeout_s
        )
        error.endpoint, error.elapsed_s = endpoint, spent_s
        raise error from None
    if answered.status is None:
        return EndpointFigures(why_none=answered.why)
    why_none = why_no_text(answered.status, answered.body)
    if why_none is not None:
        return EndpointFigures(why_none=why_none)
    return await _read(access, answered.body.decode("utf-8", "replace"), parse)


async def _read(access: Asks, text: str, parse: Parser) -> EndpointFigures:
    """Piece by piece: a text may be of a hundred thousand lines."""
    reading = Reading(parse)
    for number, piece in enumerate(pieces(text)):
        if number:
            await access.pause()
        reading.take(piece)
    return figures_read(reading)
