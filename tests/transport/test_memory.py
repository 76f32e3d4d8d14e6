"""A failure on the way lets go of the request at once, not when the collector comes."""

from __future__ import annotations

import asyncio
import gc
import gzip
import socket
from collections.abc import Iterator
from types import FrameType

import pytest

from servingclient import (
    AsyncServingClient,
    ConnectionFailed,
    Hedge,
    Retry,
    ServingClient,
    ServingError,
    Settings,
)
from tests.scripted.server import (
    Connection,
    Request,
    ScriptedServer,
    refused_port,
    reply,
    then_rst,
)


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("why", ["refused", "no_name"])
def test_a_connection_that_fails_leaves_no_cycle(no_collector: None, why: str) -> None:
    settings = Settings(describe=False, retry=Retry(max_attempts=1))
    host = f"http://127.0.0.1:{refused_port()}" if why == "refused" else "https://no.invalid"
    kind = ConnectionRefusedError if why == "refused" else socket.gaierror

    def held() -> set[int]:
        return {id(one) for one in gc.get_objects() if type(one) is kind and one.__traceback__}

    others = held()  # of tests before
    with ServingClient("m", host=host, token="t", settings=settings) as client:
        with pytest.raises(ConnectionFailed):
            client.predict([[1.0]])
        assert held() <= others


_BAD_GZIP = gzip.compress(b"{}" * 50)[:-6]
_ANSWERS = {
    "reset": then_rst(b"HTTP/1.1 200 OK\r\n"),
    "unreadable": b"SSH-2.0-OpenSSH\r\n",
    "bad gzip": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(_BAD_GZIP)
    )
    + _BAD_GZIP,
}


@pytest.mark.parametrize("why", _ANSWERS)
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_reply_that_fails_leaves_no_frame_that_holds_the_request(
    no_collector: None, colour: str, why: str
) -> None:
    settings = Settings(describe=False, retry=Retry(max_attempts=1))

    async def call(host: str) -> None:
        async with AsyncServingClient("m", host=host, token="t", settings=settings) as client:
            with pytest.raises(ServingError):
                await client.predict([["the request's own text"]])

    with ScriptedServer(_ANSWERS[why]) as server:
        host = f"http://127.0.0.1:{server.port}"
        if colour == "sync":
            client = ServingClient("m", host=host, token="t", settings=settings)
            with client, pytest.raises(ServingError):
                client.predict([["the request's own text"]])
        else:
            asyncio.run(call(host))
        assert [frame for frame in gc.get_objects() if _holds_the_request(frame)] == []


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_call_that_fails_twice_at_once_leaves_none_either(no_collector: None, colour: str):
    hedge = Hedge(min_samples=1, max_share=1.0)
    settings = Settings(describe=False, retry=Retry(max_attempts=1), hedge=hedge)

    async def act(conn: Connection, request: Request) -> None:
        if len(conn.server.requests) > 1:
            await asyncio.sleep(0.1)
            await conn.send(b"HTTP/1.1 200 OK\r\n")
            conn.rst()
        else:
            await conn.send(reply())

    async def calls(host: str) -> None:
        async with AsyncServingClient("m", host=host, token="t", settings=settings) as client:
            await client.predict([[1.0]])
            with pytest.raises(ServingError):
                await client.predict([["the request's own text"]])

    with ScriptedServer(act) as server:
        host = f"http://127.0.0.1:{server.port}"
        if colour == "sync":
            with ServingClient("m", host=host, token="t", settings=settings) as client:
                client.predict([[1.0]])
                with pytest.raises(ServingError):
                    client.predict([["the request's own text"]])
        else:
            asyncio.run(calls(host))
        assert len(server.requests) >= 3
        assert [frame for frame in gc.get_objects() if _holds_the_request(frame)] == []


def _holds_the_request(thing: object) -> bool:
    if not isinstance(thing, FrameType) or "servingclient" not in thing.f_code.co_filename:
        return False
    held = [value for value in thing.f_locals.values() if type(value) is bytes]
    return any(b"the request's own text" in value for value in held)
