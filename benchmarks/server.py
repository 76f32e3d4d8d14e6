"""The other side of every benchmark: answers with a fixed reply, as fast as one core can.

It must never be what limits a client, so it does as little as possible: non-blocking sockets in one
selector loop, no HTTP library, one write per reply (in two it would meet delayed ACK, 40 ms),
TCP_NODELAY, keep-alive without end. It does read each request to its last byte, since a server that
answers early flatters clients.

    python benchmarks/server.py [--delay-ms 20] [--plain]

prints one line of JSON: ``{"host": "https://127.0.0.1:PORT", "ca_file": "…"}``.
"""

from __future__ import annotations

import argparse
import heapq
import itertools
import json
import os
import resource
import selectors
import signal
import socket
import ssl
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import trustme

ADDRESS = "127.0.0.1"
PREDICTIONS = b'{"predictions":[[0.26894142137,0.73105857863]]}'
assert len(PREDICTIONS) == 47  # the size all reference figures were taken with

SCORED_HEADERS = (
    ("Content-Type", "application/json"),
    ("Date", "Mon, 02 Jun 2025 10:00:00 GMT"),
    ("Server", "databricks"),
    ("Vary", "Accept-Encoding"),
    ("Cache-Control", "no-store"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains; preload"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Request-Id", "5b9f6a0e-6f0a-4f4e-9d3a-0c6f2f3d9a11"),
    ("X-Databricks-Org-Id", "1234567890123456"),
    ("Served-Model-Name", "model-1"),
    ("Connection", "keep-alive"),
)


def reply(status: str, body: bytes, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]
    lines.append(f"Content-Length: {len(body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


SCORED = reply("200 OK", PREDICTIONS, SCORED_HEADERS)
JSON_TYPE = (("Content-Type", "application/json"),)


def control_plane(host: str) -> dict[bytes, bytes]:
    """What clients ask for before their first call, by request line without the version."""
    pages: dict[str, Any] = {
        "GET /.well-known/databricks-config": {
            "oidc_endpoint": f"{host}/oidc",
            "workspace_id": "1234567890123456",
        },
        "GET /oidc/.well-known/oauth-authorization-server": {
            "issuer": f"{host}/oidc",
            "authorization_endpoint": f"{host}/oidc/v1/authorize",
            "token_endpoint": f"{host}/oidc/v1/token",
        },
        "POST /oidc/v1/token": {
            "access_token": "benchmark-token",
            "token_type": "Bearer",
            "expires_in": 3600,
        },
    }
    return {
        line.encode(): reply("200 OK", json.dumps(page).encode(), JSON_TYPE)
        for line, page in pages.items()
    }


NOT_FOUND = reply(
    "404 Not Found",
    b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"not part of this benchmark"}',
    JSON_TYPE,
)
LENGTH_REQUIRED = reply("411 Length Required", b"")


class Connection:
    """One accepted socket and the bytes that wait on it, inwards and outwards."""

    __slots__ = ("handshaking", "received", "sock", "unsent")

    def __init__(self, sock: socket.socket, *, handshaking: bool) -> None:
        self.sock = sock
        self.handshaking = handshaking
        self.received = b""
        self.unsent = b""


class Server:
    """A selector loop over all connections; ``run`` returns when ``stop_with`` reaches its end."""

    def __init__(self, listener: socket.socket, tls: ssl.SSLContext | None, delay_s: float) -> None:
        self._listener = listener
        self._tls = tls
        self._delay_s = delay_s
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int, Connection, bytes]] = []
        self._order = itertools.count()  # a heap never gets to compare two connections
        scheme = "http" if tls is None else "https"
        self.host = f"{scheme}://{ADDRESS}:{listener.getsockname()[1]}"
        self._pages = control_plane(self.host)

    def run(self, stop_with: int | None = None) -> None:
        register = self._selector.register
        self._listener.setblocking(False)
        register(self._listener, selectors.EVENT_READ, "listener")
        if stop_with is not None:
            register(stop_with, selectors.EVENT_READ, "stop")
        while True:
            for key, _ in self._selector.select(self._until_next_due()):
                connection = key.data
                if isinstance(connection, Connection):
                    self._serve(connection)
                elif connection == "listener":
                    self._accept()
                else:
                    return
            self._send_due()

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
            if connection.received:
                data = connection.received + data
            connection.received = self._answer(connection, data)
            # what is decrypted already wakes no selector
            if self._tls is None or not sock.pending():  # type: ignore[attr-defined]
                return

    def _answer(self, connection: Connection, data: bytes) -> bytes:
        """Answer each complete request in ``data``; return the rest."""
        while data:
            end = data.find(b"\r\n\r\n")
            if end < 0:
                return data
            body_at = end + 4
            length = content_length(data[:end])
            if length < 0:
                self._send(connection, LENGTH_REQUIRED)
                raise ConnectionError
            if len(data) < body_at + length:
                return data
            answer = self._page(data)
            if self._delay_s:
                due = time.monotonic() + self._delay_s
                heapq.heappush(self._due, (due, next(self._order), connection, answer))
            else:
                self._send(connection, answer)
            data = data[body_at + length :]
        return data

    def _page(self, request: bytes) -> bytes:
        line = request[: request.find(b" HTTP/1.1\r\n")]
        if line.endswith(b"/invocations") and line.startswith(b"POST "):
            return SCORED
        return self._pages.get(line, NOT_FOUND)

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

    def _until_next_due(self) -> float | None:
        return max(0.0, self._due[0][0] - time.monotonic()) if self._due else None

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
    end = head.find(b"\r\n", at + 2)
    return int(head[at + 17 : end if end >= 0 else len(head)])


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--port", type=int, default=0, help="default: any free one")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="model time, after the body")
    parser.add_argument("--plain", action="store_true", help="no TLS")
    parser.add_argument("--core", type=int, help="pin to this core")
    parser.add_argument("--until-stdin-ends", action="store_true", help="for a parent process")
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    allow_many_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # so that the folder is removed
    with (
        tempfile.TemporaryDirectory() as folder,
        socket.create_server((ADDRESS, options.port), backlog=4096) as sock,
    ):
        tls, ca_file = (None, None) if options.plain else tls_context(Path(folder))
        server = Server(sock, tls, options.delay_ms / 1000)
        print(json.dumps({"host": server.host, "ca_file": ca_file and str(ca_file)}), flush=True)
        try:
            server.run(stop_with=sys.stdin.fileno() if options.until_stdin_ends else None)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
