"""T6 and T7 over HTTP/2, which only a user's own httpx transport speaks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from servingclient import ConfigError, Settings
from tests.doors.kit import Door, Who, errors
from tests.reliability.http2_server import Http2Server
from tests.reliability.kit import TOKEN, numbered
from tests.scripted.certificates import Authority, authority  # noqa: F401 - found by name

CALLS = 500
IDS = [str(number) for number in range(CALLS)]


def transport(door: Door, authority: Authority) -> Any:  # noqa: F811
    kind = httpx.HTTPTransport if door.colour == "sync" else httpx.AsyncHTTPTransport
    return kind(http2=True, verify=authority.client(), trust_env=False)


def opened(door: Door, server: Http2Server, authority: Authority, **settings: Any) -> Any:  # noqa: F811
    who = Who(server.host, {"token": TOKEN})
    return door.open("m", who, Settings(**settings), transport=transport(door, authority))


def in_turns(door: Door, client: Any, callers: int) -> dict[str, Any]:
    """Callers that call again and again. What each id came to."""
    came: dict[str, Any] = {}
    if door.colour == "sync":

        def caller(mine: list[str]) -> None:
            for call_id in mine:
                try:
                    came[call_id] = client.predict(numbered(call_id))
                except Exception as error:  # noqa: BLE001 - an outcome like any other here
                    came[call_id] = error

        threads = [threading.Thread(target=caller, args=(IDS[n::callers],)) for n in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return came

    async def task(mine: list[str]) -> None:
        for call_id in mine:
            try:
                came[call_id] = await client.predict(numbered(call_id))
            except Exception as error:  # noqa: BLE001 - as above
                came[call_id] = error

    async def scenario() -> None:
        await asyncio.gather(*(task(IDS[n::callers]) for n in range(callers)))

    door.run(scenario())
    return came


def is_right(call_id: str, outcome: Any) -> bool:
    return isinstance(outcome, Exception) or outcome.predictions == [call_id]


def test_it_is_http2(door: Door, authority: Authority) -> None:  # noqa: F811
    with Http2Server(authority.good()) as server:
        client = opened(door, server, authority, headers={"x-trace": "a b\tc"})
        assert door.predict(client, numbered("one")).predictions == ["one"]
        assert server.seen["x-trace"] == "a b\tc"
        assert server.seen[":path"] == "/serving-endpoints/m/invocations"
        assert (server.connections, server.goaways) == (1, 0)


def test_T6_a_goaway_between_calls_is_nobodys_error(door: Door, authority: Authority) -> None:  # noqa: F811
    with Http2Server(authority.good(), goaway_after=50) as server:
        came = in_turns(door, opened(door, server, authority), 1)
        assert errors(came.values()) == []
        assert [came[call_id].predictions for call_id in IDS] == [[call_id] for call_id in IDS]
        assert [server.processed[call_id] for call_id in IDS] == [1] * CALLS
        assert server.goaways == CALLS // 50
        assert {len(one.attempts) for one in came.values()} == {1}


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("door", ["async"], indirect=True)
def test_T6_nor_is_one_that_overtakes_calls(
    door: Door,
    authority: Authority,  # noqa: F811
    *,
    idempotent: bool,
) -> None:
    """Calls behind the last one named were never looked at: they are sent again, and run once.

    Tasks only: httpcore's blocking HTTP/2 connection is not safe to share between threads. Two
    write their frames in the wrong order and the server hangs up on both.
    """
    with Http2Server(authority.good(), goaway_after=50) as server:
        came = in_turns(door, opened(door, server, authority, idempotent=idempotent), 8)
        assert errors(came.values()) == []
        assert [came[call_id].predictions for call_id in IDS] == [[call_id] for call_id in IDS]
        assert [server.processed[call_id] for call_id in IDS] == [1] * CALLS
        assert server.goaways == CALLS // 50
        assert server.ignored > 0, "no GOAWAY overtook a call"


def test_T6_what_must_not_run_twice_does_not(door: Door, authority: Authority) -> None:  # noqa: F811
    with Http2Server(authority.good(), goaway_after=50) as server:
        came = in_turns(door, opened(door, server, authority, idempotent=False), 8)
        assert [call_id for call_id in IDS if server.processed[call_id] > 1] == []
        assert [call_id for call_id in IDS if not is_right(call_id, came[call_id])] == []
        assert server.goaways > 0


BAD = {
    "CRLF": "a\r\nX-Evil: 1",
    "request": "a\r\n\r\nGET /admin HTTP/1.1\r\n",
    "CR": "a\rb",
    "LF": "a\nb",
    "NUL": "a\0b",
    "escape": "a\x1bb",
    "DEL": "a\x7fb",
    "leading blank": " a",
    "trailing blank": "a ",
    "trailing tab": "a\t",
    "trailing LF": "a\n",
    "beyond latin-1": "a\u2028b",
}


@contextlib.contextmanager
def canary() -> Iterator[tuple[str, socket.socket]]:
    """A host nobody may knock at."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        yield f"https://127.0.0.1:{listening.getsockname()[1]}", listening


@pytest.mark.parametrize("over", ["lane", "h2"])
@pytest.mark.parametrize("value", BAD.values(), ids=BAD)
def test_T7_a_header_that_would_be_more_than_one(
    door: Door,
    authority: Authority,  # noqa: F811
    over: str,
    value: str,
) -> None:
    with canary() as (host, listening):
        given = {"transport": transport(door, authority)} if over == "h2" else {}
        who = Who(host, {"token": TOKEN})
        with pytest.raises(ConfigError, match="x-trace"):
            door.open("m", who, Settings(headers={"x-trace": value}), **given)
        with pytest.raises(BlockingIOError):
            listening.accept()
