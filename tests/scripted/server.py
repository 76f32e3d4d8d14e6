"""A server on a raw loopback socket that does exactly what a test tells it to.

It shares no code with the product or its emulator: replies are bytes, and what HTTP forbids is as
easy to send as what it allows. It runs on an event loop in a thread of its own, so sync and async
clients meet the same server. It records every connection and request and what was *processed*, so a
test can count executions::

    with ScriptedServer(echo()) as server:              # every request answered with its own id
        ...
        assert server.processed["id-7"] == 1

    with ScriptedServer([rst(), send(reply(b"{}"))]) as server:      # first request, all others
        ...

An *answer* is bytes, or an ``async def act(connection, request)`` such as the functions at the end
of this file make. A list is taken request by request; its last entry repeats.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST


@dataclass(frozen=True)
class Request:
    """One request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    raw_head: bytes
    connection: int
    """Number of the connection, from 0."""
    index: int
    """Number of the request on its connection, from 0."""

    @property
    def id(self) -> str:
        """The ``id`` in a JSON body, else the ``x-id`` header, else an empty string."""
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return str(json.loads(self.body)["id"])
        return self.headers.get("x-id", "")


@dataclass
class Connection:
    """One accepted connection: the script's hands on the socket."""

    server: ScriptedServer
    number: int
    sock: socket.socket
    requests: list[Request] = field(default_factory=list)
    received: bytearray = field(default_factory=bytearray)
    """Every byte read, after TLS."""
    open: bool = True
    ending: bool = False
    reader: asyncio.StreamReader | None = None
    writer: asyncio.StreamWriter | None = None

    async def read_request(self) -> Request | None:
        """The next request, or None when the client has closed."""
        head = await self._read_head()
        if head is None:
            return None
        lines = head.decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = {}
        for line in lines[1:]:
            name, _, value = line.partition(":")
            if name:
                headers[name.lower()] = value.strip()
        body = await self._read(int(headers.get("content-length", "0")))
        index = len(self.requests)
        request = Request(method, path, headers, body, head, self.number, index)
        self.requests.append(request)
        self.server._noticed()
        return request

    async def _read_head(self) -> bytes | None:
        assert self.reader is not None
        try:
            head = await self.reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError) as error:
            self.received += getattr(error, "partial", b"")
            return None
        self.received += head
        return head

    async def _read(self, size: int) -> bytes:
        assert self.reader is not None
        data = await self.reader.readexactly(size)
        self.received += data
        return data

    def write(self, data: bytes) -> None:
        """Queue bytes for sending."""
        assert self.writer is not None
        if not self.ending:
            self.writer.write(data)

    async def send(self, data: bytes) -> None:
        """Send bytes and wait until the kernel has them."""
        assert self.writer is not None
        self.write(data)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await self.writer.drain()

    def fin(self) -> None:
        """Close after everything written was sent."""
        self.ending = True
        # closing a TLS transport twice makes it forget its connection
        if self.writer is not None and not self.writer.is_closing():
            self.writer.close()

    def ragged_fin(self) -> None:
        """FIN without TLS's goodbye, and without waiting for the client's."""
        self.ending = True
        self.sock.shutdown(socket.SHUT_WR)

    def rst(self) -> None:
        """Drop the connection with a reset."""
        self.ending = True
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self.writer is not None:
            self.writer.transport.abort()
        else:
            self.sock.close()

    async def gone(self) -> None:
        """Wait until the client has closed (reads and drops what it still sends)."""
        assert self.reader is not None
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await self.reader.read(65536):
                self.received += data

    def processed(self, request: Request) -> None:
        """Count the request as executed."""
        self.server._process(request)


Act = Callable[[Connection, Request], Awaitable[None]]
Answer = bytes | Act
Greeting = Callable[[Connection], Awaitable[None]]


