"""One request and its reply as bytes: the request's head, and a strict parser of the reply. Pure.

httptools (llhttp) does the grammar. What it leaves open is decided here: version and status range,
size of head and body, 1xx replies, truncation, content codings, and bytes after the end, which
would otherwise answer the next call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

import httptools

from servingclient._types import FaultKind, Origin, RawHeaders, WireFault
from servingclient.transport.inflate import Inflater, too_large

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\x21-\x7e\x80-\xff \t]*[\x21-\x7e\x80-\xff])?)?")
_PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")  # no blank, control, non-ASCII byte or fragment


class Limits(NamedTuple):
    """Bounds of one reply, in bytes."""

    head_bytes: int
    body_bytes: int


def bad_header(name: str, value: str) -> str | None:
    """Why a header may not be sent, or None when it may (RFC 9110 section 5)."""
    if not _TOKEN.fullmatch(name):
        return f"header name {name[:40]!r} is no token of letters, digits and dashes"
    if not _VALUE.fullmatch(value):
        return (
            f"the value of header {name!r} has a line break, a control character, an edge blank "
            "or a character beyond latin-1"
        )
    return None


def request_head(
    method: str, origin: Origin, path: str, headers: Iterable[tuple[str, str]]
) -> bytes:
    """The head of an HTTP/1.1 request up to where ``Content-Length`` follows.

    Raises:
        ValueError: Method, path or a header would not be what it says on the wire.
    """
    if not _TOKEN.fullmatch(method) or not _PATH.fullmatch(path):
        raise ValueError(f"{method[:20]!r} {path[:80]!r} is no request line")
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = 443 if origin.scheme == "https" else 80
    authority = host if origin.port == default else f"{host}:{origin.port}"
    lines = [f"{method} {path} HTTP/1.1", f"Host: {authority}"]
    for name, value in headers:
        if reason := bad_header(name, value):
            raise ValueError(reason)
        lines.append(f"{name}: {value}")
    return ("\r\n".join(lines) + "\r\n").encode("latin-1")


class ReplyParser:
    """Parses the replies of one connection, one after the other.

    ``begin`` before each request, then ``feed`` what arrives until it returns True. A parser that
    raised is spent, and so is its connection.

    Attributes:
        status: Status of the final reply; 0 before its head is complete.
        headers: Its header lines as they arrived, without trailers.
        head_done: The final reply's head is complete.
        reusable: After the end: the connection may carry another request.
        received_bytes: Bytes fed since ``begin``.
    """

    __slots__ = (
        "_chunks",
        "_coding",
        "_done",
        "_extra",
        "_fault",
        "_framed",
        "_head_bytes",
        "_inflater",
        "_limits",
        "_parser",
        "_size",
        "_started",
        "head_done",
        "headers",
        "received_bytes",
        "reusable",
        "status",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Forget the last reply and expect a new one."""
        self.status = 0
        self.headers: RawHeaders = []
        self.head_done = False
        self.reusable = False
        self.received_bytes = 0
        self._chunks: list[bytes] = []
        self._coding: bytes | None = None
        self._done = False
        self._extra = False
        self._fault: WireFault | None = None
        self._framed = False
        self._head_bytes = 0
        self._inflater: Inflater | None = None
        self._size = 0
        self._started = False

    # What httptools calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._done:
            self._extra = True
        self._started = False

    def on_status(self, _reason: bytes) -> None:
        self._started = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.head_done:  # a trailer, or a head behind the end: neither belongs to this reply
            return
        self._started = True
        self.headers.append((name, value))
        # Lengths of the three names that matter here; comparing all twelve usual names in lower
        # case costs 1.5 us a reply.
        size = len(name)
        if size == 14 or size == 16 or size == 17:  # noqa: PLR1714 - a set look-up is slower
            self._framing(name.lower(), value)

    def _framing(self, name: bytes, value: bytes) -> None:
        if name == b"content-length":
            self._framed = True
        elif name == b"content-encoding":
            self._coding = value.strip().lower()
        elif name == b"transfer-encoding":
            self._framed = True
            if value.strip().lower() != b"chunked":
                self._fail(FaultKind.UNREADABLE, f"transfer coding {_shown(value)}")

    def on_headers_complete(self) -> None:
        if self._done:
            return
        status = self._parser.get_status_code()
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0") or not 100 <= status <= 599:
            self._fail(FaultKind.UNREADABLE, f"status {status} in HTTP/{version}")
        elif status == 101:
            self._fail(FaultKind.UNREADABLE, "an upgrade (101) that was not asked for")
        elif status >= 200:
            self.status = status
            self.head_done = True
            if self._coding is not None:
                self._decode_as(self._coding)
        else:  # an interim reply: nothing of it counts
            self.headers = []
            self._coding = None
            self._framed = False

    def _decode_as(self, coding: bytes) -> None:
        if coding in (b"gzip", b"x-gzip"):
            self._inflater = Inflater(self._limits.body_bytes)
        elif coding not in (b"identity", b""):
            self._fail(
                FaultKind.UNREADABLE, f"content encoding {_shown(coding)}, which nobody asked for"
            )

    def on_body(self, data: bytes) -> None:
        if self._done or self._fault is not None:
            return
        self._size += len(data)
        if self._size > self._limits.body_bytes:
            self._fault = too_large(self._limits.body_bytes)
        elif self._inflater is None:
            self._chunks.append(data)
        else:
            try:
                self._chunks.extend(self._inflater.pieces(data))
            except WireFault as fault:
                self._fault = fault
                self._chunks.clear()

    def on_message_complete(self) -> None:
        if not self.head_done or self._done:  # the end of an interim reply, or one too many
            return
        self._finish()
        self.reusable = self._framed_by_status() and self._parser.should_keep_alive()

    # What the lane calls --------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Take what arrived.

        Returns:
            True when the reply is complete.

        Raises:
            WireFault: The reply is not HTTP, too large, or coded in an unasked way.
        """
        size = len(data)
        self.received_bytes += size
        if not self.head_done:
            self._head_bytes += size
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if not self._done:
                self._refuse(error)
            self._extra = True
        if self._fault is not None:
            raise self._fault
        if self._head_bytes > self._limits.head_bytes:
            self._check_head()
        if self._done and self._extra:
            self.reusable = False
        return self._done

    def eof(self) -> bool:
        """The peer closed.

        Returns:
            True when that is how this reply ends.

        Raises:
            WireFault: ``CUT_OFF``: the reply is not complete.
        """
        if self._done:
            return True
        if self.head_done and not self._framed:
            self._finish()
            if self._fault is not None:
                raise self._fault
            return True
        raise WireFault(
            FaultKind.CUT_OFF,
            f"the server closed the connection after {self.received_bytes} bytes of the reply",
            sent="maybe",
        )

    def body(self) -> bytes:
        """What has arrived of the decoded body since the last call."""
        chunks = self._chunks
        if len(chunks) == 1:
            piece = chunks[0]
            chunks.clear()
            return piece
        self._chunks = []
        return b"".join(chunks)

    @property
    def done(self) -> bool:
        """The reply is complete."""
        return self._done

    @property
    def extra_bytes(self) -> bool:
        """Bytes arrived behind the end of the reply."""
        return self._extra

    def _finish(self) -> None:
        self._done = True
        if self._inflater is not None and self._fault is None:
            try:
                self._inflater.finish()
            except WireFault as fault:
                self._fault = fault

    def _framed_by_status(self) -> bool:
        return self._framed or self.status in (204, 304)

    def _check_head(self) -> None:
        """The first pieces were larger than a head may be: was it the head or the body?"""
        lines = sum(len(name) + len(value) + 4 for name, value in self.headers)
        if not self.head_done or lines > self._limits.head_bytes:
            raise WireFault(
                FaultKind.CUT_OFF,
                f"the head of the reply exceeds {self._limits.head_bytes} bytes",
                sent="maybe",
            )
        self._head_bytes = 0

    def _refuse(self, error: Exception) -> None:
        if self._fault is not None:
            raise self._fault from None
        kind = FaultKind.CUT_OFF if self._started else FaultKind.UNREADABLE
        raise WireFault(kind, f"the reply breaks HTTP: {error}", sent="maybe") from None

    def _fail(self, kind: FaultKind, detail: str) -> None:
        if self._fault is None:
            self._fault = WireFault(kind, detail, sent="maybe")


def _shown(value: bytes) -> str:
    return repr(value[:40].decode("latin-1"))
