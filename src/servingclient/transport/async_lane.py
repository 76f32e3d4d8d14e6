"""A lane for asyncio: one connection, a plain protocol, one request at a time."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import time
from collections import deque
from functools import partial
from typing import Any, NoReturn

from servingclient._types import Origin, RawHeaders, Reply, WireFault
from servingclient.transport import faults
from servingclient.transport.exchange import Limits, ReplyParser
from servingclient.transport.tls_session import TlsSession

_ONE_WRITE_BYTES = 64 * 1024
_INBOX_BYTES = 256 * 1024


def new_inbox() -> memoryview:
    """Where the lanes of one loop find what arrives; each empties it before the next may read.

    Given to asyncio because its own way allocates 256 KB for each read. In a process that never
    freed a large block, glibc maps and unmaps them: 13 us a reply, as much as the whole exchange.
    """
    return memoryview(bytearray(_INBOX_BYTES))


class AsyncLane(asyncio.BufferedProtocol):
    """One connection of one event loop. The pool lends it to one task at a time.

    Attributes are those of ``lane.Lane``.
    """

    def __init__(
        self, origin: Origin, context: ssl.SSLContext | None, limits: Limits, inbox: memoryview
    ) -> None:
        self.origin = origin
        self.connect_s: float = 0.0
        self.retire_s: float = 0.0
        self.idle_since_s: float = 0.0
        self.used = False
        self._tls = None if context is None else TlsSession(context, origin.host)
        self._shaking: asyncio.Future[None] | None = None
        self._parser = ReplyParser(limits)
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._fault: WireFault | None = None
        self._broken = False
        self._streaming = False
        self._large = False
        self._first_byte_s = 0.0
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    # What asyncio calls ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._broken:  # closed while it was being opened
            transport.abort()  # type: ignore[attr-defined]
            return
        self._transport = transport  # type: ignore[assignment]
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._inbox

    def buffer_updated(self, size: int) -> None:
        came = self._inbox[:size]
        tls = self._tls
        if tls is None:
            data = bytes(came)
        elif self._shaking is not None:
            self._shake(came)
            return
        else:
            data = self._decrypted(tls, came)
            if not data:
                return
        waiter = self._waiter
        parser = self._parser
        if waiter is None and not self._streaming:
            self._broken = True  # nobody asked: it must not answer the next call
            self.close()
            return
        if parser.received_bytes == 0:
            self._first_byte_s = time.monotonic()
        try:
            done = parser.feed(data)
        except WireFault as fault:
            self._end(fault)
            return
        if done or (self._streaming and parser.head_done):
            self._wake()
        if tls is not None and tls.closed:
            self.eof_received()

    def _decrypted(self, tls: TlsSession, came: memoryview) -> bytes:
        """What TLS does not keep for itself (part of a record, a ticket, a goodbye)."""
        try:
            plain = tls.decrypt(came)
        except ssl.SSLError as error:
            self._end(self._lost(_words(error)))
            return b""
        if not plain:
            if tls.closed:
                self.eof_received()
            elif self._transport is not None and (answer := tls.to_send()):
                self._transport.write(answer)
        return plain

    def eof_received(self) -> bool:
        if self._shaking is not None and not self._shaking.done():
            error = ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed during the handshake")
            self._shaking.set_exception(error)
        if self._tls is not None and not self._tls.closed:
            return False  # an end without TLS's goodbye may be a forged one: connection_lost says
        if self._waiter is not None or self._streaming:
            try:
                self._parser.eof()
            except WireFault as fault:
                self._end(self._lost(fault.detail))
            else:
                self._wake()
        self._broken = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._broken = True
        if self._shaking is not None and not self._shaking.done():
            self._shaking.set_exception(error or ConnectionResetError("closed while it opened"))
        # The server may close right behind a complete reply whose caller has not run yet.
        if (self._waiter is not None or self._streaming) and not self._parser.done:
            self._end(self._lost(_words(error)))
        self._transport = None
        self._stop_timer()

    # What the wire calls --------------------------------------------------------------------

    async def shake_hands(self) -> None:
        """After connecting: set up TLS, if this lane has it.

        Raises:
            OSError: TLS was refused or the connection broke.
        """
        if self._tls is None:
            return
        self._shaking = shaking = self._loop.create_future()
        self._shake(b"")
        try:
            await shaking
        finally:
            self._shaking = None

    def _shake(self, data: bytes | memoryview) -> None:
        shaking, tls, transport = self._shaking, self._tls, self._transport
        if shaking is None or tls is None or transport is None or shaking.done():
            return
        try:
            answer, done = tls.handshake(data)
        except ssl.SSLError as error:
            transport.write(tls.last_words())
            shaking.set_exception(error)
            return
        if answer:
            transport.write(answer)
        if done:
            self._shaking = None  # what arrives from now on is no part of it
            shaking.set_result(None)

    async def exchange(self, head: bytes, body: bytes, deadline_s: float) -> Reply:
        """Send one request and read its reply.

        Raises:
            WireFault: There is no complete reply. The lane must be closed after it.
        """
        sent_s = self._begin(head, body)
        # As ``_wait`` does, without its coroutine: 0.2 us.
        if self._fault is not None:
            self._raise()
        waiter = self._waiter
        assert waiter is not None
        self._arm(deadline_s)
        try:
            await waiter
        finally:
            self._waiter = None
            self._deadline_s = 0.0
        if self._fault is not None:
            self._raise()
        parser = self._parser
        connect_s, self.connect_s = self.connect_s, 0.0
        facts = (
            parser.status,
            parser.headers,
            parser.body(),
            sent_s,
            self._first_byte_s,
            connect_s,
        )
        return tuple.__new__(Reply, facts)  # its own __new__ is Python: 0.1 us

    async def open(self, head: bytes, body: bytes, deadline_s: float) -> tuple[int, RawHeaders]:
        """Send one request and read the head of its reply; ``read`` gives the rest."""
        self._streaming = True
        self._begin(head, body)
        while not self._parser.head_done:
            await self._wait(deadline_s)
        return self._parser.status, self._parser.headers

    async def read(self, deadline_s: float) -> bytes:
        """The next piece of the body; empty at its end."""
        parser = self._parser
        while True:
            if piece := parser.body():
                return piece
            if parser.done:
                self._streaming = False
                return b""
            self._waiter = self._loop.create_future()
            await self._wait(deadline_s)

    def _begin(self, head: bytes, body: bytes) -> float:
        transport = self._transport
        self._parser.begin()
        self._fault = None
        if transport is None or self._broken:
            if not self.used:
                raise faults.dial_fault(ConnectionResetError(), self.origin)
            raise self._lost("it was closed while idle")
        self._waiter = self._loop.create_future()
        tls = self._tls
        self._large = len(body) > _ONE_WRITE_BYTES
        if not self._large:
            whole = head + body
            transport.write(whole if tls is None else tls.encrypt(whole))
        elif tls is None:
            transport.writelines([head, body])
        else:
            transport.write(tls.encrypt(head) + tls.encrypt(body))
        return time.monotonic()

    async def _wait(self, deadline_s: float) -> None:
        if self._fault is not None:
            self._raise()
        waiter = self._waiter
        if waiter is None:
            waiter = self._waiter = self._loop.create_future()
        self._arm(deadline_s)
        try:
            await waiter
        finally:
            self._waiter = None
            self._deadline_s = 0.0
        if self._fault is not None:
            self._raise()

    # Time: one timer per lane that outlives calls. Cancelling and setting one per call costs
    # 2 us; with equal time-outs this one is set anew once per time-out.

    def _arm(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        if self._timer is None or deadline_s < self._timer_s:
            self._set_timer(deadline_s)

    def _set_timer(self, deadline_s: float) -> None:
        self._stop_timer()
        self._timer_s = deadline_s
        delay_s = max(0.0, deadline_s - time.monotonic())
        self._timer = self._loop.call_later(delay_s, self._on_timer)

    def _on_timer(self, *, looked: bool = False) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if time.monotonic() < self._deadline_s:
            self._set_timer(self._deadline_s)
        elif looked:
            self._end(faults.timed_out(self.origin, self._parser.received_bytes))
        else:
            # This round of the loop may have begun before somebody blocked it, and the reply be
            # there unread. Timers of the next round run behind what its sockets have.
            again = partial(self._on_timer, looked=True)
            self._timer_s, self._timer = self._deadline_s, self._loop.call_later(0.0, again)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Ends -----------------------------------------------------------------------------------

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _end(self, fault: WireFault) -> None:
        if self._fault is None:
            self._fault = fault
        self._broken = True
        self._wake()

    def _raise(self) -> NoReturn:
        # Kept here it would hold, through its traceback, the frames that hold the request, until
        # the collector comes.
        fault, self._fault = self._fault, None
        assert fault is not None
        try:
            raise fault
        finally:
            del fault

    def _lost(self, detail: str) -> WireFault:
        return faults.lost(
            self.origin,
            reused=self.used,
            received_bytes=self._parser.received_bytes,
            detail=detail,
        )

    @property
    def reusable(self) -> bool:
        """The last exchange ended cleanly and the server keeps the connection."""
        if self._broken or not self._parser.reusable:
            return False
        # A reply that came before its request was all sent: the next one would queue behind it.
        return not (self._large and self._transport and self._transport.get_write_buffer_size())

    @property
    def desynced(self) -> bool:
        """Bytes arrived behind the end of the last reply."""
        return self._parser.extra_bytes

    def quiet(self) -> bool:
        """Whether an idle lane is still good; a close or a stray byte has broken it already."""
        return not self._broken

    def abort(self) -> None:
        """End the exchange under way; its caller gets ``CLOSED``."""
        self._end(faults.client_closed(self.origin))
        self.close()

    def close(self) -> None:
        """Close at once, without a TLS farewell: waiting for one can hang on a dead peer."""
        self._broken = True
        self._stop_timer()
        transport, self._transport = self._transport, None
        if transport is not None:
            # A closed loop refuses; its sockets were closed with it.
            with contextlib.suppress(RuntimeError):
                transport.abort()

    def forget(self) -> None:
        """In a forked child or for a dead loop: close the descriptor and touch nothing else.

        The transport's own close would unregister the parent's reader: the selector is shared.
        """
        self._broken = True
        transport, self._transport = self._transport, None
        sock: Any = transport.get_extra_info("socket") if transport is not None else None
        inner = getattr(sock, "_sock", None)
        if inner is not None and inner.fileno() >= 0:
            os.close(inner.detach())
        keep_uncollected(transport)


_FORGOTTEN = 4096
_forgotten: deque[Any] = deque(maxlen=_FORGOTTEN)


def keep_uncollected(thing: object) -> None:
    """Hold what belongs to a parent process or dead loop: collecting it would touch that loop."""
    _forgotten.append(thing)


def _words(error: Exception | None) -> str:
    if error is None:
        return "closed by the server"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
