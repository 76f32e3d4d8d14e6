"""How long a request may take, whose trace it belongs to, and that it ends with its caller."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import BackgroundTasks, Depends, FastAPI
from fastapi.responses import StreamingResponse
from opentelemetry import context, trace
from opentelemetry.sdk.trace import TracerProvider
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from servingclient import AsyncServingClient, DeadlineExceeded
from servingclient.emulator import Emulator, RequestRecord, faults
from servingclient.integrations.fastapi import Drain, Serving, deadline, time_left
from servingclient.integrations.fastapi import request as request_module
from servingclient.integrations.fastapi.ending import Ending
from servingclient.integrations.fastapi.request import RequestLife
from servingclient.integrations.opentelemetry import OpenTelemetry
from tests.services.kit import ONCE, ROW, RawRequest, calling, making, scoring, service


def calls_of(emulator: Emulator) -> list[RequestRecord]:
    return [record for record in emulator.requests if record.kind == "invocation"]


# ---------------------------------------------------------------- deadline


@pytest.mark.parametrize(
    ("lines", "seconds"),
    [
        ([], None),
        ([(b"x-request-timeout", b"2.5")], 2.5),
        ([(b"x-request-timeout", b" 2 ")], 2.0),
        ([(b"x-request-timeout", b"0")], 0.0),
        ([(b"x-envoy-expected-rq-timeout-ms", b"1500")], 1.5),
        ([(b"x-envoy-expected-rq-timeout-ms", b"1500"), (b"x-request-timeout", b"1")], 1.0),
        ([(b"x-request-timeout", b"9"), (b"x-request-timeout", b"3")], 3.0),
        ([(b"timeout", b"1")], None),
    ],
)
def test_the_caller_says_how_long_it_waits(
    lines: list[tuple[bytes, bytes]], seconds: float | None
) -> None:
    assert deadline.given_s(lines) == seconds


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "inf", "1e3", "1_0", "9" * 400, "2 s"])
async def test_a_time_that_is_none_is_refused(emulator: Emulator, value: str) -> None:
    async with service(emulator) as caller:
        reply = await caller.post("/score", json=[ROW], headers={"X-Request-Timeout": value})
    assert reply.status_code == 400
    assert "x-request-timeout must be a number of seconds" in reply.json()["detail"]
    assert calls_of(emulator) == []


@pytest.mark.parametrize(
    "line", [{"X-Request-Timeout": "0.5"}, {"X-Envoy-Expected-Rq-Timeout-Ms": "500"}]
)
async def test_the_call_ends_when_the_request_s_time_does(
    emulator: Emulator,
    line: dict[str, str],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(request_module, "_GRACE_S", 5.0)
    async with service(emulator) as caller:
        emulator.always("demo", faults.hang())
        reply = await caller.post("/score", json=[ROW], headers=line)
    assert reply.status_code == 504
    told = reply.json()
    assert (told["error"], told["sent"]) == ("DeadlineExceeded", "maybe")
    assert "no complete reply in time" in caplog.text  # it was the client that ended it


async def test_a_request_without_time_asks_nobody(emulator: Emulator) -> None:
    async with service(emulator) as caller:
        reply = await caller.post("/score", json=[ROW], headers={"X-Request-Timeout": "0"})
    assert reply.status_code == 504
    assert reply.json()["sent"] == "no"
    assert calls_of(emulator) == []


async def test_a_request_without_time_begins_nothing() -> None:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise AssertionError("it was begun")

    request = RawRequest("/", b"", (b"x-request-timeout", b"0.0"))
    await request.to(RequestLife(app, Ending(Drain())))
    assert request.status == 504
    assert b'"sent":"no"' in request.sent[1]["body"]


async def test_time_that_ran_out_before_the_call_sends_nothing(emulator: Emulator) -> None:
    serving = Serving(making(emulator))
    async with serving.lifespan():
        request = Request({"type": "http", "servingclient.deadline_s": time.monotonic() - 1.0})
        with pytest.raises(DeadlineExceeded, match="before it could be asked") as caught:
            await serving.client()(request)
    assert (caught.value.sent, caught.value.endpoint) == ("no", "demo")


async def test_a_header_makes_no_call_longer_than_its_settings(emulator: Emulator) -> None:
    seen: list[float] = []
    serving = Serving(making(emulator))
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app)

    @app.get("/limit")
    async def limit(
        model: Annotated[AsyncServingClient, Depends(serving.client())], request: Request
    ) -> float | None:
        seen.append(model.settings.timeout_s)
        return time_left(request)

    async with calling(app) as caller:
        assert (await caller.get("/limit")).json() is None
        left_s = (await caller.get("/limit", headers={"X-Request-Timeout": "900"})).json()
        assert 890 < left_s < 900
        await caller.get("/limit", headers={"X-Request-Timeout": "2"})
    unbounded, long, short = seen
    assert unbounded == long == ONCE.timeout_s
    assert 1.0 < short < 2.0


async def test_a_handler_that_does_something_else_ends_too(emulator: Emulator) -> None:
    serving = Serving(making(emulator))
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app)
    ended: list[str] = []

    @app.get("/dawdle")
    async def dawdle() -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async with calling(app) as caller:
        await caller.get("/docs")  # what an app does once, it has done
        reply = await caller.get("/dawdle", headers={"X-Request-Timeout": "0.8"})
    assert (reply.status_code, reply.json()["sent"], ended) == (504, "maybe", ["cancelled"])


async def test_a_reply_that_has_begun_is_not_cut(emulator: Emulator) -> None:
    serving = Serving(making(emulator))
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app)

    @app.get("/long")
    async def long() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"one "
            await asyncio.sleep(0.5)
            yield b"two"

        return StreamingResponse(parts())

    async with calling(app) as caller:
        reply = await caller.get("/long", headers={"X-Request-Timeout": "0.3"})
    assert (reply.status_code, reply.text) == (200, "one two")


# ---------------------------------------------------------------- a caller who goes


async def test_a_call_ends_with_its_caller(emulator: Emulator) -> None:
    serving = Serving(making(emulator))
    app = scoring(serving)
    async with calling(app) as caller:
        emulator.script("demo", faults.hang())
        request = RawRequest()
        answered = asyncio.create_task(request.to(app))
        await asyncio.to_thread(emulator.wait_for, lambda: bool(calls_of(emulator)))
        request.gone.set()
        await asyncio.wait_for(answered, 8.0)  # ONCE gives the call 12 s
        assert request.sent == []
        assert (await caller.post("/score", json=[ROW])).json() == [3.0]  # its place is free


async def test_a_caller_who_goes_before_its_body_is_read(emulator: Emulator) -> None:
    read: list[int] = []
    app = FastAPI()
    Serving(making(emulator)).install(app)

    @app.get("/wait")
    async def wait() -> None:  # never asks for the body
        read.append(1)
        await asyncio.Event().wait()

    request = RawRequest("/wait", b"")
    answered = asyncio.create_task(request.to(app))
    while not read:  # noqa: ASYNC110 - a step of the loop at a time
        await asyncio.sleep(0)
    request.gone.set()
    await asyncio.wait_for(answered, 8.0)
    assert request.sent == []


async def test_what_runs_behind_a_reply_outlives_its_caller(emulator: Emulator) -> None:
    app = FastAPI()
    Serving(making(emulator)).install(app)
    begun, done = asyncio.Event(), threading.Event()

    async def note() -> None:
        begun.set()
        await asyncio.sleep(0.05)
        done.set()

    @app.get("/reply")
    async def reply(behind: BackgroundTasks) -> str:
        behind.add_task(note)
        return "first"

    request = RawRequest("/reply", b"")
    answered = asyncio.create_task(request.to(app))
    await begun.wait()
    request.gone.set()
    await answered
    assert (request.status, done.is_set()) == (200, True)


async def test_who_waits_for_the_caller_to_go_is_told() -> None:
    told: list[str] = []

    async def app(_scope: Scope, receive: Receive, send: Send) -> None:
        told.append((await receive())["type"])
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body"})
        told.append((await receive())["type"])
        told.append((await receive())["type"])

    request = RawRequest()
    answered = asyncio.create_task(request.to(RequestLife(app, Ending(Drain()))))
    while not request.sent:  # noqa: ASYNC110 - a step of the loop at a time
        await asyncio.sleep(0)
    request.gone.set()
    await asyncio.wait_for(answered, 8.0)
    assert told == ["http.request", "http.disconnect", "http.disconnect"]


@pytest.mark.parametrize(("version", "closes"), [("1.1", True), ("1.0", True), ("2", False)])
async def test_replies_of_a_service_that_ends_close_their_connections(
    version: str, closes: bool
) -> None:
    async def app(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    ending = Ending(Drain())
    ending.begun = True
    request = RawRequest()
    request.scope["http_version"] = version
    await request.to(RequestLife(app, ending))
    # HTTP/2 has no such header, and who sends one breaks the connection for all
    assert ((b"connection", b"close") in request.sent[0].get("headers", ())) is closes


async def test_what_is_no_request_passes_untouched() -> None:
    seen: list[object] = []

    async def app(*given: object) -> None:
        seen.extend(given)

    given: tuple[Any, ...] = ({"type": "websocket"}, object(), object())
    await RequestLife(app, Ending(Drain()))(*given)
    assert all(one is other for one, other in zip(seen, given, strict=True))


async def test_an_error_of_the_handler_is_the_handler_s(emulator: Emulator) -> None:
    app = FastAPI()
    Serving(making(emulator)).install(app)

    @app.get("/broken")
    async def broken() -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        await RawRequest("/broken", b"").to(app)


async def test_a_server_that_cancels_the_request_is_obeyed(emulator: Emulator) -> None:
    app = FastAPI()
    Serving(making(emulator)).install(app)
    begun, ended = asyncio.Event(), asyncio.Event()

    @app.get("/wait")
    async def wait() -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    answered = asyncio.create_task(RawRequest("/wait", b"").to(app))
    await begun.wait()
    answered.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answered
    assert ended.is_set()


async def test_a_large_body_arrives_in_its_parts(emulator: Emulator) -> None:
    app = FastAPI()
    Serving(making(emulator)).install(app)

    @app.post("/size")
    async def size(request: Request) -> int:
        return len(await request.body())

    request = RawRequest("/size")
    parts: list[dict[str, Any]] = [
        {"type": "http.request", "body": b"x" * 1000, "more_body": n > 0} for n in range(50)
    ]
    request._parts = parts
    await request.to(app)
    assert request.sent[1]["body"] == b"50000"


# ---------------------------------------------------------------- trace


TRACE = "0af7651916cd43dd8448eb211c80319c"


def traced(emulator: Emulator) -> FastAPI:
    provider = TracerProvider(shutdown_on_exit=False)
    tracing = OpenTelemetry(provider)
    who = {"host": emulator.host, "token": emulator.token}
    return scoring(
        Serving(lambda: AsyncServingClient("demo", settings=ONCE, observers=[tracing], **who))
    )


def trace_of(record: RequestRecord) -> str:
    return record.headers["traceparent"].split("-")[1]


async def test_calls_belong_to_the_trace_of_their_caller(emulator: Emulator) -> None:
    line = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    async with calling(traced(emulator)) as caller:
        await caller.post("/score", json=[ROW], headers=line)
        await caller.post("/score", json=[ROW])
    joined, own = map(trace_of, calls_of(emulator))
    assert joined == TRACE
    assert own != TRACE
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_service_that_is_traced_already_is_left_alone(emulator: Emulator) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("the service's own")
    line = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
    async with calling(traced(emulator)) as caller:
        with tracer.start_as_current_span("served") as span:
            await caller.post("/score", json=[ROW], headers=line)
            mine = span.get_span_context().trace_id
    (record,) = calls_of(emulator)
    assert int(trace_of(record), 16) == mine
    assert context.get_current() == {}
