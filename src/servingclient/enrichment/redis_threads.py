"""Connections to Redis for threads.

Connecting runs in a thread of its own: a name look-up has no time-out, and what takes longer than
a caller may wait still serves the next. Reading and writing has an instant at which it ends, not a
time-out that each received byte renews.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, cast

from redis.connection import Connection, UnixDomainSocketConnection
from redis.exceptions import ResponseError

from servingclient import _step
from servingclient.enrichment.redis_links import DIAL_S, MOST_LINKS, Command, LinkFault
from servingclient.enrichment.redis_py import context_of, fault_of, options, refused
from servingclient.enrichment.redis_url import Place


class _Bounded:
    """A socket whose reads and writes all end by ``due_s``."""

    __slots__ = ("_polling", "_socket", "due_s")

    def __init__(self, inner: Any, due_s: float) -> None:
        self._socket = inner
        self._polling = False
        self.due_s = due_s

    def _limit(self) -> None:
        if self._polling:
            self._socket.settimeout(0)
            return
        left_s = self.due_s - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left_s)

    def settimeout(self, timeout_s: float | None) -> None:
        """redis-py sets 0 to see whether there is anything to read; all else is ``due_s``."""
        self._polling = timeout_s == 0

    def recv(self, size: int) -> bytes:
        self._limit()
        return self._socket.recv(size)  # type: ignore[no-any-return]

    def recv_into(self, buffer: Any, *size: int) -> int:
        self._limit()
        return self._socket.recv_into(buffer, *size)  # type: ignore[no-any-return]

    def sendall(self, data: bytes) -> None:
        left = memoryview(data)
        while left:
            self._limit()
            left = left[self._socket.send(left) :]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


class _Dialled:
    """Makes the socket of a connection a bounded one."""

    bounded: _Bounded

    def _connect(self) -> _Bounded:
        due_s = time.monotonic() + DIAL_S
        self.bounded = _Bounded(super()._connect(), due_s)  # type: ignore[misc]
        return self.bounded


class _Tcp(_Dialled, Connection):
    pass


class _Encrypted(Connection):
    """Shakes hands within the time for connecting, with a context that all connections share."""

    def __init__(self, *, context: Any, **given: Any) -> None:
        super().__init__(**given)  # type: ignore[no-untyped-call]
        self._context = context

    def _connect(self) -> Any:
        plain = super()._connect()  # type: ignore[no-untyped-call]
        try:
            return self._context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            plain.close()
            raise


class _Tls(_Dialled, _Encrypted):
    pass


class _Unix(_Dialled, UnixDomainSocketConnection):
    pass


class ThreadLinks:
    """Connections that threads share; see ``redis_links.Links``."""

    def __init__(self, place: Place, ca_file: str | None) -> None:
        self._kind: Any = _Unix if place.path else _Tls if place.tls else _Tcp
        self._options = options(place)
        self._options |= {"socket_timeout": DIAL_S, "socket_connect_timeout": DIAL_S}
        if place.tls:
            self._options["context"] = context_of(place, ca_file)
        self._closed = False
        self._begin()
        _links.add(self)

    def _begin(self) -> None:
        self._changed = threading.Condition()
        self._idle: list[Any] = []
        self._open = 0
        """Lent, idle and being connected."""
        self._faults = 0
        self._fault = LinkFault("never connected")

    async def run(self, commands: Sequence[Command], deadline_s: float) -> list[Any]:
        """See ``redis_links.Links.run``."""
        connection, fresh = self._take(deadline_s)
        try:
            return self._exchange(connection, commands, deadline_s)
        except LinkFault as fault:
            if fresh or fault.late:
                raise
        # The server may have closed it, with all the others, long ago. Everything that is sent here
        # may be sent twice.
        self._drop_idle()
        connection, _ = self._take(deadline_s)
        return self._exchange(connection, commands, deadline_s)

    def _exchange(
        self, connection: Any, commands: Sequence[Command], deadline_s: float
    ) -> list[Any]:
        try:
            connection.bounded.due_s = deadline_s
            if connection.can_read(0):
                raise LinkFault("bytes nobody asked for")
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            replies = [_reply(connection) for _ in commands]
        except LinkFault:
            self._drop(connection)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a parser makes of foreign bytes
            self._drop(connection)
            raise fault_of(error) from None
        except BaseException:  # an interrupt: the reply is still to come
            self._drop(connection)
            raise
        self._give(connection)
        return replies

    def _take(self, deadline_s: float) -> tuple[Any, bool]:
        """A connection, and whether it is new."""
        with self._changed:
            if self._idle:
                return self._idle.pop(), False
            faults = self._faults
            dialled = False
            while not self._idle:
                if self._faults != faults:
                    raise self._fault
                if self._closed:
                    raise LinkFault("closed")
                if not dialled and self._open < MOST_LINKS:
                    self._start(self._dial)
                    self._open += 1
                    dialled = True
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or not self._changed.wait(left_s):
                    raise LinkFault("no connection in time", late=True)
            return self._idle.pop(), True

    def _dial(self) -> None:
        changed = self._changed
        fault: LinkFault | None = None
        connection = self._kind(**self._options)
        try:
            connection.connect()
        except Exception as error:  # noqa: BLE001 - told to whoever waits
            fault = fault_of(error)
        with changed:
            if fault is None and not self._closed:
                self._idle.append(connection)
            else:
                connection.disconnect()
                self._open -= 1
            if fault is not None:
                self._fault = fault
                self._faults += 1
            changed.notify_all()

    def _give(self, connection: Any) -> None:
        with self._changed:
            if not self._closed:
                self._idle.append(connection)
                self._changed.notify()
                return
        self._drop(connection)

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        with self._changed:
            self._open -= 1
            self._changed.notify()  # whoever waits may open another

    def _drop_idle(self) -> None:
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            self._drop(connection)

    def behind(self, work: Callable[[], Awaitable[None]]) -> None:
        """See ``redis_links.Links.behind``."""
        self._start(lambda: _step.run(cast("Coroutine[Any, Any, None]", work())))

    @staticmethod
    def _start(work: Callable[[], None]) -> None:
        try:
            threading.Thread(target=work, name="servingclient-redis", daemon=True).start()
        except RuntimeError:  # no more threads, or the interpreter is ending
            raise LinkFault("no thread to be had") from None

    async def aclose(self) -> None:
        """Close what is idle now and the rest when it comes back."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._drop_idle()

    def renew(self) -> None:
        """In a forked child: the parent's connections are closed without a word on them."""
        for connection in self._idle:
            connection.disconnect()
        self._begin()


def _reply(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return refused(error)


_links: weakref.WeakSet[ThreadLinks] = weakref.WeakSet()


def _renew_all() -> None:
    for links in list(_links):
        links.renew()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
