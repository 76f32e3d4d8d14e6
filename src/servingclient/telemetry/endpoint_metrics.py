"""An endpoint's own figures: reading what its ``/metrics`` says. Pure.

Documented are the names and that counts are those of the last minute, gauges in spite of
``_total``, so nothing here is a rate of a counter:
https://docs.databricks.com/aws/en/machine-learning/model-serving/metrics-export-serving-endpoint.
Not documented are the labels, whether histograms cover a minute too, and the two that split the
latency; so series are summed or averaged over whatever labels there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

from servingclient.errors import ConfigError

WINDOW_S: Final = 60.0
"""What counts are of."""
_MOST_LINES: Final = 100_000
"""An endpoint has some hundred."""
_MOST_LINE: Final = 16_384
"""Characters of a line; a longer one is none."""
_MOST_VALUE: Final = 1e12
"""Nothing an endpoint counts in a minute, or measures in milliseconds, comes near; 1e308 is none.
"""
PIECE_LINES: Final = 500
PIECE_CHARS: Final = 131_072
"""Of what is read in one go: a line costs 10 us and 0.06 us a character, so this costs some 15 ms
and an event loop does not stand still for longer."""


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values by buckets, as a server counts them.

    Attributes:
        bounds_s: Upper bounds in seconds, ascending, the last one infinite.
        counts: How many values do not exceed each.
        sum_s: Their sum in seconds; None when it was not sent.
    """

    bounds_s: tuple[float, ...]
    counts: tuple[float, ...]
    sum_s: float | None = None

    @property
    def count(self) -> float:
        """How many values."""
        return self.counts[-1] if self.counts else 0.0

    @property
    def mean_s(self) -> float | None:
        """The mean; None without values or sum."""
        return self.sum_s / self.count if self.count and self.sum_s is not None else None

    def quantile_s(self, share: float) -> float | None:
        """The value that ``share`` of all do not exceed, even within its bucket as Prometheus' own
        ``histogram_quantile`` takes it; beyond the last finite bound it is that bound.

        Args:
            share: 0.99 for the 99th percentile.

        Returns:
            None without values.
        """
        if not self.count:
            return None
        rank = share * self.count
        low_s, below = 0.0, 0.0
        for bound_s, count in zip(self.bounds_s, self.counts, strict=True):
            if count >= rank:
                if bound_s == math.inf or count == below:
                    return low_s
                within_s = (bound_s - low_s) * (rank - below) / (count - below)
                return min(low_s + within_s, bound_s)  # rounded, the sum may exceed its bound
            low_s, below = bound_s, count
        return low_s


@dataclass(frozen=True, slots=True)
class EndpointFigures:
    """What an endpoint says of itself; None is what it does not say.

    Attributes:
        cpu_percent: Processor, the mean of all replicas.
        memory_percent: Memory, likewise.
        gpu_percent: Graphics processors, the mean of all; measured once a minute.
        gpu_memory_percent: Their memory, likewise.
        busiest_cpu_percent: Of the replica with the highest.
        provisioned_concurrency: Requests it works on at once, now.
        requests: Requests of the last minute.
        errors_4xx: Of these, answered 4xx. Requests refused before the model may be missing, so
            only a client's own count of 429 is complete.
        errors_5xx: Of these, answered 5xx.
        latency: Of whole requests inside the service, without signing in and rate limits.
        queue_time: Waiting for the model; not documented.
        model_time: The model itself; not documented.
        samples: Lines that were read.
        skipped: Lines that were none.
        why_none: Why there are no figures at all; None where there are.
    """

    cpu_percent: float | None = None
    memory_percent: float | None = None
    gpu_percent: float | None = None
    gpu_memory_percent: float | None = None
    busiest_cpu_percent: float | None = None
    provisioned_concurrency: float | None = None
    requests: float | None = None
    errors_4xx: float | None = None
    errors_5xx: float | None = None
    latency: Distribution | None = None
    queue_time: Distribution | None = None
    model_time: Distribution | None = None
    samples: int = 0
    skipped: int = 0
    why_none: str | None = None

    @property
    def qps(self) -> float | None:
        """Requests a second over the last minute."""
        return None if self.requests is None else self.requests / WINDOW_S

    @property
    def error_rate(self) -> float | None:
        """Share of the last minute's requests answered 4xx or 5xx; None without requests, or where
        errors are not told.
        """
        if not self.requests or self.errors_4xx is self.errors_5xx is None:
            return None
        return ((self.errors_4xx or 0.0) + (self.errors_5xx or 0.0)) / self.requests


class _Sample(NamedTuple):
    """One line."""

    name: str
    labels: Mapping[str, str]
    value: float


Parser = Callable[[str], Iterable[Any]]


