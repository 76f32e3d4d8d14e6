"""The other side of every benchmark: one selector loop, as fast as one core can answer.

It must never be what limits a client, so it does as little as possible: non-blocking sockets, no
HTTP library, one write per reply (in two it would meet delayed ACK, 40 ms), TCP_NODELAY, keep-alive
without end. It does read each request to its last byte, since a server that answers early flatters
clients. What it answers, and when, says ``answers.py``.

    python benchmarks/server.py [--plain] [--delay-ms 20]
    python benchmarks/server.py --answer echo --slots 4 --delay-ms 5 --row-ms 0.05

prints one line of JSON: ``{"host": "https://127.0.0.1:PORT", "ca_file": "…"}``.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import resource
import select
import selectors
import signal
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path

import answers
import trustme
from answers import Model

ADDRESS = "127.0.0.1"


class Connection:
    """One accepted socket and the bytes that wait on it, inwards and outwards."""

    __slots__ = ("handshaking", "received", "sock", "unsent", "wanted")

    def __init__(self, sock: socket.socket, *, handshaking: bool) -> None:
        self.sock = sock
        self.handshaking = handshaking
        self.received = bytearray()
        self.wanted = 0  # bytes below which looking at what was received is no use
        self.unsent = b""


class Server:
    """A selector loop over all connections; ``run`` returns when ``stop_with`` reaches its end."""

    def __init__(
        self, listener: socket.socket, tls: ssl.SSLContext | None, model: Model, slots: int
    ) -> None:
        self._listener = listener
        self._tls = tls
        self._model = model
        self._invocations = 0
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, Connection, bytes]] = []
        self._order = itertools.count()  # a heap never gets to compare two connections
        scheme = "http" if tls is None else "https"
        self.host = f"{scheme}://{ADDRESS}:{listener.getsockname()[1]}"
        self._pages = answers.control_plane(self.host, slots)

    def run(self, stop_with: int | None = None) -> None:
        register = self._selector.register
        self._listener.setblocking(False)
        register(self._listener, selectors.EVENT_READ, "listener")
        if stop_with is not None:
            register(stop_with, selectors.EVENT_READ, "stop")
        while True:
            for key, _ in self._ready():
                connection = key.data
                if isinstance(connection, Connection):
                    self._serve(connection)
                elif connection == "listener":
                    self._accept()
                else:
                    return
            self._send_due()

    def _ready(self) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait until a socket is ready or a reply is due.

        epoll counts in whole milliseconds, which a model of 5 ms can not bear; ``select`` of the
        one descriptor of epoll itself does not.
        """
        if not self._due:
            return self._selector.select()
        wait_s = self._due[0][0] - time.monotonic()
        fileno = getattr(self._selector, "fileno", None)
        if wait_s > 0 and fileno is not None:
            select.select([fileno()], [], [], wait_s)
            wait_s = 0.0
        return self._selector.select(max(0.0, wait_s))

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                return
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            connection = Connection(sock, handshaking=self._tls is not None)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _serve(self, connection: Connection) -> None:
        """Do what the socket is ready for; errors of a peer that went away end the connection."""
        try:
            if connection.handshaking:
                connection.sock.do_handshake()  # type: ignore[attr-defined]
                connection.handshaking = False
            if connection.unsent:
                self._send(connection, b"")
            self._receive(connection)
        except (BlockingIOError, ssl.SSLWantReadError):
            pass
        except ssl.SSLWantWriteError:
            self._selector.modify(connection.sock, selectors.EVENT_WRITE, connection)
        except OSError:
            self._close(connection)

    def _receive(self, connection: Connection) -> None:
        sock = connection.sock
        while True:
            data = sock.recv(65536)
            if not data:
                self._close(connection)
                return
            received = connection.received
            if received:
                received += data
                if len(received) >= connection.wanted:
                    connection.received = bytearray()
                    self._answer(connection, bytes(received))
            else:
                self._answer(connection, data)
            # what is decrypted already wakes no selector
            if self._tls is None or not sock.pending():  # type: ignore[attr-defined]
                return

    def _answer(self, connection: Connection, data: bytes) -> None:
        """Answer each complete request in ``data``; the rest stays with the connection."""
        at = 0
        while at < len(data):
            body_at = data.find(b"\r\n\r\n", at) + 4
            if body_at < 4:
                connection.wanted = 0
                break
            length = content_length(data[at:body_at])
            if length < 0:
                self._send(connection, answers.LENGTH_REQUIRED)
                raise ConnectionError
            end = body_at + length
            if len(data) < end:
                connection.wanted = end - at
                break
            answer, due_s = self._page(data, at, body_at, end)
            if due_s:
                heapq.heappush(self._due, (due_s, next(self._order), connection, answer))
            else:
                self._send(connection, answer)
            at = end
        connection.received += data[at:]

    def _page(self, data: bytes, at: int, body_at: int, end: int) -> tuple[bytes, float]:
        line = data[at : data.find(b" HTTP/1.1\r\n", at)]
        if line.endswith(answers.SCORING) and line.startswith(b"POST "):
            self._invocations += 1
            return self._model.answer(data, body_at, end, time.monotonic())
        if line == answers.COUNT_LINE:
            return answers.json_reply(self._invocations), 0.0
        return self._pages.get(line, answers.NOT_FOUND), 0.0

    def _send(self, connection: Connection, data: bytes) -> None:
        data = connection.unsent + data
        try:
            sent = connection.sock.send(data)
        except (BlockingIOError, ssl.SSLWantWriteError):
            sent = 0
        if sent < len(data):
            events = selectors.EVENT_READ | selectors.EVENT_WRITE
            self._selector.modify(connection.sock, events, connection)
        elif connection.unsent:
            self._selector.modify(connection.sock, selectors.EVENT_READ, connection)
        connection.unsent = data[sent:]

    def _send_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, _, connection, answer = heapq.heappop(self._due)
            try:
                self._send(connection, answer)
            except (OSError, KeyError, ValueError):
                self._close(connection)  # the caller gave up meanwhile

    def _close(self, connection: Connection) -> None:
        try:
            self._selector.unregister(connection.sock)
        except (KeyError, ValueError):
            return  # closed before
        connection.sock.close()


