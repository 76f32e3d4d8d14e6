"""What ``client.stats()`` returns: everything known of one client at one instant. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from servingclient._stats import (
    BatchingStats,
    ConcurrencyStats,
    EnrichmentStats,
    HedgingStats,
    LaneStats,
    TokenStats,
)
from servingclient.telemetry.tally import SLOT_S, SLOTS, Recent
from servingclient.telemetry.traffic import Traffic

if TYPE_CHECKING:
    from rich.console import Group


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a curve: 5 s, the first one what is left of them when counting began.

    Attributes:
        ago_s: Seconds from its end to now.
        qps: Calls that ended, a second.
        p99_s: The 99th percentile of their durations; None without any.
        error_rate: Share of them that failed.
    """

    ago_s: float
    qps: float
    p99_s: float | None
    error_rate: float


@dataclass(frozen=True)
class Stats:
    """A snapshot of one client; copies made by ``with_options`` share it.

    It prints as a table, and shows as a card in a notebook. Windows are put together when they are
    first asked for.

    Attributes:
        endpoint: Name of the serving endpoint.
        concurrency: Calls at once and the queue.
        retry_quota: Tokens left for retries and hedges.
        batching: None while batching is off.
        hedging: None while hedging is off.
        lanes: Connections; None where an httpx transport holds them.
        token: The token in use; None before the first.
        enrichment: The external APIs given to the client as ``apis``.
        total: Calls since the start of the client, in a forked child since the fork.
        recent: What the windows are made of.
    """

    endpoint: str
    concurrency: ConcurrencyStats
    retry_quota: int
    batching: BatchingStats | None = None
    hedging: HedgingStats | None = None
    lanes: LaneStats | None = None
    token: TokenStats | None = None
    enrichment: tuple[EnrichmentStats, ...] = ()
    total: Traffic = field(default_factory=Traffic)
    recent: Recent = field(default_factory=Recent, repr=False)

    @cached_property
    def last_10s(self) -> Traffic:
        """The last 10 to 15 s: ``span_s`` tells, here and in the other windows."""
        return Traffic.of(*self.recent.last(10.0))

    @cached_property
    def last_minute(self) -> Traffic:
        """The last minute."""
        return Traffic.of(*self.recent.last(60.0))

    @cached_property
    def last_5min(self) -> Traffic:
        """The last five minutes."""
        return Traffic.of(*self.recent.last(300.0))

    @cached_property
    def history(self) -> tuple[Point, ...]:
        """The last five minutes as a curve, the oldest first, empty slots included."""
        now = int(self.recent.now_s // SLOT_S)
        first = max(now - SLOTS, int(self.recent.since_s // SLOT_S))
        found = {slot.number: slot.tally for slot in self.recent.slots}
        points = []
        for number in range(first, now):  # the present slot is not over
            # counting began within the first one
            span_s = min(SLOT_S, (number + 1) * SLOT_S - self.recent.since_s)
            traffic = Traffic.of((found[number],) if number in found else (), span_s)
            ago_s = self.recent.now_s - (number + 1) * SLOT_S
            points.append(Point(ago_s, traffic.qps, traffic.p99_s, traffic.error_rate))
        return tuple(points)

    def __str__(self) -> str:
        from servingclient.telemetry.table import text

        return text(self)

    def __rich__(self) -> Group:
        from servingclient.telemetry.terminal import tables

        return tables(self)

    def _repr_html_(self) -> str:
        from servingclient.telemetry.card import card

        return card(self)
