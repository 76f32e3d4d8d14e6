"""The figures of a client as rows of words, and as a table of plain text. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from servingclient._stats import EnrichmentStats, HedgingStats, LaneStats, TokenStats
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.traffic import Traffic

NONE: Final = "–"
_MOST_ERRORS: Final = 5
"""Classes of errors that are named; the tree has some thirty, an outage makes two or three."""


class Row(NamedTuple):
    """One figure over the windows, or over what there is now.

    Attributes:
        name: What it is.
        cells: One for each window, or the only one.
    """

    name: str
    cells: tuple[str, ...]


def title(stats: Stats) -> str:
    """What the table is of."""
    return f"{stats.endpoint}: {count(stats.total.calls)} calls in {span(stats.total.span_s)}"


def columns_of(stats: Stats) -> list[tuple[str, Traffic]]:
    """The columns and what stands above them; no window that is longer than there is to tell."""
    windows = [("all", stats.total)]
    if stats.total.span_s > 300.0:
        windows.insert(0, ("5 min", stats.last_5min))
    if stats.total.span_s > 60.0:
        windows.insert(0, ("1 min", stats.last_minute))
    if stats.total.span_s > 10.0:
        windows.insert(0, ("10 s", stats.last_10s))
    return windows


def traffic_rows(stats: Stats) -> Iterator[Row]:
    """What happened in each window."""
    return side_by_side(columns_of(stats), stats.total)


def side_by_side(named: Sequence[tuple[str, Traffic]], total: Traffic) -> Iterator[Row]:
    """What happened in each of several, beside each other.

    Args:
        named: What stands above each, and what happened there.
        total: Decides which rows there are.
    """
    heads, columns = zip(*named, strict=True)
    yield Row("", heads)
    yield Row("calls a second", tuple(rate(traffic.qps) for traffic in columns))
    yield Row("failed", tuple(percent(traffic.error_rate) for traffic in columns))
    for name in _worst_errors(total):
        cells = tuple(count(traffic.errors.get(name, 0)) for traffic in columns)
        yield Row(f"  {name}", cells)
    if total.cancelled:
        yield Row("cancelled", tuple(count(traffic.cancelled) for traffic in columns))
    if total.streams:
        yield Row("streams", tuple(count(traffic.streams) for traffic in columns))
    yield Row("P50", tuple(seconds(traffic.p50_s) for traffic in columns))
    yield Row("P90", tuple(seconds(traffic.p90_s) for traffic in columns))
    yield Row("P99", tuple(seconds(traffic.p99_s) for traffic in columns))
    yield Row("P99.9", tuple(seconds(traffic.p999_s) for traffic in columns))
    yield Row("longest", tuple(seconds(traffic.max_s) for traffic in columns))
    waits = tuple(seconds(traffic.queue_s.quantile(0.99)) for traffic in columns)
    yield Row("wait for a place, P99", waits)
    for name, share in (("first byte, P50", 0.5), ("first byte, P99", 0.99)):
        yield Row(name, tuple(seconds(t.first_byte_s.quantile(share)) for t in columns))
    yield from _stage_rows(total, columns)
    yield Row("attempts", tuple(count(traffic.attempts) for traffic in columns))
    yield Row("retries", tuple(count(traffic.retries) for traffic in columns))
    yield Row("throttled", tuple(count(traffic.throttled) for traffic in columns))
    yield Row("request, mean", tuple(size(traffic.request_bytes.mean) for traffic in columns))
    yield Row("reply, mean", tuple(size(traffic.reply_bytes.mean) for traffic in columns))


def _stage_rows(total: Traffic, columns: Sequence[Traffic]) -> Iterator[Row]:
    """The user's functions around calls, where there are any."""
    for name in ("preprocess", "enrich", "postprocess"):
        spent = f"{name}_s"
        if getattr(total, spent).count:
            cells = tuple(seconds(getattr(one, spent).quantile(0.99)) for one in columns)
            yield Row(f"{name}, P99", cells)
    for name in total.stage_errors:
        yield Row(f"{name} failed", tuple(count(one.stage_errors.get(name, 0)) for one in columns))


def _worst_errors(total: Traffic) -> list[str]:
    ranked = sorted(total.errors.items(), key=lambda item: (-item[1], item[0]))
    return [name for name, _ in ranked[:_MOST_ERRORS]]


