"""The emulator, both doors, and OpenTelemetry's own exporters in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from servingclient.integrations.opentelemetry import OpenTelemetry
from tests.doors.conftest import (  # noqa: F401 - fixtures apply where they are found
    _emulator,
    door,
    emulator,
    overheard,
)


class Begun(SpanProcessor):
    """Every span as it starts."""

    def __init__(self) -> None:
        self.spans: list[ReadableSpan] = []
        self.tell: Callable[[ReadableSpan], object] = id

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        self.spans.append(span)
        self.tell(span)


class Collected:
    """An observer with providers of its own, and what they were given."""

    def __init__(self) -> None:
        self._spans = InMemorySpanExporter()
        self.tracing = TracerProvider(shutdown_on_exit=False)
        self.tracing.add_span_processor(SimpleSpanProcessor(self._spans))
        self._begun = Begun()
        self.tracing.add_span_processor(self._begun)
        self._reader = InMemoryMetricReader()
        self._meters = MeterProvider([self._reader], shutdown_on_exit=False)
        self.observer = OpenTelemetry(self.tracing, self._meters)

    def another(self) -> OpenTelemetry:
        """A further observer with the same providers."""
        return OpenTelemetry(self.tracing, self._meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        """Those that ended, in that order."""
        return list(self._spans.get_finished_spans())

    @property
    def started(self) -> list[ReadableSpan]:
        """Those that began, ended or not."""
        return self._begun.spans

    def when_begun(self, tell: Callable[[ReadableSpan], object]) -> None:
        """Have ``tell`` called with each span that begins."""
        self._begun.tell = tell

    def metrics(self) -> dict[str, dict[frozenset[tuple[str, object]], object]]:
        """By name and attributes: values, and points of histograms."""
        data = self._reader.get_metrics_data()
        found: dict[str, dict[frozenset[tuple[str, object]], object]] = {}
        if data is not None:
            for metric in data.resource_metrics[0].scope_metrics[0].metrics:
                found[metric.name] = {
                    frozenset((point.attributes or {}).items()): getattr(point, "value", point)
                    for point in metric.data.data_points
                }
        return found

    def close(self) -> None:
        self.tracing.shutdown()
        self._meters.shutdown()


@pytest.fixture
def collected() -> Iterator[Collected]:
    one = Collected()
    yield one
    one.close()
