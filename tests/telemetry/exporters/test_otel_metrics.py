"""Metrics as OpenTelemetry's reader collects them."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint

from servingclient import BadRequest, Settings
from servingclient.emulator import Emulator, faults
from servingclient.integrations.opentelemetry import OpenTelemetry
from servingclient.integrations.otel_metrics import instruments_of
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


def test_observers_of_one_provider_tell_of_all_clients(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    emulator.add_endpoint("other")
    first = door.open("demo", pat(emulator), QUICK, observers=[collected.another()])
    second = door.open("demo", pat(emulator), QUICK, observers=[collected.another()])
    third = door.open("other", pat(emulator), QUICK, observers=[collected.another()])
    for client in (first, second, second, third):
        door.predict(client)
    told = collected.metrics()
    attempts = {at(endpoint="demo"): 3, at(endpoint="other"): 1}
    assert told["servingclient.call.attempts"] == attempts
    calls = told["servingclient.call.duration"].items()
    assert {key: getattr(point, "count", None) for key, point in calls} == attempts
    demo, other = ({name for name in told if at(endpoint=end) in told[name]} for end in METERED)
    assert demo == other
    assert len(demo) > 30


METERED = ("demo", "other")


def test_what_is_collected_right_after_closing_is_all(
    door: Door, emulator: Emulator, collected: Collected
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    collected.metrics()
    for _ in range(3):
        door.predict(client)
    door.close(client)
    assert collected.metrics()["servingclient.call.attempts"] == {at(endpoint="demo"): 3}


def test_one_reading_serves_all_instruments(
    door: Door, emulator: Emulator, collected: Collected, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[collected.observer])
    asked = []
    stats = client.stats
    monkeypatch.setattr(client, "stats", lambda: asked.append(1) or stats())
    monkeypatch.setattr("servingclient.integrations.otel_metrics.time.monotonic", lambda: 7.0)
    collected.metrics()
    assert len(asked) == 1
    monkeypatch.setattr("servingclient.integrations.otel_metrics.time.monotonic", lambda: 7.3)
    collected.metrics()
    assert len(asked) == 2


def test_a_provider_that_goes_takes_its_instruments_along() -> None:
    provider = MeterProvider(shutdown_on_exit=False)
    made = weakref.ref(instruments_of(provider))
    assert instruments_of(provider) is made()
    provider.shutdown()
    del provider
    gc.collect()
    assert made() is None


LATE = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from servingclient import ServingClient
from servingclient.integrations.opentelemetry import OpenTelemetry

def client():
    return ServingClient("demo", host="http://127.0.0.1:9", token="t", observers=[OpenTelemetry()])

early = client()
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
late = client()
for one in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
    if one.name == "servingclient.retry_quota.available":
        print([point.value for point in one.data.data_points])
early.close(), late.close()
"""


def test_a_provider_may_be_set_between_two_clients() -> None:
    done = subprocess.run(
        [sys.executable, "-c", LATE], capture_output=True, text=True, timeout=15, check=True
    )
    assert done.stdout == "[1000]\n"
    assert done.stderr == ""
