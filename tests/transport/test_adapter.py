"""Any httpx transport behind the wire: a user's own, a mock, an app, a proxy (T10, A5)."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from typing import Any

import httpx
import pytest

from servingclient import _step
from servingclient._types import FaultKind, Origin, Reply, WireFault
from servingclient.errors import ConfigError
from servingclient.settings import Settings
from servingclient.transport.async_wire import async_wire
from servingclient.transport.httpx_plan import is_stock, proxy_transport
from servingclient.transport.httpx_wire import AsyncHttpxWire, HttpxWire
from servingclient.transport.wire import sync_wire
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Connection,
    Request,
    ScriptedServer,
    echo,
    eventually_async,
    refused_port,
    reply,
)
from tests.transport.conftest import Drive
from tests.transport.kit import (
    Driver,
    answer_of,
    body_of,
    facts,
    settings_of,
    target_at,
    target_of,
)

HTTPS = target_at(Origin("https", "adb-1.azuredatabricks.net", 443))


def driver_over(transport: Any, settings: Settings | None = None, *, stock: bool | None = None):
    """A driver of a wire over ``transport``, blocking or async as the transport is."""
    driver = Driver.__new__(Driver)
    driver.is_async = isinstance(transport, httpx.AsyncBaseTransport) and not isinstance(
        transport, httpx.MockTransport
    )
    driver.name = "async_httpx" if driver.is_async else "httpx"
    driver.is_lane = False
    driver.loop = asyncio.new_event_loop() if driver.is_async else None
    make = AsyncHttpxWire if driver.is_async else HttpxWire
    driver.wire = make(
        transport,
        settings or Settings(),
        stock=is_stock(transport) if stock is None else stock,
    )
    return driver


def sent_to(handler: Any, *, stock: bool = True) -> WireFault | Reply:
    wire = HttpxWire(httpx.MockTransport(handler), Settings(), stock=stock)
    try:
        return _step.run(wire.send(HTTPS, b"{}", time.monotonic() + 1))
    except WireFault as fault:
        return fault
    finally:
        wire.close()


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("there", ["same", "other", "downgrade"])
def test_T10_no_redirect_is_followed(drive: Drive, code: int, there: str):
    with ScriptedServer(echo()) as canary:
        locations = {
            "same": "/elsewhere",
            "other": f"https://127.0.0.1:{canary.port}/",
            "downgrade": f"http://127.0.0.1:{canary.port}/",
        }
        data = reply(b"", f"Location: {locations[there]}", status=f"{code} Moved")
        with ScriptedServer(data) as server:
            got = drive().send(target_of(server))
            assert got.status == code
            assert len(server.requests) == 1
        assert not canary.connections


def test_a_mock_transport_answers():
    def handler(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "gzip"
        assert "user-agent" not in request.headers
        return httpx.Response(200, json={"predictions": [request.url.path]})

    got = sent_to(handler)
    assert isinstance(got, Reply)
    assert answer_of(got) == "/serving-endpoints/m/invocations"
    assert got.header(b"content-type") == "application/json"


MEANT = {
    httpx.ConnectError: (FaultKind.NOT_CONNECTED, "no"),
    httpx.ConnectTimeout: (FaultKind.NOT_CONNECTED, "no"),
    httpx.PoolTimeout: (FaultKind.TIMEOUT, "no"),
    httpx.ProxyError: (FaultKind.NOT_CONNECTED, "no"),
    httpx.UnsupportedProtocol: (FaultKind.NOT_CONNECTED, "no"),
    httpx.ReadTimeout: (FaultKind.TIMEOUT, "maybe"),
    httpx.WriteTimeout: (FaultKind.TIMEOUT, "maybe"),
    httpx.ReadError: (FaultKind.CUT_OFF, "maybe"),
    httpx.WriteError: (FaultKind.CUT_OFF, "maybe"),
    httpx.CloseError: (FaultKind.CUT_OFF, "maybe"),
    httpx.RemoteProtocolError: (FaultKind.CUT_OFF, "maybe"),
    httpx.DecodingError: (FaultKind.CORRUPT, "yes"),
}


@pytest.mark.parametrize("kind", MEANT, ids=lambda kind: kind.__name__)
def test_what_httpx_s_own_transports_say_is_believed(kind: type[Exception]):
    def handler(request: httpx.Request) -> httpx.Response:
        raise kind("said so")

    fault = sent_to(handler)
    assert isinstance(fault, WireFault)
    assert facts(fault) == MEANT[kind]
    assert isinstance(fault.__cause__, kind)


@pytest.mark.parametrize("kind", [*MEANT, OSError, RuntimeError], ids=lambda kind: kind.__name__)
def test_others_may_lie_so_nothing_they_say_means_never_sent(kind: type[Exception]):
    def handler(request: httpx.Request) -> httpx.Response:
        raise kind("said so")

    fault = sent_to(handler, stock=False)
    assert isinstance(fault, WireFault)
    slow = issubclass(kind, httpx.TimeoutException)
    assert facts(fault) == (FaultKind.TIMEOUT if slow else FaultKind.CUT_OFF, "maybe")


def test_what_a_caller_was_handling_is_no_cause():
    error = httpx.ConnectError("refused")

    def handler(request: httpx.Request) -> httpx.Response:
        try:
            raise ssl.SSLCertVerificationError("of another call")
        except ssl.SSLError:
            raise error  # noqa: B904 - as in a retry inside an except block

    for _ in range(2):
        fault = sent_to(handler)
        assert isinstance(fault, WireFault)
        assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")


def test_a_chain_of_causes_without_end_is_left():
    first, second = httpx.ConnectError("one"), httpx.ConnectError("two")
    first.__cause__, second.__cause__ = second, first

    def handler(request: httpx.Request) -> httpx.Response:
        raise first

    fault = sent_to(handler)
    assert isinstance(fault, WireFault)
    assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")


def test_a_failing_assertion_in_a_mock_fails_the_test_that_made_it():
    def handler(request: httpx.Request) -> httpx.Response:
        raise AssertionError("wrong payload")

    for stock in (True, False):
        with pytest.raises(AssertionError, match="wrong payload"):
            sent_to(handler, stock=stock)


def test_only_exactly_httpx_s_own_transports_are_stock():
    class Mine(httpx.HTTPTransport):
        pass

    assert is_stock(httpx.HTTPTransport())
    assert is_stock(httpx.MockTransport(lambda _: httpx.Response(200)))
    assert not is_stock(Mine())
    assert not is_stock(object())


def test_an_asgi_app_answers():
    async def app(scope: Any, receive: Any, send: Any) -> None:
        message = await receive()
        start = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}
        await send(start)
        await send({"type": "http.response.body", "body": message["body"]})

    driver = driver_over(httpx.ASGITransport(app=app))
    assert driver.send(HTTPS, b"[1]").body == b"[1]"
    assert b"".join(driver.stream(HTTPS, b"[2]")) == b"[2]"
    driver.close()


async def test_an_async_mock_that_hangs_ends_at_the_deadline_and_on_cancel():
    async def hang(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(60)
        raise AssertionError

    wire = AsyncHttpxWire(httpx.MockTransport(hang), settings_of(max_lanes=1), stock=True)
    for _ in range(3):  # with one permit: each must give it back
        with pytest.raises(WireFault) as caught:
            await wire.send(HTTPS, b"{}", time.monotonic() + 0.05)
        assert caught.value.kind is FaultKind.TIMEOUT
    for _ in range(3):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wire.send(HTTPS, b"{}", time.monotonic() + 5), 0.02)
    (home,) = wire._homes.values()
    assert await eventually_async(lambda: not home.tasks)
    await wire.aclose()


def test_the_wrong_colour_is_refused_with_the_remedy():
    with pytest.raises(ConfigError, match="a blocking client takes a blocking"):
        sync_wire(Settings(), httpx.AsyncHTTPTransport())  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="an async client takes an async"):
        async_wire(Settings(), httpx.HTTPTransport())  # type: ignore[arg-type]


def through_proxy(server_port: int):
    """Answers of a proxy that tunnels to ``server_port``."""

    async def tunnel(conn: Connection, request: Request) -> None:
        if request.method != "CONNECT":
            await conn.send(reply(b'{"predictions": ["by the proxy"]}'))
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", server_port)
        await conn.send(b"HTTP/1.1 200 Connection established\r\n\r\n")

        async def pump(source: Any, sink: Any) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
                    await sink.drain()
            except OSError:
                pass
            finally:
                sink.close()

        await asyncio.gather(pump(conn.reader, writer), pump(reader, conn.writer))

    return tunnel


@pytest.mark.parametrize("name", ["httpx", "async_httpx"])
def test_a_proxy_from_settings_carries_the_calls(name: str, authority: Authority):
    with (
        ScriptedServer(echo(), tls=authority.good()) as server,
        ScriptedServer(through_proxy(server.port)) as proxy,
    ):
        settings = settings_of(ca_file=authority.ca_file).replace(
            proxy=f"http://user:secret@127.0.0.1:{proxy.port}"
        )
        driver = Driver(name, settings)
        for n in range(3):
            assert answer_of(driver.send(target_of(server), body_of(n))) == str(n)
        (connect,) = proxy.requests
        assert connect.method == "CONNECT"
        assert connect.headers["proxy-authorization"].startswith("Basic ")
        assert len(server.connections) == 1
        assert "authorization" not in server.requests[0].headers
        driver.close()


@pytest.mark.parametrize("name", ["httpx", "async_httpx"])
def test_a_proxy_that_refuses_means_nothing_was_sent(name: str):
    with ScriptedServer(reply(b"", status="407 Proxy Authentication Required")) as proxy:
        driver = Driver(name, Settings(proxy=f"http://127.0.0.1:{proxy.port}"))
        fault = driver.fault(target_at(Origin("https", "127.0.0.1", 1)))
        assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
        assert "407" in fault.detail
        driver.close()


@pytest.mark.parametrize("name", ["httpx", "async_httpx"])
def test_a_proxy_that_is_not_there_is_named(name: str):
    driver = Driver(name, Settings(proxy=f"http://127.0.0.1:{refused_port()}"))
    fault = driver.fault(target_at(Origin("https", "workspace.example", 443)))
    assert facts(fault) == (FaultKind.NOT_CONNECTED, "no")
    assert fault.detail == "Settings.proxy: connection refused"
    assert repr(driver.wire).startswith("over ")
    driver.close()


def test_a_proxy_url_that_is_none_is_refused_without_showing_it():
    for address in ("ftp://user:secret@host", "http://[::1", "nonsense"):
        with pytest.raises(ConfigError) as caught:
            proxy_transport(Settings(proxy=address))
        assert "secret" not in str(caught.value)


def test_a_proxy_or_a_transport_selects_httpx():
    assert isinstance(sync_wire(Settings(proxy="http://127.0.0.1:1"), None), HttpxWire)
    assert isinstance(async_wire(Settings(proxy="http://127.0.0.1:1"), None), AsyncHttpxWire)
    mock = httpx.MockTransport(lambda _: httpx.Response(200))
    assert isinstance(sync_wire(Settings(), mock), HttpxWire)


def test_A5_urls_and_headers_stay_out_of_the_log(caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.DEBUG)
    with ScriptedServer(reply(b"{}", "Set-Cookie: canary=1")) as server:
        driver = Driver("httpx", Settings())
        driver.send(target_of(server))
        driver.close()
    assert "canary" not in caplog.text
    assert "invocations" not in caplog.text


def test_a_connection_made_before_a_fork_is_refused_in_the_child(monkeypatch: pytest.MonkeyPatch):
    import os

    with ScriptedServer(echo()) as server:
        wire = HttpxWire(httpx.HTTPTransport(), Settings(), stock=True)
        _step.run(wire.send(target_of(server), b"{}", time.monotonic() + 5))
        real = os.getpid()
        with monkeypatch.context() as patch:
            patch.setattr(os, "getpid", lambda: real + 1)
            with pytest.raises(ConfigError, match="forked"):
                _step.run(wire.send(target_of(server), b"{}", time.monotonic() + 5))
        wire.close()
        assert len(server.requests) == 1
