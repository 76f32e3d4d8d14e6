"""What exporters tell of a client: the metrics, and their values in a snapshot. Pure.

Names are those of this table, with dots; an exporter writes them as its system does. No label ever
holds an id or anything of an input. An external API is told by the base URL its client was given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Final, Literal, NamedTuple
from urllib.parse import urlsplit

from servingclient._stats import BatchingStats, EnrichmentStats
from servingclient.telemetry.histogram import Histogram, lower_bound, merged
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.traffic import Traffic

Kind = Literal["counter", "gauge", "lowest", "highest", "histogram"]
"""How several clients of one endpoint add up: as a sum, but the lowest or highest of two gauges."""

PREFIX: Final = "servingclient."
SECONDS: Final = (
    *(0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.075),
    *(0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0),
)
"""Bounds of buckets: those of OpenTelemetry's HTTP conventions, which begin at 5 ms, and finer ones
below for what takes place in this process; above, for calls that are tried again."""
BYTES: Final = tuple(float(4**power) for power in range(4, 13))
"""256 B to 16 MiB, the largest request there is."""


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: With dots, after ``servingclient.``.
        kind: What it is.
        unit: As in UCUM: ``"s"``, ``"By"``, or what is counted in braces.
        labels: Names of its labels, without ``endpoint``, which all have.
        text: What it says.
    """

    name: str
    kind: Kind
    unit: str
    labels: tuple[str, ...]
    text: str


_ALL: Final = (
    Metric("call.duration", "histogram", "s", ("outcome",), "Whole calls, as callers saw them"),
    Metric("stream.duration", "histogram", "s", (), "Streams, from the call to their end"),
    Metric("call.errors", "counter", "{call}", ("error",), "Calls that failed, by class of error"),
    Metric("call.cancelled", "counter", "{call}", (), "Calls interrupted by their callers"),
    Metric("call.attempts", "counter", "{attempt}", (), "Requests sent or tried"),
    Metric("call.retries", "counter", "{attempt}", (), "Attempts after the first of a call"),
    Metric("call.retry_delay", "histogram", "s", (), "Pauses between the attempts of a call"),
    Metric("call.hedges", "counter", "{attempt}", (), "Second requests sent for late replies"),
    Metric("call.hedge_wins", "counter", "{attempt}", (), "Second requests that came first"),
    Metric("attempt.failures", "counter", "{attempt}", ("reason",), "Attempts that failed"),
    Metric("attempt.failed.duration", "histogram", "s", (), "Attempts that failed"),
    Metric("throttled", "counter", "{attempt}", (), "Attempts the endpoint had no room for"),
    Metric("first_byte.duration", "histogram", "s", (), "From a request sent to the reply"),
    Metric("queue.depth", "gauge", "{call}", (), "Calls that wait for a place"),
    Metric("queue.rejected", "counter", "{call}", (), "Calls refused: they would be too late"),
    Metric("queue.wait.duration", "histogram", "s", (), "Waiting for a place"),
    Metric("concurrency.limit", "gauge", "{call}", (), "Calls admitted at once"),
    Metric("concurrency.inflight", "gauge", "{call}", (), "Calls admitted and not finished"),
    Metric("connections", "gauge", "{connection}", ("state",), "Open connections"),
    Metric("connections.opened", "counter", "{connection}", (), "Connections opened"),
    Metric("connections.stale", "counter", "{connection}", (), "Reused ones found dead"),
    Metric("connections.acquire_duration", "histogram", "s", (), "Opening; 0 on a reused one"),
    Metric("serialization.duration", "histogram", "s", ("stage",), "Encoding and decoding"),
    Metric("stage.duration", "histogram", "s", ("stage",), "Functions of the user around calls"),
    Metric("stage.errors", "counter", "{call}", ("stage",), "Times one raised or took too long"),
    Metric("request.body.size", "histogram", "By", (), "Encoded requests, not compressed"),
    Metric("response.body.size", "histogram", "By", (), "Decoded replies"),
    Metric("payload", "counter", "By", ("stage",), "Packed requests, before (raw) and as sent"),
    Metric("auth.wait.duration", "histogram", "s", (), "Waiting for a token or route"),
    Metric("auth.token.age", "highest", "s", (), "Age of the token in use"),
    Metric("auth.token.left", "lowest", "s", (), "Until its end, where that is known"),
    Metric("auth.token.failing", "highest", "1", (), "1 while it cannot be renewed"),
    Metric("retry_quota.available", "gauge", "1", (), "Tokens left for retries and hedges"),
    Metric("batch.calls", "counter", "{call}", (), "Calls that went through the batcher"),
    Metric("batch.rows", "counter", "{row}", (), "Their rows"),
    Metric("batch.requests", "counter", "{request}", (), "Requests made of them"),
    Metric("batch.releases", "counter", "{request}", ("reason",), "Why a batch left"),
    Metric("cache.requests", "counter", "{call}", ("api", "result"), "Values of external APIs"),
    Metric("enrichment.requests", "counter", "{request}", ("api",), "Sent to an external API"),
    Metric("enrichment.throttled", "counter", "{request}", ("api",), "Told to slow down"),
    Metric("enrichment.refused", "counter", "{call}", ("api",), "Refused by the open breaker"),
    Metric("enrichment.p99", "highest", "s", ("api",), "What it takes, 99th percentile"),
    Metric("breaker.state", "highest", "1", ("api",), "0 closed, 1 half open, 2 open"),
)
METRICS: Final[Mapping[str, Metric]] = {metric.name: metric for metric in _ALL}

