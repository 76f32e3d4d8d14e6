"""httpx on the other side: any of its transports, and the mocks and tracers its users know."""

from __future__ import annotations

import json
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import respx
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servingclient import (
    AsyncServingClient,
    ClientClosedError,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    ServingClient,
    Settings,
    StreamError,
    UnexpectedRedirect,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Retry, Tls
from tests.doors.kit import ROW, SUM, Door, Who, invocations, pat, principal
from tests.stopwatch import Stopwatch

WORKSPACE = Who("https://ws.cloud.databricks.com", {"token": "dapi00112233445566"})
PATH = "/serving-endpoints/demo/invocations"
URL = f"{WORKSPACE.host}{PATH}"
DESCRIPTION = f"{WORKSPACE.host}/api/2.0/serving-endpoints/demo"
QUICK = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001))

Handler = Callable[[httpx.Request], httpx.Response]


class Workspace:
    """What a user would write as a mock: replies in turn, the last for ever; and what it saw."""

    def __init__(self, *replies: httpx.Response | Exception) -> None:
        self.replies = list(replies)
        self.seen: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404, json={"error_code": "RESOURCE_DOES_NOT_EXIST"})
        self.seen.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise type(reply)(str(reply))
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)


def good(value: object = 3.5) -> httpx.Response:
    return httpx.Response(200, json={"predictions": [value]}, headers={"x-request-id": "r-1"})


def test_a_mock_transport_is_called(door: Door) -> None:
    workspace = Workspace(good())
    client = door.open("demo", WORKSPACE, transport=httpx.MockTransport(workspace))
    prediction = door.predict(client, [{"a": 1.5}])
    assert prediction.predictions == [3.5]
    assert prediction.request_id == "r-1"
    (request,) = workspace.seen
    assert str(request.url) == URL
    assert request.headers["authorization"] == "Bearer dapi00112233445566"
    assert request.headers["content-type"] == "application/json"
    assert json.loads(request.content) == {"dataframe_split": {"columns": ["a"], "data": [[1.5]]}}


def test_the_story_is_the_same_over_a_transport(door: Door) -> None:
    workspace = Workspace(
        httpx.Response(429, headers={"retry-after": "0"}),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.Response(503),
        good(),
    )
    settings = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001, max_attempts=9))
    client = door.open("demo", WORKSPACE, settings, transport=httpx.MockTransport(workspace))
    prediction = door.predict(client)
    assert [a.status for a in prediction.attempts] == [429, None, None, 503, 200]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (httpx.ConnectError("refused"), ConnectionFailed),
        (httpx.ConnectTimeout("slow"), ConnectionFailed),
        (httpx.ReadError("reset"), ConnectionLost),
        (httpx.RemoteProtocolError("cut"), ConnectionLost),
        (httpx.ReadTimeout("slow"), DeadlineExceeded),
    ],
)
def test_a_transports_errors_become_ours(door: Door, fault: Exception, kind: type) -> None:
    client = door.open("demo", WORKSPACE, QUICK, transport=httpx.MockTransport(Workspace(fault)))
    with pytest.raises(kind):
        door.predict(client)


def test_one_error_raised_again_and_again(door: Door) -> None:
    # what route.side_effect = httpx.ConnectError("...") does
    error = httpx.ConnectError("refused")

    def refuse(_request: httpx.Request) -> httpx.Response:
        raise error

    client = door.open("demo", WORKSPACE, QUICK, transport=httpx.MockTransport(refuse))
    with pytest.raises(ConnectionFailed):
        door.predict(client)


def test_what_the_caller_handles_meanwhile_is_not_the_cause(door: Door) -> None:
    # a fallback called from an except block must not inherit that block's error
    workspace = Workspace(httpx.ConnectError("refused by the mock"))
    client = door.open("demo", WORKSPACE, QUICK, transport=httpx.MockTransport(workspace))
    try:
        raise ssl.SSLError(1, "an earlier certificate problem")
    except ssl.SSLError:
        with pytest.raises(ConnectionFailed) as caught:
            door.predict(client)
    assert type(caught.value) is ConnectionFailed
    assert len(workspace.seen) == 4


def test_a_transport_follows_no_redirect(door: Door) -> None:
    workspace = Workspace(httpx.Response(307, headers={"location": "https://evil.example/"}))
    client = door.open("demo", WORKSPACE, transport=httpx.MockTransport(workspace))
    with pytest.raises(UnexpectedRedirect, match="evil"):
        door.predict(client)
    assert len(workspace.seen) == 1


def test_a_stream_comes_over_a_transport(door: Door) -> None:
    events = b'data: {"n": 1}\n\ndata: {"n": 2}\n\n'
    whole = httpx.Response(
        200, content=events + b"data: [DONE]\n\n", headers={"content-type": "text/event-stream"}
    )
    cut = httpx.Response(200, content=events, headers={"content-type": "text/event-stream"})
    client = door.open("demo", WORKSPACE, transport=httpx.MockTransport(Workspace(whole, cut)))
    assert door.events(client, {"messages": "x"}) == [{"n": 1}, {"n": 2}]
    with pytest.raises(StreamError):
        door.events(client, {"messages": "x"})


def test_a_client_over_a_transport_closes(door: Door) -> None:
    client = door.open("demo", WORKSPACE, transport=httpx.MockTransport(Workspace(good())))
    door.predict(client)
    door.close(client)
    with pytest.raises(ClientClosedError):
        door.predict(client)


def test_a_respx_router_is_a_transport(door: Door) -> None:
    router = respx.MockRouter(assert_all_called=False)
    router.get(DESCRIPTION).respond(404)
    route = router.post(path=PATH).respond(json={"predictions": [7]})
    handler: Any = router.handler if door.colour == "sync" else router.async_handler
    client = door.open("demo", WORKSPACE, transport=httpx.MockTransport(handler))
    assert door.predict(client).predictions == [7]
    assert route.call_count == 1


