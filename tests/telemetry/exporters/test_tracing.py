"""Spans as a collector gets them: both doors, real sockets, the SDK."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.instrumentation.httpx import HTTPXClientInstrumentor
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Sampler
from opentelemetry.trace import SpanKind, StatusCode
from pytest_httpx import HTTPXMock

from servingclient import (
    AsyncServingClient,
    BadRequest,
    ConfigError,
    DeadlineExceeded,
    Prediction,
    ResponseFormatError,
    ServerError,
    ServingClient,
    Settings,
    StreamError,
    Throttled,
)
from servingclient.emulator import Emulator, faults
from servingclient.integrations.opentelemetry import OpenTelemetry
from servingclient.settings import Batching, Hedge, Retry
from servingclient.transport import patched
from tests.doors.kit import Door, Overheard, Who, errors, found_in, invocations, pat
from tests.telemetry.exporters.conftest import Collected

QUICK = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001))
CANARY = "canaryrow7391"
REFUSAL = '{"error_code": "BAD_REQUEST", "message": "no"}'


def open_spans(collected: Collected) -> None:
    """No span is current any more where the calls came from."""
    assert not trace.get_current_span().get_span_context().is_valid


def parent_line(span: ReadableSpan) -> str:
    found = span.get_span_context()
    assert found is not None
    return f"00-{found.trace_id:032x}-{found.span_id:016x}-"


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_call_is_one_span_with_the_conventions_attributes(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    found = door.predict(client)
    (span,) = collected.spans
    assert span.name == "POST demo"
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    host, _, port = emulator.host.removeprefix("http://").partition(":")
    assert attributes(span) == {
        "http.request.method": "POST",
        "server.address": host,
        "server.port": int(port),
        "url.full": f"{emulator.host}/serving-endpoints/demo/invocations",
        "http.response.status_code": 200,
        "servingclient.endpoint": "demo",
        "servingclient.attempts": 1,
        "servingclient.request_id": found.request_id,
    }
    assert not span.events
    assert span.start_time is not None
    assert span.end_time is not None
    took_s = (span.end_time - span.start_time) / 1e9
    assert 0.9 * found.timing.total_s - 0.002 < took_s < found.timing.total_s + 0.5
    open_spans(collected)


def test_each_failed_attempt_is_an_event_and_all_carry_the_span(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.script("demo", faults.throttled(), faults.reset(), faults.ok())
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    found = door.predict(client)
    (span,) = collected.spans
    assert attributes(span)["http.request.resend_count"] == 2
    first, second = span.events
    assert first.name == second.name == "servingclient.attempt_failed"
    assert (first.attributes or {})["http.response.status_code"] == 429
    assert "http.response.status_code" not in (second.attributes or {})
    waits = [(event.attributes or {})["servingclient.attempt.wait"] for event in span.events]
    assert waits == [one.wait_s for one in found.attempts[:2]]
    sent = [record.headers["traceparent"] for record in invocations(emulator)]
    assert len(sent) == 3
    assert all(line.startswith(parent_line(span)) for line in sent)


def test_a_call_belongs_to_what_its_caller_does(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    tracer = collected.tracing.get_tracer("test")
    with tracer.start_as_current_span("page") as page:
        door.predict(client)
        assert trace.get_current_span() is page
    call, outer = collected.spans
    assert outer.name == "page"
    assert call.parent is not None
    assert call.parent.span_id == page.get_span_context().span_id
    (record,) = invocations(emulator)
    assert record.headers["traceparent"].startswith(parent_line(call))


def test_logins_are_no_part_of_the_trace(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    door.predict(client)
    others = [record for record in emulator.requests if record.kind != "invocation"]
    assert others
    assert not any("traceparent" in record.headers for record in others)


def test_what_a_transport_does_is_inside_of_the_span(
    emulator: Emulator, collected: Collected
) -> None:
    import httpx

    seen: list[object] = []

    class Looking(httpx.HTTPTransport):
        def handle_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(trace.get_current_span())
            seen.append(request.headers.get("traceparent"))
            return super().handle_request(request)

    who = pat(emulator)
    with (
        Looking() as transport,
        ServingClient(
            "demo",
            host=who.host,
            **who.arguments,
            transport=transport,
            observers=[collected.observer],
            settings=QUICK.replace(describe=False),
        ) as client,
    ):
        client.predict([{"a": 1.0}])
    (span,) = collected.spans
    current, line = seen
    assert isinstance(current, ReadableSpan)
    assert current.get_span_context() == span.get_span_context()
    assert str(line).startswith(parent_line(span))


@pytest.mark.parametrize("first", ["ours", "theirs"])
def test_with_httpx_instrumented_too_a_call_is_one_span(
    door: Door,
    emulator: Emulator,
    collected: Collected,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
) -> None:
    if first == "theirs":  # patched before anyone could learn what httpx was like
        monkeypatch.setattr(patched, "_known_sync", None)
        monkeypatch.setattr(patched, "_known_async", None)
    else:
        assert not patched.sync_patched()
        assert not patched.async_patched()
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=collected.tracing)
    try:
        client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
        door.predict(client)
        assert client.stats().lanes.idle >= 1, "over a connection of the client's own"
        door.close(client)
    finally:
        instrumentor.uninstrument()
    calls = [one for one in collected.spans if "invocations" in str(attributes(one))]
    assert [one.name for one in calls] == ["POST demo"]
    (record,) = invocations(emulator)
    assert record.headers["traceparent"].startswith(parent_line(calls[0]))


def test_without_a_tracer_of_ours_httpx_is_still_followed(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    instrumentor = HTTPXClientInstrumentor()
    instrumentor.instrument(tracer_provider=collected.tracing)
    try:
        client = door.open("demo", pat(emulator), QUICK)
        door.predict(client)
        door.close(client)
    finally:
        instrumentor.uninstrument()
    assert [one.name for one in collected.spans if "invocations" in str(attributes(one))]


def test_a_mock_is_heeded_whoever_follows_the_calls(
    door: Door, collected: Collected, httpx_mock: HTTPXMock
) -> None:
    host = "https://example.cloud.databricks.com"
    url = f"{host}/serving-endpoints/demo/invocations"
    httpx_mock.add_response(url=url, method="POST", json={"predictions": [4]})
    who = Who(host, {"token": "dapi-x"})
    settings = QUICK.replace(describe=False)
    client = door.open("demo", who, settings, observers=[collected.observer])
    assert door.predict(client).predictions == [4]
    (request,) = httpx_mock.get_requests()
    (span,) = collected.spans
    assert request.headers["traceparent"].startswith(parent_line(span))


# -- ends that are no answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "error", "status", "tries"),
    [
        (faults.plain(500), ServerError, 500, 4),
        (faults.throttled(), Throttled, 429, 4),
        (faults.answer(400, REFUSAL), BadRequest, 400, 1),
    ],
    ids=["500", "429", "400"],
)
def test_a_failed_call_ends_its_span_with_the_error(
    door: Door,
    emulator: Emulator,
    collected: Collected,
    fault: Any,
    error: type[Exception],
    status: int,
    tries: int,
) -> None:
    emulator.always("demo", fault)
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    with pytest.raises(error):
        door.predict(client)
    emulator.always("demo", None)
    (span,) = collected.spans
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == error.__name__
    assert attributes(span)["http.response.status_code"] == status
    assert attributes(span)["servingclient.attempts"] == tries
    assert len(span.events) == tries
    open_spans(collected)


def test_a_call_that_is_late_ends_its_span(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.script("demo", faults.hang())
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    with pytest.raises(DeadlineExceeded):
        door.predict(client, timeout=0.3)
    (span,) = collected.spans
    assert attributes(span)["error.type"] == "DeadlineExceeded"
    assert len(span.events) == 1


async def test_a_cancelled_call_ends_its_span(emulator: Emulator, collected: Collected) -> None:
    emulator.script("demo", faults.hang())
    who = pat(emulator)
    observers = [collected.observer]
    async with AsyncServingClient(
        "demo", host=who.host, **who.arguments, settings=QUICK, observers=observers
    ) as client:
        await client.warmup()
        running = asyncio.ensure_future(client.predict([{"a": 1.0}]))
        assert await asyncio.to_thread(emulator.wait_for, lambda: bool(invocations(emulator)))
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        (span,) = collected.spans
        assert attributes(span)["error.type"] == "CancelledError"
        assert span.status.status_code is StatusCode.ERROR
        open_spans(collected)


def test_a_copy_is_followed_too(door: Door, emulator: Emulator, collected: Collected) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    door.predict(client.with_options(timeout_s=5.0))
    assert [span.name for span in collected.spans] == ["POST demo"]


def test_a_hedged_call_is_one_span_and_both_requests_carry_it(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    settings = QUICK.replace(hedge=Hedge(min_samples=10, max_share=1.0))
    client = door.open("demo", pat(emulator), settings, observers=[collected.observer])
    for _ in range(20):
        door.predict(client)
    emulator.script("demo", faults.slow(0.5), faults.ok())
    door.predict(client)
    assert client.stats().hedging.hedges >= 1
    last = collected.spans[-1]

    def sent() -> int:  # one that was abandoned is noted when its time is over
        lines = [record.headers["traceparent"] for record in invocations(emulator)]
        return sum(line.startswith(parent_line(last)) for line in lines)

    assert emulator.wait_for(lambda: sent() == 2)
    assert len(collected.spans) == 21


# -- streams ---------------------------------------------------------------------------------------


def test_a_stream_is_a_span_until_it_is_closed(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("assistant", kind="agent")
    client = door.open("assistant", pat(emulator), QUICK, observers=[collected.observer])
    events = door.events(client, {"input": [{"role": "user", "content": "good morning"}]})
    assert events
    (span,) = collected.spans
    assert span.name == "POST assistant"
    assert span.status.status_code is StatusCode.UNSET
    assert attributes(span)["http.response.status_code"] == 200
    (record,) = invocations(emulator)
    assert record.headers["traceparent"].startswith(parent_line(span))
    open_spans(collected)


def test_an_open_stream_is_not_what_its_reader_works_for(
    emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("assistant", kind="agent")
    who = pat(emulator)
    with ServingClient(
        "assistant", host=who.host, **who.arguments, observers=[collected.observer]
    ) as client:
        asked = {"input": [{"role": "user", "content": "good morning"}]}
        with client.stream(asked) as stream:
            next(stream)
            open_spans(collected)
            assert collected.spans == []
        assert len(collected.spans) == 1


def test_a_broken_stream_ends_its_span_with_the_error(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("assistant", kind="agent")
    emulator.script("assistant", faults.cut_stream())
    client = door.open("assistant", pat(emulator), QUICK, observers=[collected.observer])
    with pytest.raises(StreamError):
        door.events(client, {"input": [{"role": "user", "content": "good morning"}]})
    (span,) = collected.spans
    assert attributes(span)["error.type"] == "StreamError"


def test_a_stream_that_cannot_be_opened_ends_its_span(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("assistant", kind="agent")
    emulator.script("assistant", faults.answer(400, REFUSAL))
    client = door.open("assistant", pat(emulator), QUICK, observers=[collected.observer])
    with pytest.raises(BadRequest):
        door.events(client, {"input": []})
    (span,) = collected.spans
    assert attributes(span)["error.type"] == "BadRequest"
    open_spans(collected)


# -- shared requests -------------------------------------------------------------------------------

SHARING = Settings(batching=Batching(max_in_flight=1), retry=Retry(throttled_base_s=0.001))


def row(number: int) -> dict[str, Any]:
    return {"inputs": [{"id": number, "b": 0.5}]}


@pytest.fixture
def model(emulator: Emulator) -> Emulator:
    emulator.add_endpoint("echo", echo="id", poison=13, slots=1, queue=64, service_time_s=0.02)
    return emulator


def by_role(collected: Collected) -> tuple[list[ReadableSpan], list[ReadableSpan]]:
    """Spans of requests, and of callers that shared one."""
    requests = [one for one in collected.spans if one.kind is SpanKind.CLIENT]
    return requests, [one for one in collected.spans if one.kind is SpanKind.INTERNAL]


def test_a_shared_request_is_a_span_linked_with_its_callers(
    door: Door, model: Emulator, collected: Collected
) -> None:
    client = door.open("echo", pat(model), SHARING, observers=[collected.observer])
    outcomes = door.many(client, (row(100 + number) for number in range(24)))
    assert errors(outcomes) == []
    requests, callers = by_role(collected)
    sent = {record.headers["traceparent"][:-2] for record in invocations(model)}
    assert sorted(sent) == sorted(map(parent_line, requests))
    linked = [link.context.span_id for one in requests for link in one.links]
    assert sorted(linked) == sorted(one.get_span_context().span_id for one in callers)  # type: ignore[union-attr]
    alone = [one for one in requests if not one.links]
    assert len(callers) + len(alone) == 24
    shared = [one for one in requests if one.links]
    assert shared
    assert all(one.parent is None for one in shared)
    assert {one.name for one in callers} == {"predict echo"}
    open_spans(collected)


def test_the_callers_of_a_shared_request_end_with_their_own_results(
    door: Door, model: Emulator, collected: Collected
) -> None:
    client = door.open("echo", pat(model), SHARING, observers=[collected.observer])
    outcomes = door.many(client, (row(number) for number in range(24)))
    assert [number for number, one in enumerate(outcomes) if not isinstance(one, Prediction)] == [
        13
    ]
    requests, callers = by_role(collected)
    failed = [one for one in callers if one.status.status_code is StatusCode.ERROR]
    assert [attributes(one)["error.type"] for one in failed] == ["BadRequest"]
    sent = {record.headers["traceparent"][:-2] for record in invocations(model)}
    assert sorted(sent) == sorted(map(parent_line, requests)), "each half is a request of its own"


def test_a_caller_that_leaves_ends_its_own_span_only(
    door: Door, model: Emulator, collected: Collected
) -> None:
    client = door.open("echo", pat(model), SHARING, observers=[collected.observer])
    door.predict(client, [{"id": 1, "b": 0.5}])
    model.always("echo", faults.slow(0.6))
    calls = [{**row(101 + number), "timeout": 0.3 if number == 5 else 5.0} for number in range(8)]
    outcomes = door.many(client, calls)
    model.always("echo", None)
    assert [isinstance(one, DeadlineExceeded) for one in outcomes].index(True) == 5
    assert len(errors(outcomes)) == 1
    failed = [one for one in collected.spans if one.status.status_code is StatusCode.ERROR]
    assert [attributes(one)["error.type"] for one in failed] == ["DeadlineExceeded"]
    open_spans(collected)


async def test_a_shared_request_that_nobody_waits_for_ends_its_span(
    model: Emulator, collected: Collected
) -> None:
    who = pat(model)
    observers = [collected.observer]
    sent = asyncio.Event()
    collected.when_begun(lambda span: sent.set() if span.links else None)
    async with AsyncServingClient(
        "echo", host=who.host, **who.arguments, settings=SHARING, observers=observers
    ) as client:
        await client.predict(**row(1))
        model.always("echo", faults.slow(5.0))
        callers = [asyncio.ensure_future(client.predict(**row(100 + n))) for n in range(4)]

        await sent.wait()
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        for _ in range(3):
            await asyncio.sleep(0)
        model.always("echo", None)
    _, members = by_role(collected)
    (request,) = [one for one in collected.spans if one.links]
    assert attributes(request)["error.type"] == "CancelledError"
    assert {attributes(one)["error.type"] for one in members} == {"CancelledError"}
    assert len(collected.started) == len(collected.spans)


def test_each_request_of_a_bulk_job_is_a_span(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    tracer = collected.tracing.get_tracer("test")
    rows = [{"a": float(number), "b": 1.0} for number in range(40)]
    with tracer.start_as_current_span("job") as job:
        found = client.map(rows, rows_per_request=10)
        scored = list(found) if door.colour == "sync" else door.run(found.to_list())
    assert scored == [number + 1.0 for number in range(40)]
    requests = [one for one in collected.spans if one.name == "POST demo"]
    assert len(requests) == 4
    assert {one.parent.span_id for one in requests if one.parent} == {
        job.get_span_context().span_id
    }


# -- what tracing may not do -----------------------------------------------------------------------


class Fails(Sampler):
    def should_sample(self, *_: object, **__: object) -> Any:
        raise RuntimeError(CANARY)

    def get_description(self) -> str:
        return "fails"


class Smuggler(TextMapPropagator):
    """Writes what may not stand in a head."""

    @property
    def fields(self) -> set[str]:
        return set()

    def extract(self, *_: Any, **__: Any) -> context.Context:
        return context.Context()

    def inject(self, carrier: Any, *_: Any, **__: Any) -> None:
        carrier.update(
            {
                "x-evil": "1\r\nX-Injected: yes",
                "bad name": "1",
                "Authorization": "Bearer stolen",
                "content-length": "0",
                "Transfer-Encoding": "chunked",
                "x-umlaut": "ü",
                "x-empty": "",
                "x-good": "yes",
            }
        )


class Raises(Smuggler):
    def inject(self, carrier: Any, *_: Any, **__: Any) -> None:
        raise RuntimeError(CANARY)


def test_header_lines_are_checked_again(door: Door, emulator: Emulator) -> None:
    observers = [OpenTelemetry(propagator=Smuggler())]
    client = door.open("demo", pat(emulator), QUICK, observers=observers)
    door.predict(client)
    (record,) = invocations(emulator)
    assert record.headers["x-good"] == "yes"
    for name in ("x-evil", "x-injected", "bad name", "x-umlaut", "x-empty", "transfer-encoding"):
        assert name not in record.headers
    assert "stolen" not in str(record.headers)


@pytest.mark.parametrize("what", ["sampler", "propagator"])
def test_tracing_that_fails_costs_no_call(
    door: Door, emulator: Emulator, overheard: Overheard, what: str
) -> None:
    if what == "sampler":
        observer = OpenTelemetry(TracerProvider(sampler=Fails(), shutdown_on_exit=False))
    else:
        observer = OpenTelemetry(propagator=Raises())
    client = door.open("demo", pat(emulator), QUICK, observers=[observer])
    assert len(door.predict(client).predictions) == 1
    assert "tracing_failed error=RuntimeError" in overheard.text
    assert CANARY not in "\n".join(
        line for line in overheard.lines if line.startswith("servingclient.")
    )


def test_a_trace_that_is_not_sampled_is_carried_on(door: Door, emulator: Emulator) -> None:
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    client = door.open("demo", pat(emulator), QUICK, observers=[OpenTelemetry(provider)])
    door.predict(client)
    (record,) = invocations(emulator)
    assert int(record.headers["traceparent"][-2:], 16) & 1 == 0


def test_baggage_goes_along(door: Door, emulator: Emulator, collected: Collected) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    token = context.attach(baggage.set_baggage("tenant", "blue"))
    try:
        door.predict(client)
    finally:
        context.detach(token)
    (record,) = invocations(emulator)
    assert record.headers["baggage"] == "tenant=blue"


def test_without_a_tracer_nothing_is_carried(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), QUICK)
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with tracer.start_as_current_span("page"):
        door.predict(client)
    (record,) = invocations(emulator)
    assert "traceparent" not in record.headers


def test_only_one_may_follow(door: Door, emulator: Emulator) -> None:
    with pytest.raises(ConfigError, match="only one can follow"):
        door.open("demo", pat(emulator), observers=[OpenTelemetry(), OpenTelemetry()])


def test_spans_hold_no_input_and_no_secret(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.script("demo", faults.echo_authorization(), faults.plain(500), faults.ok())
    who = pat(emulator)
    client = door.open("demo", who, QUICK, observers=[collected.observer])
    for _ in range(2):
        with contextlib.suppress(Exception):
            door.predict(client, [{"a": 7391739.25, CANARY: 1.0}])
    told = "\n".join(span.to_json() for span in collected.spans)
    assert collected.spans
    assert found_in(told, [*who.secrets, CANARY, "7391739"]) == []


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    assert not trace.get_current_span().get_span_context().is_valid


async def test_a_closed_coroutine_leaves_no_span_current(
    emulator: Emulator, collected: Collected, overheard: Overheard
) -> None:
    who = pat(emulator)
    async with AsyncServingClient(
        "demo", host=who.host, **who.arguments, observers=[collected.observer]
    ) as client:
        await client.predict([{"a": 1.0}])
        with trace.get_tracer("test", tracer_provider=collected.tracing).start_as_current_span(
            "request"
        ) as outer:
            running = client.predict([{"a": 1.0}])
            running.send(None)
            assert trace.get_current_span() is not outer
            running.close()
            assert trace.get_current_span() is outer
            elsewhere = client.predict([{"a": 1.0}])
            context_of_its_own = contextvars.copy_context()
            context_of_its_own.run(elsewhere.send, None)
            elsewhere.close()
            assert trace.get_current_span() is outer
    assert [span.name for span in collected.spans].count("POST demo") == 3
    assert "detach" not in overheard.text


def test_an_answer_that_cannot_be_used_is_a_failed_attempt(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.script("demo", faults.truncated_json())
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    with pytest.raises(ResponseFormatError):
        door.predict(client)
    (span,) = collected.spans
    (event,) = span.events
    assert event.name == "servingclient.attempt_failed"
    told = dict(event.attributes or {})
    assert told["http.response.status_code"] == 200
    assert told["servingclient.attempt.cause"] == "ResponseFormatError"
    (attempt,) = collected.metrics()["http.client.request.duration"]
    assert ("error.type", "ResponseFormatError") in attempt
