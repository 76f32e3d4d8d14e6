"""A lane: one blocking connection that carries one request at a time."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

from servingclient._types import FaultKind, Origin, RawHeaders, Reply, WireFault
from servingclient.transport import faults, readiness
from servingclient.transport.exchange import Limits, ReplyParser
from servingclient.transport.readiness import (
    AT_ONCE,
    LONGEST_WAIT_S,
    await_room,
    kernel_waits,
    readable_check,
    timeval,
)
from servingclient.transport.tls_session import TlsSession

_READ_BYTES = 64 * 1024
_WRITE_BYTES = 256 * 1024  # head and body go as one piece up to here; above, piece by piece
_TIMEOUT_SLACK_S = 0.002
"""Setting the kernel's time-out is a system call that lets go of the GIL, so the one at hand is
kept: if it is longer than what is left by no more than this, or shorter by up to a half, after
which the read is begun anew. Threads that wait for each other have a bit less left at every call:
of 32 of them, one read in three set it, and one in 300 does now.
"""
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
        "_kernel_waits",
        "_parser",
        "_read_timeout_s",
        "_readable",
        "_sock",
        "_tls",
        "connect_s",
        "idle_since_s",
        "origin",
        "retire_s",
        "used",
    )

    def __init__(
        self, origin: Origin, sock: socket.socket, tls: TlsSession | None, limits: Limits
    ) -> None:
        self.origin: Origin = origin
        self.connect_s: float = 0.0
        self.retire_s: float = 0.0
        self.idle_since_s: float = 0.0
        self.used: bool = False
        self._sock = sock
        self._tls = tls
        self._parser = ReplyParser(limits)
        self._buffer = memoryview(bytearray(_READ_BYTES))  # a recv() allocates as much each time
        self._readable = readable_check(sock)
        self._read_timeout_s = -1.0
        self._closed = False
        self._kernel_waits = kernel_waits(sock)
        if not self._kernel_waits:
            sock.setblocking(False)

    def exchange(self, head: bytes, body: bytes, deadline_s: float) -> Reply:
        """Send one request and read its reply.

        Raises:
            WireFault: There is no complete reply. The lane must be closed after it.
        """
        parser = self._parser
        done = self.begin(head, body, deadline_s)
        now_s = sent_s = first_byte_s = time.monotonic()
        while not done:
            begun = parser.received_bytes > 0  # or TLS alone has spoken: a ticket, half a record
            done = self._receive(deadline_s, now_s)
            now_s = time.monotonic()
            if not begun:
                first_byte_s = now_s
        return self.reply(sent_s, first_byte_s)

    @property
    def begun(self) -> bool:
        """Something of the reply has come."""
        return self._parser.received_bytes > 0

    def reply(self, sent_s: float, first_byte_s: float) -> Reply:
        """The complete reply; the instants are those of ``Reply``."""
        parser = self._parser
        connect_s, self.connect_s = self.connect_s, 0.0
        facts = (parser.status, parser.headers, parser.body(), sent_s, first_byte_s, connect_s)
        return tuple.__new__(Reply, facts)  # its own __new__ is Python: 0.1 us

    def begin(self, head: bytes, body: bytes, deadline_s: float) -> bool:
        """Send one request; ``read_head``, ``take_in`` or ``exchange`` reads on.

        Returns:
            True when the whole reply is here: the server did not want the rest of the request.

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
        except TimeoutError:
            raise faults.timed_out(self.origin, 0) from None
        except OSError as error:
            self._early_reply(error, deadline_s)
            return True
        return False

    def _write(self, data: bytes | memoryview, deadline_s: float) -> None:
        if self._tls is not None:
            data = self._tls.encrypt(data)
        try:
            sent = self._sock.send(data, AT_ONCE)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._write_rest(memoryview(data)[sent:], deadline_s)

    def _write_rest(self, data: memoryview, deadline_s: float) -> None:
        while data:
            await_room(self._sock, deadline_s - time.monotonic())
            with contextlib.suppress(BlockingIOError):
                data = data[self._sock.send(data, AT_ONCE) :]

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
        """Wait for bytes and read once; True when the reply is complete."""
        left_s = deadline_s - now_s
        if left_s <= 0.0:
            raise self.late()
        try:
            if self._kernel_waits and threading.get_ident() != readiness.main_thread:
                if not left_s / 2.0 <= self._read_timeout_s <= left_s + _TIMEOUT_SLACK_S:
                    self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeval(left_s))
                    self._read_timeout_s = left_s
                size = self._sock.recv_into(self._buffer)
            elif self._readable(min(left_s, LONGEST_WAIT_S) * 1e3):
                size = self._sock.recv_into(self._buffer, 0, AT_ONCE)
            else:
                raise self.late()
        except BlockingIOError:  # the kernel's time-out may have been the shorter one
            return self._receive(deadline_s, time.monotonic())
        except OSError as error:
            raise self._lost(error) from None
        return self._take(size)

    def take_in(self, wait_s: float = 0.0) -> bool:
        """After ``begin``: read once what comes within ``wait_s``; True when the reply is complete.

        Raises:
            WireFault: It will not be complete. That time is up is none.
        """
        if not self._readable(max(0.0, wait_s) * 1e3):
            return False
        try:
            size = self._sock.recv_into(self._buffer, 0, AT_ONCE)
        except BlockingIOError:
            return False
        except OSError as error:
            raise self._lost(error) from None
        return self._take(size)

    def _take(self, size: int) -> bool:
        """Make something of what was read; nothing is the connection's end."""
        tls = self._tls
        if tls is None or not size:
            data = bytes(self._buffer[:size])
        else:
            try:
                data = tls.decrypt(self._buffer[:size])
            except OSError as error:
                raise self._lost(error) from None
            if not data:
                return self._no_plain_text()
        if data and self._parser.feed(data):
            return True
        if tls is None:
            return False if data else self._at_eof()
        if tls.closed:
            return self._at_eof()
        if not data:  # an end without TLS's goodbye may be a forged one
            raise self._lost(ConnectionError("the server closed it"))
        return False

    def _no_plain_text(self) -> bool:
        """TLS took what arrived for itself: part of a record, a ticket, or a goodbye."""
        assert self._tls is not None
        if self._tls.closed:
            return self._at_eof()
        if answer := self._tls.to_send():
            with contextlib.suppress(OSError):  # a few bytes; a break shows at the next read
                self._sock.send(answer, AT_ONCE)
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

    def fileno(self) -> int:
        """For whoever waits until there is something to take in."""
        return self._sock.fileno()

    def late(self) -> WireFault:
        """What to say when the reply is not complete in time."""
        return faults.timed_out(self.origin, self._parser.received_bytes)

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
                data = self._sock.recv(_READ_BYTES, AT_ONCE)
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
