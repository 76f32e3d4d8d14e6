"""What of an input reaches the endpoint, and in what form, through both doors and over sockets."""

from __future__ import annotations

import gzip
import inspect
from collections.abc import Callable
from typing import Any

import httpx
import msgpack
import pytest

from servingclient import (
    AsyncServingClient,
    Explanation,
    Payload,
    PayloadTooLarge,
    SchemaMismatch,
    ServingClient,
    Settings,
)
from servingclient.emulator import Emulator, RequestRecord
from servingclient.emulator import Settings as Behaviour
from tests.doors.kit import Door, pat, principal

ROWS = [{"a": 1.5 + i, "b": i, "note": "a text that repeats"} for i in range(400)]
SUMS = [1.5 + 2 * i for i in range(400)]
SCHEMA = {"a": "double", "b": "long", "c?": "string"}


def invocations(emulator: Emulator) -> list[RequestRecord]:
    return [one for one in emulator.requests if one.kind == "invocation"]


def gzips(emulator: Emulator) -> list[bool]:
    return [one.headers.get("content-encoding") == "gzip" for one in invocations(emulator)]


def behave(emulator: Emulator, **changes: Any) -> None:
    emulator._workspace.settings = Behaviour(**changes)


def payload(**rules: Any) -> Settings:
    return Settings(payload=Payload(**rules))


# -- compression ----------------------------------------------------------------------------------


def transports(door: Door) -> dict[str, Callable[[], Any]]:
    plain = httpx.HTTPTransport if door.colour == "sync" else httpx.AsyncHTTPTransport
    return {"own": lambda: None, "httpx": plain}


@pytest.mark.parametrize("over", ["own", "httpx"])
def test_an_endpoint_that_takes_gzip_gets_it(emulator: Emulator, door: Door, over: str) -> None:
    behave(emulator, gzip_requests="accepted")
    settings = payload(gzip="probe")
    client = door.open("demo", pat(emulator), settings, transport=transports(door)[over]())
    for _ in range(2):
        assert door.predict(client, ROWS).predictions == SUMS
    assert gzips(emulator) == [True, True]
    assert invocations(emulator)[0].request_bytes < 4000
    assert door.run(client.explain(ROWS)).gzip == "taken"


@pytest.mark.parametrize("treated", ["refused", "misread"])
def test_p4_one_that_does_not_costs_two_posts_once(
    emulator: Emulator, door: Door, treated: str
) -> None:
    behave(emulator, gzip_requests=treated)
    client = door.open("demo", pat(emulator), payload(gzip="probe"))
    prediction = door.predict(client, ROWS)
    assert prediction.predictions == SUMS
    assert len(prediction.attempts) == 2
    assert gzips(emulator) == [True, False]
    copy = client.with_options(timeout_s=9.0)
    for _ in range(10):
        door.predict(client, ROWS)
        door.predict(copy, ROWS)
    assert gzips(emulator) == [True] + [False] * 21
    assert client.stats().retry_quota == 500
    assert door.run(client.explain(ROWS)).gzip == "refused"


# -- MessagePack ----------------------------------------------------------------------------------


def test_a_gateway_may_speak_messagepack(emulator: Emulator, door: Door) -> None:
    emulator.add_endpoint("gateway", msgpack=True)
    client = door.open("gateway", pat(emulator), payload(codec="msgpack"))
    prediction = door.predict(client, ROWS[:5], params={"t": 0.5})
    assert prediction.predictions == SUMS[:5]
    (seen,) = invocations(emulator)
    assert seen.headers["content-type"] == "application/msgpack"
    assert seen.body is not None
    assert msgpack.unpackb(seen.body)["params"] == {"t": 0.5}


def test_both_forms_at_once(emulator: Emulator, door: Door) -> None:
    behave(emulator, gzip_requests="accepted")
    emulator.add_endpoint("gateway", msgpack=True)
    client = door.open("gateway", pat(emulator), payload(codec="msgpack", gzip="probe"))
    assert door.predict(client, ROWS).predictions == SUMS
    assert gzips(emulator) == [True]


# -- signatures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("who", [pat, principal])
def test_an_input_is_made_to_fit_the_signature(emulator: Emulator, door: Door, who: Any) -> None:
    emulator.add_endpoint("typed", schema=SCHEMA, route_optimized=who is principal)
    client = door.open("typed", who(emulator), payload(validate=True, prune=True))
    first = door.predict(client, ROWS[:5])
    assert first.predictions == SUMS[:5]
    assert first.timing.encode_s < first.timing.token_s, "it waited for the signature"
    with pytest.raises(SchemaMismatch, match="fraction") as caught:
        door.predict(client, [{"a": 1.0, "b": 2.5}])
    assert caught.value.column == "b"
    with pytest.raises(SchemaMismatch, match="'a'"):
        door.predict(client, [{"b": 2}])
    (seen,) = invocations(emulator)
    assert seen.body is not None
    assert b"note" not in seen.body
    assert [one.path for one in emulator.requests if one.kind == "openapi"] == [
        "/api/2.0/serving-endpoints/typed/openapi"
    ]


