"""What a fake endpoint does with one request. Values; nothing here knows of clients.

Each answers one *try*: a call that is throttled once and then answered takes two. So retries, time
limits and errors are the library's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from servingclient._types import FaultKind, Sent


@dataclass(frozen=True, slots=True)
class Answer:
    """A reply. Made by :func:`reply`, :func:`failure` and :func:`throttled`.

    Attributes:
        status: HTTP status.
        value: What the model returned, or the service's words.
        headers: Lines of the head.
        after_s: Virtual seconds it takes.
    """

    status: int
    value: Any
    headers: tuple[tuple[str, str], ...] = ()
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Events:
    """A streamed reply. Made by :func:`events`.

    Attributes:
        values: The events.
        after_s: Virtual seconds until the first one.
        gap_s: Virtual seconds between two.
        breaks: Whether the connection breaks after the last one.
    """

    values: tuple[Any, ...]
    after_s: float = 0.0
    gap_s: float = 0.0
    breaks: bool = False


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No reply. Made by :func:`lost`, :func:`unreachable` and :func:`silence`.

    Attributes:
        kind: What happened.
        detail: The same in words.
        sent: Whether the endpoint may have seen the request.
        after_s: Virtual seconds until it is known.
    """

    kind: FaultKind
    detail: str
    sent: Sent
    after_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception of your own choice. Made by :func:`raises`.

    Attributes:
        error: The exception.
        after_s: Virtual seconds until it is raised.
    """

    error: BaseException
    after_s: float = 0.0


Step = Answer | Events | NoAnswer | Raised
"""What happens to one request."""

Model = Callable[[Any], Any]
"""Answers what the script does not: a function of the rows, or of a chat's body."""


def reply(
    predictions: Any,
    *,
    after_s: float = 0.0,
    request_id: str | None = None,
    served_model: str | None = None,
) -> Answer:
    """A good answer.

    Args:
        predictions: What the model returns; for a chat or another body that is sent as it is, the
            whole reply.
        after_s: Virtual seconds it takes.
        request_id: Id the service gives the request.
        served_model: Name of the served model that answers.
    """
    named = (("x-request-id", request_id), ("served-model-name", served_model))
    headers = tuple((name, value) for name, value in named if value is not None)
    return Answer(200, predictions, headers, after_s)


def failure(
    status: int,
    message: str = "as scripted",
    *,
    code: str | None = None,
    retry_after_s: float | None = None,
    after_s: float = 0.0,
) -> Answer:
    """An error reply.

    Args:
        status: HTTP status, 400 or more.
        message: The service's words.
        code: Its error code, such as ``"PERMISSION_DENIED"``.
        retry_after_s: Seconds it asks to wait.
        after_s: Virtual seconds until it comes.

    Raises:
        ValueError: The status is none of an error.
    """
    if not 400 <= status <= 599:
        raise ValueError(f"status {status} is no error; use reply(...)")
    headers = () if retry_after_s is None else (("retry-after", f"{retry_after_s:g}"),)
    return Answer(status, {"error_code": code or str(status), "message": message}, headers, after_s)


def throttled(retry_after_s: float | None = None) -> Answer:
    """The endpoint has no room (429)."""
    text = "Too many concurrent requests."
    return failure(429, text, code="REQUEST_LIMIT_EXCEEDED", retry_after_s=retry_after_s)


def token_refused() -> Answer:
    """The token is no good any more; the client gets another and tries again."""
    return failure(403, "Invalid access token.", code="403")


def lost(after_s: float = 0.0) -> NoAnswer:
    """The connection breaks once the request is sent: the model may have run."""
    return NoAnswer(FaultKind.CUT_OFF, "connection reset, as scripted", "maybe", after_s)


def unreachable() -> NoAnswer:
    """No connection can be made: nothing is sent."""
    return NoAnswer(FaultKind.NOT_CONNECTED, "connection refused, as scripted", "no")


def silence() -> NoAnswer:
    """No reply ever comes: the call takes all of its time."""
    return NoAnswer(FaultKind.TIMEOUT, "nothing had come", "maybe", math.inf)


def raises(error: BaseException, *, after_s: float = 0.0) -> Raised:
    """Any exception, such as one of this library; it ends the call without another try.

    Args:
        error: The exception.
        after_s: Virtual seconds until it is raised.
    """
    return Raised(error, after_s)


def events(*values: Any, after_s: float = 0.0, gap_s: float = 0.0, breaks: bool = False) -> Events:
    """A good answer to ``stream``.

    Args:
        *values: The events, as they come out.
        after_s: Virtual seconds until it begins.
        gap_s: Virtual seconds before each event.
        breaks: The connection breaks behind the last one.
    """
    return Events(values, after_s, gap_s, breaks)


def rows_in(body: Mapping[str, Any]) -> Any:
    """What a model is called with: rows as dicts or lists, tensors by column, or the body."""
    split = body.get("dataframe_split")
    if split is not None:
        names = split.get("columns")
        rows = split["data"]
        return rows if names is None else [dict(zip(names, row, strict=True)) for row in rows]
    for name in ("dataframe_records", "instances", "inputs"):
        if name in body:
            return body[name]
    return body


def wraps(body: Mapping[str, Any]) -> bool:
    """Whether the reply to a body has its values under ``predictions``."""
    return rows_in(body) is not body


def event_bytes(value: Any) -> bytes:
    """One event as it is sent."""
    return b"data: %b\n\n" % orjson.dumps(value)
