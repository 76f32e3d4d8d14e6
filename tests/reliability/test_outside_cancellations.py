"""What httpcore's test_cancellations.py asks of a connection pool, with what it lacks: contention.

Theirs cancels the only request of a pool. Here others wait for the very connection (F1).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.httpx_wire import AsyncHttpxWire
from tests.scripted.server import (
    Connection,
    Request,
    ScriptedServer,
    echo,
    eventually_async,
    reply,
)
from tests.transport.kit import answer_of, body_of, settings_of, target_of

WIRES = {"lanes": AsyncLaneWire, "httpx": AsyncHttpxWire.of_settings}
LARGE = b'{"id": "large", "x": "' + b"x" * 40_000_000 + b'"}'
HALF = reply(b"x" * 1000)[:-500]


async def half_a_reply(conn: Connection, request: Request) -> None:
    """Part of the body, and then nothing until the client hangs up."""
    await conn.send(HALF)
    await conn.gone()


async def reads_late(conn: Connection) -> None:
    """The first connection reads nothing for a while: the kernel's buffers fill up."""
    if conn is conn.server.connections[0]:
        await asyncio.sleep(1.0)
        await conn.gone()
        conn.fin()


async def cancelled_under_contention(wire: Any, server: ScriptedServer, body: bytes) -> None:
    """Cancel one call in the middle while three more want its connection."""
    target = target_of(server)

    def call(content: bytes) -> asyncio.Task[Any]:
        return asyncio.ensure_future(wire.send(target, content, time.monotonic() + 15))

    first = call(body)
    assert await eventually_async(lambda: server.open_connections == 1)
    await asyncio.sleep(0.02)
    others = [call(body_of(n)) for n in range(3)]
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert [answer_of(one) for one in await asyncio.gather(*others)] == ["0", "1", "2"]
    await wire.aclose()
    assert await eventually_async(lambda: server.open_connections == 0)


@pytest.mark.parametrize("wire", WIRES)
async def test_connection_pool_timeout_during_request(wire: str) -> None:
    """While the request is written: the first connection reads nothing."""
    with ScriptedServer(echo(), greeting=reads_late) as server:
        await cancelled_under_contention(WIRES[wire](settings_of(max_lanes=2)), server, LARGE)


@pytest.mark.parametrize("wire", WIRES)
async def test_connection_pool_timeout_during_response(wire: str) -> None:
    with ScriptedServer([half_a_reply, echo(), echo(), echo()]) as server:
        await cancelled_under_contention(
            WIRES[wire](settings_of(max_lanes=2)), server, body_of("x")
        )
