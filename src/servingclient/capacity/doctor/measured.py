"""What a doctor judges by: what callers saw, and what the endpoint says. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from servingclient._stats import EnrichmentStats, TokenStats
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.table import span
from servingclient.telemetry.traffic import Traffic

_FASTEST = 0.05
"""Share of replies that stands for those that met no queue; the very fastest may be luck."""
_LEAST_SPAN_S = 10.0
"""A rate is one only over some time; the shortest window of a client's figures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """Calls of one client in one window. Durations are in seconds.

    Attributes:
        source: Which calls, in words.
        count: How many ended.
        qps: Of them, a second.
        p50_s: Whole calls, median; None where none was answered: refusals are fast. So are those
            below.
        p90_s: The 90th percentile.
        p99_s: The 99th percentile.
        mean_s: Whole calls that were answered, mean.
        first_byte_mean_s: From the end of sending to the first byte of the reply, mean.
        first_byte_p50_s: The median.
        first_byte_longest_s: The longest.
        unloaded_s: First byte of the fastest calls since the start of the client.
        error_rate: Share that failed.
        errors: Failed calls by class of error.
        failed_attempts: Attempts that failed, by status or kind.
        attempts: Requests sent or tried.
        throttled: Attempts that met no room.
        waited_mean_s: Wait for a place in the client, mean.
        waiting: Calls in the client's queue now.
        request_mean_bytes: Encoded request, mean.
        request_longest_bytes: The largest.
        reused_share: Share that found a connection open.
    """

    source: str = "this client"
    count: int = 0
    qps: float = 0.0
    p50_s: float | None = None
    p90_s: float | None = None
    p99_s: float | None = None
    mean_s: float | None = None
    first_byte_mean_s: float | None = None
    first_byte_p50_s: float | None = None
    first_byte_longest_s: float | None = None
    unloaded_s: float | None = None
    error_rate: float = 0.0
    errors: Mapping[str, int] = field(default_factory=dict)
    failed_attempts: Mapping[str, int] = field(default_factory=dict)
    attempts: int = 0
    throttled: int = 0
    waited_mean_s: float | None = None
    waiting: int = 0
    request_mean_bytes: float | None = None
    request_longest_bytes: float | None = None
    reused_share: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The endpoint as its workspace describes it; None is what it does not say.

    Attributes:
        ready: Whether it serves.
        updating: The service's word for a change under way or failed.
        route_optimized: It has a URL of its own.
        scale_to_zero: It may scale to zero.
        most_slots: Provisioned concurrency it may scale to.
        workload_type: Its hardware.
        limit_bytes: Largest request it takes, as documented.
    """

    ready: bool | None = None
    updating: str | None = None
    route_optimized: bool = False
    scale_to_zero: bool | None = None
    most_slots: int | None = None
    workload_type: str | None = None
    limit_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """Everything a doctor judges by.

    Attributes:
        endpoint: Its name.
        calls: What this client saw; without calls, all is judged by the endpoint's own figures.
        described: The workspace's description; None where it could not be read.
        why_undescribed: Why not, as one sentence.
        figures: The endpoint's own figures; ``why_none`` tells why there are none.
        token: The token in use; None without one.
        why_no_token: Why there is none, as one sentence.
        apis: External APIs that calls ask.
        round_trip_s: Seconds a request took that ran no model: the network at most.
    """

    endpoint: str
    calls: Calls = field(default_factory=Calls)
    described: Described | None = None
    why_undescribed: str = "The description was not read."
    figures: EndpointFigures = field(default_factory=EndpointFigures)
    token: TokenStats | None = None
    why_no_token: str = ""
    apis: tuple[EnrichmentStats, ...] = ()
    round_trip_s: float | None = None

    @property
    def qps(self) -> float | None:
        """Calls a second: what the endpoint counts of all its callers, or this client's if more."""
        mine = self.calls.qps if self.calls.count else None
        known = [rate for rate in (self.figures.qps, mine) if rate is not None]
        return max(known, default=None)

    @property
    def slots(self) -> float | None:
        """Provisioned concurrency: what it has now, else what it may scale to."""
        if self.figures.provisioned_concurrency is not None:
            return self.figures.provisioned_concurrency
        return None if self.described is None else self.described.most_slots

    @property
    def model_mean_s(self) -> float | None:
        """Seconds the model takes, mean of the last minute; by the endpoint's own figures."""
        time = self.figures.model_time
        return None if time is None else time.mean_s

    @property
    def queue_mean_s(self) -> float | None:
        """Seconds a request waits for a slot, likewise."""
        time = self.figures.queue_time
        return None if time is None else time.mean_s


def calls_of(stats: Stats) -> Calls:
    """What a client's figures tell: of five minutes, or of all its time if those are empty."""
    traffic, source = stats.last_5min, "this client, last 5 min"
    if not traffic.calls:
        traffic, source = stats.total, f"this client, in {span(stats.total.span_s)}"
    if traffic.span_s < 300.0:
        source = f"this client, in {span(traffic.span_s)}"
    first_byte, answered = traffic.first_byte_s, bool(traffic.answered_s.count)
    return Calls(
        source=f"{traffic.calls:,} calls of {source}",
        count=traffic.calls,
        qps=_busy_qps(stats, traffic),
        p50_s=traffic.p50_s if answered else None,
        p90_s=traffic.p90_s if answered else None,
        p99_s=traffic.p99_s if answered else None,
        mean_s=traffic.answered_s.mean,
        first_byte_mean_s=first_byte.mean,
        first_byte_p50_s=first_byte.quantile(0.5),
        first_byte_longest_s=first_byte.quantile(1.0),
        unloaded_s=stats.total.first_byte_s.quantile(_FASTEST),
        error_rate=traffic.error_rate,
        errors=traffic.errors,
        failed_attempts=traffic.failed_attempts,
        attempts=traffic.attempts,
        throttled=traffic.throttled,
        waited_mean_s=traffic.queue_s.mean,
        waiting=stats.concurrency.waiting,
        request_mean_bytes=traffic.request_bytes.mean,
        request_longest_bytes=traffic.request_bytes.quantile(1.0),
        reused_share=traffic.reused_share,
    )


def _busy_qps(stats: Stats, traffic: Traffic) -> float:
    """The rate of the window, or of the last 10 s where it has risen since.

    Over less than that it would be none: two calls within 5 ms are not 400 a second.
    """
    shown = (traffic, stats.last_10s)
    return max(window.calls / max(window.span_s, _LEAST_SPAN_S) for window in shown)
