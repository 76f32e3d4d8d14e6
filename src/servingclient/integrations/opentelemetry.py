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
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.metrics import MeterProvider
from opentelemetry.propagators.textmap import TextMapPropagator
from opentelemetry.trace import SpanKind, TracerProvider

from servingclient._version import __version__
from servingclient._watching import Figured, Role, Span
from servingclient.integrations.otel_metrics import instruments_of
from servingclient.integrations.otel_span import METHOD, CallSpan, complain
from servingclient.telemetry.exported import PREFIX


class OpenTelemetry:
    """Spans of calls, and the figures of clients; given to them as an observer.

    With the SDK, a call's two durations take 20 us and its span another 35; all other metrics are
    read when they are collected, and cost a call nothing. Several observers of one meter provider
    add up.

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
        self._instruments = instruments_of(meter_provider)

    # ------------------------------------------------------------------ calls

    def call_begun(
        self, endpoint: str, age_s: float, role: Role, links: Sequence[Span] = ()
    ) -> Span:
        """See ``_watching.Tracer``."""
        linked = [
            trace.Link(one.span.get_span_context()) for one in links if isinstance(one, CallSpan)
        ]
        member = role == "member"
        parent = Context() if role == "shared" else None
        started = CallSpan(self._instruments, self._propagator, endpoint, age_s, role)
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
        """See ``_watching.Reader``."""
        self._instruments.opened(client)

    def client_closed(self, client: Figured) -> None:
        """See ``_watching.Reader``."""
        self._instruments.closed(client)
