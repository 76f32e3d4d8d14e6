"""The health of an endpoint, ``GET /api/2.0/serving-endpoints/{name}/metrics``: OpenMetrics text.

Documented are the names, the types and that counts are those of the last minute:
https://docs.databricks.com/aws/en/machine-learning/model-serving/metrics-export-serving-endpoint.
``model_queue_time_ms`` and ``model_prediction_latency_ms`` are documented nowhere; others saw them
on live endpoints. Not known are the labels, the bounds of the histograms, and whether these too
cover a minute, as they do here: the one public reading of an endpoint at rest had them at zero.
Processor and memory are made up.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from servingclient.emulator.endpoints import Endpoint

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
WINDOW_S = 60
BOUNDS_MS = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0)
SMALL_CONCURRENCY = 4
"""What ``workload_size`` Small stands for, the description's word for an endpoint without slots."""
_MEMORY_PERCENT = 20.0


@dataclass(slots=True)
class Histogram:
    """How many values lie below each of ``BOUNDS_MS``, and their sum."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_MS) + 1))
    sum_ms: float = 0.0

    def add(self, value_ms: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BOUNDS_MS, value_ms)] += 1
        self.sum_ms += value_ms

    def merge(self, other: Histogram) -> None:
        """Count what another counted."""
        self.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        self.sum_ms += other.sum_ms


@dataclass(slots=True)
class Figures:
    """What one served model answered in some span of time."""

    requests: int = 0
    errors_4xx: int = 0
    errors_5xx: int = 0
    latency: Histogram = field(default_factory=Histogram)
    queue_time: Histogram = field(default_factory=Histogram)
    prediction: Histogram = field(default_factory=Histogram)

    def add(self, status: int, latency_ms: float) -> None:
        """Count one answer."""
        self.requests += 1
        self.errors_4xx += 400 <= status < 500
        self.errors_5xx += status >= 500
        self.latency.add(latency_ms)

    def merge(self, other: Figures) -> None:
        """Count what another counted."""
        self.requests += other.requests
        self.errors_4xx += other.errors_4xx
        self.errors_5xx += other.errors_5xx
        self.latency.merge(other.latency)
        self.queue_time.merge(other.queue_time)
        self.prediction.merge(other.prediction)


class LastMinute:
    """The figures of each served model over the last minute.

    They are kept by the second: single requests would be half a million of them under load.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._seconds: deque[tuple[int, dict[str, Figures]]] = deque()

    def of(self, served_model: str, now_s: float) -> Figures:
        """Return the figures of the second that runs, to be added to."""
        second = int(now_s)
        if not self._seconds or self._seconds[-1][0] != second:
            self._forget_before(second - WINDOW_S)
            self._seconds.append((second, {}))
        figures = self._seconds[-1][1]
        if served_model not in figures:
            figures[served_model] = Figures()
        return figures[served_model]

    def total(self, served_model: str, now_s: float) -> Figures:
        """Return the figures of the last minute."""
        self._forget_before(int(now_s) - WINDOW_S)
        total = Figures()
        for _, figures in self._seconds:
            if served_model in figures:
                total.merge(figures[served_model])
        return total

    def clear(self) -> None:
        """Forget all."""
        self._seconds.clear()

    def _forget_before(self, second: int) -> None:
        while self._seconds and self._seconds[0][0] <= second:
            self._seconds.popleft()


def render(endpoint: Endpoint, now_s: float) -> bytes:
    """Return the text; ``now_s`` is an instant of the monotonic clock."""
    served = {name: endpoint.last_minute.total(name, now_s) for name in endpoint.spec.traffic()}
    slots = endpoint.capacity.slots
    concurrency = SMALL_CONCURRENCY if slots is None else slots
    busy_percent = min(100.0, 100.0 * endpoint.capacity.running / max(concurrency, 1))
    lines = [
        *_gauge("cpu_usage_percentage", dict.fromkeys(served, busy_percent)),
        *_gauge("mem_usage_percentage", dict.fromkeys(served, _MEMORY_PERCENT)),
        *_gauge("provisioned_concurrent_requests_total", dict.fromkeys(served, concurrency)),
        *_gauge("request_count_total", {name: one.requests for name, one in served.items()}),
        *_gauge("request_4xx_count_total", {name: one.errors_4xx for name, one in served.items()}),
        *_gauge("request_5xx_count_total", {name: one.errors_5xx for name, one in served.items()}),
        *_histogram("request_latency_ms", {name: one.latency for name, one in served.items()}),
        *_histogram("model_queue_time_ms", {name: one.queue_time for name, one in served.items()}),
        *_histogram(
            "model_prediction_latency_ms", {name: one.prediction for name, one in served.items()}
        ),
        "# EOF",
    ]
    return "".join(f"{line}\n" for line in lines).encode()


def _labels(served_model: str) -> str:
    return f'served_entity="{served_model}",replica_id="0"'


def _gauge(name: str, values: Mapping[str, float]) -> Iterator[str]:
    yield f"# TYPE {name} gauge"
    for served_model, value in values.items():
        yield f"{name}{{{_labels(served_model)}}} {value}"


def _histogram(name: str, values: Mapping[str, Histogram]) -> Iterator[str]:
    yield f"# TYPE {name} histogram"
    for served_model, value in values.items():
        labels = _labels(served_model)
        below = 0
        for bound, count in zip((*BOUNDS_MS, "+Inf"), value.counts, strict=True):
            below += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
        yield f"{name}_count{{{labels}}} {below}"
        yield f"{name}_sum{{{labels}}} {value.sum_ms:.3f}"
