"""One connection through the proxy, with all that its toxics do to it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import socket
import ssl
import struct
from dataclasses import dataclass
from typing import Protocol, TypeVar

from tests.faults.messages import Messages, Part
from tests.faults.toxics import (
    Bandwidth,
    Blackhole,
    CutBody,
    Drip1xx,
    DripBody,
    DripHead,
    FinAfter,
    HalfOpen,
    IdleClose,
    Latency,
    LimitData,
    PlainOnTls,
    ResetPeer,
    Side,
    Slicer,
    SlowClose,
    Timeout,
    Tls,
    Toxics,
)
from tests.scripted.server import refusing_handshake, reply

_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close() sends RST
_PIECE = 65536
_TICK_S = 0.05
_HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
_LOST = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError, OSError)

T = TypeVar("T")


@dataclass
class Count:
    """What passed over one connection.

    Attributes:
        connection: Its number.
        opened_s: When it was accepted, ``time.monotonic``.
        up_bytes: Bytes read from the client, after TLS.
        down_bytes: Bytes written to the client, before TLS.
        requests: Requests whose head has come.
        replies: Replies that were passed on whole.
        open: The proxy has not closed it.
        closed: Who closed it, and how: ``"client"``, ``"fin"``, ``"rst"``, ``"refused"`` (TLS).
    """

    connection: int
    opened_s: float
    up_bytes: int = 0
    down_bytes: int = 0
    requests: int = 0
    replies: int = 0
    open: bool = True
    closed: str = ""


class Script(Protocol):
    """What a relay asks the proxy."""

    def toxics(self, connection: int, request: int | None) -> Toxics:
        """The toxics in force now."""

    def number_request(self) -> int:
        """The number of a request that begins now."""

    def noticed(self) -> None:
        """A count has changed."""


class Relay:
    """Both directions of one connection; ``run`` returns when both sides are closed."""

    def __init__(
        self,
        script: Script,
        count: Count,
        sock: socket.socket,
        upstream: tuple[str, int],
        tls: ssl.SSLContext | None,
    ) -> None:
        self.count = count
        self.sock = sock
        self.ending = False
        self._script = script
        self._upstream = upstream
        self._tls = tls
        self._request: int | None = None
        self._client: asyncio.StreamWriter | None = None
        self._server: asyncio.StreamWriter | None = None
        self._dead = False
        self._over = asyncio.Event()
        self._idle: asyncio.TimerHandle | None = None
        self._doomed = False
        self._loop = asyncio.get_running_loop()
        self._chance = random.Random(count.connection)

    # -- its life ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Carry bytes until somebody closes."""
        try:
            with contextlib.suppress(*_LOST):
                await self._converse()
        finally:
            await self._close()

    async def _converse(self) -> None:
        toxics = self._toxics()
        self._schedule_reset(toxics)
        reader = await self._accepted(toxics)
        if reader is None or self.ending:  # refused, or reset while it shook hands
            return
        replies, self._server = await asyncio.open_connection(*self._upstream, limit=_PIECE)
        pumps = [
            asyncio.ensure_future(job)
            for job in (self._pump_up(reader), self._pump_down(replies), self._over.wait())
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for outcome in await asyncio.gather(*pumps, return_exceptions=True):
                if isinstance(outcome, Exception) and not isinstance(outcome, _LOST):
                    raise outcome

    async def _accepted(self, toxics: Toxics) -> asyncio.StreamReader | None:
        """The client's bytes, after TLS where there is TLS; None where that came to nothing."""
        tls = self._tls
        if tls is not None and _one(PlainOnTls, toxics):
            await self._loop.sock_recv(self.sock, _PIECE)
            await self._loop.sock_sendall(self.sock, reply(b"{}", status="400 Bad Request"))
            self._ended("refused")
            return None
        other = _one(Tls, toxics)
        if tls is not None and other is not None:
            if other.alert:
                self._ended("refused")
                await refusing_handshake(other.context)(self)  # type: ignore[arg-type]
                return None
            tls = other.context
        reader = asyncio.StreamReader(limit=_PIECE)
        protocol = asyncio.StreamReaderProtocol(reader)
        try:
            transport, _ = await self._loop.connect_accepted_socket(
                lambda: protocol, self.sock, ssl=tls
            )
        except _LOST:
            self._ended("refused")
            return None
        self._client = asyncio.StreamWriter(transport, protocol, reader, self._loop)
        return reader

    async def _close(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        if self._client is None:
            self.sock.close()
        writers = [writer for writer in (self._server, self._client) if writer is not None]
        for writer in writers:
            # closing a TLS transport twice makes it forget its connection
            if not writer.is_closing():
                writer.close()
        for writer in writers:
            with contextlib.suppress(*_LOST):
                await writer.wait_closed()
        self.count.open = False
        self._script.noticed()

    # -- the two directions -----------------------------------------------------------------------

    async def _pump_up(self, reader: asyncio.StreamReader) -> None:
        messages = Messages()
        while data := await self._read(reader, "up"):
            self.count.up_bytes += len(data)
            self._rest(None)
            heads = [part for part in messages.feed(data) if part.kind == "head"]
            for _ in heads:
                self._request = self._script.number_request()
            toxics = self._toxics()
            self._count_requests(len(heads))  # now: who waits for it may change the rule
            self._schedule_reset(toxics)
            await self._die_if_told(toxics)
            timeout = _one(Timeout, toxics)
            if timeout is not None:
                self._doom(timeout)
            if not (self._doomed or _swallows(toxics, "up")):
                assert self._server is not None
                self._server.write(data)
                await self._server.drain()
        self._ended("client")

    def _count_requests(self, number: int) -> None:
        self.count.requests += number
        if number:
            self._script.noticed()

    async def _read(self, reader: asyncio.StreamReader, side: Side) -> bytes:
        """The next piece, no faster than the bandwidth allows."""
        toxic = _one(Bandwidth, self._toxics())
        if toxic is None or toxic.side not in ("both", side):
            return await reader.read(_PIECE)
        data = await reader.read(max(1, int(toxic.bytes_per_s * _TICK_S)))
        await asyncio.sleep(len(data) / toxic.bytes_per_s)
        return data

    async def _pump_down(self, reader: asyncio.StreamReader) -> None:
        messages, toxics, begun = Messages(), self._toxics(), False
        while data := await self._read(reader, "down"):
            for part in messages.feed(data):
                if not begun:
                    toxics, begun = self._toxics(), True
                    await self._delay(toxics)
                await self._die_if_told(toxics)
                # what swallows bytes is in force or not at each of them
                passes = not (self._doomed or _swallows(self._toxics(), "down"))
                if passes:
                    await self._deliver(part, toxics)
                begun = not part.ends
                if part.ends and passes and not self.ending:
                    self._replied(toxics)
        slow = _one(SlowClose, self._toxics())
        if slow is not None:
            await asyncio.sleep(slow.delay_s)
        self._ended("fin")

    async def _delay(self, toxics: Toxics) -> None:
        latency = _one(Latency, toxics)
        if latency is not None:
            jitter_s = latency.jitter_s * (2.0 * self._chance.random() - 1.0)
            await asyncio.sleep(max(0.0, latency.delay_s + jitter_s))
        hints = _one(Drip1xx, toxics)
        if hints is not None:
            for _ in range(hints.count):
                await self._write(_HINTS)
                await asyncio.sleep(hints.interval_s)

    async def _deliver(self, part: Part, toxics: Toxics) -> None:
        limit = _one(LimitData, toxics)
        data = part.data
        if limit is not None and self.count.down_bytes + len(data) >= limit.size:
            await self._write(data[: max(0, limit.size - self.count.down_bytes)])
            self.fin()
            return
        cut = _one(CutBody, toxics)
        if cut is not None and part.kind == "body":
            await self._write(data[: len(data) // 2])
            (self.rst if cut.how == "rst" else self.fin)()
            return
        drip = _one(DripHead if part.kind == "head" else DripBody, toxics)
        if drip is not None:
            await self._write_in_pieces(data, 1, drip.interval_s)
            return
        slicer = _one(Slicer, toxics)
        if slicer is not None:
            await self._write_in_pieces(data, slicer.size, slicer.delay_s)
            return
        await self._write(data)

    async def _write_in_pieces(self, data: bytes, size: int, interval_s: float) -> None:
        for start in range(0, len(data), size):
            await self._write(data[start : start + size])
            await asyncio.sleep(interval_s)

    async def _write(self, data: bytes) -> None:
        if self.ending or self._dead:
            return
        assert self._client is not None
        self.count.down_bytes += len(data)
        self._client.write(data)
        await self._client.drain()

    def _replied(self, toxics: Toxics) -> None:
        self.count.replies += 1
        self._script.noticed()
        last = _one(FinAfter, toxics)
        if last is not None and self.count.replies >= last.replies:
            self.fin()
            return
        self._rest(_one(IdleClose, toxics))

    # -- ends -------------------------------------------------------------------------------------

    def fin(self) -> None:
        """Close after everything written was sent."""
        if not self.ending:
            self._ended("fin")
            if self._client is not None:
                self._client.close()

    def rst(self) -> None:
        """Close with a reset."""
        if self.ending:
            return
        self._ended("rst")
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        if self._client is not None:
            self._client.transport.abort()

    def freeze(self) -> None:
        """Be dead from now on, without a word to anybody."""
        self._dead = True
        if self._client is not None and not self._client.is_closing():
            self._client.transport.pause_reading()  # type: ignore[attr-defined]

    async def _die_if_told(self, toxics: Toxics) -> None:
        """Neither read nor write any more, until the proxy ends."""
        if self._dead or _one(HalfOpen, toxics):
            self.freeze()
            await self._loop.create_future()

    def _doom(self, timeout: Timeout) -> None:
        if not self._doomed:
            self._doomed = True
            if timeout.after_s < math.inf:
                self._loop.call_later(timeout.after_s, self.fin)

    def _schedule_reset(self, toxics: Toxics) -> None:
        reset = _one(ResetPeer, toxics)
        if reset is not None:
            self._loop.call_later(reset.after_s, self.rst)

    def _rest(self, limit: IdleClose | None) -> None:
        """Nothing is under way: close after a while, if that is in force."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if limit is not None:
            self._idle = self._loop.call_later(limit.after_s, self.fin)

    def _ended(self, how: str) -> None:
        if not self.count.closed:
            self.count.closed = how
        self.ending = True
        self._over.set()

    def _toxics(self) -> Toxics:
        return self._script.toxics(self.count.connection, self._request)


def _one(kind: type[T], toxics: Toxics) -> T | None:
    """The toxic of this kind, if there is one."""
    return next((toxic for toxic in toxics if isinstance(toxic, kind)), None)


def _swallows(toxics: Toxics, side: Side) -> bool:
    hole = _one(Blackhole, toxics)
    return hole is not None and hole.side in ("both", side)