def test_an_asgi_application_is_a_transport() -> None:
    import asyncio

    async def application(scope: Any, receive: Any, send: Any) -> None:
        found = scope["path"] == PATH
        body = b'{"predictions": [5]}' if found else b"{}"
        status = 200 if found else 404
        await receive()
        await send({"type": "http.response.start", "status": status, "headers": []})
        await send({"type": "http.response.body", "body": body})

    async def scenario() -> Any:
        async with AsyncServingClient(
            "demo",
            host=WORKSPACE.host,
            **WORKSPACE.arguments,
            transport=httpx.ASGITransport(application),
        ) as client:
            return (await client.predict([ROW])).predictions

    assert asyncio.run(scenario()) == [5]


def stock(door: Door, **options: Any) -> Any:
    """httpx's own transport of this colour."""
    if door.colour == "sync":
        return httpx.HTTPTransport(**options)
    return httpx.AsyncHTTPTransport(**options)


@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
def test_httpx_s_own_transport_serves(door: Door, emulator: Emulator, endpoint: str) -> None:
    client = door.open(endpoint, principal(emulator), QUICK, transport=stock(door))
    emulator.script(endpoint, faults.throttled(), faults.reset("before"), faults.ok())
    assert door.predict(client).predictions == [SUM]
    assert len(invocations(emulator)) == 3
    outcomes = door.many(client, ({"inputs": [{"a": float(n)}]} for n in range(32)))
    assert [one.predictions for one in outcomes] == [[float(n)] for n in range(32)]  # type: ignore[union-attr]
    door.close(client)


def test_httpx_s_own_transport_keeps_the_deadline(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), transport=stock(door))
    door.predict(client)
    emulator.script("demo", faults.hang(), faults.drip(interval_s=0.1))
    for _ in range(2):
        with Stopwatch() as watch, pytest.raises(DeadlineExceeded) as caught:
            door.predict(client, timeout=0.3)
        assert caught.value.elapsed_s is not None
        assert 0.3 <= caught.value.elapsed_s <= 0.55 + watch.machine_s
    assert door.predict(client).predictions == [SUM]


def test_a_transport_of_the_other_colour_is_refused(door: Door) -> None:
    wrong: Any = httpx.AsyncHTTPTransport() if door.colour == "sync" else httpx.HTTPTransport()
    with pytest.raises(ConfigError):
        door.open("demo", WORKSPACE, transport=wrong)


# -- around a default client -----------------------------------------------------------------------


def test_respx_around_a_default_client(door: Door) -> None:
    # what @respx.mock does, told as a context
    with respx.mock(assert_all_called=False) as router:
        router.get(DESCRIPTION).respond(404)
        route = router.post(URL)
        route.side_effect = [httpx.Response(429), httpx.Response(200, json={"predictions": [1]})]
        client = door.open("demo", WORKSPACE, QUICK)
        assert door.predict(client).predictions == [1]
        assert route.call_count == 2
        sent = route.calls.last.request
        assert sent.headers["authorization"].startswith("Bearer ")


@respx.mock
def test_the_decorator_of_respx_works() -> None:
    respx.get(DESCRIPTION).respond(404)
    respx.post(URL).respond(json={"predictions": [2]})
    with ServingClient("demo", host=WORKSPACE.host, **WORKSPACE.arguments) as client:
        assert client.predict([ROW]).predictions == [2]


def test_a_default_client_is_itself_again_after_the_mock(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    assert door.predict(client).predictions == [SUM]
    with respx.mock:
        respx.post(f"{emulator.host}{PATH}").respond(json={"predictions": ["mocked"]})
        assert door.predict(client).predictions == ["mocked"]
    assert door.predict(client).predictions == [SUM]
    assert len(invocations(emulator)) == 2
    assert emulator.connections["workspace"] == 1, "its own connection was kept meanwhile"


def test_pytest_httpx_around_a_default_client(door: Door, httpx_mock: Any) -> None:
    httpx_mock.add_response(url=DESCRIPTION, status_code=404)
    httpx_mock.add_response(url=URL, method="POST", json={"predictions": [4]})
    client = door.open("demo", WORKSPACE)
    assert door.predict(client).predictions == [4]
    assert [request.method for request in httpx_mock.get_requests()] == ["GET", "POST"]


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()
    provider.shutdown()


def test_opentelemetry_sees_the_calls_of_a_default_client(
    door: Door, emulator: Emulator, spans: InMemorySpanExporter
) -> None:
    client = door.open("demo", pat(emulator), QUICK)
    emulator.script("demo", faults.plain(503), faults.ok())
    assert door.predict(client).predictions == [SUM]
    calls = [s for s in spans.get_finished_spans() if PATH in str(dict(s.attributes or {}))]
    assert len(calls) == 2, "one span a try"
    (first, second) = invocations(emulator)
    assert "traceparent" in first.headers
    assert first.headers["traceparent"] != second.headers["traceparent"]
    door.close(client)


def test_https_is_verified_over_a_mocked_stack_too(door: Door) -> None:
    # while a mock is on, what it passes through still uses the client's own authorities
    with Emulator() as emulator:
        settings = Settings(tls=Tls(ca_file=emulator.ca_file))
        client = door.open("demo", pat(emulator), settings)
        with respx.mock:
            respx.route().pass_through()
            assert door.predict(client).predictions == [SUM]
        stranger = door.open("demo", pat(emulator))
        with respx.mock:
            respx.route().pass_through()
            with pytest.raises(ConnectionFailed):
                door.predict(stranger)
        for one in (client, stranger):
            door.close(one)
