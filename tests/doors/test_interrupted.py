"""Closing that is itself interrupted, and what an error tells besides its text."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any

import pytest

from servingclient import (
    AsyncServingClient,
    ResponseTooLarge,
    ServingClient,
    ServingError,
    Settings,
)
from servingclient.settings import Pool
from servingclient.transport.thread_gate import ThreadGate
from tests.scripted.server import ScriptedServer, fin, reply, stall

ROWS = [{"a": 1}]


def given(server: ScriptedServer, settings: Settings) -> dict[str, Any]:
    host = f"http://127.0.0.1:{server.port}"
    return {"host": host, "token": "dapi0", "settings": settings}


async def test_T15_a_close_that_is_cancelled_has_closed():
    with ScriptedServer(stall()) as server:
        client = AsyncServingClient("m", **given(server, Settings(describe=False)))
        call = asyncio.create_task(client.predict(ROWS, timeout=20))
        await asyncio.to_thread(server.wait_until, lambda: bool(server.requests))
        closing = asyncio.create_task(client.aclose())
        await asyncio.sleep(0.05)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        with pytest.raises(ServingError, match="closed"):
            await asyncio.wait_for(call, 1)


def test_T15_a_close_that_is_interrupted_has_closed(monkeypatch: pytest.MonkeyPatch):
    def interrupted(_gate: ThreadGate, _timeout_s: float) -> bool:
        raise KeyboardInterrupt

    with ScriptedServer(stall()) as server:
        client = ServingClient("m", **given(server, Settings(describe=False)))
        ends: list[BaseException] = []

        def call() -> None:
            try:
                client.predict(ROWS, timeout=20)
            except ServingError as error:
                ends.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        server.wait_until(lambda: bool(server.requests))
        monkeypatch.setattr(ThreadGate, "wait_empty", interrupted)
        with pytest.raises(KeyboardInterrupt):
            client.close()
        thread.join(1)
        assert len(ends) == 1


def test_a_reply_that_is_too_large_says_what_the_limit_is():
    settings = Settings(describe=False, pool=Pool(max_reply_bytes=1000))
    with (
        ScriptedServer(reply(b"x" * 5000)) as server,
        ServingClient("m", **given(server, settings)) as client,
        pytest.raises(ResponseTooLarge) as caught,
    ):
        client.predict(ROWS)
    assert caught.value.limit_bytes == 1000


def test_A5_no_frame_of_a_failed_login_shows_the_secret():
    """Error trackers send the values of local variables along, causes included."""
    with ScriptedServer(fin()) as server:
        host = f"http://127.0.0.1:{server.port}"
        client = ServingClient("m", host=host, client_id="id", client_secret="canary-secret")
        with client, pytest.raises(ServingError) as caught:
            client.predict(ROWS, timeout=5)
    shown: BaseException | None = caught.value
    while shown is not None:
        assert "Basic " not in locals_of(shown.__traceback__)
        assert "canary" not in locals_of(shown.__traceback__)
        shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)


def locals_of(traceback: TracebackType | None) -> str:
    texts = []
    while traceback is not None:
        if "/servingclient/" in traceback.tb_frame.f_code.co_filename.replace("\\", "/"):
            texts += map(repr, traceback.tb_frame.f_locals.values())
        traceback = traceback.tb_next
    return " ".join(texts)
