"""One request and its reply as bytes: the request's head, and a strict parser of the reply. Pure.

httptools (llhttp) does the grammar. What it leaves open is decided here: version and status range,
size of head and body, 1xx replies, truncation, content codings, and bytes after the end, which
would otherwise answer the next call.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

import httptools

from servingclient._types import FaultKind, Headers, Origin, RawHeaders, WireFault, joined
from servingclient.transport.inflate import Inflater, too_large

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"(?:[\x21-\x7e\x80-\xff](?:[\x21-\x7e\x80-\xff \t]*[\x21-\x7e\x80-\xff])?)?")
_PATH = re.compile(r"/[\x21\x22\x24-\x7e]*")  # no blank, control, non-ASCII byte or fragment
_HEAD_END = b"\r\n\r\n"
_FRAMING = frozenset({b"content-length", b"transfer-encoding"})
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0")
_FIRST_LINE = re.compile(rb"HTTP/1\.[01] \d{3}(?: [^\r\n]*)?\r\n")


class Limits(NamedTuple):
    """Bounds of one reply, in bytes."""

    head_bytes: int
    body_bytes: int

    @property
    def wire_bytes(self) -> int:
        """Most bytes one reply may take on the wire, framing included.

        A chunk of one byte takes six, its extensions and the trailers as many as the server likes,
        and none of them count as body. Servers that flush line by line stay far below twice.
        """
        return self.head_bytes + 2 * self.body_bytes


def is_token(text: object) -> bool:
    """Whether ``text`` may be a header name or method (RFC 9110 section 5.6.2)."""
    return isinstance(text, str) and _TOKEN.fullmatch(text) is not None


def is_header_value(text: object) -> bool:
    """Whether ``text`` may be a header value: no control, line break, or blank at an edge."""
    return isinstance(text, str) and _VALUE.fullmatch(text) is not None


def bad_header(name: str, value: str) -> str | None:
    """Why a header may not be sent, or None when it may (RFC 9110 section 5)."""
    if not is_token(name):
        return f"header name {name[:40]!r} is no token of letters, digits and dashes"
    if not is_header_value(value):
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
    authority = str(origin).partition("://")[2]
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

    httptools checks every header line but is not asked to hand them over: that makes a reply a
    tenth dearer, and only a failed call looks at more than three of them.

    Attributes:
        status: Status of the final reply; 0 before its head is complete.
        headers: Its header lines as they arrived, without trailers.
        head_done: The final reply's head is complete.
        reusable: After the end: the connection may carry another request.
        received_bytes: Bytes fed since ``begin``.
        done: The reply is complete.
        extra_bytes: Bytes arrived behind the end of the reply.
    """

    __slots__ = (
        "_chunks",
        "_fault",
        "_inflater",
        "_interims",
        "_limits",
        "_parser",
        "_raw",
        "_size",
        "_wire_bytes",
        "done",
        "extra_bytes",
        "head_done",
        "headers",
        "received_bytes",
        "reusable",
        "status",
    )

    done: bool
    extra_bytes: bool
    head_done: bool
    received_bytes: int
    reusable: bool

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._wire_bytes = limits.wire_bytes
        self._parser = httptools.HttpResponseParser(self)
        self.begin()

    def begin(self) -> None:
        """Forget the last reply and expect a new one."""
        self.status: int = 0
        self.headers: RawHeaders = ()
        self.head_done = self.done = self.reusable = self.extra_bytes = False
        self.received_bytes = self._size = self._interims = 0
        self._raw = b""
        self._chunks: list[bytes] = []
        self._fault: WireFault | None = None
        self._inflater: Inflater | None = None

    # What httptools calls -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self.done:
            self.extra_bytes = True

    def on_headers_complete(self) -> None:
        if self.done:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim(status)
            return
        raw, before = self._raw, 0
        if self._interims or not raw.startswith(_VERSIONS):  # or blank lines came first
            raw = self._behind_interims()
            before = len(self._raw) - len(raw)
        # The line itself is looked at: get_http_version() writes a text, 0.15 us.
        if status > 599 or not raw.startswith(_VERSIONS):
            version = self._parser.get_http_version()
            self._fail(FaultKind.UNREADABLE, f"status {status} in HTTP/{version}")
            return
        self.status = status
        self.head_done = True
        head = raw[: raw.index(_HEAD_END)]
        self._raw = b""
        self.headers = Headers(head)
        if before + len(head) > self._limits.head_bytes:
            self._head_too_large()
        if head.lower().find(b"-encoding:") >= 0:  # ``in`` takes 0.05 us longer
            self._check_codings()

    def _interim(self, status: int) -> None:
        self._interims += 1
        if status < 100:
            self._fail(FaultKind.UNREADABLE, f"status {status}")
        elif status == 101:
            self._fail(FaultKind.UNREADABLE, "an upgrade (101) that was not asked for")

    def _behind_interims(self) -> bytes:
        """What was fed of the final reply, as far as its head: no interim reply, no blank line."""
        raw = self._raw.lstrip(b"\r\n")
        for _ in range(self._interims):
            raw = raw[raw.index(_HEAD_END) + 4 :].lstrip(b"\r\n")
        return raw

    def _check_codings(self) -> None:
        transfer = joined(self.headers, b"transfer-encoding")
        if transfer and transfer.lower() != "chunked":
            self._fail(FaultKind.UNREADABLE, f"transfer coding {transfer[:40]!r}")
        coding = joined(self.headers, b"content-encoding")
        if coding.lower() in ("gzip", "x-gzip"):
            self._inflater = Inflater(self._limits.body_bytes)
        elif coding.lower() not in ("identity", ""):
            detail = f"content encoding {coding[:40]!r}, which nobody asked for"
            self._fail(FaultKind.UNREADABLE, detail)

    def on_body(self, data: bytes) -> None:
        if self.done or self._fault is not None:
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
        if not self.head_done or self.done:  # the end of an interim reply, or one too many
            return
        # False also for a body that ends with the connection, as llhttp has it.
        self.reusable = self._finished() and self._parser.should_keep_alive()

    # What the lane calls --------------------------------------------------------------------

    def feed(self, data: bytes) -> bool:
        """Take what arrived.

        Returns:
            True when the reply is complete.

        Raises:
            WireFault: The reply is not HTTP, too large, or coded in an unasked way.
        """
        self.received_bytes += len(data)
        if not self.head_done:
            self._raw = self._raw + data if self._raw else data
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            within = error.__context__
            if within is not None and not isinstance(within, Exception):
                raise within from None  # an interrupt that came inside one of the callbacks
            if not self.done:
                self._refuse(error)
            self.extra_bytes = True
        if self.done:  # and nothing was wrong with it
            if self.extra_bytes:
                self.reusable = False
            return True
        if not self.head_done and len(self._raw) > self._limits.head_bytes:
            self._head_too_large()
        if self.received_bytes > self._wire_bytes:
            self._too_much_framing()
        if self._fault is not None:
            self._raise()
        return False

    def eof(self) -> bool:
        """The peer closed.

        Returns:
            True when that is how this reply ends.

        Raises:
            WireFault: ``CUT_OFF``: the reply is not complete.
        """
        if self.done:
            return True
        if self.head_done and not self._framed():
            if not self._finished():
                self._raise()
            return True
        raise WireFault(
            FaultKind.CUT_OFF,
            f"the server closed the connection after {self.received_bytes} bytes of the reply",
            sent="maybe",
        )

    def _framed(self) -> bool:
        """Whether the reply says itself where it ends; else its connection's end is its own."""
        return any(name.lower() in _FRAMING for name, _ in self.headers)

    def body(self) -> bytes:
        """What has arrived of the decoded body since the last call."""
        chunks = self._chunks
        if len(chunks) == 1:
            return chunks.pop()
        self._chunks = []
        return b"".join(chunks)

    def _finished(self) -> bool:
        """The reply ends here; False where something was wrong with it."""
        if self._inflater is not None and self._fault is None:
            try:
                self._inflater.finish()
            except WireFault as fault:
                self._fault = fault
        self.done = self._fault is None  # else whoever reads in pieces took it for a good end
        return self.done

    def _head_too_large(self) -> None:
        detail = f"the head of the reply exceeds {self._limits.head_bytes} bytes"
        self._fail(FaultKind.CUT_OFF, detail)

    def _too_much_framing(self) -> None:
        if self._fault is None:
            detail = f"{self.received_bytes} bytes of reply hold only {self._size} of its body"
            self._fault = WireFault(FaultKind.TOO_LARGE, detail, sent="yes")

    def _refuse(self, error: Exception) -> None:
        if self._fault is not None:
            self._raise()
        # Behind a good first line it was HTTP, and the request may have run; before, it never was.
        begun = self.head_done or _FIRST_LINE.match(self._raw.lstrip(b"\r\n"))
        kind = FaultKind.CUT_OFF if begun else FaultKind.UNREADABLE
        raise WireFault(kind, f"the reply breaks HTTP: {error}", sent="maybe") from None

    def _raise(self) -> NoReturn:
        # Kept here it would hold, through its traceback, the frames that hold the request, until
        # the collector comes.
        fault, self._fault = self._fault, None
        assert fault is not None
        try:
            raise fault from None
        finally:
            del fault

    def _fail(self, kind: FaultKind, detail: str) -> None:
        if self._fault is None:
            self._fault = WireFault(kind, detail, sent="maybe")
