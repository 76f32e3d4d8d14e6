"""Closing a wire ends what runs, at once and typed (T15); descriptors come back (input 70)."""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from servingclient import _step
from servingclient._types import FaultKind, WireFault
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.httpx_wire import AsyncHttpxWire, HttpxWire
from servingclient.transport.wire import LaneWire
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Connection,
    Request,
    ScriptedServer,
    chunked,
    echo,
    eventually_async,
    stall,
)
from tests.stopwatch import Stopwatch
from tests.transport.conftest import Drive
from tests.transport.kit import answer_of, body_of, facts, settings_of, target_of

COUNT = 32


def outcome(call: Any) -> str:
    try:
        call()
    except WireFault as fault:
        return fault.kind.value
    return "reply"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("make", [LaneWire, HttpxWire.of_settings])
def test_T15_close_ends_blocked_threads(make: Any, tls: bool, authority: Authority):
    with ScriptedServer(stall(), tls=authority.good() if tls else None) as server:
        wire = make(settings_of(ca_file=authority.ca_file if tls else None))
        outcomes: list[str] = []

        def call() -> None:
            job = wire.send(target_of(server), b"{}", time.monotonic() + 30)
            outcomes.append(outcome(lambda: _step.run(job)))

        threads = [threading.Thread(target=call) for _ in range(COUNT)]
        for thread in threads:
            thread.start()
        server.wait_until(lambda: len(server.requests) == COUNT)
        with Stopwatch() as watch:
            wire.close()
            for thread in threads:
                thread.join(5)
        assert watch.took_s < 0.25
        assert Counter(outcomes) == {"closed": COUNT}
        server.wait_until(lambda: server.open_connections == 0)
        late = wire.send(target_of(server), b"{}", time.monotonic() + 5)
        assert outcome(lambda: _step.run(late)) == "closed"


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("make", [AsyncLaneWire, AsyncHttpxWire.of_settings])
async def test_T15_aclose_ends_waiting_tasks(make: Any, tls: bool, authority: Authority):
    with ScriptedServer(stall(), tls=authority.good() if tls else None) as server:
        wire = make(settings_of(ca_file=authority.ca_file if tls else None))

        async def call() -> str:
            try:
                await wire.send(target_of(server), b"{}", time.monotonic() + 30)
            except WireFault as fault:
                return fault.kind.value
            return "reply"

        tasks = [asyncio.ensure_future(call()) for _ in range(COUNT)]
        assert await eventually_async(lambda: len(server.requests) == COUNT)
        with Stopwatch() as watch:
            await wire.aclose()
            outcomes = await asyncio.gather(*tasks)
        assert watch.took_s < 0.25
        assert Counter(outcomes) == {"closed": COUNT}
        assert await call() == "closed"


def test_T15_close_ends_a_stream(drive: Drive):
    async def begin(conn: Connection, request: Request) -> None:
        await conn.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"abc")[:-5]
        )
        await conn.gone()

    with ScriptedServer(begin) as server:
        driver = drive(settings_of(stream_idle_s=10))

        async def read() -> list[bytes]:
            stream = await driver.wire.open(target_of(server), b"{}", time.monotonic() + 5)
            got = []
            try:
                async for piece in stream.chunks():
                    got.append(piece)
                    if driver.is_async:
                        closing = asyncio.ensure_future(driver.wire.aclose())
                    else:
                        driver.wire.close()
            except WireFault as fault:
                got.append(fault.kind)
            finally:
                await stream.aclose()
            if driver.is_async:
                await closing
            return got

        with Stopwatch() as watch:
            got = driver.run(read())
            assert got[0] == b"abc"
            # the blocking stream may find its socket gone before it reads on
            assert got[1:] in ([FaultKind.CLOSED], [FaultKind.CUT_OFF])
        assert watch.took_s < 2


def test_closing_twice_and_closing_unused_is_fine(drive: Drive):
    driver = drive()
    if driver.is_async:
        driver.run(driver.wire.aclose())
    else:
        driver.wire.close()


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Leave no descriptor free."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(path.name) for path in Path("/proc/self/fd").iterdir())
    held: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 8, hard))
    try:
        while True:
            held.append(os.dup(0))
    except OSError:
        pass
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for descriptor in held:
            os.close(descriptor)


def test_input_70_no_descriptor_left_is_a_failed_connection_with_a_hint(
    drive: Drive, request: pytest.FixtureRequest
):
    with ScriptedServer(echo()) as server:
        driver = drive()
        driver.send(target_of(server))  # loads what a first call loads
        driver.run(drop_idle(driver))
        request.getfixturevalue("few_descriptors")
        fault = driver.fault(target_of(server), max_idle_s=0.0)
        assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
        assert "ulimit" in fault.detail
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, soft))
        assert answer_of(driver.send(target_of(server), body_of("next"))) == "next"


async def drop_idle(driver: Any) -> None:
    """Close idle connections, so that the next call must open one."""
    if driver.is_lane:
        for shelf in driver.wire.pool._shelves.values():
            shelf.clear()
    elif driver.is_async:
        await driver.wire._transport._pool.aclose()
    else:
        driver.wire._transport._pool.close()
    if driver.is_async:
        await asyncio.sleep(0.02)