def present_rows(stats: Stats) -> Iterator[Row]:
    """What the client holds now."""
    gate = stats.concurrency
    yield _fact("calls at once", f"{count(gate.in_flight)} of {count(gate.limit)}")
    yield _fact("in the queue", f"{count(gate.waiting)}, {count(gate.rejected)} turned away so far")
    yield _fact("retry quota", count(stats.retry_quota))
    if stats.lanes is not None:
        yield _fact("connections", _lanes(stats.lanes, stats.total.reused_share))
    if stats.token is not None:
        yield _fact("token", _token(stats.token))
    batching = stats.batching
    if batching is not None:
        mean = f"{batching.rows / batching.batches:.1f}" if batching.batches else NONE
        waiting = f"{count(batching.waiting)} calls gather"
        batches = f"{count(batching.batches)} of {mean} rows on average"
        yield _fact("shared requests", f"{batches}, {waiting}")
    if stats.hedging is not None:
        yield _fact("hedges", _hedging(stats.hedging))
    packed, unpacked = stats.total.packed_bytes, stats.total.unpacked_bytes
    if packed.count:
        yield _fact("packed", f"{size(unpacked.mean)} to {size(packed.mean)} on average")
    for api in stats.enrichment:
        yield _fact(f"API {api.api}", _api(api))


def _fact(name: str, value: str) -> Row:
    return Row(name, (value,))


def _lanes(lanes: LaneStats, reused: float | None) -> str:
    text = f"{count(lanes.busy)} busy, {count(lanes.idle)} idle, {count(lanes.opened)} opened"
    if lanes.stale:
        text += f", {count(lanes.stale)} found dead"
    return text if reused is None else f"{text}; {percent(reused)} of calls found one open"


def _token(token: TokenStats) -> str:
    text = f"{span(token.age_s)} old"
    if token.left_s is not None:
        text += f", {span(token.left_s)} left"
    return f"{text}, renewing fails" if token.failing else text


def _hedging(hedging: HedgingStats) -> str:
    after = "" if hedging.delay_s is None else f" after {seconds(hedging.delay_s)}"
    return f"{count(hedging.hedges)} sent{after}, {count(hedging.wins)} came first"


def _api(api: EnrichmentStats) -> str:
    asked = api.hits + api.misses + api.stale + api.coalesced + api.negatives
    hits = percent(api.hits / asked) if asked else NONE
    breaker = "" if api.breaker in {None, "closed"} else f", breaker {api.breaker}"
    return (
        f"{rate(api.qps)} a second, {hits} from the cache, P99 {seconds(api.p99_s)}, "
        f"{percent(api.error_rate)} failed{breaker}"
    )


def text(stats: Stats) -> str:
    """The table as plain text."""
    rows = list(traffic_rows(stats))
    present = list(present_rows(stats))
    wide = max(len(row.name) for row in (*rows, *present))
    broad = max(len(cell) for row in rows for cell in row.cells)
    lines = [title(stats), ""]
    for name, cells in rows:
        lines.append(f"  {name:{wide}}" + "".join(f"  {cell:>{broad}}" for cell in cells))
    lines.append("")
    lines += [f"  {name:{wide}}  {value}" for name, (value,) in present]
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------ words


def count(number: int) -> str:
    """A whole number."""
    return f"{number:,}"


def rate(number: float) -> str:
    """A number of three figures."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def percent(share: float) -> str:
    """A share."""
    return "0 %" if share == 0.0 else f"{100 * share:.3g} %"


def seconds(value: float | None) -> str:
    """A duration of a call."""
    if value is None:
        return NONE
    if value == 0.0:
        return "0"
    if value < 0.9995e-3:
        return f"{value * 1e6:.3g} µs"
    if value < 0.9995:
        return f"{value * 1e3:.3g} ms"
    return f"{value:,.0f} s" if value >= 100 else f"{value:.3g} s"


def span(value: float) -> str:
    """A length of time."""
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def size(value: float | None) -> str:
    """A number of bytes."""
    if value is None:
        return NONE
    for unit, factor in (("MB", 1e6), ("KB", 1e3)):
        if value >= 0.9995 * factor:
            return f"{rate(value / factor)} {unit}"
    return f"{rate(value)} B"
