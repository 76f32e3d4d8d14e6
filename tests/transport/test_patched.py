"""Mocks and tracing of httpx see the calls of a default client (performance.md section 7)."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import httpcore
import httpx
import pytest
import respx

from servingclient._types import FaultKind
from servingclient.settings import Settings
from servingclient.transport import patched
from servingclient.transport.httpx_lanes import AsyncLaneTransport, LaneTransport
from tests.scripted.server import ScriptedServer, echo
from tests.transport.conftest import Drive
from tests.transport.kit import answer_of, body_of, target_of

ENTRY_POINTS = [
    (httpx.HTTPTransport, "handle_request", "sync"),
    (httpcore.ConnectionPool, "handle_request", "sync"),
    (httpx.Client, "_transport_for_url", "sync"),
    (httpx.AsyncHTTPTransport, "handle_async_request", "async"),
    (httpcore.AsyncConnectionPool, "handle_async_request", "async"),
    (httpx.AsyncClient, "_transport_for_url", "async"),
]


def seen() -> dict[str, bool]:
    return {"sync": patched.sync_patched(), "async": patched.async_patched()}


@pytest.fixture
def unlearned(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nobody had asked before."""
    monkeypatch.setattr(patched, "_known_sync", None)
    monkeypatch.setattr(patched, "_known_async", None)


def test_nothing_is_patched_by_itself():
    assert seen() == {"sync": False, "async": False}


@pytest.mark.parametrize(("owner", "name", "colour"), ENTRY_POINTS)
@pytest.mark.parametrize("early", [False, True], ids=["after", "before"])
def test_each_entry_point_is_watched_in_its_colour(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, colour: str, early: bool
):
    seen()
    if early:  # patched before we could see the original
        monkeypatch.setattr(patched, "_known_sync", None)
        monkeypatch.setattr(patched, "_known_async", None)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, lambda *_args: None)
        assert [c for c, found in seen().items() if found] == [colour]
    assert seen() == {"sync": False, "async": False}


def test_a_future_httpx_without_the_private_method_is_not_patched(
    monkeypatch: pytest.MonkeyPatch, unlearned: None
):
    monkeypatch.delattr(httpx.Client, "_transport_for_url")
    monkeypatch.delattr(httpx.AsyncClient, "_transport_for_url")
    assert seen() == {"sync": False, "async": False}


def test_a_half_imported_httpx_is_not_patched(monkeypatch: pytest.MonkeyPatch, unlearned: None):
    monkeypatch.delattr(httpx, "Client")
    monkeypatch.delattr(httpx, "AsyncClient")
    assert seen() == {"sync": False, "async": False}
    assert patched._known_sync is None


def test_httpx_is_not_imported_to_find_out():
    script = textwrap.dedent(
        """
        import sys
        from servingclient.transport import patched
        assert not patched.sync_patched() and not patched.async_patched()
        assert "httpx" not in sys.modules and "httpcore" not in sys.modules
        import httpx
        assert not patched.sync_patched() and not patched.async_patched()
        assert "httpcore" not in sys.modules
        import httpcore
        httpcore.ConnectionPool.handle_request = print
        assert patched.sync_patched() and not patched.async_patched()
        """
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=15)


@pytest.fixture(params=["httpcore", "httpx"])
def mocked(request: pytest.FixtureRequest) -> Iterator[respx.MockRouter]:
    with respx.mock(using=request.param, assert_all_called=False) as router:
        yield router


def test_respx_around_a_wire(drive: Drive, mocked: respx.MockRouter):
    with ScriptedServer(echo()) as server:
        driver = drive()
        route = mocked.post(f"http://127.0.0.1:{server.port}/serving-endpoints/m/invocations")
        route.respond(json={"predictions": ["mocked"]})
        assert answer_of(driver.send(target_of(server))) == "mocked"
        assert b"".join(driver.stream(target_of(server))) == b'{"predictions":["mocked"]}'
        assert route.call_count == 2
        assert route.calls.last.request.content == b"{}"
        assert not server.connections


def test_respx_errors_are_faults(drive: Drive, mocked: respx.MockRouter):
    driver = drive()
    with ScriptedServer(echo()) as server:
        mocked.post(url__startswith="http://").mock(side_effect=httpx.ConnectError)
        assert driver.fault(target_of(server)).kind is FaultKind.NOT_CONNECTED
        mocked.post(url__startswith="http://").mock(side_effect=httpx.ReadTimeout)
        assert driver.fault(target_of(server)).kind is FaultKind.TIMEOUT


def test_an_unmocked_call_fails_the_test_and_sends_nothing(drive: Drive, mocked: Any):
    with ScriptedServer(echo()) as server:
        with pytest.raises(AssertionError):
            drive().send(target_of(server))
        assert not server.connections


def test_after_the_mock_lanes_are_used_again(drive: Drive):
    with ScriptedServer(echo()) as server:
        driver = drive()
        with respx.mock:
            respx.post().respond(json={"predictions": ["mocked"]})
            assert answer_of(driver.send(target_of(server))) == "mocked"
        assert answer_of(driver.send(target_of(server), body_of("real"))) == "real"
        if driver.is_lane:
            assert driver.wire.pool.stats().opened == 1


def test_pytest_httpx_around_a_wire(drive: Drive, httpx_mock: Any):
    httpx_mock.add_response(json={"predictions": ["mocked"]})
    with ScriptedServer(echo()) as server:
        assert answer_of(drive().send(target_of(server))) == "mocked"
        assert len(httpx_mock.get_requests()) == 1
        assert not server.connections


@pytest.fixture
def spans() -> Iterator[Any]:
    from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    HTTPXClientInstrumentor().instrument(tracer_provider=provider)
    try:
        yield exporter
    finally:
        HTTPXClientInstrumentor().uninstrument()


def test_opentelemetry_sees_exactly_one_span_a_call(drive: Drive, spans: Any):
    with ScriptedServer(echo()) as server:
        driver = drive()
        for n in range(3):
            assert answer_of(driver.send(target_of(server), body_of(n))) == str(n)
        found = spans.get_finished_spans()
        assert [span.name for span in found] == ["POST"] * 3
        assert "traceparent" in server.requests[0].headers
        assert len(server.connections) == 1


def test_opentelemetry_switched_on_before_us_is_seen(spans: Any, unlearned: None):
    assert seen() == {"sync": True, "async": True}


def test_the_lane_transport_of_a_client_is_mocked_and_traced_too(spans: Any):
    with ScriptedServer(echo()) as server:
        url = f"http://127.0.0.1:{server.port}/"
        with httpx.Client(transport=LaneTransport()) as client:
            assert client.post(url, json={"id": "a"}).json() == {"predictions": ["a"]}
            with respx.mock:
                respx.post(url).respond(json="mocked")
                assert client.post(url).json() == "mocked"
        assert len(spans.get_finished_spans()) == 2


async def test_the_async_lane_transport_of_a_client_is_mocked_too(httpx_mock: Any):
    httpx_mock.add_response(json="mocked")
    async with httpx.AsyncClient(transport=AsyncLaneTransport(Settings())) as client:
        assert (await client.post("http://127.0.0.1:1/")).json() == "mocked"
