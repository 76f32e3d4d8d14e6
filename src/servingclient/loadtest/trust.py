"""Whether a load test measured the endpoint, or itself. Pure.

A load generator that is short of CPU begins calls late and reads replies late, and reports both as
the endpoint's latency. Such a result is marked invalid, with the figures that say why.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientLoad:
    """How busy one generating process was while it measured.

    Attributes:
        cpu_share: CPU seconds per second, of one core.
        late_p99_s: 99th percentile of how late calls began.
        lane_wait_p99_s: 99th percentile of waiting for a connection or a place in the client.
        made: Calls that began.
        due: Calls that were due.
        refused: Calls the client itself refused, because too many waited.
        loop_late_p99_s: 99th percentile of how late its event loop woke who was due. Calls of a
            closed loop are due when they begin, so nothing else shows that replies were read late.
    """

    cpu_share: float
    late_p99_s: float
    lane_wait_p99_s: float
    made: int
    due: int
    refused: int = 0
    loop_late_p99_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """When a generator is taken for the bottleneck."""

    cpu_share: float = 0.85
    """More of a core than this leaves no room for the next burst (Locust warns at 90 %)."""
    late_s: float = 0.01
    """Calls that begin later than this at P99 are no longer the arrivals that were asked for, and
    an event loop that wakes later than this at P99 reads replies late."""
    lane_wait_share: float = 0.1
    """Waiting inside the client may be this share of the latency at P99, not more."""
    missing_share: float = 0.01
    """This share of the calls due may be missing or refused by the client, not more."""


def doubts(load: ClientLoad, p99_s: float | None, rules: Trust) -> tuple[str, ...]:
    """Why a result is not to be trusted; empty if it is.

    Args:
        load: How busy the process was.
        p99_s: The latency it measured, 99th percentile; None where nothing was answered.
        rules: Where trust ends.
    """
    found = []
    if load.cpu_share > rules.cpu_share:
        found.append(
            f"the load generator used {load.cpu_share:.0%} of a core (limit "
            f"{rules.cpu_share:.0%}): use more processes, or a lower rate"
        )
    if load.late_p99_s > rules.late_s:
        found.append(
            f"1 % of the calls began more than {load.late_p99_s * 1e3:.0f} ms late (limit "
            f"{rules.late_s * 1e3:.0f} ms): use more processes, or a lower rate"
        )
    elif load.loop_late_p99_s > rules.late_s:
        found.append(
            f"the event loop was late: more than {load.loop_late_p99_s * 1e3:.0f} ms in 1 % of the "
            f"time (limit {rules.late_s * 1e3:.0f} ms), which is in the latencies: use more "
            "processes, a lower rate, or fewer callers"
        )
    if p99_s and load.lane_wait_p99_s > max(rules.late_s, rules.lane_wait_share * p99_s):
        found.append(
            f"1 % of the calls waited more than {load.lane_wait_p99_s * 1e3:.0f} ms inside the "
            f"client, of {p99_s * 1e3:.0f} ms in all: allow more calls in flight"
        )
    missing = load.due - load.made + load.refused
    if load.due and missing > max(1, rules.missing_share * load.due):
        found.append(
            f"{missing:,} of {load.due:,} calls due were never sent: use more processes, allow "
            "more calls in flight, or a lower rate"
        )
    return tuple(found)
