"""A TCP proxy on loopback that breaks connections as it is told.

It stands between a client and any server, knows just enough of HTTP to find where messages begin
and end, and runs on an event loop in a thread of its own::

    with ScriptedServer(echo()) as server, FaultProxy(server.port) as proxy:
        ...                                        # all is well
        proxy.use(share(0.1, DripBody(0.2)))       # rules.py and toxics.py
        ...
        proxy.use(nothing)
        assert sum(count.requests for count in proxy.counts) == 100

A rule speaks about connections that are accepted. Faults of the listener are methods: ``refuse``,
``drop_syns``, ``listen``; so is what befalls all connections that are open: ``cut``, ``freeze``.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from tests.faults.relay import Count, Relay
from tests.faults.rules import Moment, Rule, nothing
from tests.faults.toxics import Toxics

_RECEIVE_BYTES = 65536
"""What the kernel takes from a client ahead of us: with its own choice, megabytes, no slow reader
would ever be felt."""


class FaultProxy:
    """The proxy. ``with`` starts and stops it.

    Args:
        port: Where to connect to on loopback.
        rule: What is wrong from the start.
        tls: Makes it an https server; upstream it speaks plain text.
    """

    def __init__(
        self, port: int, rule: Rule = nothing, *, tls: ssl.SSLContext | None = None
    ) -> None:
        self.counts: list[Count] = []
        self._upstream = ("127.0.0.1", port)
        self._tls = tls
        self._script = (rule, time.monotonic())
        # Never listens: it keeps the port from others while nobody does.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind(("127.0.0.1", 0))
        self.port = int(self._holder.getsockname()[1])
        self._listener: socket.socket | None = None
        self._filling: list[socket.socket] = []
        self._relays: set[Relay] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._broken: list[BaseException] = []
        self._numbered = 0
        self._changed = threading.Condition()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="fault-proxy", daemon=True)

    # -- what tests use ---------------------------------------------------------------------------

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        assert not self._thread.is_alive()
        self._loop.close()
        self._holder.close()
        if self._broken:
            raise self._broken[0]

    @property
    def scheme(self) -> str:
        """``https`` with TLS, else ``http``."""
        return "https" if self._tls else "http"

    @property
    def requests(self) -> int:
        """Requests that came, over all connections."""
        return sum(count.requests for count in self.counts)

    @property
    def open_connections(self) -> int:
        """Connections that the proxy has not closed."""
        return sum(count.open for count in self.counts)

    def use(self, rule: Rule) -> None:
        """From now on this is wrong; its clock starts now."""
        self._script = (rule, time.monotonic())

    def listen(self) -> None:
        """Accept connections."""
        self._do(self._listen)

    def refuse(self) -> None:
        """Refuse connections, as the port of a process that has gone does. Open ones stay."""
        self._do(self._stop_listening)

    def drop_syns(self) -> None:
        """Let connection attempts go unanswered. Open connections stay."""
        self._do(self._fill_up)

    def cut(self) -> None:
        """Reset all connections that are open."""
        self._do(lambda: [relay.rst() for relay in list(self._relays)])

    def freeze(self) -> None:
        """All connections that are open are dead from now on, and neither side is told."""
        self._do(lambda: [relay.freeze() for relay in list(self._relays)])

    def wait_until(self, done: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until ``done()``; it is asked again whenever a count changes.

        Raises:
            AssertionError: It did not come true in time.
        """
        with self._changed:
            if not self._changed.wait_for(done, timeout_s):
                raise AssertionError(f"not within {timeout_s} s: {self.counts}")

    # -- what a relay asks ------------------------------------------------------------------------

    def toxics(self, connection: int, request: int | None) -> Toxics:
        """See ``relay.Script``."""
        rule, since_s = self._script
        return rule(Moment(connection, request, time.monotonic() - since_s))

    def number_request(self) -> int:
        """See ``relay.Script``."""
        self._numbered += 1
        return self._numbered - 1

    def noticed(self) -> None:
        """See ``relay.Script``."""
        with self._changed:
            self._changed.notify_all()

    # -- its thread -------------------------------------------------------------------------------

    def _do(self, action: Callable[[], object]) -> None:
        """Run on the proxy's thread, and wait until it is done."""
        done: Future[None] = Future()

        def act() -> None:
            try:
                action()
            except BaseException as error:  # noqa: BLE001 - handed to the thread that waits
                done.set_exception(error)
            else:
                done.set_result(None)

        self._loop.call_soon_threadsafe(act)
        done.result(5)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda _loop, _context: None)  # faults are the point
        try:
            self._loop.run_forever()
        finally:
            self._stop_listening()
            self._loop.run_until_complete(self._end())

    async def _end(self) -> None:
        await self._loop.shutdown_default_executor()
        for relay in list(self._relays):
            relay.rst()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for _ in range(10):  # transports close their sockets some rounds later
            await asyncio.sleep(0)

    def _listen(self) -> None:
        if self._listener is not None:  # closing it would reset who waits to be accepted
            return
        self._stop_listening()
        listener = socket.socket()
        self._listener = listener
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BYTES)
        listener.bind(("127.0.0.1", self.port))
        listener.listen(1024)
        listener.setblocking(False)
        self._loop.add_reader(listener, self._accept)

    def _stop_listening(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None
        for sock in self._filling:
            sock.close()
        self._filling.clear()

    def _fill_up(self) -> None:
        """A listener whose queue is full drops SYNs; Linux takes ``backlog + 1`` into it."""
        self._stop_listening()
        listener = socket.create_server(("127.0.0.1", self.port), backlog=0)
        self._filling.append(listener)
        for _ in range(4):
            sock = socket.socket()
            self._filling.append(sock)
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(("127.0.0.1", self.port))

    def _accept(self) -> None:
        assert self._listener is not None
        try:
            sock, _ = self._listener.accept()
        except OSError:  # gone again, or out of descriptors: a test of that shares them with us
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        count = Count(len(self.counts), time.monotonic())
        self.counts.append(count)
        self.noticed()
        task = self._loop.create_task(self._carry(count, sock))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _carry(self, count: Count, sock: socket.socket) -> None:
        relay = Relay(self, count, sock, self._upstream, self._tls)
        self._relays.add(relay)
        try:
            await relay.run()
        except Exception as error:  # noqa: BLE001 - a broken proxy must fail its test
            self._broken.append(error)
        finally:
            self._relays.discard(relay)
