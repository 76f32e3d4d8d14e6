"""Metrics as OpenTelemetry's reader collects them."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from servingclient import BadRequest, Settings
from servingclient.emulator import Emulator, faults
from servingclient.integrations.opentelemetry import OpenTelemetry
from servingclient.settings import Batching, Hedge, Retry
from servingclient.telemetry.exported import METRICS, PREFIX, SECONDS
from tests.doors.kit import WORD, Door, invocations, pat
from tests.telemetry.exporters.conftest import Collected

QUICK = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001))


def at(**attributes: Any) -> frozenset[tuple[str, object]]:
    """Attributes of ours, without the prefix."""
    return frozenset((PREFIX + name, value) for name, value in attributes.items())


def test_attempts_and_calls_are_histograms_with_fine_buckets(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.script("demo", faults.throttled(), faults.ok(), faults.answer(400, "{}"))
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    found = door.predict(client)
    with pytest.raises(BadRequest):
        door.predict(client)
    told = collected.metrics()
    host, _, port = emulator.host.removeprefix("http://").partition(":")
    place = {"server.address": host, "server.port": int(port), "http.request.method": "POST"}
    by_status = {
        status: told["http.client.request.duration"][
            frozenset({**place, "http.response.status_code": status, **more}.items())
        ]
        for status, more in (
            (200, {}),
            (429, {"error.type": "429"}),
            (400, {"error.type": "400"}),
        )
    }
    assert len(told["http.client.request.duration"]) == 3
    for point in by_status.values():
        assert isinstance(point, HistogramDataPoint)
        assert point.count == 1
        assert tuple(point.explicit_bounds) == SECONDS
    calls = told["servingclient.call.duration"]
    answered, failed = (
        calls[at(endpoint="demo")],
        calls[at(endpoint="demo") | {("error.type", "BadRequest")}],
    )
    assert isinstance(answered, HistogramDataPoint)
    assert isinstance(failed, HistogramDataPoint)
    assert answered.count == failed.count == 1
    assert answered.sum == pytest.approx(found.timing.total_s, abs=0.05)


def test_the_rest_is_read_when_it_is_collected(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    for _ in range(3):
        door.predict(client)
    told = collected.metrics()
    assert told["servingclient.call.attempts"] == {at(endpoint="demo"): 3}
    assert told["servingclient.queue.depth"] == {at(endpoint="demo"): 0}
    assert told["servingclient.queue.wait.duration.count"] == {at(endpoint="demo"): 3}
    assert told["servingclient.connections"][at(endpoint="demo", state="idle")] == 1
    assert told["http.client.active_requests"] == {at(endpoint="demo"): 0}
    idle = at(endpoint="demo") | {("http.connection.state", "idle")}
    assert told["http.client.open_connections"][idle] == 1


def test_all_names_come_from_the_table_or_the_conventions(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    settings = QUICK.replace(batching=Batching(), hedge=Hedge())
    client = door.open("demo", pat(emulator), settings, observers=[collected.observer])
    emulator.script("demo", faults.throttled(), faults.ok())
    door.predict(client, [{WORD: 1.0}], client_request_id="order-17")
    told = collected.metrics()
    ours = {name for name in told if name.startswith(PREFIX)}
    for name in ours:
        base = name.removeprefix(PREFIX)
        assert base in METRICS or base.removesuffix(".count").removesuffix(".sum") in METRICS
    assert set(told) - ours == {
        "http.client.request.duration",
        "http.client.active_requests",
        "http.client.open_connections",
    }
    ids = [str(record.request_id) for record in invocations(emulator)]
    assert not [text for text in ("order-17", WORD, *ids) if text in str(told)]


def test_a_shared_request_is_one_attempt_of_several_calls(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("echo", echo="id", slots=1, queue=64, service_time_s=0.02)
    settings = QUICK.replace(batching=Batching(max_in_flight=1))
    client = door.open("echo", pat(emulator), settings, observers=[collected.observer])
    door.many(client, ({"inputs": [{"id": n, "b": 0.5}]} for n in range(24)))
    told = collected.metrics()
    (requests,) = told["http.client.request.duration"].values()
    (calls,) = told["servingclient.call.duration"].values()
    assert isinstance(requests, HistogramDataPoint)
    assert isinstance(calls, HistogramDataPoint)
    assert calls.count == 24
    assert requests.count == len(invocations(emulator)) < 24


def test_the_halves_of_a_refused_request_are_attempts_of_their_own(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("echo", echo="id", poison=13, slots=1, queue=64, service_time_s=0.02)
    settings = QUICK.replace(batching=Batching(max_in_flight=1))
    client = door.open("echo", pat(emulator), settings, observers=[collected.observer])
    door.many(client, ({"inputs": [{"id": n, "b": 0.5}]} for n in range(24)))
    points = collected.metrics()["http.client.request.duration"].values()
    counts = [point.count for point in points if isinstance(point, HistogramDataPoint)]
    posts = [record for record in invocations(emulator) if record.endpoint == "echo"]
    assert sum(counts) == len(posts)


def test_without_an_sdk_nothing_is_kept_and_nothing_fails(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[OpenTelemetry()])
    assert len(door.predict(client).predictions) == 1
    (record,) = invocations(emulator)
    assert "traceparent" not in record.headers
