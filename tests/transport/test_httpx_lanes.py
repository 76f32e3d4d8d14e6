"""Lanes as httpx transports: what any httpx client gets (T7 among it)."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from servingclient._types import Origin
from servingclient.settings import Queue, Settings
from servingclient.transport.exchange import request_head
from servingclient.transport.httpx_lanes import AsyncLaneTransport, LaneTransport
from tests.scripted import bodies
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Blackhole,
    Hold,
    ScriptedServer,
    chunked,
    drip,
    echo,
    echo_after,
    eventually,
    eventually_async,
    fin,
    refused_port,
    reply,
    rst,
    send,
    stall,
    then_fin,
)
from tests.stopwatch import Stopwatch
from tests.transport.kit import settings_of


class Client:
    """A blocking face on both colours of httpx client."""

    def __init__(self, colour: str, settings: Settings, **options: Any) -> None:
        self.loop = asyncio.new_event_loop() if colour == "async" else None
        if self.loop is not None:
            self.transport: Any = AsyncLaneTransport(settings)
            self.client: Any = httpx.AsyncClient(transport=self.transport, **options)
        else:
            self.transport = LaneTransport(settings)
            self.client = httpx.Client(transport=self.transport, **options)

    def run(self, result: Any) -> Any:
        return self.loop.run_until_complete(result) if self.loop is not None else result

    def post(self, url: str, **options: Any) -> httpx.Response:
        return self.run(self.client.post(url, **options))

    def request(self, *args: Any, **options: Any) -> httpx.Response:
        return self.run(self.client.request(*args, **options))

    @property
    def in_use(self) -> tuple[int, int]:
        return self.transport._lanes.stats().busy, self.transport._gate.inside

    def close(self) -> None:
        if self.loop is None:
            self.client.close()
            return
        self.run(self.client.aclose())
        self.run(self.loop.shutdown_asyncgens())
        self.loop.close()


Make = Callable[..., Client]


@pytest.fixture(params=["sync", "async"])
def make(request: pytest.FixtureRequest) -> Iterator[Make]:
    made: list[Client] = []

    def client(settings: Settings | None = None, **options: Any) -> Client:
        made.append(Client(request.param, settings or Settings(), **options))
        return made[-1]

    yield client
    for each in made:
        assert each.in_use == (0, 0)
        each.close()


def url_of(server: ScriptedServer, path: str = "/p") -> str:
    return f"{server.scheme}://127.0.0.1:{server.port}{path}"


def test_requests_arrive_as_httpx_made_them(make: Make):
    with ScriptedServer(echo()) as server:
        client = make(headers={"X-Mine": "1"})
        got = client.post(url_of(server, "/a b?q=ü&r=1#part"), json={"id": "x"})
        assert got.json() == {"predictions": ["x"]}
        assert got.http_version == "HTTP/1.1"
        assert got.reason_phrase == "OK"
        (seen,) = server.requests
        assert seen.path == "/a%20b?q=%C3%BC&r=1"
        assert seen.headers["host"] == f"127.0.0.1:{server.port}"
        assert seen.headers["accept-encoding"] == "gzip"
        assert seen.headers["content-length"] == str(len(seen.body))
        assert seen.headers["content-type"] == "application/json"
        assert "transfer-encoding" not in seen.headers


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD"])
def test_each_method_and_connection_reuse(make: Make, method: str):
    answer = reply(b"", "X-A: 1").replace(b"Content-Length: 0", b"Content-Length: 5")
    data = answer if method == "HEAD" else reply(b"12345")
    with ScriptedServer(data) as server:
        client = make()
        for _ in range(3):
            got = client.request(method, url_of(server))
            assert got.content == (b"" if method == "HEAD" else b"12345")
        assert [r.method for r in server.requests] == [method] * 3
        assert len(server.connections) == 1


def test_gzip_is_undone_once_and_no_longer_announced(make: Make):
    with ScriptedServer([bodies.gzipped(), bodies.gzip_cut(200), echo()]) as server:
        client = make()
        got = client.post(url_of(server))
        assert got.content == bodies.BODY
        assert "content-encoding" not in got.headers
        with pytest.raises(httpx.DecodingError, match="ends early"):
            client.post(url_of(server))
        assert client.post(url_of(server), json={"id": 1}).json()["predictions"] == ["1"]


def test_a_body_from_a_generator_is_sent_whole(make: Make):
    with ScriptedServer(echo()) as server:
        client = make()
        parts = [b'{"id"', b': "x"}']

        async def arriving() -> Any:
            for part in parts:
                yield part

        content = arriving() if client.loop is not None else iter(parts)
        assert client.post(url_of(server), content=content).json() == {"predictions": ["x"]}
        assert server.requests[0].headers["content-length"] == "11"


def test_a_stream_arrives_piece_by_piece_and_gives_its_lane_back(make: Make):
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(bodies.BODY, 100)
    with ScriptedServer([drip(data, 0.0), echo()]) as server:
        client = make()
        if client.loop is not None:

            async def read() -> list[bytes]:
                async with client.client.stream("POST", url_of(server)) as got:
                    return [piece async for piece in got.aiter_raw()]

            pieces = client.run(read())
        else:
            with client.client.stream("POST", url_of(server)) as got:
                pieces = list(got.iter_raw())
        assert b"".join(pieces) == bodies.BODY
        assert len(pieces) > 1
        assert client.in_use == (0, 0)
        client.post(url_of(server))
        assert len(server.connections) == 1


def test_a_stream_left_early_closes_its_lane(make: Make):
    with ScriptedServer([drip(reply(b"x" * 1000), 0.001, at_once=200), echo()]) as server:
        client = make()
        if client.loop is not None:

            async def leave() -> None:
                async with client.client.stream("POST", url_of(server)):
                    pass

            client.run(leave())
        else:
            with client.client.stream("POST", url_of(server)):
                pass
        assert client.in_use == (0, 0)
        client.post(url_of(server))
        assert len(server.connections) == 2


FAILURES = {
    "fin": (fin(), httpx.RemoteProtocolError),
    "rst": (rst(), httpx.RemoteProtocolError),
    "cut": (then_fin(reply(b"x" * 100)[:-50]), httpx.RemoteProtocolError),
    "no http": (then_fin(b"SSH-2.0-x\r\n\r\n"), httpx.RemoteProtocolError),
    "brotli": (bodies.UNASKED_CODINGS["br"], httpx.RemoteProtocolError),
    "stall": (stall(), httpx.ReadTimeout),
    "stall in body": (drip(reply(b"x" * 100), 30, at_once=100), httpx.ReadTimeout),
    "too large": (reply(bytes(200_000)), httpx.DecodingError),
}


@pytest.mark.parametrize("case", FAILURES)
def test_failures_are_httpx_s_own(make: Make, case: str):
    act, kind = FAILURES[case]
    with ScriptedServer([act, echo()]) as server:
        client = make(settings_of(max_reply_bytes=100_000), timeout=0.2)
        with pytest.raises(kind) as caught:
            client.post(url_of(server))
        assert caught.value.request.url == url_of(server)
        assert client.in_use == (0, 0)
        assert client.post(url_of(server), json={"id": 1}).json()["predictions"] == ["1"]


def test_connect_failures_are_httpx_s_own(make: Make, authority: Authority):
    client = make(settings_of(ca_file=authority.ca_file), timeout=0.2)
    with pytest.raises(httpx.ConnectError, match="refused"):
        client.post(f"http://127.0.0.1:{refused_port()}/")
    with pytest.raises(httpx.ConnectError):
        client.post("https://no-such-host.invalid/")
    with Blackhole() as hole, pytest.raises(httpx.ConnectTimeout):
        client.post(f"http://127.0.0.1:{hole.port}/")
    with (
        ScriptedServer(tls=authority.expired()) as server,
        pytest.raises(httpx.ConnectError, match="expired"),
    ):
        client.post(url_of(server))
    with pytest.raises(httpx.UnsupportedProtocol, match="this machine"):
        client.post("http://example.com/")


def test_tls_with_a_private_authority(make: Make, authority: Authority):
    with ScriptedServer(echo(), tls=authority.good()) as server:
        client = make(settings_of(ca_file=authority.ca_file))
        for n in range(3):
            assert client.post(url_of(server), json={"id": n}).json()["predictions"] == [str(n)]
        assert len(server.connections) == 1


def test_no_time_out_at_all_is_allowed(make: Make):
    with ScriptedServer(echo_after(0.05)) as server:
        client = make(timeout=None)
        assert client.post(url_of(server), json={"id": 1}).status_code == 200


def test_a_host_of_one_s_own_goes_the_inherited_way(make: Make):
    with ScriptedServer(echo()) as server:
        client = make()
        client.post(url_of(server), headers={"Host": "virtual.example"})
        assert server.requests[0].headers["host"] == "virtual.example"
        assert client.transport._lanes.stats().opened == 0


def test_calls_beyond_the_lanes_wait_and_then_time_out():
    hold = Hold(echo())
    with ScriptedServer(hold) as server, ThreadPoolExecutor(2) as threads:
        settings = settings_of(max_lanes=1).replace(queue=Queue(max_calls=1))
        with httpx.Client(transport=LaneTransport(settings), timeout=5) as client:
            first = threads.submit(client.post, url_of(server), json={"id": 1})
            server.wait_until(lambda: hold.waiting == 1)
            with pytest.raises(httpx.PoolTimeout):
                client.post(url_of(server), timeout=httpx.Timeout(5, pool=0.05))
            second = threads.submit(client.post, url_of(server), json={"id": 2})
            assert eventually(lambda: client._transport._gate.waiting == 1)
            with pytest.raises(httpx.PoolTimeout, match="already wait"):
                client.post(url_of(server))
            hold.release()
            assert first.result().json() == {"predictions": ["1"]}
            assert second.result().json() == {"predictions": ["2"]}


async def test_async_calls_beyond_the_lanes_wait_and_then_time_out():
    hold = Hold(echo())
    with ScriptedServer(hold) as server:
        transport = AsyncLaneTransport(settings_of(max_lanes=1))
        async with httpx.AsyncClient(transport=transport, timeout=5) as client:
            first = asyncio.ensure_future(client.post(url_of(server), json={"id": 1}))
            assert await eventually_async(lambda: hold.waiting == 1)
            with pytest.raises(httpx.PoolTimeout):
                await client.post(url_of(server), timeout=httpx.Timeout(5, pool=0.05))
            second = asyncio.ensure_future(client.post(url_of(server), json={"id": 2}))
            await asyncio.sleep(0.01)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            hold.release()
            assert (await second).json() == {"predictions": ["2"]}
            assert transport._gate.inside == 0


def test_threads_share_a_client_and_get_their_own_answers():
    with ScriptedServer(echo_after(0.001)) as server:
        transport = LaneTransport(settings_of(max_lanes=4))
        with httpx.Client(transport=transport) as client, ThreadPoolExecutor(16) as threads:

            def call(n: int) -> bool:
                got = client.post(url_of(server), json={"id": n}).json()
                return bool(got == {"predictions": [str(n)]})

            assert all(threads.map(call, range(400)))
            assert len(server.connections) <= 4
            assert transport._gate.inside == 0


async def test_T1_cancelled_calls_of_an_httpx_client_leave_no_lane_behind():
    with ScriptedServer(echo_after(0.002)) as server:
        transport = AsyncLaneTransport(settings_of(max_lanes=5))
        async with httpx.AsyncClient(transport=transport) as client:
            cancelled = 0
            for n in range(300):
                calls = [
                    asyncio.ensure_future(client.post(url_of(server), json={"id": n}))
                    for _ in range(3)
                ]
                await asyncio.sleep(0.001 * (n % 5))
                for call in calls:
                    cancelled += call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
            assert cancelled >= 300
            assert (transport._lanes.stats().busy, transport._gate.inside) == (0, 0)
            got = await client.post(url_of(server), json={"id": "probe"})
            assert got.json() == {"predictions": ["probe"]}


def test_close_ends_a_call_under_way():
    with ScriptedServer(stall()) as server:
        client = httpx.Client(transport=LaneTransport(), timeout=30)
        failures: list[Exception] = []

        def call() -> None:
            try:
                client.post(url_of(server))
            except Exception as error:  # noqa: BLE001 - looked at below
                failures.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        server.wait_until(lambda: len(server.requests) == 1)
        with Stopwatch() as watch:
            client.close()
            thread.join(5)
        assert watch.took_s < 0.25
        assert [type(error) for error in failures] == [httpx.ReadError]


BAD_VALUES = [
    "a\r\nX-Evil: 1",
    "a\nX-Evil: 1",
    "a\rb",
    "a\x00b",
    "a\r\n\r\nGET /admin HTTP/1.1",
    " edge",
    "edge ",
    "\tedge",
    "a\x0bb",
    "a\x1fb",
    "a\x7fb",
    "price €",
]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_T7_no_header_value_breaks_out_of_its_line(make: Make, value: str):
    with pytest.raises(ValueError, match="X-Trace"):
        request_head("POST", Origin("https", "h", 443), "/", [("X-Trace", value)])
    with ScriptedServer(send(reply())) as server:
        client = make()
        raw = value.encode("utf-8")
        try:
            client.post(url_of(server), headers=[(b"X-Trace", raw)])
        except httpx.LocalProtocolError:
            assert server.received_bytes == 0
        else:  # as bytes the last is latin-1, which may be sent
            assert value == "price €"
        assert b"Evil" not in b"".join(r.raw_head for r in server.requests)


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "ü", "a\x00"])
def test_T7_no_header_name_breaks_out_of_its_line(name: str):
    with pytest.raises(ValueError, match="header name"):
        request_head("POST", Origin("https", "h", 443), "/", [(name, "1")])


@pytest.mark.parametrize("path", ["", "a", "/a b", "/a\r\nX: 1", "/a#b", "/ü", "/a\x00"])
def test_T7_no_path_breaks_out_of_its_line(path: str):
    with pytest.raises(ValueError, match="request line"):
        request_head("POST", Origin("https", "h", 443), path, [])


def test_the_openai_way_of_reading_events(make: Make):
    """Server-sent events over a client that knows nothing of lanes."""
    events = b"".join(b"data: %s\n\n" % json.dumps({"n": n}).encode() for n in range(5))
    data = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
    data += b"Transfer-Encoding: chunked\r\n\r\n" + chunked(events, 9)
    with ScriptedServer(drip(data, 0.0)) as server:
        client = make()
        if client.loop is not None:

            async def read() -> list[str]:
                async with client.client.stream("GET", url_of(server)) as got:
                    return [line async for line in got.aiter_lines() if line]

            lines = client.run(read())
        else:
            with client.client.stream("GET", url_of(server)) as got:
                lines = [line for line in got.iter_lines() if line]
    assert [json.loads(line[6:]) for line in lines] == [{"n": n} for n in range(5)]
