"""A cancelled call takes nothing with it (T1, F1, F2; performance.md section 7)."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from typing import Any

import pytest

from servingclient._types import Target
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.httpx_wire import AsyncHttpxWire
from tests.scripted.certificates import Authority
from tests.scripted.server import Connection, Request, ScriptedServer, echo, eventually_async, stall
from tests.stopwatch import Stopwatch
from tests.transport.kit import answer_of, body_of, loop_gate, settings_of, target_of

TIMEOUTS_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05)
TLS_TIMEOUTS_S = (0.001, 0.005, 0.02, 0.1, 0.4)  # ten handshakes at once take a while
PLACES = 10
CALLERS = 20


def hurried(seed: int):
    """An echo that takes 0-5 ms."""
    chance = random.Random(seed)

    async def act(conn: Connection, request: Request) -> None:
        await asyncio.sleep(chance.random() * 0.005)
        await echo()(conn, request)

    return act


class Churn:
    """Callers that lose patience."""

    def __init__(self, wire: Any, target: Target) -> None:
        self.timeouts_s = TLS_TIMEOUTS_S if target.origin.scheme == "https" else TIMEOUTS_S
        self.wire = wire
        self.target = target
        self.gate = loop_gate(PLACES)
        self.seen: Counter[str] = Counter()
        self.most_abandoned = 0

    async def call(self, call_id: str) -> str:
        await self.gate.enter(time.monotonic() + 5)
        try:
            reply = await self.wire.send(self.target, body_of(call_id), time.monotonic() + 5)
            return answer_of(reply)
        finally:
            self.gate.leave()

    async def caller(self, number: int, end_s: float, least: int) -> None:
        chance = random.Random(number)
        turn = 0
        while time.monotonic() < end_s or self.seen["cancelled"] < least:
            turn += 1
            call_id = f"{number}-{turn}"
            try:
                answer = await asyncio.wait_for(self.call(call_id), chance.choice(self.timeouts_s))
            except asyncio.TimeoutError:
                self.seen["cancelled"] += 1
            else:
                self.seen["right" if answer == call_id else "wrong"] += 1

    async def run(self, seconds: float, least: int) -> None:
        watcher = asyncio.ensure_future(self.watch())
        end_s = time.monotonic() + seconds
        await asyncio.gather(*(self.caller(n, end_s, least) for n in range(CALLERS)))
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)

    async def watch(self) -> None:
        while True:
            self.most_abandoned = max(self.most_abandoned, self.in_httpx())
            await asyncio.sleep(0.002)

    def in_httpx(self) -> int:
        """Requests inside httpx's pool, abandoned ones included."""
        return len(self.wire._transport._pool._requests) if self.tasks() else 0

    def tasks(self) -> int:
        homes = getattr(self.wire, "_homes", {})
        return sum(len(home.tasks) for home in homes.values())

    async def probe(self) -> None:
        answers = await asyncio.gather(*(self.call(f"probe-{n}") for n in range(20)))
        assert answers == [f"probe-{n}" for n in range(20)]


async def churn(wire: Any, server: ScriptedServer, seconds: float, least: int) -> Churn:
    """For so long, and until so many calls were cancelled."""
    churning = Churn(wire, target_of(server))
    await churning.run(seconds, least)
    assert churning.seen["right"] > 0
    assert churning.seen["wrong"] == 0
    return churning


async def lanes_are_all_back(churning: Churn) -> None:
    pool = churning.wire.pool
    assert await eventually_async(lambda: pool.stats().busy == 0)
    assert (churning.gate.inside, churning.gate.waiting) == (0, 0)
    await churning.probe()
    assert pool.stats().idle <= PLACES


async def test_T1_cancel_churn_leaves_no_lane_behind():
    wire = AsyncLaneWire(settings_of(max_lanes=PLACES))
    with ScriptedServer(hurried(1)) as server:
        await lanes_are_all_back(await churn(wire, server, 3.0, least=2000))
        await wire.aclose()
        assert await eventually_async(lambda: server.open_connections == 0)


async def test_T1_the_same_over_tls(authority: Authority):
    wire = AsyncLaneWire(settings_of(max_lanes=PLACES, ca_file=authority.ca_file))
    with ScriptedServer(hurried(2), tls=authority.good()) as server:
        await lanes_are_all_back(await churn(wire, server, 3.0, least=200))
        await wire.aclose()
        assert await eventually_async(lambda: server.open_connections == 0)


async def httpx_churn(seconds: float, least: int) -> None:
    wire = AsyncHttpxWire.of_settings(settings_of(max_lanes=PLACES))
    pool = wire._transport._pool
    with ScriptedServer(hurried(3)) as server:
        churning = await churn(wire, server, seconds, least)
        assert churning.most_abandoned <= PLACES
        assert await eventually_async(lambda: churning.tasks() == 0)
        assert pool._requests == []
        assert len(pool.connections) <= PLACES
        await churning.probe()
        await wire.aclose()


