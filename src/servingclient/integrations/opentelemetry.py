"""Traces and metrics through OpenTelemetry: ``pip install 'servingclient[otel]'``.

::

    client = ServingClient("fraud-model", observers=[OpenTelemetry()])

A call is one span of kind ``client``, with an event for each attempt that failed. Rows of several
callers in one request are one such span, linked with an ``internal`` span for each caller. Names
are those of OpenTelemetry's HTTP client conventions, then ``servingclient.*``:
https://opentelemetry.io/docs/specs/semconv/http/
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from opentelemetry import metrics, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind, TracerProvider

from servingclient._ports import Figured, Role, Span
from servingclient._version import __version__
from servingclient.integrations.otel_span import METHOD, CallSpan, complain
from servingclient.integrations.watched import Watched
from servingclient.telemetry import exported
from servingclient.telemetry.exported import METRICS, PREFIX, SECONDS, Figures, Metric
from servingclient.telemetry.histogram import Histogram

_FRESH_S: Final = 0.2
"""So long one reading of the clients serves all instruments: they are read one after the other."""

Attributes = Mapping[str, str | int | float | bool]


class OpenTelemetry:
    """Spans of calls, and the figures of clients; given to them as an observer.

    With the SDK, a call's two durations take 20 us and its span another 35; all other metrics are
    read when they are collected, and cost a call nothing.

    Args:
        tracer_provider: Where spans go; None is the global one.
        meter_provider: Where metrics go; None is the global one.
        propagator: Writes the header lines that continue the trace at the endpoint; None is the
            global one: W3C ``traceparent``, ``tracestate`` and ``baggage``.
    """

    def __init__(
        self,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        self._tracer = trace.get_tracer("servingclient", __version__, tracer_provider)
        self._propagator = propagator
        self._watched = Watched()
        self._read_s = float("-inf")
        self._figures: Figures = {}
        meter = metrics.get_meter("servingclient", __version__, meter_provider)
        self._requests = meter.create_histogram(
            "http.client.request.duration",
            unit="s",
            description="Attempts: requests to the endpoint",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._calls = meter.create_histogram(
            f"{PREFIX}call.duration",
            unit="s",
            description=METRICS["call.duration"].text,
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        for name, metric in METRICS.items():
            if name != "call.duration":
                self._observe(meter, metric)
        meter.create_observable_up_down_counter(
            "http.client.active_requests",
            [partial(self._values, METRICS["concurrency.inflight"])],
            unit="{request}",
            description="Requests under way",
        )
        meter.create_observable_up_down_counter(
            "http.client.open_connections",
            [self._connections],
            unit="{connection}",
            description="Open connections",
        )

    # ------------------------------------------------------------------ calls

    def call_begun(
        self, endpoint: str, age_s: float, role: Role, links: Sequence[Span] = ()
    ) -> Span:
        """See ``_ports.Tracer``."""
        linked = [
            trace.Link(one.span.get_span_context()) for one in links if isinstance(one, CallSpan)
        ]
        member = role == "member"
        parent = Context() if role == "shared" else None
        started = CallSpan(self._requests, self._calls, self._propagator, endpoint, age_s, role)
        try:
            span = self._tracer.start_span(
                f"predict {endpoint}" if member else f"{METHOD} {endpoint}",
                context=parent,
                kind=SpanKind.INTERNAL if member else SpanKind.CLIENT,
                attributes={f"{PREFIX}endpoint": endpoint}
                if member
                else {"http.request.method": METHOD, f"{PREFIX}endpoint": endpoint},
                links=linked,
                start_time=time.time_ns() - int(age_s * 1e9) if age_s > 0.0 else None,
            )
            started.enter(span)
        except Exception as error:  # noqa: BLE001 - a sampler of the user's: it costs no call
            complain(error)
        return started

    # ------------------------------------------------------------------ clients

    def client_opened(self, client: Figured) -> None:
        """See ``_ports.Reader``."""
        self._watched.add(client)

    def client_closed(self, client: Figured) -> None:
        """See ``_ports.Reader``."""
        self._watched.remove(client)

    def _observe(self, meter: metrics.Meter, metric: Metric) -> None:
        """Histograms have no instrument that is only read: of those the count and the sum."""
        name = PREFIX + metric.name
        if metric.kind == "counter":
            meter.create_observable_counter(
                name, [partial(self._values, metric)], metric.unit, metric.text
            )
        elif metric.kind != "histogram":
            meter.create_observable_gauge(
                name, [partial(self._values, metric)], metric.unit, metric.text
            )
        else:
            for part, unit in (("count", "{value}"), ("sum", metric.unit)):
                meter.create_observable_counter(
                    f"{name}.{part}",
                    [partial(self._part, metric, part)],
                    unit,
                    f"{metric.text}: {part}",
                )

    def _of(self, metric: Metric) -> Iterable[tuple[Attributes, exported.Value]]:
        now_s = time.monotonic()
        if now_s - self._read_s > _FRESH_S:
            self._figures, self._read_s = self._watched.figures(), now_s
        names = (f"{PREFIX}endpoint", *(f"{PREFIX}{label}" for label in metric.labels))
        for (name, labels), value in self._figures.items():
            if name == metric.name:
                yield dict(zip(names, labels, strict=True)), value

    def _values(self, metric: Metric, _: CallbackOptions) -> Iterable[Observation]:
        for attributes, value in self._of(metric):
            assert not isinstance(value, Histogram)
            yield Observation(value, attributes)

    def _part(self, metric: Metric, part: str, _: CallbackOptions) -> Iterable[Observation]:
        for attributes, value in self._of(metric):
            yield Observation(getattr(value, part), attributes)

    def _connections(self, _: CallbackOptions) -> Iterable[Observation]:
        for attributes, value in self._of(METRICS["connections"]):
            assert not isinstance(value, Histogram)
            state = attributes[f"{PREFIX}state"]
            yield Observation(
                value,
                {
                    f"{PREFIX}endpoint": attributes[f"{PREFIX}endpoint"],
                    "http.connection.state": state,
                },
            )
