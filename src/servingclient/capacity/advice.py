"""What follows from a size: hardware, autoscaling, the client's side, and what gives way first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from servingclient.capacity import sizes, sizing
from servingclient.capacity.sizes import Range
from servingclient.capacity.workload import Basis, Workload, count, duration
from servingclient.settings import Pool
from servingclient.settings.planning import GPU_WORTH_A_TRY_S, LANES_SIGMAS


class Figure(NamedTuple):
    """One figure of a plan, and how far it can be trusted.

    Attributes:
        name: What it is.
        value: The figure with its unit.
        basis: ``"given"``, ``"measured"``, ``"documented"``, ``"assumed"`` or ``"computed"``.
        why: Its source, or what it was computed from.
    """

    name: str
    value: str
    basis: Basis
    why: str


class Limit(NamedTuple):
    """Something that gives way as the rate grows.

    Attributes:
        qps: Calls a second at which it does.
        what: What then happens.
        basis: Where the figure comes from.
    """

    qps: float
    what: str
    basis: Basis


@dataclass(frozen=True, slots=True)
class ClientSide:
    """What the callers need.

    Attributes:
        in_flight: Requests under way, on average.
        lanes: Connections of all processes that suffice 99.9 % of the time.
        processes: Client processes.
        lanes_each: Connections of each.
        processes_needed: Fewest processes that carry it.
    """

    in_flight: float
    lanes: int
    processes: int
    lanes_each: int
    processes_needed: int


_MAX_LANES: Final = Pool().max_lanes


def client_side(workload: Workload, response_s: float) -> ClientSide:
    """How many connections and processes the wanted rate, at its peak, takes.

    Args:
        workload: What the endpoint carries.
        response_s: Seconds a request is under way, on average.
    """
    requests_per_s = workload.requests_per_s(workload.qps * workload.burst)
    in_flight = requests_per_s * response_s  # Little's law
    lanes = math.ceil(in_flight + LANES_SIGMAS * math.sqrt(in_flight))
    needed = max(
        1,  # a rate may be so small that all else rounds to nothing
        # batched or not, each call is encoded by itself
        math.ceil(workload.qps * workload.burst / (workload.calls_per_core * workload.utilisation)),
        math.ceil(lanes / _MAX_LANES),
    )
    processes = workload.client_processes or needed
    return ClientSide(in_flight, lanes, processes, math.ceil(lanes / processes), needed)


def limits(
    workload: Workload, scaling: Range, overhead_s: float, client: ClientSide, *, optimized: bool
) -> tuple[Limit, ...]:
    """What gives way as the rate grows, first to last."""
    rows, lanes = workload.batch_rows, client.processes * _MAX_LANES
    mean_s = workload.service.mean_s
    found = [
        *_of_slots(workload, scaling, overhead_s),
        Limit(
            lanes / (mean_s + overhead_s) * rows,
            f"{lanes:,} connections are all in use ({client.processes} × Pool.max_lanes)",
            "computed",
        ),
        Limit(
            client.processes * workload.calls_per_core,
            f"the client's CPU is used up ({client.processes} × "
            f"{workload.calls_per_core:,.0f} calls/s a core)",
            workload.calls_per_core_basis,
        ),
    ]
    if optimized:
        found.append(
            Limit(
                float(sizes.MOST_QPS_ROUTE_OPTIMIZED * rows),
                "limit of a route-optimized endpoint and of its workspace",
                "documented",
            )
        )
    else:
        found += [
            Limit(
                float(sizes.MOST_QPS_STANDARD * rows),
                "limit of all standard endpoints of a workspace together: 429",
                "documented",
            ),
            Limit(
                sizes.LEAST_CLIENTS_STANDARD / (mean_s + overhead_s) * rows,
                f"{sizes.LEAST_CLIENTS_STANDARD} requests at once to the standard endpoints of a "
                "workspace (some regions allow up to 1,024): 429",
                "documented",
            ),
        ]
    return tuple(sorted(found))


def _of_slots(workload: Workload, scaling: Range, overhead_s: float) -> Iterator[Limit]:
    lost = sizing.goal_lost_at_qps(workload, scaling.least, overhead_s)
    if lost is not None:
        assert workload.p99_goal_s is not None
        goal = duration(workload.p99_goal_s)
        yield Limit(lost, f"P99 passes {goal} on {scaling.least:,} slots", "computed")
    for slots in sorted(set(scaling)):
        yield Limit(
            sizing.saturated_at_qps(workload, slots),
            f"all {slots:,} slots are busy: the queue fills up, then 429",
            "computed",
        )
    if scaling.most < sizes.MOST_SLOTS:
        yield Limit(
            sizing.saturated_at_qps(workload, sizes.MOST_SLOTS),
            f"the largest size of one model ({sizes.MOST_SLOTS:,} slots) is busy",
            "documented",
        )
    yield Limit(
        sizing.saturated_at_qps(workload, sizes.MOST_SLOTS_WORKSPACE),
        f"all slots of a workspace ({sizes.MOST_SLOTS_WORKSPACE:,}) are busy",
        "documented",
    )


def route(workload: Workload) -> Figure | None:
    """Whether the rate decides on route optimization; None where it does not."""
    name, chosen = "route optimization", workload.route_optimized
    if chosen is not None:
        return Figure(name, "on" if chosen else "off", "given", "")
    peak = workload.requests_per_s(workload.qps * workload.burst) * (1.0 + workload.headroom)
    if peak <= sizes.MOST_QPS_STANDARD:
        return None
    return Figure(
        name,
        "needed",
        "documented",
        f"{count(peak)} requests/s at peak with {workload.headroom:.0%} more; the standard "
        f"endpoints of a workspace get {sizes.MOST_QPS_STANDARD} together",
    )


def overhead(workload: Workload, *, optimized: bool) -> Figure:
    """What a call takes besides waiting and the model."""
    if workload.overhead_s is not None:
        return Figure("overhead", duration(workload.overhead_s), "given", "")
    kind = "route-optimized" if optimized else "standard"
    most_s = sizes.OVERHEAD_ROUTE_OPTIMIZED_S if optimized else sizes.OVERHEAD_STANDARD_S
    why = f"upper bound of {kind} endpoints; your network from client to endpoint is not in it"
    return Figure("overhead", duration(most_s), "documented", why)


def hardware(workload: Workload, slots: int | None) -> Figure:
    """CPU or GPU."""
    name, kind, gpu_s = "hardware", workload.workload_type, workload.gpu_service_time_s
    if kind.startswith("GPU"):
        replicas = "" if slots is None else f", {slots // sizes.SLOTS_PER_GPU_REPLICA} replicas"
        why = f"a GPU replica has {sizes.SLOTS_PER_GPU_REPLICA} slots"
        return Figure(name, kind + replicas, "documented", why)
    if gpu_s is not None:
        share = gpu_s / workload.row.mean_s
        why = (
            f"{duration(gpu_s)} on a GPU against {duration(workload.row.mean_s)}: a GPU needs "
            f"{share:.2g} times the slots; it is worth up to {1 / share:.2g} times the price a slot"
        )
        return Figure(name, kind if share >= 1.0 else "compare prices", "given", why)
    much = slots is None or slots > sizes.MOST_SLOTS_STANDARD
    if much and workload.row.mean_s >= GPU_WORTH_A_TRY_S:
        why = f"{duration(workload.row.mean_s)} of model time on much concurrency"
        return Figure(name, f"{kind}; measure the model on a GPU", "assumed", why)
    return Figure(name, kind, "assumed", "CPU first; a GPU where model time is what is too long")


def scale_to_zero(workload: Workload) -> Figure:
    """Whether the endpoint may sleep."""
    why = (
        "it falls asleep after 30 min without a request; waking takes 10 to 20 s as a rule, at "
        "times minutes, and nothing is promised"
    )
    if workload.qps * sizes.IDLE_TO_ZERO_S < 1.0 and workload.p99_goal_s is None:
        return Figure("scale to zero", "off; on if callers can wait", "documented", why)
    return Figure("scale to zero", "off", "documented", why)


def lag(workload: Workload, scaling: Range) -> Iterator[Figure]:
    """What a peak does until added slots serve."""
    if scaling.least == scaling.most:
        return
    peak = workload.qps * workload.burst
    excess = peak - sizing.saturated_at_qps(workload, scaling.least)
    yield Figure(
        "scaling up",
        "no time is documented",
        "documented",
        "described as near-instant, but a new replica serves once it has downloaded the model",
    )
    if excess <= 0.0:
        why = f"{scaling.least} slots carry the peak meanwhile, with less headroom than asked for"
        yield Figure("until it has", "no backlog", "computed", why)
        return
    why = f"more than {scaling.least} slots can do: they queue up, then get 429"
    yield Figure("until it has", f"{count(excess)} calls/s", "computed", why)
    if workload.scale_lag_s is not None:
        behind = excess * workload.scale_lag_s
        spare = sizing.saturated_at_qps(workload, scaling.most) - peak
        why = (
            f"if added slots serve after {duration(workload.scale_lag_s)}, as given, and none was "
            f"refused; worked off in {duration(behind / spare)}"
        )
        yield Figure("behind by then", f"{count(behind)} calls", "computed", why)
    yield Figure(
        "for shorter peaks",
        f"min = max = {scaling.most:,}",
        "computed",
        "peaks that are over before new slots serve find them only so",
    )
