"""Many callers at once over a server that misbehaves now and then: no answer is somebody else's."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from servingclient import _step
from servingclient._types import WireFault
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.httpx_wire import AsyncHttpxWire, HttpxWire
from servingclient.transport.wire import LaneWire
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Connection,
    Request,
    ScriptedServer,
    echo,
    poison,
    reply,
    then_fin,
    then_rst,
)
from tests.transport.kit import (
    answer_of,
    body_of,
    loop_gate,
    settings_of,
    target_of,
    thread_gate,
)

# seconds of work, many more on a busy machine
pytestmark = pytest.mark.timeout(60)

CALLS = 1200
LANES = 16
CALLERS = 48

HALF = reply(b"x" * 50)[:-40]


def moody(seed: int):
    """6 % of the replies are followed by FIN, cut off by RST, or followed by a second reply."""
    chance = random.Random(seed)
    moods = [then_fin(echo()), then_rst(HALF), poison()]

    async def act(conn: Connection, request: Request) -> None:
        mood = chance.randrange(50)
        await (moods[mood] if mood < len(moods) else echo())(conn, request)

    return act


@pytest.fixture
def restless() -> Iterator[None]:
    """Threads change places as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def check(found: Counter[str], server: ScriptedServer) -> None:
    assert found["wrong"] == 0
    assert sum(found.values()) == CALLS
    assert set(found) <= {"right", "stale", "cut_off"}
    assert found["right"] > CALLS * 0.9
    assert set(server.processed.values()) == {1}


async def judged(call: Any, call_id: str) -> str:
    try:
        return "right" if answer_of(await call) == call_id else "wrong"
    except WireFault as fault:
        return fault.kind.value


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("make", [LaneWire, HttpxWire.of_settings])
def test_threads(make: Any, tls: bool, authority: Authority, restless: None):
    context = authority.good() if tls else None
    with ScriptedServer(moody(1), tls=context) as server, ThreadPoolExecutor(CALLERS) as threads:
        wire = make(settings_of(max_lanes=LANES, ca_file=authority.ca_file if tls else None))
        gate = thread_gate(LANES)
        target = target_of(server)

        async def call(number: int) -> str:
            if not gate.try_enter():
                await gate.enter(time.monotonic() + 50)
            try:
                body, deadline_s = body_of(number), time.monotonic() + 50
                return await judged(wire.send(target, body, deadline_s), str(number))
            finally:
                gate.leave()

        found = Counter(threads.map(lambda n: _step.run(call(n)), range(CALLS)))
        check(found, server)
        assert gate.inside == 0
        wire.close()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("make", [AsyncLaneWire, AsyncHttpxWire.of_settings])
async def test_tasks(make: Any, tls: bool, authority: Authority):
    context = authority.good() if tls else None
    with ScriptedServer(moody(2), tls=context) as server:
        wire = make(settings_of(max_lanes=LANES, ca_file=authority.ca_file if tls else None))
        gate = loop_gate(LANES, waiting=CALLS)
        target = target_of(server)

        async def call(number: int) -> str:
            await gate.enter(time.monotonic() + 50)
            try:
                body, deadline_s = body_of(number), time.monotonic() + 50
                return await judged(wire.send(target, body, deadline_s), str(number))
            finally:
                gate.leave()

        found = Counter(await asyncio.gather(*(call(n) for n in range(CALLS))))
        check(found, server)
        assert gate.inside == 0
        await wire.aclose()
