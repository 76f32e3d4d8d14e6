"""A lane: one blocking connection that carries one request at a time."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

from servingclient._types import FaultKind, Origin, RawHeaders, Reply, WireFault
from servingclient.transport import faults
from servingclient.transport.exchange import Limits, ReplyParser
from servingclient.transport.tls_session import TlsSession

_READ_BYTES = 64 * 1024
_WRITE_BYTES = 256 * 1024  # head and body go as one piece up to here; above, piece by piece
_TIMEOUT_SLACK_S = 0.002  # setting a time-out is a system call; 2 ms late is in time

LONGEST_WAIT_S = 1e6  # for one read or write; then it is one that took too long
_EARLY_REPLY_S = 1.0  # how long to look for a reply after the server closed during an upload


class Lane:
    """One connection. Not thread-safe: the pool lends it to one caller at a time.

    Attributes:
        origin: Where it leads.
        connect_s: How long it took to open.
        retire_s: Instant after which the pool replaces it.
        idle_since_s: Instant of the end of the last exchange.
        used: It has been idle, so a silent close may be the idle limit's doing.
    """

    __slots__ = (
        "_buffer",
        "_closed",
        "_parser",
        "_read_timeout_s",
        "_readable",
        "_sock",
        "_tls",
        "_write_timeout_s",
        "connect_s",
        "idle_since_s",
        "origin",
        "retire_s",
        "used",
    )

    def __init__(
        self, origin: Origin, sock: socket.socket, tls: TlsSession | None, limits: Limits
    ) -> None:
        self.origin = origin
        self.connect_s = 0.0
        self.retire_s = 0.0
        self.idle_since_s = 0.0
        self.used = False
        self._sock = sock
        self._tls = tls
        self._parser = ReplyParser(limits)
        self._buffer = memoryview(bytearray(_READ_BYTES))  # a recv() allocates as much each time
        self._readable = _readable_check(sock)
        self._read_timeout_s = -1.0
        self._write_timeout_s = -1.0
        self._closed = False

    def exchange(self, head: bytes, body: bytes, deadline_s: float) -> Reply:
        """Send one request and read its reply.

        Raises:
            WireFault: There is no complete reply. The lane must be closed after it.
        """
        parser = self._parser
        self.begin(head, body, deadline_s)
        sent_s = time.monotonic()
        done = parser.done or self._receive(deadline_s, sent_s)
        first_byte_s = time.monotonic()
        while not done:
            begun = parser.received_bytes > 0  # or TLS alone has spoken: a ticket, half a record
            done = self._receive(deadline_s, time.monotonic())
            if not begun:
                first_byte_s = time.monotonic()
        reply = Reply(
            parser.status, parser.headers, parser.body(), sent_s, first_byte_s, self.connect_s
        )
        self.connect_s = 0.0
        return reply

    def begin(self, head: bytes, body: bytes, deadline_s: float) -> None:
        """Send one request; ``read_head`` or ``exchange`` reads on.

        Raises:
            WireFault: It could not be sent, and no reply came that says why.
        """
        self._parser.begin()
        try:
            if len(body) <= _WRITE_BYTES:
                self._write(head + body, deadline_s)
            else:
                self._write(head, deadline_s)
                whole = memoryview(body)
                for start in range(0, len(body), _WRITE_BYTES):
                    self._write(whole[start : start + _WRITE_BYTES], deadline_s)
        except (TimeoutError, BlockingIOError):
            raise faults.timed_out(self.origin, 0) from None
        except OSError as error:
            self._early_reply(error, deadline_s)

    def _write(self, data: bytes | memoryview, deadline_s: float) -> None:
        if self._tls is not None:
            data = self._tls.encrypt(data)
        self._allow_write(deadline_s)
        sent = self._sock.send(data)
        if sent < len(data):
            view = memoryview(data)
            while sent < len(data):
                self._allow_write(deadline_s)
                sent += self._sock.send(view[sent:])

    # The kernel's own time-outs on a blocking socket: with ``settimeout`` each read would be
    # three system calls (read in vain, poll, read) instead of one.

    def _allow_write(self, deadline_s: float) -> None:
        left_s = deadline_s - time.monotonic()
        if not -_TIMEOUT_SLACK_S < self._write_timeout_s - left_s < _TIMEOUT_SLACK_S:
            self._set_timeout(socket.SO_SNDTIMEO, left_s)
            self._write_timeout_s = left_s

    def _set_timeout(self, option: int, left_s: float) -> None:
        if left_s <= 0:
            raise TimeoutError
        self._sock.setsockopt(socket.SOL_SOCKET, option, _timeval(left_s))

    def _early_reply(self, error: OSError, deadline_s: float) -> None:
        """The server closed while we sent: it may have answered first (too large, say)."""
        give_up_s = min(deadline_s, time.monotonic() + _EARLY_REPLY_S)
        try:
            while not self._receive(give_up_s, time.monotonic()):
                pass
            self._parser.reusable = False
        except WireFault as fault:
            if fault.kind in (FaultKind.STALE, FaultKind.CUT_OFF, FaultKind.TIMEOUT):
                raise self._lost(error) from None
            raise

    def _receive(self, deadline_s: float, now_s: float) -> bool:
        """Read once; True when the reply is complete."""
        parser = self._parser
        try:
            left_s = deadline_s - now_s
            if not -_TIMEOUT_SLACK_S < self._read_timeout_s - left_s < _TIMEOUT_SLACK_S:
                self._set_timeout(socket.SO_RCVTIMEO, left_s)
                self._read_timeout_s = left_s
            size = self._sock.recv_into(self._buffer)
            tls = self._tls
            if tls is None or not size:
                data = bytes(self._buffer[:size])
            else:
                data = tls.decrypt(self._buffer[:size])
                if not data:
                    return self._no_plain_text(deadline_s)
        except (TimeoutError, BlockingIOError):
            raise faults.timed_out(self.origin, parser.received_bytes) from None
        except OSError as error:
            raise self._lost(error) from None
        if data and parser.feed(data):
            return True
        if tls is None:
            return False if data else self._at_eof()
        if tls.closed:
            return self._at_eof()
        if not data:  # an end without TLS's goodbye may be a forged one
            raise self._lost(ConnectionError("the server closed it"))
        return False

    def _no_plain_text(self, deadline_s: float) -> bool:
        """TLS took what arrived for itself: part of a record, a ticket, or a goodbye."""
        assert self._tls is not None
        if self._tls.closed:
            return self._at_eof()
        if answer := self._tls.to_send():
            self._allow_write(deadline_s)
            self._sock.send(answer)
        return False

    def _at_eof(self) -> bool:
        if self._closed:
            raise faults.client_closed(self.origin)
        try:
            self._parser.eof()
        except WireFault as fault:
            raise self._lost(fault) from None
        return True

    def _lost(self, error: Exception) -> WireFault:
        if self._closed:
            return faults.client_closed(self.origin)
        if isinstance(error, WireFault) and error.kind is not FaultKind.CUT_OFF:
            return error
        detail = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return faults.lost(
            self.origin,
            reused=self.used,
            received_bytes=self._parser.received_bytes,
            detail=detail,
        )

    def read_head(self, deadline_s: float) -> tuple[int, RawHeaders]:
        """After ``begin``: read to the end of the reply's head."""
        while not self._parser.head_done:
            self._receive(deadline_s, time.monotonic())
        return self._parser.status, self._parser.headers

    def read_pieces(self, idle_s: float, deadline_s: float) -> Iterator[bytes]:
        """After ``read_head``: the body as it arrives; ``idle_s`` is the longest gap."""
        parser = self._parser
        while True:
            if piece := parser.body():
                yield piece
            if parser.done:
                return
            now = time.monotonic()
            self._receive(min(deadline_s, now + idle_s), now)

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly and the server keeps the connection."""
        if self._tls is not None and self._tls.closed:
            return False
        return self._parser.reusable and not self._closed

    @property
    def desynced(self) -> bool:
        """Bytes arrived behind the end of the last reply."""
        return self._parser.extra_bytes

    def quiet(self) -> bool:
        """Whether an idle lane is still good: a close or a stray byte would make it readable."""
        if not self._readable(0):
            return True
        if self._tls is None:
            return False
        try:
            # TLS's own words are no harm: session tickets wait on a lane that has not read yet.
            while self._readable(0):
                data = self._sock.recv(_READ_BYTES)
                if not data or self._tls.decrypt(data) or self._tls.closed:
                    break
            else:
                return True
        except OSError:  # reset, or a broken record
            pass
        self.abort()  # what was read is gone: without it the lane would look quiet again
        return False

    def abort(self) -> None:
        """From another thread: end the exchange under way; its caller gets ``CLOSED``."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the descriptor. Also right in a forked child: no TLS farewell is sent."""
        self._closed = True
        self._sock.close()


def _readable_check(sock: socket.socket) -> Callable[[float], object]:
    """A call that is true when ``sock`` has something to read; Windows has no ``poll``."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return poll.poll
    return lambda timeout_s: select.select([sock], [], [], timeout_s)[0]


def _timeval(seconds: float) -> bytes:
    """A kernel time-out; zero would mean none at all, and centuries do not fit."""
    seconds = min(seconds, LONGEST_WAIT_S)
    if sys.platform == "win32":
        return struct.pack("L", max(1, round(seconds * 1e3)))
    whole = int(seconds)
    return struct.pack("ll", whole, max(1, int((seconds - whole) * 1e6)))
