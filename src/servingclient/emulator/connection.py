"""Connections: they read requests and send replies, one after the other."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import deque
from typing import TYPE_CHECKING

import httptools

from servingclient.emulator import routes
from servingclient.emulator.delivery import PLAIN, SILENT
from servingclient.emulator.wire import Request, error, render

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.delivery import Delivery
    from servingclient.emulator.journal import Note
    from servingclient.emulator.listener import Listener
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import HostName, Reply

_RST_ON_CLOSE = struct.pack("ii", 1, 0)
_KNOWN_NAMES: dict[bytes, str] = {}
_KNOWN_VALUES: dict[bytes, str] = {}
"""Header names and values seen so far, so that the journal holds one copy of what every request
repeats. Bounded, because a client may invent as many as it likes."""
_MOST_KNOWN = 512


class Connection(asyncio.Protocol):
    """One client connection; its requests are answered one after the other."""

    def __init__(
        self, workspace: Workspace, host: HostName, number: int, listener: Listener
    ) -> None:
        """Belong to a listener of the workspace."""
        self.host = host
        self._workspace = workspace
        self._number = number
        self._listener = listener
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._pending: deque[Request] = deque()
        self._current: Request | None = None
        self._closing = False
        self._served = 0
        self._idle: asyncio.TimerHandle | None = None
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size_bytes = 0
        self._check_at_bytes = 0
        self._oversize = False
        self._received_at_s = 0.0

    # --- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start listening to the client."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._listener.connections.add(self)
        self._workspace.journal.touch()
        self._watch_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the client; what it asked for is still carried out."""
        if self._transport is not None:
            # Python 3.10's TLS transport warns that it was never closed when the client went first
            self._transport.close()
        self._transport = None
        self._pending.clear()
        self._listener.connections.discard(self)
        self._workspace.journal.touch()
        self._watch_idle(stop=True)

    def data_received(self, data: bytes) -> None:
        """Feed the parser."""
        if self._closing:
            return
        if self._idle is not None:
            self._watch_idle(stop=True)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self.close()
        except httptools.HttpParserError:
            self._refuse_garbage()

    # --- httptools

    def on_message_begin(self) -> None:
        """Start a request."""
        self._target = b""
        self._headers = {}
        self._body = []
        self._size_bytes = 0
        self._check_at_bytes = self._workspace.smallest_limit_bytes
        self._oversize = False
        self._received_at_s = time.monotonic()

    def on_url(self, url: bytes) -> None:
        """Collect the target, which may come in pieces."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; a repeated one is joined with a comma."""
        key = _KNOWN_NAMES.get(name) or _remember(
            _KNOWN_NAMES, name, name.decode("latin-1").lower()
        )
        text = _KNOWN_VALUES.get(value) or _remember(_KNOWN_VALUES, value, value.decode("latin-1"))
        headers = self._headers
        headers[key] = f"{headers[key]}, {text}" if key in headers else text

    def on_headers_complete(self) -> None:
        """Let a client go on that waits for permission to send its body."""
        if "expect" in self._headers and self._headers["expect"].lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, data: bytes) -> None:
        """Collect the body, up to the limit of its endpoint."""
        self._size_bytes += len(data)
        if self._size_bytes > self._check_at_bytes:
            self._check_size()
        if not self._oversize:
            self._body.append(data)

    def on_message_complete(self) -> None:
        """Queue the request, behind the one that is being answered."""
        request = Request(
            self._parser.get_method().decode("latin-1"),
            self._target.decode("latin-1"),
            self._headers,
            b"".join(self._body),
            self._size_bytes,
            self._oversize,
            self._parser.should_keep_alive(),
            self._number,
            self.host,
            self._received_at_s,
        )
        self._body = []
        self._pending.append(request)
        self._next()

    def _check_size(self) -> None:
        path = self._target.decode("latin-1").partition("?")[0]
        limit = routes.upload_limit(self._workspace, path, self)
        if self._size_bytes <= limit:
            self._check_at_bytes = limit
            return
        self._oversize = True
        self._body = []
        if self._workspace.settings.oversize == "close":
            self.reset()

    def _refuse_garbage(self) -> None:
        if self._transport is not None and self._current is None:
            message = error(400, "BAD_REQUEST", "Invalid HTTP request received.")
            rendered = render(message, date=self._workspace.dates.now(), close=True)
            self.write(rendered.head + rendered.body)
        self.close()

    # --- replies

    def _next(self) -> None:
        if self._current is None and self._pending and not self._closing:
            self._current = self._pending.popleft()
            self._served += 1
            routes.handle(self._workspace, self, self._current)

    def reply(
        self,
        reply: Reply,
        note: Note,
        delivery: Delivery = PLAIN,
        extra: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """Record the outcome of the current request, then send it as the delivery does."""
        request, settings = self._current, self._workspace.settings
        if request is None:
            return
        silent = self._transport is None or isinstance(delivery, SILENT)
        self._workspace.journal.add(request, note, None if silent else reply.status)
        if self._transport is None:
            return
        limit = settings.max_requests_per_connection
        close = not request.keep_alive or (limit is not None and self._served >= limit)
        date = self._workspace.dates.now(reply.clock_skew_s)
        self._closing = close
        delivery.send(self, render(reply, date=date, close=close, extra=extra))

    def write(self, data: bytes) -> None:
        """Send bytes."""
        if self._transport is not None:
            self._transport.write(data)

    def finish(self) -> None:
        """Go on with the next request, or close."""
        self._current = None
        if self._closing or self._workspace.settings.fin_after_reply:
            self.close()
        elif (
            self._pending
        ):  # not from here: a pipeline of requests would nest one frame deeper each
            asyncio.get_running_loop().call_soon(self._next)
        else:
            self._watch_idle()

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        self._closing = True
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Drop the connection with RST."""
        self._closing = True
        if self._transport is not None:
            sock = self._transport.get_extra_info("socket")
            if sock is not None:  # TLS lets go of it before it says that the client has gone
                reset_socket(sock)
            self._transport.abort()

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later, unless the client has gone by then."""

        def act() -> None:
            if self._transport is not None:
                action()

        asyncio.get_running_loop().call_later(delay_s, act)

    def _watch_idle(self, *, stop: bool = False) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        timeout_s = self._workspace.settings.idle_timeout_s
        if timeout_s is not None and not stop:
            self._idle = asyncio.get_running_loop().call_later(timeout_s, self.close)


def _remember(known: dict[bytes, str], data: bytes, text: str) -> str:
    if len(known) < _MOST_KNOWN:
        known[data] = text
    return text


def reset_socket(sock: socket.socket) -> None:
    """Make closing the socket send RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
