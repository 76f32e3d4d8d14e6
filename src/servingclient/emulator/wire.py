"""Requests as they were read and replies as they will be written."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from email.utils import formatdate
from http import HTTPStatus
from typing import Literal

from servingclient.emulator import json_text

HostName = Literal["workspace", "serving", "external"]

JSON = "application/json"
MSGPACK = "application/msgpack"
TEXT = "text/plain; charset=utf-8"
HTML = "text/html; charset=utf-8"
EVENT_STREAM = "text/event-stream; charset=utf-8"

LAST_CHUNK = b"0\r\n\r\n"
_REASONS = {status.value: status.phrase for status in HTTPStatus}


@dataclass(slots=True)
class Request:
    """One request as it arrived, before anything was decided about it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    size_bytes: int
    oversize: bool
    keep_alive: bool
    connection_id: int
    host: HostName
    received_at_s: float

    @property
    def path(self) -> str:
        """The target without its query string."""
        return self.target.partition("?")[0]


@dataclass(frozen=True, slots=True)
class Reply:
    """What will be sent: a status, a body, and how the body is labelled.

    A reply with ``events`` is a stream: each entry leaves as one chunk, ``event_interval_s`` apart.
    """

    status: int
    body: bytes = b""
    content_type: str | None = JSON
    headers: tuple[tuple[str, str], ...] = ()
    events: tuple[bytes, ...] | None = None
    event_interval_s: float = 0.0
    clock_skew_s: float = 0.0
    """How far the ``date`` header is ahead of this machine's clock."""

    def with_headers(self, *headers: tuple[str, str]) -> Reply:
        """Return the same reply with more headers."""
        return replace(self, headers=(*self.headers, *headers))


@dataclass(frozen=True, slots=True)
class Message:
    """A reply as bytes: the head, the body, and for streams the chunks after it."""

    head: bytes
    body: bytes
    chunks: tuple[bytes, ...] = ()
    interval_s: float = 0.0


def json_reply(status: int, value: object, *headers: tuple[str, str]) -> Reply:
    """Return a reply whose body is ``value`` as JSON."""
    return Reply(status, json_text.dumps(value), JSON, headers)


def error(status: int, code: str | int, message: str, *headers: tuple[str, str]) -> Reply:
    """Return an API 2.x error body; the code is a string, or an integer for token errors."""
    return json_reply(status, {"error_code": code, "message": message}, *headers)


class Dates:
    """The value of the ``date`` header, formatted once a second."""

    def __init__(self) -> None:
        """Start with nothing formatted."""
        self._second = -1
        self._text = ""

    def now(self, skew_s: float = 0.0) -> str:
        """Return the current time as an IMF date, ``skew_s`` ahead of the real clock."""
        second = int(time.time() + skew_s)
        if second != self._second:
            self._second, self._text = second, formatdate(second, usegmt=True)
        return self._text


def render(
    reply: Reply, *, date: str, close: bool, extra: tuple[tuple[str, str], ...] = ()
) -> Message:
    """Turn a reply into bytes; ``close`` announces the end of the connection."""
    head = f"HTTP/1.1 {reply.status} {_REASONS.get(reply.status, 'Unknown')}\r\ndate: {date}\r\n"
    if reply.content_type is not None:
        head += f"content-type: {reply.content_type}\r\n"
    for name, value in reply.headers:
        head += f"{name}: {value}\r\n"
    for name, value in extra:
        head += f"{name}: {value}\r\n"
    if close:
        head += "connection: close\r\n"
    if reply.events is None:
        if reply.status != HTTPStatus.NOT_MODIFIED:  # its length would be that of the 200
            head += f"content-length: {len(reply.body)}\r\n"
        head += "\r\n"
        return Message(head.encode("latin-1"), reply.body)
    head += "transfer-encoding: chunked\r\n\r\n"
    chunks = tuple(b"%x\r\n%b\r\n" % (len(event), event) for event in reply.events)
    return Message(head.encode("latin-1"), b"", (*chunks, LAST_CHUNK), reply.event_interval_s)