@dataclass(slots=True)
class Reading:
    """What was read of a text so far, by name.

    Attributes:
        parse: From ``parser``.
        by_name: The samples.
        samples: Lines that were read.
        skipped: Lines that were none.
    """

    parse: Parser
    by_name: dict[str, list[_Sample]] = field(default_factory=dict)
    samples: int = 0
    skipped: int = 0

    def take(self, lines: Iterable[str]) -> None:
        """Read some lines. One that is none is counted and skipped."""
        for line in lines:
            stripped = line.strip()
            if stripped and not stripped.startswith("#"):
                self._take(stripped.partition(" # ")[0])

    def _take(self, line: str) -> None:
        try:
            text = f"{line}\n# EOF\n" if len(line) <= _MOST_LINE else ""
            found = [sample for family in self.parse(text) for sample in family.samples]
        except Exception:  # noqa: BLE001 - what a parser makes of rubbish is not told
            found = []
        for sample in found:
            value = float(sample.value)
            if 0.0 <= value <= _MOST_VALUE:
                self.samples += 1
                one = _Sample(sample.name, sample.labels, value)
                self.by_name.setdefault(sample.name, []).append(one)
                return
        self.skipped += 1

    def mean(self, prefix: str, *, numbered: bool = False) -> float | None:
        """The mean over all series; ``numbered`` takes names that go on after the prefix too."""
        found = list(self._values(prefix, numbered=numbered))
        return sum(found) / len(found) if found else None

    def highest(self, name: str) -> float | None:
        """The highest series."""
        return max(self._values(name), default=None)

    def total(self, name: str) -> float | None:
        """The sum over all series."""
        found = list(self._values(name))
        return sum(found) if found else None

    def _values(self, prefix: str, *, numbered: bool = False) -> Iterator[float]:
        for name, samples in self.by_name.items():
            if name == prefix or (numbered and name.startswith(prefix)):
                yield from (sample.value for sample in samples)

    def distribution(self, name: str) -> Distribution | None:
        """A histogram of milliseconds, its series summed bound by bound."""
        counts: dict[float, float] = {}
        for sample in self.by_name.get(f"{name}_bucket", ()):
            bound = _number(sample.labels.get("le"))
            if bound is None or bound < 0.0:
                self.skipped += 1
            else:
                counts[bound] = counts.get(bound, 0.0) + sample.value
        bounds = sorted(counts)
        if not bounds or bounds[-1] != math.inf:
            return None
        running, below = 0.0, []
        for bound in bounds:  # a series without some bound would let the sums sink
            running = max(running, counts[bound])
            below.append(running)
        total_ms = self.total(f"{name}_sum")
        return Distribution(
            tuple(bound / 1e3 for bound in bounds),
            tuple(below),
            None if total_ms is None else total_ms / 1e3,
        )


def _number(text: str | None) -> float | None:
    try:
        found = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(found) else found


def parser() -> Parser:
    """prometheus_client's reader of OpenMetrics text.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        from prometheus_client.openmetrics.parser import text_string_to_metric_families
    except ImportError:
        raise ConfigError(
            "The figures of an endpoint are read with prometheus-client, which is not installed: "
            "pip install 'servingclient[prometheus]'."
        ) from None
    return text_string_to_metric_families


def pieces(text: str) -> Iterator[list[str]]:
    """The lines of a text, as many at a time as may be read in one go."""
    piece, chars = [], 0
    for line in text.splitlines()[:_MOST_LINES]:
        piece.append(line)
        chars += len(line)
        if len(piece) >= PIECE_LINES or chars >= PIECE_CHARS:
            yield piece
            piece, chars = [], 0
    if piece:
        yield piece


def figures_in(text: str, parse: Parser) -> EndpointFigures:
    """The figures in an endpoint's OpenMetrics text, read in one go.

    Args:
        text: What the endpoint answered.
        parse: From ``parser``.
    """
    read = Reading(parse)
    for piece in pieces(text):
        read.take(piece)
    return figures_read(read)


def figures_read(read: Reading) -> EndpointFigures:
    """The figures in what was read."""
    cpu, memory = "cpu_usage_percentage", "mem_usage_percentage"
    found = EndpointFigures(
        cpu_percent=read.mean(cpu),
        memory_percent=read.mean(memory),
        gpu_percent=read.mean("gpu_usage_percentage", numbered=True),
        gpu_memory_percent=read.mean("gpu_mem_usage_percentage", numbered=True),
        busiest_cpu_percent=read.highest(cpu),
        provisioned_concurrency=read.total("provisioned_concurrent_requests_total"),
        requests=read.total("request_count_total"),
        errors_4xx=read.total("request_4xx_count_total"),
        errors_5xx=read.total("request_5xx_count_total"),
        latency=read.distribution("request_latency_ms"),
        queue_time=read.distribution("model_queue_time_ms"),
        model_time=read.distribution("model_prediction_latency_ms"),
    )
    why_none = None
    if not read.samples:
        why_none = "the workspace answered no metrics"
    elif found == EndpointFigures():
        why_none = "the workspace answered metrics, but none of those that are documented"
    return replace(found, samples=read.samples, skipped=read.skipped, why_none=why_none)


_MEANINGS: Final = {
    401: "the workspace refused the token",
    403: "no permission to see its metrics: ask for CAN VIEW on the endpoint",
    404: "no metrics of it: the endpoint does not exist, or this workspace has no metrics API",
}


def why_no_text(status: int, body: bytes) -> str | None:
    """Why an answer is no metrics; None where it may be.

    Args:
        status: HTTP status of the answer.
        body: Its body.
    """
    if status != 200:
        return _MEANINGS.get(status, f"the workspace answered {status}")
    if body.lstrip()[:1] in (b"<", b"{"):
        return "the workspace answered a page or JSON, not metrics"
    return None
