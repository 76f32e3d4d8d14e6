"""Which size carries a workload, and what callers see at each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from servingclient.capacity import sizes
from servingclient.capacity.queueing import Waits, falls_to, waits
from servingclient.capacity.workload import Workload, duration

_RATE_WITHIN: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Candidate:
    """A size, and what callers see at the wanted rate. All times in seconds.

    Attributes:
        slots: Provisioned concurrency.
        utilisation: Busy share of the slots.
        delayed: Share of requests that wait for one.
        wait_mean_s: Mean wait, over all requests.
        wait_p95_s: Wait that 95 of 100 do not exceed.
        wait_p99_s: Wait that 99 of 100 do not exceed.
        response_p50_s: The whole call, median: gathering, overhead, wait and model.
        response_p95_s: The 95th percentile.
        response_p99_s: The 99th percentile.
        short_of: What it does not fulfil; None where it fits.
    """

    slots: int
    utilisation: float
    delayed: float
    wait_mean_s: float
    wait_p95_s: float
    wait_p99_s: float
    response_p50_s: float
    response_p95_s: float
    response_p99_s: float
    short_of: str | None


def candidate(workload: Workload, slots: int, overhead_s: float) -> Candidate:
    """What callers see with so many slots."""
    met, mean_s = _met(workload, slots, workload.qps), workload.service.mean_s
    return Candidate(
        slots,
        workload.load(workload.qps) / slots,
        met.delayed,
        met.mean * mean_s,
        met.quantile(0.95) * mean_s,
        met.quantile(0.99) * mean_s,
        response_s(workload, slots, workload.qps, overhead_s, 0.50),
        response_s(workload, slots, workload.qps, overhead_s, 0.95),
        response_s(workload, slots, workload.qps, overhead_s, 0.99),
        short_of(workload, slots, workload.qps, overhead_s),
    )


def response_s(
    workload: Workload, slots: int, qps: float, overhead_s: float, share: float
) -> float:
    """Seconds of the whole call that a ``share`` of the calls does not exceed."""
    besides_s = workload.gathering_s + overhead_s
    return besides_s + workload.service.response_s(_met(workload, slots, qps), share)


def short_of(workload: Workload, slots: int, qps: float, overhead_s: float) -> str | None:
    """The first condition that so many slots do not fulfil, with figures; None where they do."""
    load, more = workload.load(qps), 1.0 + workload.headroom
    if load > workload.utilisation * slots:
        return f"{load / slots:.0%} busy, above {workload.utilisation:.0%}"
    if load * more >= slots:
        return f"{workload.headroom:.0%} more is more than it can do"
    if workload.p99_goal_s is None:
        return None
    if _keeps(workload, slots, qps * more, overhead_s, workload.p99_goal_s):
        return None
    late_s = response_s(workload, slots, qps * more, overhead_s, 0.99)
    return f"P99 {duration(late_s)} with {workload.headroom:.0%} more"


def smallest(workload: Workload, qps: float, overhead_s: float, most: int) -> int | None:
    """The fewest slots sold that fulfil every condition at a rate; None where ``most`` do not."""
    low, high = 0, most // sizes.SLOTS_STEP
    if short_of(workload, high * sizes.SLOTS_STEP, qps, overhead_s):
        return None
    while high - low > 1:  # what so many slots fulfil, more fulfil too
        middle = (low + high) // 2
        if short_of(workload, middle * sizes.SLOTS_STEP, qps, overhead_s):
            low = middle
        else:
            high = middle
    return high * sizes.SLOTS_STEP


def around(workload: Workload, slots: int, most: int) -> list[int]:
    """Sizes worth showing beside one: from the first that is stable to two above."""
    step = neighbour(slots)
    shown = range(slots - 3 * step, slots + 2 * step + 1, step)
    return [
        size
        for size in shown
        if sizes.SLOTS_STEP <= size <= most and workload.load(workload.qps) < size
    ]


def neighbour(slots: int) -> int:
    """How far the next size worth a look is away: an eighth, in what is sold."""
    return sizes.rounded_up(slots / 8)


def goal_lost_at_qps(workload: Workload, slots: int, overhead_s: float) -> float | None:
    """Calls a second at which P99 passes the goal; None without one, 0 where it always does."""
    goal_s = workload.p99_goal_s
    if goal_s is None:
        return None
    most = saturated_at_qps(workload, slots)

    def kept(qps: float) -> float:
        return float(_keeps(workload, slots, qps, overhead_s, goal_s))

    return falls_to(0.5, kept, most / 2, within=_RATE_WITHIN) if kept(most * 1e-6) else 0.0


def saturated_at_qps(workload: Workload, slots: int) -> float:
    """Calls a second that keep every slot busy: beyond it the line grows without end."""
    return slots / workload.service.mean_s * workload.batch_rows


def _keeps(workload: Workload, slots: int, qps: float, overhead_s: float, goal_s: float) -> bool:
    """Whether 99 of 100 calls take no longer."""
    within_s = goal_s - workload.gathering_s - overhead_s
    return workload.service.later(_met(workload, slots, qps), within_s) <= 0.01


def _met(workload: Workload, slots: int, qps: float) -> Waits:
    return waits(slots, workload.load(qps), workload.service.scv, workload.arrival_scv)
