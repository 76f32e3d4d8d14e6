"""Listening sockets: they count connections, and take them as the workspace's settings say."""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

from servingclient.emulator.connection import Connection, reset_socket

if TYPE_CHECKING:
    import ssl

    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import HostName

_BACKLOG = 4096
_ACCEPTS_A_TURN = 64


class Listener:
    """One listening socket; connections are counted before any TLS is spoken."""

    def __init__(self, workspace: Workspace, host: HostName, tls: ssl.SSLContext | None) -> None:
        """Listen for one of the hosts."""
        self.connections: set[Connection] = set()
        self._workspace = workspace
        self._host: HostName = host
        self._tls = tls
        self._socket: socket.socket | None = None
        self._number = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._held: list[socket.socket] = []

    def open(self, port: int) -> int:
        """Listen on a loopback port and return it."""
        listening = socket.create_server(("127.0.0.1", port), backlog=_BACKLOG)
        listening.setblocking(False)
        self._socket = listening
        asyncio.get_running_loop().add_reader(listening, self._accept)
        return int(listening.getsockname()[1])

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.drop_connections()
        for held in self._held:
            held.close()
        while self.connections:  # noqa: ASYNC110 - each only needs one more turn of this loop
            await asyncio.sleep(0)

    def drop_connections(self) -> None:
        """Reset every open connection."""
        for connection in tuple(self.connections):
            connection.reset()

    def _accept(self) -> None:
        assert self._socket is not None
        for _ in range(_ACCEPTS_A_TURN):
            try:
                accepted, _ = self._socket.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            self._workspace.journal.accepted[self._host] += 1
            self._workspace.journal.touch()
            self._welcome(accepted)

    def _welcome(self, accepted: socket.socket) -> None:
        how = self._workspace.settings.accept
        if how == "hang":
            self._held.append(accepted)
        elif how == "reset":
            reset_socket(accepted)
            accepted.close()
        else:
            accepted.setblocking(False)
            # asyncio would do it only for sockets it accepted itself; a delayed ACK costs 40 ms
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._number += 1
            task = asyncio.get_running_loop().create_task(self._serve(accepted, self._number))
            self._tasks.add(task)
            task.add_done_callback(partial(self._served, accepted))

    def _served(self, accepted: socket.socket, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():  # before it began, so it could not close what it was given
            accepted.close()

    async def _serve(self, accepted: socket.socket, number: int) -> None:
        def connection() -> Connection:
            return Connection(self._workspace, self._host, number, self)

        loop = asyncio.get_running_loop()
        try:
            await loop.connect_accepted_socket(connection, accepted, ssl=self._tls)
        except (OSError, asyncio.CancelledError):  # a failed handshake is the client's business
            accepted.close()
