"""The trace that a request belongs to, where OpenTelemetry is installed."""

from __future__ import annotations

from collections.abc import Iterable

try:
    from opentelemetry import context, propagate, trace
except ImportError:  # without it nobody would read the trace

    def join_trace(headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Nothing to join."""
else:

    def join_trace(headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Make the caller's trace current in the running task, so that calls continue it.

        Header lines are read by the global propagator: W3C ``traceparent``, ``tracestate`` and
        ``baggage``. Where a span is current already, the service is traced by other means, and
        calls are that span's children.
        """
        if not trace.get_current_span().get_span_context().is_valid:
            lines = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
            context.attach(propagate.extract(lines))
