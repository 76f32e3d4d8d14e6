"""A loopback front that gives real scoring servers the addresses of a Databricks workspace.

    POST /serving-endpoints/{name}/invocations                       POST /invocations of that model
    POST /serving-endpoints/{name}/served-models/{any}/invocations   the same
    anything else                                                    404: no descriptions to be read

Only the request's target is rewritten. Every other byte goes through as it came, in both
directions, and so does the end of a connection: what the client sees is what the real server did.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Mapping
from types import TracebackType

_INVOCATIONS = re.compile(rb"/serving-endpoints/([^/]+)(?:/served-models/[^/]+)?/invocations")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d+)[ \t]*\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding:[ \t]*chunked[ \t]*\r\n", re.IGNORECASE)
_MAX_HEAD = 64 * 1024
_PIECE = 64 * 1024


class Front:
    """Runs on a thread of its own between ``with`` and its end.

    ``ports`` maps endpoint names to loopback ports of scoring servers. ``requests`` collects the
    request lines in the order they came.
    """

    def __init__(self, ports: Mapping[str, int]) -> None:
        self._ports = {name.encode(): port for name, port in ports.items()}
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self.requests: list[str] = []
        self.host = ""

    def __enter__(self) -> Front:
        self._thread = threading.Thread(target=self._run, name="peer-front")
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()
        if self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as failure:  # noqa: BLE001 - handed to the thread that waits
            self._failure = failure
        finally:
            self._started.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()
        self._accepted: set[asyncio.StreamWriter] = set()
        server = await asyncio.start_server(
            self._accept, "127.0.0.1", 0, limit=_MAX_HEAD, backlog=256
        )
        self.host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._ended.wait()
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await asyncio.sleep(0)  # a connection that was being accepted comes now
        for writer in self._accepted:  # a task that was cancelled before it began closed nothing
            writer.transport.abort()
        await asyncio.sleep(0)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._accepted.add(writer)
        if self._ended.is_set():
            return
        task = asyncio.ensure_future(self._relay(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = _Upstream(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line = head[: head.index(b"\r\n")]
                self.requests.append(line.decode("latin-1"))
                port = self._port_of(line)
                if port is None:
                    await _skip_body(reader, head)
                    writer.write(_not_found())
                    continue
                method, _, version = line.split(b" ")
                await upstream.use(port)
                upstream.write(b" ".join((method, b"/invocations", version)) + head[len(line) :])
                async for piece in _body(reader, head):
                    upstream.write(piece)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # one of the two sides has gone; closing the other is all that is left to do
        finally:
            await upstream.close()
            await _close(writer)
            self._accepted.discard(writer)

    def _port_of(self, line: bytes) -> int | None:
        match = _INVOCATIONS.fullmatch(line.split(b" ")[1].partition(b"?")[0])
        return self._ports.get(match[1]) if match else None


class _Upstream:
    """The connection to a scoring server on behalf of one client connection.

    Replies are pumped back without being parsed: HTTP/1.1 without pipelining never has two open.
    """

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self._client = client
        self._port: int | None = None
        self._writer: asyncio.StreamWriter | None = None
        self._pump: asyncio.Task[None] | None = None

    async def use(self, port: int) -> None:
        if port != self._port:
            await self.close()
            reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
            self._port = port
            self._pump = asyncio.ensure_future(self._back(reader))

    def write(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    async def _back(self, reader: asyncio.StreamReader) -> None:
        try:
            while piece := await reader.read(_PIECE):
                self._client.write(piece)
        except ConnectionError:
            self._client.transport.abort()  # a reset stays a reset
        else:
            self._client.close()

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
        if self._writer is not None:
            await _close(self._writer)
        self._port = self._writer = self._pump = None


async def _body(reader: asyncio.StreamReader, head: bytes):
    """The body's bytes as framed on the wire, in pieces."""
    if _CHUNKED.search(head):
        size = -1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            yield line + await reader.readexactly(size + 2)
        return
    length = _LENGTH.search(head)
    left = int(length[1]) if length else 0
    while left:
        piece = await reader.read(min(left, _PIECE))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
        yield piece


async def _skip_body(reader: asyncio.StreamReader, head: bytes) -> None:
    async for _ in _body(reader, head):
        pass


def _not_found() -> bytes:
    body = b'{"error_code":"RESOURCE_DOES_NOT_EXIST","message":"No such path on this front."}'
    return (
        b"HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except (ConnectionError, OSError):
        pass
