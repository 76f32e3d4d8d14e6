"""Metrics for Prometheus: ``pip install 'servingclient[prometheus]'``.

::

    exporter = PrometheusExporter()                       # registers itself
    client = ServingClient("fraud-model", observers=[exporter])
    prometheus_client.start_http_server(9400)

Figures are read when Prometheus asks, so a call pays nothing. That needs each process to be asked:
where several answer on one port (gunicorn, uvicorn with workers), ``PrometheusWorker`` writes into
the files of prometheus_client's multiprocess mode instead, which each call pays for.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector

from servingclient._watching import AttemptEnded, CallEnded, Figured
from servingclient.integrations.watched import Watched
from servingclient.telemetry import histogram
from servingclient.telemetry.exported import METRICS, SECONDS, Figures, Metric, Value, bounds_of

_UNITS: Final = {"s": "_seconds", "By": "_bytes"}


def metric_name(metric: Metric) -> str:
    """The name Prometheus knows a metric by, without ``_total``, ``_bucket`` and the like."""
    name = f"servingclient_{metric.name.replace('.', '_')}"
    return name + _UNITS.get(metric.unit, "")


class PrometheusExporter(Collector):
    """The figures of the clients it is given to as an observer.

    Several clients may have it; those of one endpoint add up. What a closed client has counted
    stays, so counters never sink.

    Args:
        registry: Where it registers itself, until ``close``.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._watched = Watched()
        self._registry = registry
        registry.register(self)

    def client_opened(self, client: Figured) -> None:
        """See ``_watching.Reader``."""
        self._watched.add(client)

    def client_closed(self, client: Figured) -> None:
        """See ``_watching.Reader``."""
        self._watched.remove(client)

    def describe(self) -> Iterator[Family]:
        """All there may be: a registry that knows the names refuses a second one at once."""
        return (_family(metric) for metric in METRICS.values())

    def collect(self) -> Iterator[Family]:
        """The figures now."""
        return families(self._watched.figures())

    def close(self) -> None:
        """Leave the registry. May be called again."""
        try:
            self._registry.unregister(self)
        except KeyError:  # it has left already
            pass


def families(figures: Figures) -> Iterator[Family]:
    """Figures as prometheus_client writes them."""
    found: dict[str, Family] = {}
    for (name, labels), value in figures.items():
        metric = METRICS[name]
        family = found.get(name)
        if family is None:
            family = found[name] = _family(metric)
        _put(family, metric, labels, value)
    return iter(found.values())


def _family(metric: Metric) -> Family:
    name, labels = metric_name(metric), ("endpoint", *metric.labels)
    if metric.kind == "histogram":
        return HistogramMetricFamily(name, metric.text, labels=labels)
    if metric.kind == "counter":
        return CounterMetricFamily(name, metric.text, labels=labels)
    return GaugeMetricFamily(name, metric.text, labels=labels)


def _put(family: Family, metric: Metric, labels: tuple[str, ...], value: Value) -> None:
    if isinstance(family, HistogramMetricFamily):
        assert isinstance(value, histogram.Histogram)
        bounds = (*bounds_of(metric), math.inf)
        below = value.up_to(bounds)
        buckets = [(_shown(bound), float(n)) for bound, n in zip(bounds, below, strict=True)]
        family.add_metric(labels, buckets, value.sum)
    else:
        assert isinstance(family, (CounterMetricFamily, GaugeMetricFamily))
        assert not isinstance(value, histogram.Histogram)
        family.add_metric(labels, value)


def _shown(bound: float) -> str:
    return "+Inf" if bound == math.inf else repr(bound)


class PrometheusWorker:
    """Counts calls in one of several worker processes, for prometheus_client's multiprocess mode.

    An observer. It has the metrics that can be counted call by call, under the same names and with
    the same meaning: calls and streams with their durations, errors, queue waits, attempts that
    failed. Make it where the worker starts, with ``PROMETHEUS_MULTIPROC_DIR`` set before
    prometheus_client is imported.

    Args:
        registry: Where the metrics register; what is scraped comes from the files.
    """

    def __init__(self, registry: CollectorRegistry = REGISTRY) -> None:
        self._durations = _histogram("call.duration", registry)
        self._streams = _histogram("stream.duration", registry)
        self._waits = _histogram("queue.wait.duration", registry)
        self._errors = _counter("call.errors", registry)
        self._failures = _counter("attempt.failures", registry)
        self._failed = _histogram("attempt.failed.duration", registry)
        self._registry = registry

    def call_ended(self, event: CallEnded) -> None:
        """See ``_watching.Observer``."""
        endpoint = event.endpoint
        if event.error is not None:
            self._errors.labels(endpoint, event.error).inc()
            self._durations.labels(endpoint, "failed").observe(event.duration_s)
        elif event.streamed:
            self._streams.labels(endpoint).observe(event.duration_s)
        else:
            self._durations.labels(endpoint, "answered").observe(event.duration_s)
            self._waits.labels(endpoint).observe(event.queue_s)

    def attempt_failed(self, event: AttemptEnded) -> None:
        """See ``_watching.Observer``."""
        self._failures.labels(event.endpoint, event.reason).inc()
        self._failed.labels(event.endpoint).observe(event.attempt.duration_s)

    def close(self) -> None:
        """Leave the registry; the files stay, as multiprocess mode wants it."""
        for metric in (
            self._durations,
            self._streams,
            self._waits,
            self._errors,
            self._failures,
            self._failed,
        ):
            self._registry.unregister(metric)


def _histogram(name: str, registry: CollectorRegistry) -> Histogram:
    metric = METRICS[name]
    return Histogram(
        metric_name(metric),
        metric.text,
        ("endpoint", *metric.labels),
        buckets=SECONDS,
        registry=registry,
    )


def _counter(name: str, registry: CollectorRegistry) -> Counter:
    metric = METRICS[name]
    labels = ("endpoint", *metric.labels)
    return Counter(metric_name(metric), metric.text, labels, registry=registry)
