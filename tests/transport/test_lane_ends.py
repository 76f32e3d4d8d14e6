"""Lanes at the edges of an exchange: before the first, behind the last, and given up midway."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from servingclient import _step
from servingclient._types import FaultKind, Origin, WireFault
from servingclient.transport.async_lane import AsyncLane, new_inbox
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.exchange import Limits
from servingclient.transport.tls import ssl_context
from servingclient.transport.wire import LaneWire
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Act,
    Connection,
    Request,
    ScriptedServer,
    echo,
    echo_after,
    reply,
    then_wait,
)
from tests.transport.conftest import Drive
from tests.transport.kit import (
    answer_of,
    body_of,
    facts,
    origin_of,
    settings_of,
    target_at,
    target_of,
)


@pytest.mark.parametrize("how", ["fin", "rst"])
@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_T2_a_lane_opened_ahead_that_died_since_is_not_lent(
    drive_lane: Drive, authority: Authority, how: str, tls: bool
):
    """Over TLS session tickets lie on it unread, and the end behind them."""
    with ScriptedServer(echo(), tls=authority.good() if tls else None) as server:
        driver = drive_lane(settings_of(ca_file=authority.ca_file))
        driver.run(driver.wire.warm(origin_of(server), 4, time.monotonic() + 5))
        server.wait_until(lambda: sum(conn.writer is not None for conn in server.connections) == 4)
        for conn in list(server.connections):
            server.call(getattr(conn, how))
        threading.Event().wait(0.1)
        driver.settle()
        assert answer_of(driver.send(target_of(server), body_of("x"))) == "x"


def test_a_lane_opened_ahead_is_lent_with_its_tickets(drive_lane: Drive, authority: Authority):
    with ScriptedServer(echo(), tls=authority.good()) as server:
        driver = drive_lane(settings_of(ca_file=authority.ca_file))
        driver.run(driver.wire.warm(origin_of(server), 2, time.monotonic() + 5))
        if not driver.is_async:  # which reads them as they come
            driver.see_bytes()
        assert answer_of(driver.send(target_of(server), body_of("x"))) == "x"
        assert len(server.connections) == 2


def test_T2_a_lane_opened_ahead_that_dies_under_a_request_is_stale(drive_lane: Drive):
    async def close(conn: Connection, request: Request) -> None:
        conn.fin()

    with ScriptedServer(close) as server:
        driver = drive_lane()
        driver.run(driver.wire.warm(origin_of(server), 1, time.monotonic() + 5))
        assert facts(driver.fault(target_of(server))) == (FaultKind.STALE, "maybe")


def test_the_first_byte_of_a_reply_is_no_ticket(drive_lane: Drive, authority: Authority):
    with ScriptedServer(echo_after(0.3), tls=authority.good()) as server:
        driver = drive_lane(settings_of(ca_file=authority.ca_file))
        came = driver.send(target_of(server), body_of("x"))
        assert came.first_byte_s - came.sent_s > 0.25


def head_first(data: bytes) -> Act:
    """The head of a reply, and its body a moment later."""

    async def act(conn: Connection, request: Request) -> None:
        head, _, body = data.partition(b"\r\n\r\n")
        await conn.send(head + b"\r\n\r\n")
        await asyncio.sleep(0.1)
        await conn.send(body)

    return act


BAD_GZIP = gzip.compress(os.urandom(5000))[:-8] + bytes(8)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (reply(BAD_GZIP, "Content-Encoding: gzip"), FaultKind.CORRUPT),
        (reply(b"x" * 20_000), FaultKind.TOO_LARGE),
    ],
    ids=["corrupt", "too large"],
)
def test_T14_a_bad_body_that_came_while_nobody_read_is_no_good_end(
    drive_lane: Drive, data: bytes, kind: FaultKind
):
    with ScriptedServer(head_first(data)) as server:
        driver = drive_lane(settings_of(max_reply_bytes=10_000))

        async def late_reader() -> None:
            stream = await driver.wire.open(target_of(server), b"{}", time.monotonic() + 5)
            if driver.is_async:
                await asyncio.sleep(0.3)
            try:
                async for _ in stream.chunks():
                    pass
            finally:
                await stream.aclose()

        with pytest.raises(WireFault) as caught:
            driver.run(late_reader())
        assert caught.value.kind is kind


@contextlib.contextmanager
def answering_before_the_body() -> Iterator[int]:
    """A server that answers once it has the head, reads no further and keeps the connection."""
    held = []

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                conn, _ = listener.accept()
                held.append(conn)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += conn.recv(1)
                conn.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        for conn in held:
            conn.close()


async def test_a_lane_with_a_body_half_sent_carries_no_other_call():
    with answering_before_the_body() as port:
        wire = AsyncLaneWire(settings_of())
        target = target_at(Origin("http", "127.0.0.1", port))
        answered = await wire.send(target, bytes(32_000_000), time.monotonic() + 5)
        assert answered.status == 413
        assert wire.pool.stats().idle == 0
        await wire.aclose()


def test_a_time_out_of_centuries_is_a_long_one(drive: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive()
        came = driver.send(target_of(server), body_of("x"), timeout_s=1e300)
        assert answer_of(came) == "x"


async def test_the_idle_lanes_of_a_wire_nobody_holds_are_closed():
    with ScriptedServer(echo()) as server:
        wire = AsyncLaneWire(settings_of())
        await wire.send(target_of(server), body_of("x"), time.monotonic() + 5)
        del wire
        await asyncio.sleep(0.1)
        server.wait_until(lambda: server.open_connections == 0)


async def test_lanes_that_are_open_when_warming_is_cancelled_are_kept(authority: Authority):
    async def hang_second(conn: Connection) -> None:
        if conn.number == 1:
            await asyncio.sleep(60)

    with ScriptedServer(echo(), tls=authority.good(), before_tls=hang_second) as server:
        wire = AsyncLaneWire(settings_of(ca_file=authority.ca_file))
        warming = asyncio.create_task(wire.warm(origin_of(server), 2, time.monotonic() + 5))
        await asyncio.sleep(0.3)
        warming.cancel()
        with pytest.raises(asyncio.CancelledError):
            await warming
        assert wire.pool.stats().idle == 1
        await wire.aclose()
        server.wait_until(lambda: not server.connections[0].open)


def test_a_stream_closed_by_another_thread_ends_its_reader_at_once():
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    with ScriptedServer(then_wait(head)) as server:
        wire = LaneWire(settings_of())
        stream = _step.run(wire.open(target_of(server), b"{}", time.monotonic() + 5))
        faults: list[WireFault] = []
        reading = threading.Event()

        def read() -> None:
            try:
                list(_step.iterate(stream.chunks()))
                reading.set()
            except WireFault as fault:
                faults.append(fault)

        reader = threading.Thread(target=read)
        reader.start()
        assert not reading.wait(0.2)
        _step.run(stream.aclose())
        reader.join(2)
        assert not reader.is_alive()
        assert [fault.kind for fault in faults] == [FaultKind.CLOSED]
        wire.close()


def test_a_lane_given_back_to_a_closed_pool_is_closed(drive_lane: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive_lane()
        pool = driver.wire.pool

        async def given_back_late() -> None:
            lane = pool.take(origin_of(server), time.monotonic(), time.monotonic() + 5)
            lane = await lane if driver.is_async else lane
            exchange = lane.exchange(
                target_of(server).head + b"Content-Length: 2\r\n\r\n", b"{}", 1e9
            )
            if driver.is_async:
                await exchange
            pool.closed = True  # by another thread, which did not see this lane any more
            pool.give(lane)
            assert pool.stats().idle == 0

        driver.run(given_back_late())


async def test_nothing_was_sent_on_a_connection_that_ended_before_its_first_request():
    lane = AsyncLane(Origin("http", "127.0.0.1", 80), None, Limits(1000, 1000), new_inbox())
    lane.connection_lost(None)
    with pytest.raises(WireFault) as caught:
        await lane.exchange(b"", b"", time.monotonic() + 1)
    assert facts(caught.value) == (FaultKind.NOT_CONNECTED, "no")


async def test_what_comes_right_behind_the_handshake_is_not_lost(authority: Authority):
    """uvloop reads a socket several times before anything else gets its turn."""
    settings = settings_of(ca_file=authority.ca_file)
    lane = AsyncLane(
        Origin("https", "127.0.0.1", 443),
        ssl_context(settings.tls),
        Limits(1000, 1000),
        new_inbox(),
    )
    server = Peer(authority)
    lane.connection_made(server)  # type: ignore[arg-type]
    shaking = asyncio.ensure_future(lane.shake_hands())
    await asyncio.sleep(0)
    while not server.ready():
        arrive(lane, server.answer())
    arrive(lane, server.answer())  # its tickets, before ``shaking`` could run
    await shaking
    exchange = asyncio.ensure_future(lane.exchange(b"GET", b"", time.monotonic() + 1))
    await asyncio.sleep(0)
    server.answer()
    arrive(lane, server.says(reply(b"{}")))
    assert (await exchange).body == b"{}"
    lane.close()


def arrive(lane: AsyncLane, data: bytes) -> None:
    """As the loop hands it over."""
    lane.get_buffer(-1)[: len(data)] = data
    lane.buffer_updated(len(data))


class Peer:
    """The server's end of TLS, without a socket."""

    def __init__(self, authority: Authority) -> None:
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = authority.good().wrap_bio(self._in, self._out, server_side=True)
        self._wants = ssl.SSLWantReadError
        self._ready = False

    def get_extra_info(self, name: str) -> None:
        """Has none."""

    def write(self, data: bytes) -> None:
        self._in.write(data)

    def abort(self) -> None:
        """Nothing to close."""

    def ready(self) -> bool:
        """Whether the client has finished, too, so that only tickets are left to send."""
        with contextlib.suppress(self._wants):
            self._tls.do_handshake()
            self._ready = True
        return self._ready

    def answer(self) -> bytes:
        with contextlib.suppress(self._wants):
            self._tls.read(65536)
        return self._out.read()

    def says(self, data: bytes) -> bytes:
        self._tls.write(data)
        return self._out.read()
