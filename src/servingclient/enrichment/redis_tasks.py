"""Connections to Redis for tasks. They belong to one event loop at a time.

Each exchange is a task of its own. Its caller may be cancelled at any point without leaving a
connection between question and answer; when the time is up the exchange is cancelled, and its
connection closed. Connecting is a task apart: it goes on when a caller can wait no longer.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
import weakref
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any

from redis.asyncio.connection import Connection, UnixDomainSocketConnection
from redis.exceptions import ResponseError

from servingclient.auth.single_flight import spawn
from servingclient.enrichment.redis_links import DIAL_S, MOST_LINKS, Command, LinkFault
from servingclient.enrichment.redis_py import context_of, fault_of, options, refused
from servingclient.enrichment.redis_url import Place
from servingclient.errors import WrongLoopError


class _Held:
    """Keeps its transport in reach. redis-py lets go of it wherever a reply is no good, and
    TLS then says goodbye over several rounds of the loop, which may end before them.
    """

    line: Any = None

    async def _connect(self) -> None:
        await super()._connect()  # type: ignore[misc]
        self.line = self._writer.transport  # type: ignore[attr-defined]


class _Tcp(_Held, Connection):
    pass


class _Unix(_Held, UnixDomainSocketConnection):
    pass


class _Tls(_Tcp):
    """Encrypted with a context that all connections share."""

    def __init__(self, *, context: Any, **given: Any) -> None:
        super().__init__(**given)
        self._context = context

    def _connection_arguments(self) -> dict[str, Any]:
        return {**super()._connection_arguments(), "ssl": self._context}


class TaskLinks:
    """Connections that tasks of one loop share; see ``redis_links.Links``."""

    def __init__(self, place: Place, ca_file: str | None) -> None:
        self._kind: Any = _Unix if place.path else _Tls if place.tls else _Tcp
        self._options = options(place)
        self._options |= {"socket_timeout": None, "socket_connect_timeout": DIAL_S}
        if place.tls:
            self._options["context"] = context_of(place, ca_file)
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard: AsyncGenerator[None, None] | None = None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._idle: list[Any] = []
        self._open = 0
        """Lent, idle and being connected."""
        self._waiting: deque[asyncio.Future[Any]] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def run(self, commands: Sequence[Command], deadline_s: float) -> list[Any]:
        """See ``redis_links.Links.run``."""
        loop = await self._adopt()
        if self._closed:
            raise LinkFault("closed")
        task = self._spawn(lambda: self._ask(commands))
        timer = loop.call_later(max(deadline_s - time.monotonic(), 0.0), task.cancel)
        task.add_done_callback(lambda _: timer.cancel())
        await asyncio.wait((task,))
        if task.cancelled():
            raise LinkFault("no reply in time", late=not self._closed)
        replies: list[Any] = task.result()
        return replies

    async def _ask(self, commands: Sequence[Command]) -> list[Any]:
        connection, fresh = await self._take()
        try:
            return await self._exchange(connection, commands)
        except LinkFault as fault:
            if fresh or fault.late:
                raise
        # The server may have closed it, with all the others, long ago. Everything that is sent here
        # may be sent twice.
        await self._drop_idle()
        connection, _ = await self._take()
        return await self._exchange(connection, commands)

    async def _exchange(self, connection: Any, commands: Sequence[Command]) -> list[Any]:
        try:
            if await _dirty(connection):
                raise LinkFault("bytes nobody asked for")
            await connection.send_packed_command(
                connection.pack_commands(commands), check_health=False
            )
            replies = [await _reply(connection) for _ in commands]
        except LinkFault:
            await self._drop(connection)
            raise
        except Exception as error:  # noqa: BLE001 - whatever a parser makes of foreign bytes
            await self._drop(connection)
            raise fault_of(error) from None
        except BaseException:  # cancelled: the reply is still to come
            await self._drop(connection)
            raise
        self._give(connection)
        return replies

    async def _take(self) -> tuple[Any, bool]:
        """A connection, and whether it is new."""
        if self._idle:
            return self._idle.pop(), False
        place: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._dial_one()
        try:
            return await place, True
        except asyncio.CancelledError:
            # it may have been given a connection in the same round of the loop
            if place.done() and not place.cancelled() and place.exception() is None:
                self._give(place.result())
            raise

    def _dial_one(self) -> None:
        if self._open < MOST_LINKS and not self._closed:
            self._open += 1
            _ = self._spawn(self._dial)

    async def _dial(self) -> None:
        connection = self._kind(**self._options)
        try:
            await asyncio.wait_for(connection.connect(), DIAL_S)
        except BaseException as error:
            self._tell_all(error)
            await self._drop(connection)
            if not isinstance(error, Exception):
                raise
        else:
            self._give(connection)

    def _tell_all(self, error: BaseException) -> None:
        fault = fault_of(error) if isinstance(error, Exception) else LinkFault("closed")
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_exception(fault)

    def _give(self, connection: Any) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(connection)
                return
        self._idle.append(connection)

    async def _drop(self, connection: Any) -> None:
        self._open -= 1
        if self._waiting:
            self._dial_one()
        if connection.line is not None:
            connection.line.abort()
        with contextlib.suppress(Exception):  # it is gone either way
            await connection.disconnect(nowait=True)

    async def _drop_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            await self._drop(connection)

    def behind(self, work: Callable[[], Awaitable[None]]) -> None:
        """See ``redis_links.Links.behind``."""
        _ = self._spawn(work)

    def _spawn(self, work: Callable[[], Awaitable[Any]]) -> asyncio.Task[Any]:
        task = spawn(asyncio.get_running_loop(), work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _adopt(self) -> asyncio.AbstractEventLoop:
        """Move to the running loop, if the old one has ended."""
        loop = asyncio.get_running_loop()
        if loop is self._loop and self._pid == os.getpid():
            return loop
        if self._pid != os.getpid():
            # The selector is the parent's too: closing a transport here would unregister it there.
            _forgotten.append((self._guard, self._idle, self._tasks))
        elif self._loop is not None and self._loop.is_running():
            raise WrongLoopError(
                "this client is in use on another running event loop; connections cannot cross "
                "loops. Make one client per loop."
            )
        self._begin()
        self._loop = loop
        self._guard = _close_with_loop(weakref.ref(self))
        await self._guard.__anext__()
        return loop

    async def close_links(self) -> None:
        """End what runs and close all connections."""
        here = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not here and not task.done()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
        await self._drop_idle()
        await asyncio.sleep(0)  # a transport closes its socket in the loop's next round

    async def aclose(self) -> None:
        """End what runs and close all connections, for good."""
        self._closed = True
        guard, self._guard = self._guard, None
        if self._loop is asyncio.get_running_loop() and self._pid == os.getpid():
            if guard is not None:
                await guard.aclose()
            await self.close_links()


async def _dirty(connection: Any) -> bool:
    """Whether there are bytes before anything was asked. redis-py 5 to 7 cannot tell for free."""
    return hasattr(connection, "can_read") and bool(await connection.can_read())


async def _reply(connection: Any) -> Any:
    try:
        return await connection.read_response()
    except ResponseError as error:
        return refused(error)


async def _close_with_loop(links: weakref.ref[TaskLinks]) -> AsyncGenerator[None, None]:
    """Started on a loop, it is finished by ``shutdown_asyncgens``, before the loop closes."""
    try:
        yield
    finally:
        if (alive := links()) is not None:
            await alive.close_links()


_forgotten: list[object] = []
"""What belongs to a parent process: collecting it would touch its loop."""
