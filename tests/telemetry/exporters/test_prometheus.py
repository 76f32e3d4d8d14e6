"""What Prometheus is told: read from a registry as a scrape reads it."""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from servingclient import BadRequest, DeadlineExceeded, ServingClient, ServingError, Settings
from servingclient.emulator import Emulator, faults
from servingclient.integrations import watched
from servingclient.integrations.prometheus import PrometheusExporter, PrometheusWorker, metric_name
from servingclient.settings import Batching, Hedge, Retry
from servingclient.telemetry.exported import METRICS
from tests.doors.kit import WORD, Door, Overheard, invocations, pat

QUICK = Settings(retry=Retry(backoff_base_s=0.001, throttled_base_s=0.001))
ROWS = [{"a": 1.0, "b": 2.0}]

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(registry: CollectorRegistry) -> Samples:
    """All samples by name and labels."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def one(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"servingclient_{name}", frozenset(labels.items())]


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def exporter(registry: CollectorRegistry) -> Iterator[PrometheusExporter]:
    made = PrometheusExporter(registry)
    yield made
    made.close()


def test_calls_are_told_by_outcome(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    for _ in range(3):
        door.predict(client)
    emulator.script("demo", faults.throttled(), faults.ok(), faults.answer(400, "{}"))
    door.predict(client)
    with pytest.raises(BadRequest):
        door.predict(client)
    told = scrape(registry)
    answered = {"endpoint": "demo", "outcome": "answered"}
    assert one(told, "call_duration_seconds_count", **answered) == 4
    assert one(told, "call_duration_seconds_bucket", **answered, le="+Inf") == 4
    assert one(told, "call_duration_seconds_bucket", **answered, le="60.0") == 4
    assert 0.0 < one(told, "call_duration_seconds_sum", **answered) < 60.0
    assert one(told, "call_duration_seconds_count", endpoint="demo", outcome="failed") == 1
    assert one(told, "call_errors_total", endpoint="demo", error="BadRequest") == 1
    assert one(told, "call_attempts_total", endpoint="demo") == 6
    assert one(told, "call_retries_total", endpoint="demo") == 1
    assert one(told, "throttled_total", endpoint="demo") == 1
    assert one(told, "attempt_failures_total", endpoint="demo", reason="429") == 1
    assert one(told, "queue_depth", endpoint="demo") == 0
    assert one(told, "concurrency_limit", endpoint="demo") >= 1
    assert one(told, "connections", endpoint="demo", state="idle") == 1
    assert one(told, "request_body_size_bytes_count", endpoint="demo") >= 4


def test_buckets_add_up(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    for _ in range(5):
        door.predict(client)
    families = list(text_string_to_metric_families(generate_latest(registry).decode()))
    histograms = [family for family in families if family.type == "histogram"]
    assert len(histograms) > 5
    for family in histograms:
        series: dict[object, list[tuple[float, float]]] = {}
        counts = {}
        for sample in family.samples:
            labels = {name: value for name, value in sample.labels.items() if name != "le"}
            key = frozenset(labels.items())
            if sample.name.endswith("_bucket"):
                bound = float(sample.labels["le"])
                series.setdefault(key, []).append((bound, sample.value))
            elif sample.name.endswith("_count"):
                counts[key] = sample.value
        for key, buckets in series.items():
            assert buckets == sorted(buckets), family.name
            assert [below for _, below in buckets] == sorted(below for _, below in buckets)
            assert buckets[-1] == (math.inf, counts[key])


def test_openmetrics_reads_the_same(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    door.predict(client)
    text = generate_openmetrics(registry).decode()
    names = {family.name for family in openmetrics(text)}
    assert "servingclient_call_duration_seconds" in names


def test_several_clients_share_a_registry(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    emulator.add_endpoint("other")
    first = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    second = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    other = door.open("other", pat(emulator), QUICK, observers=[exporter])
    for client in (first, first, second, other):
        door.predict(client)
    told = scrape(registry)
    assert one(told, "call_attempts_total", endpoint="demo") == 3
    assert one(told, "call_attempts_total", endpoint="other") == 1
    limits = sum(client.stats().concurrency.limit for client in (first, second))
    assert one(told, "concurrency_limit", endpoint="demo") == limits


def test_counters_never_sink(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    before: Samples = {}
    for _ in range(3):
        client = door.open("demo", pat(emulator), QUICK, observers=[exporter])
        copy = client.with_options(timeout_s=9.0)
        door.predict(copy)
        after_call = scrape(registry)
        door.close(copy)  # which closes the client: no matter through which of the two
        after_close = scrape(registry)
        for samples in (after_call, after_close):
            for key, value in before.items():
                if key[0].endswith(("_total", "_count", "_bucket", "_sum")):
                    assert samples[key] >= value, key
            before = samples
    assert one(before, "call_attempts_total", endpoint="demo") == 3
    assert ("servingclient_concurrency_limit", frozenset({("endpoint", "demo")})) not in before


def test_a_client_that_is_dropped_leaves_what_it_had_counted(
    emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    who = pat(emulator)
    client = ServingClient("demo", host=who.host, **who.arguments, observers=[exporter])
    client.predict(ROWS)
    scrape(registry)
    client._parts.wire.close()
    del client
    told = scrape(registry)
    assert one(told, "call_attempts_total", endpoint="demo") == 1
    assert ("servingclient_queue_depth", frozenset({("endpoint", "demo")})) not in told


def test_a_forked_child_begins_anew(
    door: Door,
    emulator: Emulator,
    registry: CollectorRegistry,
    exporter: PrometheusExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    door.predict(client)
    door.close(client)
    assert one(scrape(registry), "call_attempts_total", endpoint="demo") == 1
    monkeypatch.setattr(watched.os, "getpid", lambda: -1)
    assert scrape(registry) == {}


def test_closing_leaves_the_registry(registry: CollectorRegistry) -> None:
    first = PrometheusExporter(registry)
    with pytest.raises(ValueError, match="Duplicated timeseries"):
        PrometheusExporter(registry)
    first.close()
    first.close()
    PrometheusExporter(registry).close()
    assert scrape(registry) == {}


def test_scraping_amid_calls_costs_neither(
    emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    who = pat(emulator)
    with ServingClient("demo", host=who.host, **who.arguments, observers=[exporter]) as client:
        over = threading.Event()

        def call() -> None:
            for _ in range(50):
                client.predict(ROWS)

        def look() -> None:
            while not over.is_set():
                scrape(registry)

        callers = [threading.Thread(target=call) for _ in range(4)]
        looker = threading.Thread(target=look)
        for thread in (*callers, looker):
            thread.start()
        for thread in callers:
            thread.join()
        over.set()
        looker.join()
        assert one(scrape(registry), "call_attempts_total", endpoint="demo") == 200


def test_no_label_holds_an_id_an_address_or_an_input(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    settings = QUICK.replace(batching=Batching(), hedge=Hedge())
    client = door.open("demo", pat(emulator), settings, observers=[exporter])
    emulator.script("demo", faults.throttled(), faults.reset(), faults.ok())
    door.predict(client, [{WORD: 1.0}], client_request_id="order-17")
    text = generate_latest(registry).decode()
    for value in re.findall(r'(\w+)="([^"]*)"', text):
        name, found = value
        assert name in {"endpoint", "le", *(x for m in METRICS.values() for x in m.labels)}
        assert re.fullmatch(r"[A-Za-z_]{1,30}|\d{3}|[\d.]+|\+Inf", found), value
    ids = [str(record.request_id) for record in invocations(emulator)]
    assert not [one for one in ("order-17", WORD, emulator.host, *ids) if one in text]


def test_a_client_whose_figures_fail_still_closes(
    door: Door,
    emulator: Emulator,
    registry: CollectorRegistry,
    exporter: PrometheusExporter,
    overheard: Overheard,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    client = door.open("demo", pat(emulator), QUICK, observers=[exporter])
    door.predict(client)
    scrape(registry)

    def broken() -> None:
        raise RuntimeError("no figures")

    monkeypatch.setattr(client, "stats", broken)
    scrape(registry)
    door.close(client)
    assert one(scrape(registry), "call_attempts_total", endpoint="demo") == 1
    assert "figures_failed endpoint=demo" in overheard.text


def test_every_name_is_one_that_prometheus_takes() -> None:
    names = [metric_name(metric) for metric in METRICS.values()]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[a-z][a-z0-9_]+", name)
        assert not name.endswith(("_total", "_count", "_sum", "_bucket"))


def test_a_worker_means_the_same_as_the_exporter(
    door: Door, emulator: Emulator, registry: CollectorRegistry, exporter: PrometheusExporter
) -> None:
    counted = CollectorRegistry()
    worker = PrometheusWorker(counted)
    emulator.add_endpoint("assistant", kind="agent")
    emulator.add_endpoint("echo", echo="id", slots=1, queue=64, service_time_s=0.02)
    both = {"observers": [worker, exporter]}
    client = door.open("demo", pat(emulator), QUICK, **both)
    emulator.script("demo", faults.throttled(), faults.reset("before"), faults.ok())
    door.predict(client, idempotent=True)
    emulator.script("demo", faults.answer(400, "{}"), faults.truncated_json(), faults.hang())
    for error in (BadRequest, ServingError, DeadlineExceeded):
        with pytest.raises(error):
            door.predict(client, timeout=0.5)
    streaming = door.open("assistant", pat(emulator), QUICK, **both)
    assert door.events(streaming, {"messages": [{"role": "user", "content": "three"}]})
    sharing = door.open("echo", pat(emulator), QUICK.replace(batching=SHARED), **both)
    emulator.script("echo", faults.throttled())
    door.many(sharing, ({"inputs": [{"id": n, "b": 0.5}]} for n in range(24)))
    told = {key: value for key, value in scrape(counted).items() if not key[0].endswith("_created")}
    other = scrape(registry)
    rough = ("_sum", "_bucket")  # one adds up histograms, whose buckets are others
    exact = {key: value for key, value in told.items() if not key[0].endswith(rough)}
    assert exact == {key: other[key] for key in exact}
    names = {key[0] for key in exact}
    assert {key: value for key, value in other.items() if key[0] in names and value} == exact
    sums = {key: value for key, value in told.items() if key[0].endswith("_sum")}
    assert sums == pytest.approx({key: other[key] for key in sums})
    assert one(told, "attempt_failures_total", endpoint="demo", reason="unfit") == 1
    worker.close()
    assert scrape(counted) == {}


SHARED = Batching(max_in_flight=1)
