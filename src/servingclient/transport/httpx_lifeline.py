"""Ends an httpx exchange from outside: at the deadline, when it is abandoned, or at close.

httpx's time-outs are per read, so a reply that drips in byte by byte never ends (a 1 s time-out was
seen to take 16 s), and cancelling httpx's async pool breaks it for good (httpcore#1093). What works
for both colours is to shut down the socket underneath: httpx then sees a closed connection, reports
an error and cleans up by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time
from typing import Any, Literal

Ending = Literal["deadline", "closed", "abandoned"]

_BEGINNINGS = ("connect_tcp.started", "send_request_headers.started")


class Lifeline:
    """What is known of one exchange, and the hold on its socket.

    httpx reports its progress to ``trace``; a transport that reports nothing (a mock) leaves the
    first values, and cannot be ended.

    Args:
        pool: httpcore's pool, where the transport has one.

    Attributes:
        ended_by: Why the socket was shut down, if it was.
        head_done: The head of the reply has arrived.
        sent_s: Instant at which the request was sent.
        stream_id: Number of its stream, over HTTP/2.
        connect_s: Seconds spent opening a connection for it.
    """

    __slots__ = (
        "_connect_started_s",
        "_lock",
        "_over",
        "_pool",
        "_sending",
        "_shared",
        "_stream",
        "connect_s",
        "ended_by",
        "extensions",
        "head_done",
        "sent_s",
        "stream_id",
    )

    def __init__(self, pool: Any = None) -> None:
        self._pool = pool
        self._stream: Any = None
        self._sending = False
        self._shared = False
        self._connect_started_s = 0.0
        self._lock = threading.Lock()
        self._over = False
        self.connect_s: float = 0.0
        self.ended_by: Ending | None = None
        self.extensions: dict[str, Any] = {}
        self.head_done: bool = False
        self.sent_s: float = time.monotonic()
        self.stream_id: int | None = None

    @property
    def certainly_unsent(self) -> bool:
        """No byte has left: a transport that reports its progress has not begun to send."""
        return self._pool is not None and not self._sending

    @property
    def reused(self) -> bool:
        """The request went over a connection that had been opened before."""
        return self._sending and self._connect_started_s == 0.0

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Takes httpx's reports (its ``trace`` extension).

        Raises:
            ConnectionAbortedError: Nobody waits any more, so a request that was queued until now
                must not be sent.
        """
        layer, _, step = event.partition(".")
        if self.ended_by is not None and step in _BEGINNINGS:
            raise ConnectionAbortedError(self.ended_by)
        if layer == "http2":
            self._shared = True
        if step == "send_request_headers.started":
            self._sending = True
            self.stream_id = info.get("stream_id")
        elif step == "send_request_body.complete":
            self.sent_s = time.monotonic()
        elif step == "connect_tcp.started":
            self._connect_started_s = time.monotonic()
        elif step in ("connect_tcp.complete", "start_tls.complete"):
            self._stream = info["return_value"]
            self.connect_s = time.monotonic() - self._connect_started_s
            if self.ended_by is not None:  # ended while connecting, when there was no socket yet
                self._shut()

    async def trace_async(self, event: str, info: dict[str, Any]) -> None:
        """``trace`` for async transports."""
        self.trace(event, info)

    def arrived(self, stream: Any) -> None:
        """The head has arrived; ``stream`` is the response's ``network_stream`` extension."""
        self.head_done = True
        if stream is not None:
            self._stream = stream

    def over(self) -> None:
        """The exchange has ended: from here on its connection may be somebody else's.

        Not if bytes followed the reply: httpx would take them for the next one's, and every answer
        from then on would be somebody else's.
        """
        if self.head_done:
            self._retire_if_bytes_are_left()
        with self._lock:
            self._over = True

    def end(self, why: Ending) -> None:
        """Shut the socket down, unless the exchange is over. Safe from any thread."""
        with self._lock:
            if self._over or self.ended_by is not None:
                return
            self.ended_by = why
            self._shut()

    def _shut(self) -> None:
        if self._shared and self.ended_by != "closed":
            return  # other exchanges are on the same HTTP/2 connection; per-read time-outs remain
        stream = self._stream or self._stream_in_pool()
        sock = stream.get_extra_info("socket") if stream is not None else None
        if sock is None:
            return
        try:
            if isinstance(sock, socket.socket):
                # SSLSocket.shutdown would also drop the TLS state that another thread is using
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            else:
                sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        except Exception:  # noqa: BLE001 - uvloop's sockets cannot be shut down
            _close_soon(stream)

    def _stream_in_pool(self) -> Any:
        """The reused connection this request went out on, before it has answered anything.

        httpcore reports no reused connection, so its own records are searched. They are private:
        should they change, a reused connection ends by its per-read time-outs only. Before sending
        the records mean nothing, for several requests may be promised the same connection.
        """
        if not self._sending:
            return None
        return _innermost(self._connection(), "_network_stream")

    def _retire_if_bytes_are_left(self) -> None:
        """Have httpcore close the connection instead of lending it again.

        Shutting the socket down would not do: the bytes are in the parser already.
        """
        parser = _innermost(self._connection(), "_h11_state")
        left, _ = getattr(parser, "trailing_data", (b"", False))
        if left:
            parser.send_failed()

    def _connection(self) -> Any:
        """What httpcore's pool has noted for this request."""
        for entry in list(getattr(self._pool, "_requests", ())):
            request = getattr(entry, "request", None)
            if request is not None and request.extensions is self.extensions:
                return getattr(entry, "connection", None)
        return None


def _innermost(connection: Any, name: str) -> Any:
    """An attribute of the connection inside those that wrap it (for TLS, for a proxy)."""
    while connection is not None:
        found = getattr(connection, name, None)
        if found is not None:
            return found
        connection = getattr(connection, "_connection", None)
    return None


def _close_soon(stream: Any) -> None:
    with contextlib.suppress(RuntimeError):
        closing = asyncio.get_running_loop().create_task(stream.aclose())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()

_LOOK_EVERY_S = 0.25


class Watchdog:
    """Ends exchanges of blocking calls at their deadline. One thread, only while calls run."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._watched: dict[Lifeline, float] = {}
        self._next_look_s = 0.0
        self._thread: threading.Thread | None = None

    def watch(self, line: Lifeline, deadline_s: float) -> None:
        """End ``line`` at ``deadline_s``, unless ``unwatch`` comes first."""
        with self._changed:
            self._watched[line] = deadline_s
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, daemon=True, name="servingclient-deadlines"
                )
                self._thread.start()
            elif deadline_s < self._next_look_s:
                self._changed.notify()

    def unwatch(self, line: Lifeline) -> None:
        """The head or the whole reply has arrived, or the call has failed."""
        with self._changed:
            self._watched.pop(line, None)

    def stop(self) -> None:
        """End the thread now."""
        with self._changed:
            self._watched.clear()
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        with self._changed:
            while self._watched:
                now_s = time.monotonic()
                for line in [line for line, due_s in self._watched.items() if due_s <= now_s]:
                    del self._watched[line]
                    line.end("deadline")
                self._next_look_s = min([now_s + _LOOK_EVERY_S, *self._watched.values()])
                self._changed.wait(max(0.0, self._next_look_s - now_s))
            self._thread = None