async def test_T1_F2_cancel_churn_over_the_httpx_adapter():
    await httpx_churn(3.0, least=1000)


@pytest.mark.soak
@pytest.mark.long
@pytest.mark.timeout(60)
async def test_T1_ten_seconds_of_churn_over_lanes():
    wire = AsyncLaneWire(settings_of(max_lanes=PLACES))
    with ScriptedServer(hurried(4)) as server:
        await lanes_are_all_back(await churn(wire, server, 10.0, least=2000))
        await wire.aclose()


@pytest.mark.soak
@pytest.mark.long
@pytest.mark.timeout(60)
async def test_T1_F2_ten_seconds_of_churn_over_the_httpx_adapter():
    await httpx_churn(10.0, least=2000)


@pytest.mark.parametrize("make", [AsyncLaneWire, AsyncHttpxWire.of_settings])
async def test_a_cancelled_call_returns_at_once_and_frees_its_connection(make: Any):
    with ScriptedServer([stall(), echo()]) as server:
        wire = make(settings_of(max_lanes=1))
        call = asyncio.ensure_future(
            wire.send(target_of(server), body_of("slow"), time.monotonic() + 30)
        )
        assert await eventually_async(lambda: server.processed["slow"] == 1)
        with Stopwatch() as watch:
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
        assert watch.took_s < 0.05
        reply = await wire.send(target_of(server), body_of("next"), time.monotonic() + 2)
        assert answer_of(reply) == "next"
        assert await eventually_async(lambda: server.open_connections == 1)
        await wire.aclose()


@pytest.mark.parametrize("make", [AsyncLaneWire, AsyncHttpxWire.of_settings])
async def test_a_cancelled_stream_frees_its_connection(make: Any):
    with ScriptedServer([stall_after_head, echo()]) as server:
        wire = make(settings_of(max_lanes=1))

        async def read() -> None:
            stream = await wire.open(target_of(server), b"{}", time.monotonic() + 5)
            try:
                async for _ in stream.chunks():
                    reading.set()
            finally:
                await stream.aclose()

        reading = asyncio.Event()
        call = asyncio.ensure_future(read())
        await asyncio.wait_for(reading.wait(), 5)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        reply = await wire.send(target_of(server), body_of("next"), time.monotonic() + 2)
        assert answer_of(reply) == "next"
        await wire.aclose()


async def stall_after_head(conn: Connection, request: Request) -> None:
    await conn.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegin")
    await conn.gone()


async def test_an_abandoned_call_that_still_queues_inside_httpx_is_never_sent():
    import httpx

    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits(max_connections=1))
    wire = AsyncHttpxWire(transport, settings_of(max_lanes=5), stock=True)
    with ScriptedServer([stall(), echo()]) as server:
        first = asyncio.ensure_future(
            wire.send(target_of(server), body_of("first"), time.monotonic() + 1)
        )
        assert await eventually_async(lambda: server.processed["first"] == 1)
        queued = asyncio.ensure_future(
            wire.send(target_of(server), body_of("queued"), time.monotonic() + 5)
        )
        await asyncio.sleep(0.02)
        for call in (queued, first):
            call.cancel()
        await asyncio.gather(first, queued, return_exceptions=True)
        reply = await wire.send(target_of(server), body_of("next"), time.monotonic() + 2)
        assert answer_of(reply) == "next"
        assert server.processed == {"first": 1, "next": 1}
        await wire.aclose()


async def test_a_lane_that_is_being_opened_can_be_cancelled(authority: Authority):
    with ScriptedServer(tls=authority.good(), before_tls=never_shake_hands) as server:
        wire = AsyncLaneWire(settings_of(ca_file=authority.ca_file))
        calls = [
            asyncio.ensure_future(wire.send(target_of(server), b"{}", time.monotonic() + 5))
            for _ in range(10)
        ]
        assert await eventually_async(lambda: len(server.connections) == 10)
        for call in calls:
            call.cancel()
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes)
        assert await eventually_async(lambda: server.open_connections == 0)
        assert wire.pool.stats().busy == 0
        await wire.aclose()


async def test_a_dial_cancelled_at_any_moment_leaves_nothing_open(authority: Authority):
    """Before Python 3.12 ``wait_for`` drops a cancel that comes just as its future is done."""
    with ScriptedServer(tls=authority.good(), before_tls=never_shake_hands) as server:
        wire = AsyncLaneWire(settings_of(ca_file=authority.ca_file, connect_timeout_s=60))
        for rounds in range(30):
            call = asyncio.ensure_future(wire.send(target_of(server), b"{}", time.monotonic() + 60))
            for _ in range(rounds):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        assert await eventually_async(lambda: server.open_connections == 0)
        await wire.aclose()


async def never_shake_hands(conn: Connection) -> None:
    loop = asyncio.get_running_loop()
    while await loop.sock_recv(conn.sock, 65536):
        pass
    conn.ending = True
