"""An async wire outlives event loops, and refuses two at once (T5)."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import warnings
from typing import Any

import httpx
import pytest

from servingclient.errors import ConfigError, WrongLoopError
from servingclient.transport import async_lane
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.httpx_wire import AsyncHttpxWire
from tests.scripted.certificates import Authority
from tests.scripted.server import Hold, ScriptedServer, echo
from tests.transport.kit import answer_of, body_of, settings_of, target_of

MAKERS = [AsyncLaneWire, AsyncHttpxWire.of_settings]


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("make", MAKERS)
def test_T5_twenty_event_loops_one_after_the_other(make: Any, tls: bool, authority: Authority):
    context = authority.good() if tls else None
    with (
        ScriptedServer(echo(), tls=context) as server,
        warnings.catch_warnings(record=True) as said,
    ):
        warnings.simplefilter("always")
        wire = make(settings_of(ca_file=authority.ca_file if tls else None))

        async def call(number: int) -> str:
            deadline_s = time.monotonic() + 5
            for _ in range(2):
                reply = await wire.send(target_of(server), body_of(number), deadline_s)
            return answer_of(reply)

        assert [asyncio.run(call(n)) for n in range(20)] == [str(n) for n in range(20)]
        gc.collect()
        assert [str(w.message) for w in said if w.category is ResourceWarning] == []
        assert len(server.connections) == 20
        server.wait_until(lambda: server.open_connections == 0)


@pytest.mark.parametrize("make", MAKERS)
def test_T5_a_loop_that_ends_in_mid_call_leaves_a_usable_wire(make: Any):
    hold = Hold(echo())
    with ScriptedServer([hold, echo()]) as server:
        wire = make(settings_of())

        async def cut_short() -> None:
            deadline_s = time.monotonic() + 30
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(wire.send(target_of(server), b"{}", deadline_s), 0.1)
            await asyncio.sleep(0.05)

        async def call() -> str:
            reply = await wire.send(target_of(server), body_of("next"), time.monotonic() + 5)
            return answer_of(reply)

        asyncio.run(cut_short())
        assert asyncio.run(call()) == "next"


@pytest.mark.parametrize("make", MAKERS)
def test_T5_two_loops_at_once_work_or_say_so_before_any_byte(make: Any):
    hold = Hold(echo())
    with ScriptedServer([hold, echo()]) as server:
        wire = make(settings_of())

        async def call(call_id: str) -> str:
            reply = await wire.send(target_of(server), body_of(call_id), time.monotonic() + 5)
            return answer_of(reply)

        first: list[str] = []
        thread = threading.Thread(target=lambda: first.append(asyncio.run(call("first"))))
        thread.start()
        server.wait_until(lambda: hold.waiting == 1)
        try:
            assert asyncio.run(call("second")) == "second"
        except WrongLoopError:
            assert len(server.requests) == 1
        hold.release()
        thread.join(5)
        assert first == ["first"]
        assert asyncio.run(call("third")) == "third"


async def call_on(wire: Any, server: ScriptedServer, call_id: str) -> str:
    reply = await wire.send(target_of(server), body_of(call_id), time.monotonic() + 5)
    return answer_of(reply)


def test_T5_a_user_s_own_httpx_transport_serves_one_loop_after_the_other():
    with ScriptedServer(echo()) as server:
        wire = AsyncHttpxWire(httpx.AsyncHTTPTransport(), settings_of(), stock=True)
        answers = [asyncio.run(call_on(wire, server, str(n))) for n in range(3)]
        assert answers == ["0", "1", "2"]


def test_T5_but_not_two_loops_at_once():
    hold = Hold(echo())
    with ScriptedServer([hold, echo()]) as server:
        wire = AsyncHttpxWire(httpx.AsyncHTTPTransport(), settings_of(), stock=True)
        thread = threading.Thread(target=lambda: asyncio.run(call_on(wire, server, "first")))
        thread.start()
        server.wait_until(lambda: hold.waiting == 1)
        with pytest.raises(WrongLoopError, match="another event loop"):
            asyncio.run(call_on(wire, server, "second"))
        assert len(server.requests) == 1
        hold.release()
        thread.join(5)


async def test_a_user_s_own_async_transport_made_before_a_fork_is_refused_in_the_child(
    monkeypatch: pytest.MonkeyPatch,
):
    with ScriptedServer(echo()) as server:
        own = AsyncHttpxWire(httpx.AsyncHTTPTransport(), settings_of(), stock=True)
        stock = AsyncHttpxWire.of_settings(settings_of())
        for wire in (own, stock):
            assert await call_on(wire, server, "parent") == "parent"
        real = os.getpid()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: real + 1)
            with pytest.raises(ConfigError, match="forked"):
                await call_on(own, server, "child")
            assert await call_on(stock, server, "child") == "child"
        assert len(server.connections) == 3
        for wire in (own, stock):
            for home in async_lane._forgotten.pop()[0].values():
                await home.aclose()
            await wire.aclose()
