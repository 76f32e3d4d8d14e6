"""A workspace that speaks HTTP/2 and sends its callers away after so many requests (GOAWAY).

It does so as RFC 9113 section 6.8 asks of a server that shuts down: what it has begun it answers,
the frame names the last of these, and whatever came behind it was never looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections import Counter
from types import TracebackType

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

_PIECE_BYTES = 65536


class Http2Server:
    """Runs on a thread of its own between ``with`` and its end.

    It answers a call with the ``id`` in its body, after ``answer_s``; a description with 404.

    Args:
        context: What it presents; ``h2`` is agreed on by ALPN.
        goaway_after: Calls a connection may make.
        answer_s: Time an answer takes.
    """

    def __init__(
        self, context: ssl.SSLContext, *, goaway_after: int = 2**31, answer_s: float = 0.0
    ) -> None:
        context.set_alpn_protocols(["h2"])
        self.context = context
        self.goaway_after = goaway_after
        self.answer_s = answer_s
        self.processed: Counter[str] = Counter()
        self.seen: dict[str, str] = {}
        """The header of the last request."""
        self.ignored = 0
        self.connections = 0
        self.goaways = 0
        self.host = ""
        self._started = threading.Event()

    def __enter__(self) -> Http2Server:
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), name="http2")
        self._thread.start()
        assert self._started.wait(5)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.ensure_future(_Connection(self, writer).run(reader))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=self.context)
        self.host = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._started.set()
        await self._ended.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Connection:
    def __init__(self, server: Http2Server, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        self._server = server
        self._writer = writer
        self._h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        self._bodies: dict[int, bytes] = {}
        self._methods: dict[int, str] = {}
        self._open: set[int] = set()
        self._calls = 0
        self._last = 0
        self._gone = False

    async def run(self, reader: asyncio.StreamReader) -> None:
        self._h2.initiate_connection()
        self._flush()
        try:
            while data := await reader.read(_PIECE_BYTES):
                # after GOAWAY it reads to the end all the same: closing with bytes unread would
                # reset the connection, and the frame be lost with it
                if not self._gone:
                    self._take(data)
        except (ConnectionError, ProtocolError):
            pass  # the client has gone, or should
        finally:
            self._gone = True
            self._writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await self._writer.wait_closed()

    def _take(self, data: bytes) -> None:
        for event in self._h2.receive_data(data):
            if isinstance(event, RequestReceived):
                self._begin(event)
            elif isinstance(event, DataReceived):
                self._h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                if event.stream_id in self._open:
                    self._bodies[event.stream_id] += event.data
            elif isinstance(event, StreamEnded) and event.stream_id in self._open:
                asyncio.get_running_loop().call_later(
                    self._server.answer_s, self._answer, event.stream_id
                )
        self._flush()

    def _begin(self, event: RequestReceived) -> None:
        stream = event.stream_id
        if self._calls >= self._server.goaway_after:
            self._server.ignored += 1
            return
        self._server.seen = dict(event.headers)
        self._methods[stream] = self._server.seen[":method"]
        self._calls += self._methods[stream] == "POST"
        self._last = stream
        self._bodies[stream] = b""
        self._open.add(stream)

    def _answer(self, stream: int) -> None:
        if self._gone:
            return
        if self._methods[stream] == "POST":
            call_id = json.loads(self._bodies.pop(stream))["id"]
            self._server.processed[call_id] += 1
            status, value = "200", {"predictions": [call_id]}
        else:
            status, value = "404", {"error_code": "RESOURCE_DOES_NOT_EXIST"}
        self._h2.send_headers(stream, [(":status", status), ("content-type", "application/json")])
        self._h2.send_data(stream, json.dumps(value).encode(), end_stream=True)
        self._open.discard(stream)
        if self._calls >= self._server.goaway_after and not self._open:
            self._gone = True
            self._server.goaways += 1
            self._h2.close_connection(last_stream_id=self._last)
        self._flush()

    def _flush(self) -> None:
        self._writer.write(self._h2.data_to_send())