class ScriptedServer:
    """The server. ``with`` starts and stops it.

    Args:
        answers: What to answer: one answer for all, or a list taken request by request.
        tls: Context that makes it an https server.
        greeting: Runs when a connection was accepted, before anything is read; it may close it.
        before_tls: The same below TLS, with ``connection.sock`` only (non-blocking).
        sock: A bound socket to listen on instead of a fresh loopback one.
    """

    def __init__(
        self,
        answers: Answer | Sequence[Answer] = b"",
        *,
        tls: ssl.SSLContext | None = None,
        greeting: Greeting | None = None,
        before_tls: Greeting | None = None,
        sock: socket.socket | None = None,
    ) -> None:
        self.answers = answers
        self.greeting = greeting
        self.before_tls = before_tls
        self.connections: list[Connection] = []
        self.processed: Counter[str] = Counter()
        self._tls = tls
        self._sock = sock if sock is not None else socket.create_server(("127.0.0.1", 0))
        self._changed = threading.Condition()
        self._taken = 0
        self._broken: list[BaseException] = []
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._serve, name="scripted-server", daemon=True)

    # -- what tests use -------------------------------------------------------------------------

    def __enter__(self) -> ScriptedServer:
        self._sock.listen(1024)
        self._sock.setblocking(False)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        if self._broken:
            raise self._broken[0]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self._sock.getsockname()[1])

    @property
    def scheme(self) -> str:
        """``https`` with TLS, else ``http``."""
        return "https" if self._tls else "http"

    @property
    def requests(self) -> list[Request]:
        """All requests, in the order in which connections were made."""
        return [request for conn in self.connections for request in conn.requests]

    @property
    def received_bytes(self) -> int:
        """Bytes read over all connections, after TLS."""
        return sum(len(conn.received) for conn in self.connections)

    @property
    def open_connections(self) -> int:
        """Connections that neither side has closed."""
        return sum(conn.open for conn in self.connections)

    def wait_until(self, done: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until ``done()``; it is asked again whenever the server's records change.

        Raises:
            AssertionError: It did not come true in time.
        """
        with self._changed:
            if not self._changed.wait_for(done, timeout_s):
                raise AssertionError(
                    f"not within {timeout_s} s: {len(self.connections)} connections, "
                    f"{self.open_connections} open, {len(self.requests)} requests"
                )

    def stop(self) -> None:
        """Reset what is open and end the thread."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5)
            assert not self._thread.is_alive()
        self._sock.close()
        self._loop.close()

    def call(self, action: Callable[[], object]) -> None:
        """Run ``action`` on the server's thread, without waiting."""
        self._loop.call_soon_threadsafe(action)

    # -- the server itself ----------------------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _loop, _context: None)  # faults are the point
        self._loop.add_reader(self._sock, self._accept)
        try:
            self._loop.run_forever()
        finally:
            self._loop.remove_reader(self._sock)
            self._loop.run_until_complete(self._end())

    async def _end(self) -> None:
        await self._loop.shutdown_default_executor()
        for conn in self.connections:
            if conn.open:
                conn.rst()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(10):  # transports close their sockets some rounds later
            await asyncio.sleep(0)

    def _start(self, job: Awaitable[None]) -> None:
        task = asyncio.ensure_future(job, loop=self._loop)
        self._tasks.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._tasks.discard)  # type: ignore[arg-type]

    def _accept(self) -> None:
        """Take one connection. (``sock_accept`` can lose one when it is cancelled.)"""
        try:
            sock, _ = self._sock.accept()
        except OSError:  # gone again, or out of descriptors: a test of that shares them with us
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        conn = Connection(self, len(self.connections), sock)
        self.connections.append(conn)
        self._noticed()
        self._start(self._handle(conn))

    async def _handle(self, conn: Connection) -> None:
        try:
            await self._converse(conn)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, TimeoutError):
            pass
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - a broken script must fail its test
            self._broken.append(error)
        finally:
            await self._closed(conn)
            self._noticed()

    async def _closed(self, conn: Connection) -> None:
        """Close what the script left open; ``open_connections`` counts until the FIN is out."""
        if conn.writer is None:
            conn.sock.close()
        else:
            conn.fin()
            with contextlib.suppress(Exception):
                await conn.writer.wait_closed()
        conn.open = False

    async def _converse(self, conn: Connection) -> None:
        if self.before_tls is not None:
            await self.before_tls(conn)
            if conn.ending:
                return
        conn.reader = asyncio.StreamReader(limit=1 << 26, loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(conn.reader, loop=self._loop)
        transport, _ = await self._loop.connect_accepted_socket(
            lambda: protocol, conn.sock, ssl=self._tls
        )
        conn.writer = asyncio.StreamWriter(transport, protocol, conn.reader, self._loop)
        self._noticed()
        if self.greeting is not None:
            await self.greeting(conn)
        while not conn.ending:
            request = await conn.read_request()
            if request is None:
                return
            await self._answer(conn, request)

    async def _answer(self, conn: Connection, request: Request) -> None:
        answer = self._next_answer()
        if isinstance(answer, bytes):
            self._process(request)
            await conn.send(answer)
        else:
            await answer(conn, request)

    def _next_answer(self) -> Answer:
        answers = self.answers
        if isinstance(answers, bytes) or callable(answers):
            return answers
        answer = answers[min(self._taken, len(answers) - 1)]
        self._taken += 1
        return answer

    def _process(self, request: Request) -> None:
        self.processed[request.id] += 1
        self._noticed()

    def _noticed(self) -> None:
        with self._changed:
            self._changed.notify_all()


# -- bytes --------------------------------------------------------------------------------------


def reply(
    body: bytes = b'{"predictions": [1]}',
    *headers: str,
    status: str = "200 OK",
    version: str = "1.1",
    framing: str = "length",
) -> bytes:
    """A reply as bytes.

    Args:
        body: The body, coded already if a header says so.
        *headers: Header lines.
        status: Code and reason.
        version: HTTP version.
        framing: ``length``, ``chunked`` (pieces of 7 bytes), or ``close`` for neither.
    """
    lines = [f"HTTP/{version} {status}", "Content-Type: application/json", *headers]
    if framing == "length":
        lines.append(f"Content-Length: {len(body)}")
    elif framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = chunked(body)
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def chunked(body: bytes, size: int = 7, trailers: bytes = b"") -> bytes:
    """A body in chunks, with its last chunk."""
    pieces = [body[i : i + size] for i in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in pieces) + b"0\r\n" + trailers + b"\r\n"


def predictions(request: Request) -> bytes:
    """The reply that carries the request's id back."""
    return reply(json.dumps({"predictions": [request.id]}).encode())


# -- acts ---------------------------------------------------------------------------------------


def send(data: bytes) -> Act:
    """Process, answer with exactly these bytes, keep the connection."""

    async def act(conn: Connection, request: Request) -> None:
        conn.processed(request)
        await conn.send(data)

    return act


def echo(before: Callable[[Request], bytes] = predictions) -> Act:
    """Process and answer with a reply made of the request."""

    async def act(conn: Connection, request: Request) -> None:
        conn.processed(request)
        await conn.send(before(request))

    return act


def echo_after(delay_s: float) -> Act:
    """A model that takes its time, then ``echo``."""

    async def act(conn: Connection, request: Request) -> None:
        await asyncio.sleep(delay_s)
        conn.processed(request)
        await conn.send(predictions(request))

    return act


def then_fin(act: Answer) -> Act:
    """Answer, then close."""

    async def closing(conn: Connection, request: Request) -> None:
        await _play(act, conn, request)
        conn.fin()

    return closing


def with_fin(make: Callable[[Request], bytes] = predictions) -> Act:
    """Answer and close in one segment: no client can send between the two (not over TLS)."""

    async def act(conn: Connection, request: Request) -> None:
        conn.processed(request)
        sent = conn.sock.send(make(request), socket.MSG_MORE)
        assert sent == len(make(request))
        conn.sock.shutdown(socket.SHUT_WR)
        await conn.gone()
        conn.fin()

    return act


def then_rst(act: Answer) -> Act:
    """Answer, then reset; what the client has not read yet may be lost to it."""

    async def resetting(conn: Connection, request: Request) -> None:
        await _play(act, conn, request)
        conn.rst()

    return resetting


def then_wait(act: Answer) -> Act:
    """Answer, then stay silent until the client closes."""

    async def waiting(conn: Connection, request: Request) -> None:
        await _play(act, conn, request)
        await conn.gone()

    return waiting


def fin(*, process: bool = True) -> Act:
    """Close without a byte of reply."""

    async def act(conn: Connection, request: Request) -> None:
        if process:
            conn.processed(request)
        conn.fin()

    return act


def rst(*, process: bool = True) -> Act:
    """Reset without a byte of reply."""

    async def act(conn: Connection, request: Request) -> None:
        if process:
            conn.processed(request)
        conn.rst()

    return act


def stall() -> Act:
    """Process, never answer; ends when the client closes."""

    async def act(conn: Connection, request: Request) -> None:
        conn.processed(request)
        await conn.gone()

    return act


def drip(data: bytes, interval_s: float, *, at_once: int = 0) -> Act:
    """Send the first ``at_once`` bytes together and the rest byte by byte."""

    async def act(conn: Connection, request: Request) -> None:
        conn.processed(request)
        await conn.send(data[:at_once])
        for i in range(at_once, len(data)):
            await asyncio.sleep(interval_s)
            if conn.writer is None or conn.writer.is_closing():
                return
            await conn.send(data[i : i + 1])

    return act


def drip_body(interval_s: float, body: bytes = b'{"predictions": [1]}' * 10) -> Act:
    """Head at once, then the body byte by byte."""
    data = reply(body)
    return drip(data, interval_s, at_once=data.index(b"\r\n\r\n") + 4)


def drip_head(interval_s: float) -> Act:
    """The head byte by byte."""
    return drip(reply(), interval_s)


def drip_interim(interval_s: float, count: int = 1000) -> Act:
    """``103 Early Hints`` again and again, then the reply."""

    async def act(conn: Connection, request: Request) -> None:
        conn.processed(request)
        for _ in range(count):
            if conn.writer is None or conn.writer.is_closing():
                return
            await conn.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
            await asyncio.sleep(interval_s)
        await conn.send(reply())

    return act


def poison() -> Act:
    """The right reply and, in the same segment, a second one that nobody asked for."""
    return echo(lambda request: predictions(request) + reply(b'{"predictions": ["POISON"]}'))


class Hold:
    """An answer that waits for the test: ``hold.release()`` lets all waiting requests go on."""

    def __init__(self, act: Answer) -> None:
        self._act = act
        self._event = asyncio.Event()
        self._server: ScriptedServer | None = None
        self.waiting = 0

    async def __call__(self, conn: Connection, request: Request) -> None:
        self._server = conn.server
        self.waiting += 1
        conn.server._noticed()
        waits = [asyncio.ensure_future(self._event.wait()), asyncio.ensure_future(conn.gone())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.waiting -= 1
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        if self._event.is_set():
            await _play(self._act, conn, request)

    def release(self) -> None:
        """Let go."""
        if self._server is not None:
            self._server.call(self._event.set)


async def _play(act: Answer, conn: Connection, request: Request) -> None:
    if isinstance(act, bytes):
        conn.processed(request)
        await conn.send(act)
    else:
        await act(conn, request)


# -- faults below HTTP --------------------------------------------------------------------------


async def banner(conn: Connection) -> None:
    """A greeting of another protocol, as a ``before_tls`` or ``greeting``."""
    await asyncio.get_running_loop().sock_sendall(conn.sock, b"SSH-2.0-OpenSSH_9.6\r\n")


async def reset_at_once(conn: Connection) -> None:
    """Reset right after accepting."""
    conn.rst()


def plain_http(data: bytes) -> Greeting:
    """A ``before_tls`` that reads a little, answers in plain text and closes."""

    async def act(conn: Connection) -> None:
        loop = asyncio.get_running_loop()
        await loop.sock_recv(conn.sock, 65536)
        await loop.sock_sendall(conn.sock, data)
        conn.ending = True

    return act


def refusing_handshake(context: ssl.SSLContext) -> Greeting:
    """A ``before_tls`` that shakes hands as an ordinary server does, alert included, and closes.

    asyncio's own TLS drops the alert that says why a handshake failed.
    """

    def shake(sock: socket.socket) -> None:
        sock.settimeout(5)
        with contextlib.suppress(OSError), context.wrap_socket(sock, server_side=True):
            pass

    async def act(conn: Connection) -> None:
        conn.ending = True
        await asyncio.get_running_loop().run_in_executor(None, shake, conn.sock)

    return act


async def silence(conn: Connection) -> None:
    """Accept, never speak; as ``before_tls`` the TLS handshake hangs. Ends with the client."""
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while await loop.sock_recv(conn.sock, 65536):
            pass
    conn.ending = True


class Blackhole:
    """A port that drops SYNs: the queue of a listener that never accepts is full.

    Linux refuses to complete a handshake beyond ``backlog + 1``; others wait for their time-out.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=0)
        self.port = int(self._listener.getsockname()[1])
        self._fill: list[socket.socket] = []

    def __enter__(self) -> Blackhole:
        for _ in range(8):
            sock = socket.socket()
            self._fill.append(sock)
            sock.settimeout(0.2)
            try:
                sock.connect(("127.0.0.1", self.port))
            except TimeoutError:
                return self
        raise AssertionError("this kernel accepts beyond the backlog")

    def __exit__(self, *_: object) -> None:
        for sock in [*self._fill, self._listener]:
            sock.close()


def refused_port() -> int:
    """A loopback port on which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def eventually(done: Callable[[], bool], timeout_s: float = 3.0) -> bool:
    """Whether ``done()`` comes true in time; for state that announces no changes."""
    end = time.monotonic() + timeout_s
    pause = threading.Event()
    while not done():
        if time.monotonic() > end:
            return False
        pause.wait(0.005)
    return True


async def eventually_async(done: Callable[[], bool], timeout_s: float = 3.0) -> bool:
    """``eventually`` that lets the event loop run."""
    end = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.005)
    return True
