"""Connections that die while idle, and how that is told apart from other losses (T2; 64-66)."""

from __future__ import annotations

import socket
import time

import pytest

from servingclient._types import FaultKind, WireFault
from tests.scripted.server import (
    Act,
    Connection,
    Request,
    ScriptedServer,
    echo,
    fin,
    reply,
    rst,
    send,
    then_fin,
    then_rst,
    with_fin,
)
from tests.transport.conftest import Drive
from tests.transport.kit import answer_of, body_of, facts, settings_of, target_of


def first_then(rest: Act) -> Act:
    """Echo the first request of each connection, then another answer."""

    async def act(conn: Connection, request: Request) -> None:
        await (echo() if request.index == 0 else rest)(conn, request)

    return act


@pytest.mark.parametrize("how", [fin(), rst()], ids=["fin", "rst"])
def test_T2_a_reused_connection_that_gives_no_byte_is_stale(drive: Drive, how: Act):
    with ScriptedServer(first_then(how)) as server:
        driver = drive()
        driver.send(target_of(server))
        fault = driver.fault(target_of(server), body_of("lost"))
        assert facts(fault) == (FaultKind.STALE, "maybe")
        reply = driver.send(target_of(server), body_of("again"))
        assert answer_of(reply) == "again"
        assert len(server.connections) == 2


@pytest.mark.parametrize("how", [fin(), rst()], ids=["fin", "rst"])
def test_input_64_a_fresh_connection_that_gives_no_byte_is_cut_off(drive: Drive, how: Act):
    with ScriptedServer([how, echo()]) as server:
        driver = drive()
        assert facts(driver.fault(target_of(server))) == (FaultKind.CUT_OFF, "maybe")
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


HALF = reply(b"x" * 1000)[:-500]


@pytest.mark.parametrize("how", [then_fin(HALF), then_rst(HALF)], ids=["fin", "rst"])
@pytest.mark.parametrize("reused", [False, True])
def test_input_65_a_break_in_mid_body_is_cut_off(drive: Drive, how: Act, reused: bool):
    with ScriptedServer(first_then(how) if reused else how) as server:
        driver = drive()
        if reused:
            driver.send(target_of(server))
        fault = driver.fault(target_of(server))
        # a reset may overtake what was sent before it
        allowed = {FaultKind.CUT_OFF, FaultKind.STALE} if reused else {FaultKind.CUT_OFF}
        assert fault.kind in allowed
        assert fault.sent == "maybe"


def test_T2_a_fin_on_an_idle_connection_is_noticed_before_it_is_used(drive: Drive):
    with ScriptedServer(then_fin(echo())) as server:
        driver = drive()
        for n in range(50):
            call = driver.send(target_of(server), body_of(n))
            assert answer_of(call) == str(n)
            server.wait_until(lambda: server.open_connections == 0)
            driver.settle()
        assert server.processed == {str(n): 1 for n in range(50)}
        assert len(server.connections) == 50


def test_T2_fin_right_behind_each_reply_costs_few_resends(drive_lane: Drive):
    """What the story does with it: one resend on a new lane, never a second failure."""
    with ScriptedServer(with_fin()) as server:
        driver = drive_lane()
        resends = 0
        for n in range(300):
            try:
                answer = driver.send(target_of(server), body_of(n))
            except WireFault as fault:
                if fault.kind is not FaultKind.STALE:
                    raise
                resends += 1
                answer = driver.send(target_of(server), body_of(n), max_idle_s=0.0)
            assert answer_of(answer) == str(n)
        assert resends <= 120
        assert set(server.processed.values()) == {1}


def test_a_fresh_connection_can_be_asked_for(drive_lane: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive_lane()
        driver.send(target_of(server))
        driver.send(target_of(server), max_idle_s=0.0)
        assert len(server.connections) == 2
        driver.send(target_of(server))
        assert len(server.connections) == 2


def test_a_connection_idle_too_long_is_not_used_again(drive_lane: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive_lane(settings_of(keepalive_s=0.05))
        driver.send(target_of(server))
        pause_until(time.monotonic() + 0.06)
        driver.settle()
        driver.send(target_of(server))
        assert len(server.connections) == 2


def test_an_old_connection_is_replaced(drive_lane: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive_lane(settings_of(max_age_s=0.05))
        driver.send(target_of(server))
        pause_until(time.monotonic() + 0.07)
        driver.send(target_of(server))
        assert len(server.connections) == 2


def test_the_idle_limit_is_learned_from_lanes_that_died(drive_lane: Drive):
    with ScriptedServer(first_then(rst())) as server:
        driver = drive_lane()
        driver.send(target_of(server))
        pause_until(time.monotonic() + 0.05)
        assert driver.fault(target_of(server)).kind is FaultKind.STALE
        (shelf,) = driver.wire.pool._shelves.values()
        assert 0.03 < shelf.keepalive_s < 0.2
        assert driver.wire.pool.stats().stale == 1


def test_a_lane_is_used_last_in_first_out(drive_lane: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive_lane()
        driver.run(warm(driver, server, 3))
        for _ in range(5):
            driver.send(target_of(server))
        used = [conn.number for conn in server.connections if conn.requests]
        assert len(server.connections) == 3
        assert len(used) == 1


async def warm(driver, server: ScriptedServer, count: int) -> None:
    await driver.wire.warm(target_of(server).origin, count, time.monotonic() + 5)


def test_nodelay_is_set(drive_lane: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive_lane()
        driver.send(target_of(server))
        (shelf,) = driver.wire.pool._shelves.values()
        lane = shelf.idle[0]
        sock = lane._transport.get_extra_info("socket") if driver.is_async else lane._sock
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_error_reply_during_an_upload_arrives(drive_lane: Drive):
    """A server that refuses a large body answers and closes without reading it."""

    async def refuse(conn: Connection) -> None:
        assert conn.reader is not None
        await conn.reader.readuntil(b"\r\n\r\n")
        conn.writer.transport.pause_reading()
        await conn.send(reply(b"{}", "Connection: close", status="413 Too Large"))
        conn.writer.write_eof()
        await until_client_leaves(conn)

    with ScriptedServer(greeting=refuse) as server:
        got = drive_lane().send(target_of(server), bytes(32 << 20), timeout_s=3)
        assert got.status == 413


async def until_client_leaves(conn: Connection) -> None:
    conn.writer.transport.resume_reading()
    await conn.gone()


def pause_until(instant_s: float) -> None:
    import threading

    threading.Event().wait(max(0.0, instant_s - time.monotonic()))


def test_a_large_body_and_a_large_reply(drive: Drive):
    body, answer = bytes(5 << 20), b"[" + b"1," * (2 << 20) + b"1]"
    with ScriptedServer(send(reply(answer))) as server:
        got = drive().send(target_of(server), body, timeout_s=10)
        assert got.body == answer
        assert server.requests[0].body == body
