"""A server on loopback that stands before Redis, and behaves as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from dataclasses import dataclass, field


@dataclass
class Script:
    """How the proxy behaves. May be changed at any time.

    Attributes:
        delay_s: Each piece of a reply is held back so long; the pieces keep their distance.
        mute: Take everything and answer nothing.
        answer: Answer every request with these bytes instead of asking Redis.
        drip_s: Send replies byte by byte, with so much time between two.
        hang_up: Close each connection when something is asked.
    """

    delay_s: float = 0.0
    mute: bool = False
    answer: bytes | None = None
    drip_s: float = 0.0
    hang_up: bool = False


@dataclass
class Proxy:
    """Runs in a thread of its own, so that both colours can be tested against it."""

    socket_path: str
    script: Script = field(default_factory=Script)
    port: int = 0
    connections: int = 0

    def __enter__(self) -> Proxy:
        started = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve(started)))
        self._thread.start()
        assert started.wait(5)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    async def _serve(self, started: threading.Event) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open: list[socket.socket | asyncio.StreamWriter] = []
        with socket.create_server(("127.0.0.1", 0), backlog=100) as listening:
            listening.setblocking(False)
            self.port = listening.getsockname()[1]
            self._loop.add_reader(listening, self._accept, listening)
            started.set()
            await self._ended.wait()
            self._loop.remove_reader(listening)
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
        for one in self._open:
            if isinstance(one, asyncio.StreamWriter):
                one.transport.abort()
        await asyncio.sleep(0)
        for one in self._open:
            if isinstance(one, socket.socket):
                one.close()  # of a task that never began

    def _accept(self, listening: socket.socket) -> None:
        """In one step: a server of asyncio takes some rounds of the loop, and is asked to end."""
        with contextlib.suppress(BlockingIOError):
            caller = listening.accept()[0]
            caller.setblocking(False)
            self.connections += 1
            self._open.append(caller)
            task = asyncio.create_task(self._carry(caller))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _carry(self, caller: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=caller)
        self._open.append(writer)
        up_reader, up_writer = await asyncio.open_unix_connection(self.socket_path)
        self._open.append(up_writer)
        back = asyncio.create_task(self._answer(up_reader, writer))
        try:
            with contextlib.suppress(ConnectionError):
                while data := await reader.read(65536):
                    if self.script.hang_up:
                        break
                    if self.script.answer is not None:
                        writer.write(self.script.answer)
                    elif not self.script.mute:
                        up_writer.write(data)
        finally:
            back.cancel()
            await asyncio.wait((back,))
            for one in (writer, up_writer):
                one.transport.abort()
            await asyncio.sleep(0)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                script = self.script
                if script.drip_s:
                    for byte in data:
                        await asyncio.sleep(script.drip_s)
                        writer.write(bytes([byte]))
                elif script.delay_s:
                    self._loop.call_later(script.delay_s, writer.write, data)
                else:
                    writer.write(data)
        writer.transport.abort()
