"""Where messages begin and end in the bytes of one direction of a connection. Pure."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_INTERIM = re.compile(rb"HTTP/1\.[01] 1\d\d")
_NO_BODY = re.compile(rb"HTTP/1\.[01] (204|304)")


class Part(NamedTuple):
    """A whole head, or a piece of a body, as it came.

    Attributes:
        kind: Which of the two.
        data: The bytes.
        ends: The message ends with it.
        body: For a head the size of its body; None where its length is not told beforehand.
    """

    kind: Literal["head", "body"]
    data: bytes
    ends: bool
    body: int | None = None


class Messages:
    """Cuts a stream of bytes into parts of messages framed by Content-Length.

    What is framed otherwise (chunks, or the connection's end) passes as pieces of one body that
    does not end, and nothing behind it is told apart.
    """

    def __init__(self) -> None:
        self._head = b""
        self._left: int | None = 0

    @property
    def between(self) -> bool:
        """No message is under way."""
        return self._left == 0 and not self._head

    def feed(self, data: bytes) -> list[Part]:
        """The parts that are complete with these bytes."""
        parts: list[Part] = []
        while data:
            take = self._take_head if self._left == 0 else self._take_body
            data = take(data, parts)
        return parts

    def _take_head(self, data: bytes, parts: list[Part]) -> bytes:
        self._head += data
        end = self._head.find(b"\r\n\r\n")
        if end < 0:
            return b""
        head, rest = self._head[: end + 4], self._head[end + 4 :]
        self._head = b""
        interim = _INTERIM.match(head) is not None
        self._left = 0 if interim else _size_of_body(head)
        parts.append(Part("head", head, self._left == 0 and not interim, self._left))
        return rest

    def _take_body(self, data: bytes, parts: list[Part]) -> bytes:
        if self._left is None:
            parts.append(Part("body", data, ends=False))
            return b""
        piece, rest = data[: self._left], data[self._left :]
        self._left -= len(piece)
        parts.append(Part("body", piece, ends=self._left == 0))
        return rest


def _size_of_body(head: bytes) -> int | None:
    if _NO_BODY.match(head):
        return 0
    if _CHUNKED.search(head):
        return None
    found = _LENGTH.search(head)
    if found is not None:
        return int(found[1])
    return None if head.startswith(b"HTTP/") else 0
