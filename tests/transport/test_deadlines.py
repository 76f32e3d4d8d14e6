"""The deadline is the total, whatever the server drips (T3, F4; inputs 61-63)."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from servingclient import _step
from servingclient._types import FaultKind, Origin, WireFault
from servingclient.transport.async_wire import AsyncLaneWire
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Act,
    Blackhole,
    Connection,
    Request,
    ScriptedServer,
    drip_body,
    drip_head,
    drip_interim,
    echo,
    echo_after,
    eventually,
    refused_port,
    silence,
    stall,
)
from tests.stopwatch import Stopwatch
from tests.transport.conftest import Drive
from tests.transport.kit import (
    Driver,
    answer_of,
    body_of,
    facts,
    origin_of,
    settings_of,
    target_at,
    target_of,
)

TIMEOUT_S = 1.0
DRIPS = {"body": drip_body(0.2), "header": drip_head(0.2), "103": drip_interim(0.2)}


async def timed(driver: Driver, target, call_id: object) -> tuple[str, float]:
    started = time.monotonic()
    try:
        await driver.wire.send(target, body_of(call_id), started + TIMEOUT_S)
    except WireFault as fault:
        return fault.kind.value, time.monotonic() - started
    return "reply", time.monotonic() - started


def all_at_once(driver: Driver, target, count: int) -> list[tuple[str, float]]:
    if driver.is_async:

        async def gather() -> list[tuple[str, float]]:
            return await asyncio.gather(*(timed(driver, target, n) for n in range(count)))

        return driver.run(gather())
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda n: _step.run(timed(driver, target, n)), range(count)))


def by_turn(before: Act, then: Act) -> Act:
    """The first request of a connection gets one answer, the others another."""

    async def act(conn: Connection, request: Request) -> None:
        await (before if request.index == 0 else then)(conn, request)

    return act


@pytest.mark.parametrize("reused", [False, True], ids=["fresh", "reused"])
def test_T3_thirty_of_thirty_drips_end_at_the_deadline(drive: Drive, reused: bool):
    drips = list(DRIPS.values())

    async def dripping(conn: Connection, request: Request) -> None:
        await drips[conn.number % 3](conn, request)

    act = by_turn(echo(), dripping) if reused else dripping
    with ScriptedServer(act) as server:
        driver = drive()
        if reused:
            warm(driver, server, 30)
        with Stopwatch() as watch:
            outcomes = all_at_once(driver, target_of(server), 30)
        assert [kind for kind, _ in outcomes] == ["timeout"] * 30
        assert max(took for _, took in outcomes) < 1.25 + watch.machine_s
        assert min(took for _, took in outcomes) > 0.99
        assert len(server.connections) == 30
        driver.settle()
        assert driver.in_use() == 0
        server.answers = echo()
        with Stopwatch() as watch:
            assert answer_of(driver.send(target_of(server), body_of("healthy"))) == "healthy"
        assert watch.took_s < 0.2


def warm(driver: Driver, server: ScriptedServer, count: int) -> None:
    """Open ``count`` connections with one good exchange on each."""
    real, all_here = server.answers, asyncio.Event()

    async def meet(conn: Connection, request: Request) -> None:
        if len(server.requests) == count:
            all_here.set()
        await all_here.wait()
        await echo()(conn, request)

    server.answers = meet
    outcomes = all_at_once(driver, target_of(server), count)
    assert [kind for kind, _ in outcomes] == ["reply"] * count
    assert len(server.connections) == count
    server.answers = real


@pytest.mark.parametrize("drip", DRIPS)
def test_T3_over_tls_too(drive: Drive, authority: Authority, drip: str):
    with ScriptedServer([echo(), DRIPS[drip]], tls=authority.good()) as server:
        driver = drive(settings_of(ca_file=authority.ca_file))
        driver.send(target_of(server))
        with Stopwatch() as watch:
            assert driver.fault(target_of(server), timeout_s=0.3).kind is FaultKind.TIMEOUT
        assert watch.elapsed_s > 0.29
        assert watch.took_s < 0.55
        driver.settle()
        assert driver.in_use() == 0


def test_a_server_that_never_answers_is_a_timeout_and_saw_one_request(drive: Drive):
    with ScriptedServer([stall(), echo()]) as server:
        driver = drive()
        with Stopwatch() as watch:
            fault = driver.fault(target_of(server), body_of("slow"), timeout_s=0.3)
            assert facts(fault) == (FaultKind.TIMEOUT, "maybe")
        assert watch.took_s < 0.5
        assert server.processed["slow"] == 1
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"
        server.wait_until(lambda: server.open_connections <= 1)


def test_a_deadline_in_the_past_sends_nothing(drive: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive()
        driver.send(target_of(server))
        fault = driver.fault(target_of(server), timeout_s=-1.0)
        assert fault.kind in (FaultKind.TIMEOUT, FaultKind.NOT_CONNECTED)
        driver.settle()
        assert len(server.requests) == 1


def test_an_upload_nobody_reads_ends_at_the_deadline(drive: Drive):
    async def deaf(conn: Connection) -> None:
        conn.writer.transport.pause_reading()
        await asyncio.sleep(60)

    with ScriptedServer(greeting=deaf) as server:
        driver = drive()
        with Stopwatch() as watch:
            fault = driver.fault(target_of(server), bytes(16 << 20), timeout_s=0.5)
            assert facts(fault) == (FaultKind.TIMEOUT, "maybe")
        assert watch.elapsed_s > 0.49
        assert watch.took_s < 0.75
        driver.settle()
        assert driver.in_use() == 0


def test_input_63_a_black_hole_ends_at_the_connect_timeout(drive: Drive):
    with Blackhole() as hole:
        driver = drive(settings_of(connect_timeout_s=0.3))
        with Stopwatch() as watch:
            fault = driver.fault(target_at(Origin("http", "127.0.0.1", hole.port)))
            assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
        assert watch.elapsed_s > 0.29
        assert watch.took_s < 0.6


def test_input_63_and_at_the_deadline_if_that_is_sooner(drive: Drive):
    with Blackhole() as hole:
        driver = drive()
        with Stopwatch() as watch:
            fault = driver.fault(target_at(Origin("http", "127.0.0.1", hole.port)), timeout_s=0.3)
            assert fault.sent == "no"
        assert watch.elapsed_s > 0.29
        assert watch.took_s < 0.6


def test_a_tls_handshake_that_hangs_ends_at_the_connect_timeout(drive: Drive, authority: Authority):
    with ScriptedServer(tls=authority.good(), before_tls=silence) as server:
        driver = drive(settings_of(ca_file=authority.ca_file, connect_timeout_s=0.3))
        with Stopwatch() as watch:
            fault = driver.fault(target_of(server))
            assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
        assert watch.elapsed_s > 0.29
        assert watch.took_s < 0.7
        driver.settle()
        server.wait_until(lambda: server.open_connections == 0)


def test_input_62_refused_is_known_at_once(drive: Drive):
    with Stopwatch() as watch:
        fault = drive().fault(target_at(Origin("http", "127.0.0.1", refused_port())))
        assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
        assert "refused" in fault.detail
    assert watch.took_s < 0.2


def test_input_61_a_name_that_does_not_exist(drive: Drive):
    fault = drive().fault(target_at(Origin("https", "no-such-host.invalid", 443)))
    assert facts(fault) == (FaultKind.NO_NAME, "no")
    assert fault.host == "no-such-host.invalid"


@pytest.mark.parametrize("drive", ["lane", "async_lane"], indirect=True)
def test_input_61_a_resolver_that_hangs_does_not_hold_the_call(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
):
    import socket

    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answered.wait(5) and [])
    try:
        with Stopwatch() as watch:
            fault = drive().fault(target_at(Origin("https", "localhost", 443)), timeout_s=0.3)
            assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
        assert watch.took_s < 0.6
    finally:
        answered.set()


def test_streams_end_at_the_gap_and_not_at_the_deadline(drive: Drive):
    with ScriptedServer(drip_body(0.05, b"x" * 12)) as server:
        driver = drive(settings_of(stream_idle_s=0.5))
        assert b"".join(driver.stream(target_of(server), timeout_s=0.3)) == b"x" * 12

    with ScriptedServer(drip_body(30.0)) as server:
        driver = drive(settings_of(stream_idle_s=0.2))
        with Stopwatch() as watch:
            with pytest.raises(WireFault) as caught:
                driver.stream(target_of(server))
            assert caught.value.kind is FaultKind.TIMEOUT
        assert watch.took_s < 0.5
        assert eventually(lambda: driver.settle() or driver.in_use() == 0)


def test_the_head_of_a_stream_must_come_by_the_deadline(drive: Drive):
    with ScriptedServer(drip_head(0.1)) as server:
        driver = drive()
        with Stopwatch() as watch:
            with pytest.raises(WireFault) as caught:
                driver.stream(target_at(origin_of(server)), timeout_s=0.5)
            assert caught.value.kind is FaultKind.TIMEOUT
        assert watch.took_s < 0.75
        assert eventually(lambda: driver.settle() or driver.in_use() == 0)


@pytest.mark.parametrize(("first_s", "then_s"), [(0.6, 1.0), (1.0, 0.6), (5.0, 0.5)])
def test_a_time_out_left_over_from_another_call_does_not_count(first_s: float, then_s: float):
    """A blocking lane keeps the kernel's time-out where it nearly fits; it must not show."""

    async def two_calls(driver: Driver, target) -> tuple[str, float]:
        await driver.wire.send(target, body_of(1), time.monotonic() + first_s)
        started = time.monotonic()
        with pytest.raises(WireFault) as caught:
            await driver.wire.send(target, body_of(2), started + then_s)
        return caught.value.kind.value, time.monotonic() - started

    with ScriptedServer(by_turn(echo(), stall())) as server:
        driver = Driver("lane", settings_of())
        # the main thread waits otherwise
        with Stopwatch() as watch, ThreadPoolExecutor(1) as elsewhere:
            kind, took_s = elsewhere.submit(
                _step.run, two_calls(driver, target_of(server))
            ).result()
        driver.close()
    assert kind == "timeout"
    assert then_s <= took_s < then_s + 0.25 + watch.machine_s


def test_an_answer_that_was_there_in_time_counts_though_the_loop_was_blocked() -> None:
    """Row 26: a timer that is due in the very round in which somebody blocks the loop runs right
    after it, before anybody has looked at the sockets.
    """

    async def scenario(server: ScriptedServer) -> str:
        loop, wire = asyncio.get_running_loop(), AsyncLaneWire(settings_of())
        target = target_of(server)
        began_s = time.monotonic()

        def block_until(at_s: float) -> None:
            threading.Event().wait(at_s - time.monotonic())

        def block() -> None:
            block_until(began_s + 0.35)
            loop.call_soon(block_until, began_s + 0.9)  # its round is also that of the timer

        try:
            await wire.send(target, body_of(1), began_s + 0.3)  # leaves its timer behind
            call = loop.create_task(wire.send(target, body_of(2), began_s + 0.8))
            await asyncio.sleep(0)
            loop.call_soon(block)
            return answer_of(await call)
        finally:
            await wire.aclose()

    with ScriptedServer([echo(), echo_after(0.4)]) as server:
        assert asyncio.run(scenario(server)) == "2"
        assert len(server.connections) == 1