_BREAKER: Final = {"closed": 0.0, "half_open": 1.0, "open": 2.0}

Key = tuple[str, tuple[str, ...]]
"""Name of a metric, and its labels' values: the endpoint's first."""
Value = float | Histogram
Figures = Mapping[Key, Value]


_Found = Iterator[tuple[str, tuple[str, ...], Value]]


def figures(stats: Stats) -> dict[Key, Value]:
    """What a snapshot says, metric by metric; external APIs apart, which several may share."""
    return {(name, (stats.endpoint, *labels)): value for name, labels, value in _of_client(stats)}


def figures_of_api(endpoint: str, stats: EnrichmentStats) -> dict[Key, Value]:
    """What an external API's figures say, metric by metric.

    Args:
        endpoint: Whose client has it.
        stats: Its figures.
    """
    return {(name, (endpoint, *labels)): value for name, labels, value in _of_api(stats)}


def api_label(url: str) -> str:
    """An API's base URL without its scheme: host, port and path. Never user or query."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] + parts.path.rstrip("/") if parts.netloc else "unknown"


def _of_client(stats: Stats) -> _Found:
    yield from _of_traffic(stats.total)
    now = stats.concurrency
    yield "queue.depth", (), now.waiting
    yield "queue.rejected", (), now.rejected
    yield "concurrency.limit", (), now.limit
    yield "concurrency.inflight", (), now.in_flight
    yield "retry_quota.available", (), stats.retry_quota
    if stats.lanes is not None:
        yield "connections", ("active",), stats.lanes.busy
        yield "connections", ("idle",), stats.lanes.idle
        yield "connections.opened", (), stats.lanes.opened
        yield "connections.stale", (), stats.lanes.stale
    if stats.token is not None:
        yield "auth.token.age", (), stats.token.age_s
        yield "auth.token.failing", (), float(stats.token.failing)
        if stats.token.left_s is not None:
            yield "auth.token.left", (), stats.token.left_s
    if stats.hedging is not None:
        yield "call.hedges", (), stats.hedging.hedges
        yield "call.hedge_wins", (), stats.hedging.wins
    if stats.batching is not None:
        yield from _of_batches(stats.batching)


def _of_traffic(total: Traffic) -> _Found:
    yield "call.duration", ("answered",), total.answered_s
    yield "call.duration", ("failed",), total.failed_s
    yield "stream.duration", (), total.stream_s
    for error, count in total.errors.items():
        yield "call.errors", (error,), count
    yield "call.cancelled", (), total.cancelled
    yield "call.attempts", (), total.attempts
    yield "call.retries", (), total.retries
    yield "call.retry_delay", (), total.backoff_s
    for reason, count in total.failed_attempts.items():
        yield "attempt.failures", (reason,), count
    yield "attempt.failed.duration", (), total.failed_attempt_s
    yield "throttled", (), total.throttled
    yield "first_byte.duration", (), total.first_byte_s
    yield "queue.wait.duration", (), total.queue_s
    yield "connections.acquire_duration", (), total.connect_s
    yield "serialization.duration", ("encode",), total.encode_s
    yield "serialization.duration", ("decode",), total.decode_s
    for stage, spent in (
        ("preprocess", total.preprocess_s),
        ("enrich", total.enrich_s),
        ("postprocess", total.postprocess_s),
    ):
        if spent.count:
            yield "stage.duration", (stage,), spent
    for stage, count in total.stage_errors.items():
        yield "stage.errors", (stage,), count
    yield "request.body.size", (), total.request_bytes
    yield "response.body.size", (), total.reply_bytes
    yield "payload", ("raw",), total.unpacked_bytes.sum
    yield "payload", ("wire",), total.packed_bytes.sum
    yield "auth.wait.duration", (), total.token_s


def _of_batches(batching: BatchingStats) -> _Found:
    yield "batch.calls", (), batching.calls
    yield "batch.rows", (), batching.rows
    yield "batch.requests", (), batching.batches
    for reason, count in batching.releases.items():
        yield "batch.releases", (reason,), count


def _of_api(api: EnrichmentStats) -> _Found:
    label = api_label(api.api)
    for result, count in (
        ("hit", api.hits),
        ("miss", api.misses),
        ("stale", api.stale),
        ("coalesced", api.coalesced),
        ("negative", api.negatives),
    ):
        yield "cache.requests", (label, result), count
    yield "enrichment.requests", (label,), api.requests
    yield "enrichment.throttled", (label,), api.throttled
    yield "enrichment.refused", (label,), api.refused
    if api.p99_s is not None:
        yield "enrichment.p99", (label,), api.p99_s
    if api.breaker is not None:
        yield "breaker.state", (label,), _BREAKER.get(api.breaker, 0.0)


def together(several: Iterable[Figures]) -> dict[Key, Value]:
    """The figures of several clients; those of one endpoint add up."""
    found: dict[Key, Value] = {}
    for one in several:
        for key, value in one.items():
            known = found.get(key)
            found[key] = value if known is None else _sum(METRICS[key[0]].kind, known, value)
    return found


def _sum(kind: Kind, one: Value, other: Value) -> Value:
    if isinstance(one, Histogram) or isinstance(other, Histogram):
        assert isinstance(one, Histogram)
        assert isinstance(other, Histogram)
        return merged((one, other))
    if kind == "lowest":
        return min(one, other)
    return max(one, other) if kind == "highest" else one + other


def lasting(found: Figures) -> dict[Key, Value]:
    """What stays true of a client that is closed: what it has counted, not what it holds."""
    return {key: value for key, value in found.items() if METRICS[key[0]].kind in _COUNTED}


_COUNTED: Final = ("counter", "histogram")


def since(now: Histogram, before: Histogram) -> Histogram:
    """What was put into a histogram after it stood at ``before``; its ends are those of buckets."""
    known = dict(before.items())
    grown = {bucket: count - known.get(bucket, 0) for bucket, count in now.items()}
    items = sorted((bucket, count) for bucket, count in grown.items() if count > 0)
    if not items:
        return Histogram()
    low, high = lower_bound(items[0][0]), lower_bound(items[-1][0] + 1)
    total = max(0.0, now.sum - before.sum)
    buckets, counts = [item[0] for item in items], [item[1] for item in items]
    # a value is put into the bucket its single-precision neighbour lies in: the ends may cross
    first, last = max(low, now.min), min(high, now.max)
    return Histogram.decode([1, total, min(first, last), max(first, last), buckets, counts])


def bounds_of(metric: Metric) -> tuple[float, ...]:
    """Bounds of the buckets of a histogram."""
    return BYTES if metric.unit == "By" else SECONDS
