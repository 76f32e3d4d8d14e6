"""Traces and metrics through OpenTelemetry: ``pip install 'servingclient[otel]'``.

::

    client = ServingClient("fraud-model", observers=[OpenTelemetry()])

A call is one span of kind ``client``, with an event for each attempt that failed. Rows of several
callers in one request are one such span, linked with an ``internal`` span for each caller. Names
are those of OpenTelemetry's HTTP client conventions, then ``servingclient.*``:
https://opentelemetry.io/docs/specs/semconv/http/
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from opentelemetry import context, metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind, Status, StatusCode, TracerProvider

from servingclient._ports import Figured, Role, Span
from servingclient._types import Attempt, Origin, Target
from servingclient._version import __version__
from servingclient.errors import ServingError
from servingclient.integrations.watched import Watched
from servingclient.telemetry import exported
from servingclient.telemetry.exported import METRICS, PREFIX, SECONDS, Figures, Metric
from servingclient.telemetry.histogram import Histogram

_log = logging.getLogger("servingclient.export")

_FRESH_S: Final = 0.2
"""So long one reading of the clients serves all instruments: they are read one after the other."""
_QUIET: Final = getattr(context, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
"""What OpenTelemetry's instrumentation of httpx looks for before it adds a span of its own."""
_METHOD: Final = "POST"

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
                f"predict {endpoint}" if member else f"{_METHOD} {endpoint}",
                context=parent,
                kind=SpanKind.INTERNAL if member else SpanKind.CLIENT,
                attributes={f"{PREFIX}endpoint": endpoint}
                if member
                else {"http.request.method": _METHOD, f"{PREFIX}endpoint": endpoint},
                links=linked,
                start_time=time.time_ns() - int(age_s * 1e9) if age_s > 0.0 else None,
            )
            started.enter(span)
        except Exception as error:  # noqa: BLE001 - a sampler of the user's: it costs no call
            _complain(error)
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


class CallSpan:
    """One call under way; see ``_ports.Span``.

    What tracing raises is told in the log and costs no call: providers, samplers, processors and
    propagators are the user's.
    """

    __slots__ = (
        "_began_s",
        "_calls",
        "_context",
        "_endpoint",
        "_origin",
        "_propagator",
        "_requests",
        "_role",
        "_token",
        "span",
    )

    def __init__(
        self,
        requests: metrics.Histogram,
        calls: metrics.Histogram,
        propagator: TextMapPropagator | None,
        endpoint: str,
        age_s: float,
        role: Role,
    ) -> None:
        self._requests = requests
        self._calls = calls
        self._propagator = propagator
        self._endpoint = endpoint
        self._role = role
        self._began_s: float | None = time.perf_counter() - age_s
        self._origin: Origin | None = None
        self._context: Context | None = None
        self._token: Any = None
        self.span: trace.Span = trace.INVALID_SPAN

    def enter(self, span: trace.Span) -> None:
        """Follow the call with ``span``, which the running code is inside of from now on."""
        self.span = span
        inside = trace.set_span_in_context(span)
        if _QUIET is not None and span.get_span_context().is_valid:
            inside = context.set_value(_QUIET, True, inside)
        self._context = inside
        self._token = context.attach(inside)

    @property
    def recording(self) -> bool:
        """See ``_ports.Span``."""
        return self.span.is_recording()

    def carried(self, target: Target) -> Target:
        """See ``_ports.Span``."""
        lines: dict[str, str] = {}
        try:
            if target.origin != self._origin:
                self._origin = target.origin
                if self.span.is_recording():
                    self.span.set_attributes(
                        {
                            "server.address": target.origin.host,
                            "server.port": target.origin.port,
                            "url.full": f"{target.origin}{target.path}",
                        }
                    )
            (self._propagator or propagate.get_global_textmap()).inject(lines, self._context)
            return target.adding(lines.items())
        except Exception as error:  # noqa: BLE001 - see above
            _complain(error)
            return target

    def attempt_failed(self, attempt: Attempt) -> None:
        """See ``_ports.Span``."""
        if not self.span.is_recording():
            return
        known = {
            "http.response.status_code": attempt.status,
            f"{PREFIX}attempt.cause": attempt.cause,
            f"{PREFIX}attempt.duration": attempt.duration_s,
            f"{PREFIX}attempt.wait": attempt.wait_s,
            f"{PREFIX}request_id": attempt.request_id,
        }
        try:
            self.span.add_event(
                f"{PREFIX}attempt_failed",
                {name: value for name, value in known.items() if value is not None},
            )
        except Exception as error:  # noqa: BLE001 - see above
            _complain(error)

    def left(self) -> None:
        """See ``_ports.Span``."""
        token, self._token = self._token, None
        if token is not None:
            context.detach(token)

    def ended(
        self,
        attempts: Sequence[Attempt],
        error: BaseException | None = None,
        request_id: str | None = None,
    ) -> None:
        """See ``_ports.Span``."""
        began_s, self._began_s = self._began_s, None
        if began_s is None:
            return
        if isinstance(error, GeneratorExit):
            self._token = None  # the collector ends it, in a context that is not ours to change
        self.left()
        try:
            if self.span.is_recording():
                self._describe(attempts, error, request_id)
            self.span.end()
            if self._role != "member":
                self._record_attempts(attempts)
            if self._role != "shared":
                self._calls.record(time.perf_counter() - began_s, self._outcome(error))
        except Exception as failure:  # noqa: BLE001 - see above
            _complain(failure)

    def _describe(
        self, attempts: Sequence[Attempt], error: BaseException | None, request_id: str | None
    ) -> None:
        known: dict[str, str | int | None] = {f"{PREFIX}attempts": len(attempts)}
        status = attempts[-1].status if attempts else None
        if self._role != "member":
            known["http.response.status_code"] = status
            if len(attempts) > 1:
                known["http.request.resend_count"] = len(attempts) - 1
        if isinstance(error, ServingError):
            request_id = error.request_id
            known[f"{PREFIX}stopped_by"] = error.stopped_by
        known[f"{PREFIX}request_id"] = request_id
        if error is not None:
            known["error.type"] = type(error).__name__
            # the words of our own errors hold no input and no secret; of others' nobody knows
            words = str(error) if isinstance(error, ServingError) else type(error).__name__
            self.span.set_status(Status(StatusCode.ERROR, words))
        self.span.set_attributes(
            {name: value for name, value in known.items() if value is not None}
        )

    def _record_attempts(self, attempts: Sequence[Attempt]) -> None:
        origin = self._origin
        for attempt in attempts:
            about: dict[str, str | int] = {"http.request.method": _METHOD}
            if origin is not None:
                about["server.address"], about["server.port"] = origin.host, origin.port
            if attempt.status is not None:
                about["http.response.status_code"] = attempt.status
            if attempt.cause is not None:
                about["error.type"] = str(attempt.status or "no_reply")
            self._requests.record(attempt.duration_s, about)

    def _outcome(self, error: BaseException | None) -> dict[str, str]:
        about = {f"{PREFIX}endpoint": self._endpoint}
        if error is not None:
            about["error.type"] = type(error).__name__
        return about


def _complain(error: Exception) -> None:
    _log.warning("tracing_failed error=%s", type(error).__name__)
