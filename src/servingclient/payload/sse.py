"""Server-sent events: an incremental parser, after the WHATWG specification.

A stream of the service ends with ``data: [DONE]``. One that ends without it was cut off, whatever
the connection says.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import orjson

from servingclient.errors import StreamError
from servingclient.payload.decode import parse_constants
from servingclient.payload.errors_body import error_detail

MAX_EVENT_BYTES = 4 * 1024 * 1024
"""Longest line, and longest data of one event: the service's limit for a whole agent request."""

# a CR at the very end may be the first half of CRLF, so it waits for what follows
_LINE_END = re.compile(rb"\r\n|\n|\r(?!\Z)")


class SseEvent(NamedTuple):
    """One event of a stream.

    Attributes:
        event: Its type; ``"message"`` when the stream names none.
        data: Its data, the lines joined by newlines.
        id: The last id the stream gave, if any.
    """

    event: str
    data: str
    id: str | None


class SseParser:
    """Cuts the bytes of a stream into events, however they arrive.

    Args:
        max_event_bytes: Longest line, and longest data of one event.

    Attributes:
        done: Whether ``[DONE]`` was seen; what follows it is ignored.
    """

    __slots__ = (
        "_data",
        "_event",
        "_held",
        "_id",
        "_limit",
        "_lines",
        "_open",
        "_open_bytes",
        "_size",
        "done",
    )

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self.done: bool = False
        self._held: StreamError | None = None
        self._limit = max_event_bytes
        self._open: list[bytes] = []  # pieces of the line that has not ended yet
        self._open_bytes = 0
        self._lines = 0
        self._data: list[str] = []
        self._size = 0
        self._event = ""
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[SseEvent]:
        """Take the next bytes.

        Args:
            chunk: Any piece of the stream; it may end within a line or a character.

        Returns:
            The events that are complete now, without ``[DONE]``.

        Raises:
            StreamError: A line or event is too long, or no valid UTF-8. Events before it are
                returned first; the error comes with the next call.
        """
        self._raise_held()
        events: list[SseEvent] = []
        if not chunk or self.done:
            return events
        try:
            self._take(chunk, events)
        except StreamError as error:
            self._held = error
            if not events:
                raise
        return events

    def _take(self, chunk: bytes, events: list[SseEvent]) -> None:
        self._open.append(chunk)
        self._open_bytes += len(chunk)
        # joined only when a line may have ended: joining every piece would be quadratic
        held = any(piece.endswith(b"\r") for piece in self._open[-2:-1])
        if held or b"\n" in chunk or b"\r" in chunk:
            *lines, rest = _LINE_END.split(b"".join(self._open))
            self._open, self._open_bytes = [rest], len(rest)
            for line in lines:
                self._line(line, events)
                if self.done:
                    return
        self._bound(self._open_bytes)

    def _raise_held(self) -> None:
        if self._held is not None:
            raise self._held

    def finish(self) -> None:
        """Say that the stream has ended.

        An event that no blank line completed is not delivered: its data may be cut off.

        Raises:
            StreamError: It ended without ``[DONE]``.
        """
        self._raise_held()
        if not self.done:
            rest = b"".join(self._open).removesuffix(b"\r")
            if rest:
                self._line(rest, [])
            self._dispatch([])
        self._open, self._open_bytes = [], 0
        if not self.done:
            raise StreamError(
                "The stream ended before [DONE]: the connection, a proxy or the model broke it "
                "off. What was received before stands; the rest is lost."
            )

    def _line(self, raw: bytes, events: list[SseEvent]) -> None:
        self._lines += 1
        if self._lines == 1:
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw:
            self._dispatch(events)
            return
        self._bound(len(raw))
        text = _text(raw)
        if text is None:
            raise StreamError(
                "The stream holds bytes that are no valid UTF-8. What was received before stands."
            )
        name, _, value = text.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
            self._size += len(raw)
            self._bound(self._size)
        elif name == "event":
            self._event = value
        elif name == "id" and "\0" not in value:
            self._id = value

    def _dispatch(self, events: list[SseEvent]) -> None:
        data = "\n".join(self._data)
        if data == "[DONE]":
            self.done = True
        elif self._data:
            events.append(SseEvent(self._event or "message", data, self._id))
        self._data, self._size, self._event = [], 0, ""

    def _bound(self, size: int) -> None:
        if size > self._limit:
            raise StreamError(
                f"The stream holds a line or event of over {self._limit:,} bytes, which no serving "
                "endpoint sends. What was received before stands."
            )


def event_value(event: SseEvent, secrets: tuple[str, ...] = ()) -> Any:
    """The value an event carries.

    Args:
        event: An event of the parser.
        secrets: Texts that must not appear in an error.

    Returns:
        Its data, read as JSON.

    Raises:
        StreamError: The event is an error, or its data is no JSON.
    """
    readable, value = _read(event.data)
    if not readable and event.event != "error":
        raise StreamError(
            f"An event of the stream ({len(event.data):,} characters) is no JSON. What was "
            "received before stands."
        )
    if event.event == "error" or (isinstance(value, dict) and _says_error(value)):
        detail = error_detail(event.data.encode(), None, secrets)
        code = f"{detail.code}: " if detail.code else ""
        raise StreamError(f"The endpoint broke off the stream. {code}{detail.message}")
    return value


# A parser's error holds the text it refuses, so none may become the context of ours.


def _text(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _read(data: str) -> tuple[bool, Any]:
    """Whether the data of an event is JSON, and its value; else the data as it is."""
    try:
        return True, orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return True, parse_constants(data.encode())
    except (ValueError, RecursionError):
        return False, data


def _says_error(value: dict[str, Any]) -> bool:
    return "error_code" in value or bool(value.get("error"))