def content_length(head: bytes) -> int:
    """Length of the body a head announces; -1 for a chunked one, which no contender sends."""
    head = head.lower()
    at = head.find(b"\r\ncontent-length:")
    if at < 0:
        return -1 if b"\r\ntransfer-encoding:" in head else 0
    return int(head[at + 17 : head.find(b"\r\n", at + 2)])


def tls_context(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """TLS 1.3 with a P-256 certificate of a new private authority, whose file is returned."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert(ADDRESS, "localhost").configure_cert(context)
    ca_file = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    return context, ca_file


def allow_many_files() -> None:
    """A thousand connections per contender outgrow the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument("--core", type=int, help="pin to this core")
    parser.add_argument("--until-stdin-ends", action="store_true", help="for a parent process")
    parser.add_argument(
        "--answer",
        choices=("fixed", "chat", "echo", "count"),
        default="fixed",
        help="always the same, or a completion; the first value of each row; the number of each",
    )
    parser.add_argument("--delay-ms", type=float, default=0.0, help="time a request takes")
    parser.add_argument("--row-ms", type=float, default=0.0, help="time each row adds")
    parser.add_argument("--slots", type=int, default=0, help="requests at a time; 0: any number")
    parser.add_argument("--overhead-ms", type=float, default=0.0, help="the way; takes no slot")
    parser.add_argument("--slow-share", type=float, default=0.0, help="share of slow requests")
    parser.add_argument("--slow-ms", type=float, default=0.0, help="how much slower they are")
    return parser.parse_args()


def model_of(options: argparse.Namespace) -> Model:
    if options.answer == "fixed":
        return answers.Fixed(options.delay_ms / 1000)
    if options.answer == "chat":
        return answers.Fixed(options.delay_ms / 1000, answers.CHATTED)
    times = answers.Times(
        options.delay_ms / 1000,
        options.row_ms / 1000,
        options.slots,
        options.slow_share,
        options.slow_ms / 1000,
    )
    if options.answer == "count":
        return answers.Count(times)
    return answers.Echo(times, options.overhead_ms / 1000)


def main() -> None:
    options = arguments()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder is removed
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server((ADDRESS, options.port), backlog=4096) as sock,
    ):
        tls, ca_file = (None, None) if options.plain else tls_context(Path(folder))
        server = Server(sock, tls, model_of(options), options.slots)
        print(json.dumps({"host": server.host, "ca_file": ca_file and str(ca_file)}), flush=True)
        try:
            server.run(stop_with=sys.stdin.fileno() if options.until_stdin_ends else None)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