def test_without_a_signature_calls_go_on(emulator: Emulator, door: Door) -> None:
    client = door.open("demo", pat(emulator), payload(validate=True, prune=True))
    assert door.predict(client, ROWS).predictions == SUMS
    report = door.run(client.explain(ROWS))
    assert "not known" in report.signature


def test_a_copy_may_ask_for_it_later(emulator: Emulator, door: Door) -> None:
    emulator.add_endpoint("typed", schema=SCHEMA)
    client = door.open("typed", pat(emulator))
    door.predict(client, ROWS[:5])
    pruned = client.with_options(payload=Payload(prune=True))
    door.predict(pruned, ROWS[:5])
    with_note, without = (one.body for one in invocations(emulator))
    assert with_note is not None
    assert without is not None
    assert b"note" in with_note
    assert b"note" not in without


def test_rows_of_a_bulk_job_are_made_to_fit_too(emulator: Emulator, door: Door) -> None:
    emulator.add_endpoint("typed", schema=SCHEMA)
    client = door.open("typed", pat(emulator), payload(validate=True, prune=True))
    result = client.map([*ROWS[:3], {"a": "x", "b": 1, "note": ""}], on_error="return")

    async def collected() -> list[Any]:
        return [value async for value in result]

    values = list(result) if door.colour == "sync" else door.run(collected())
    assert values[:3] == SUMS[:3]
    assert isinstance(values[3], SchemaMismatch)


# -- explain --------------------------------------------------------------------------------------


def test_an_explanation_scores_nothing(emulator: Emulator, door: Door) -> None:
    emulator.add_endpoint("typed", schema=SCHEMA)
    rules = {"prune": True, "floats": "float32", "gzip": "probe", "gzip_min_bytes": 1}
    client = door.open("typed", pat(emulator), payload(**rules))
    report = door.run(client.explain(ROWS, params={"t": 0.5}))
    assert isinstance(report, Explanation)
    assert invocations(emulator) == []
    assert {one.kind for one in emulator.requests} == {"describe", "openapi"}
    assert (report.rows, report.columns, report.dropped) == (400, 2, ("note",))
    assert report.limit_bytes == 16 * 1024 * 1024
    assert report.encode_s > 0.0
    assert report.sent_bytes < report.size_bytes < report.steps[0].size_bytes / 2
    door.predict(client, ROWS, params={"t": 0.5})
    sent = [one for one in invocations(emulator) if "content-encoding" not in one.headers]
    assert [one.request_bytes for one in sent] == [report.size_bytes]


def test_an_agent_has_a_limit_of_its_own(emulator: Emulator, door: Door) -> None:
    emulator.add_endpoint("agent", kind="agent")
    client = door.open("agent", pat(emulator))
    chat = {"messages": [{"role": "user", "content": "hello"}]}
    assert door.run(client.explain(chat)).limit_bytes == 4 * 1024 * 1024


def test_a_limit_of_ones_own_needs_no_request(emulator: Emulator, door: Door) -> None:
    client = door.open("demo", pat(emulator), payload(max_request_bytes=1000))
    report = door.run(client.explain(ROWS))
    assert list(emulator.requests) == []
    assert report.limit_bytes == 1000
    assert report.requests == -(-report.size_bytes // 1000)
    with pytest.raises(PayloadTooLarge, match=r"client\.map"):
        door.predict(client, ROWS)


def test_what_cannot_be_asked_is_left_open(emulator: Emulator, door: Door) -> None:
    client = door.open("demo", pat(emulator), payload(prune=True))
    door.run(client.close() if door.colour == "sync" else client.aclose())
    report = door.run(client.explain(ROWS))
    assert (report.limit_bytes, report.share_of_limit, report.requests) == (None, None, 1)
    assert "not asked for" in report.signature


def test_both_doors_explain_alike() -> None:
    sync, asynchronous = ServingClient.explain, AsyncServingClient.explain
    assert inspect.signature(sync) == inspect.signature(asynchronous)
    assert sync.__doc__ == asynchronous.__doc__


def test_a_body_of_gzip_is_what_it_says(emulator: Emulator, door: Door) -> None:
    behave(emulator, gzip_requests="accepted")
    client = door.open("demo", pat(emulator), payload(gzip="probe", gzip_min_bytes=1))
    door.predict(client, ROWS[:5])
    (seen,) = invocations(emulator)
    assert seen.body is not None
    assert gzip.decompress(seen.body).startswith(b'{"dataframe_split"')
