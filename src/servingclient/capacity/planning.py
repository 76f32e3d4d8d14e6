"""From what an endpoint shall carry to the size to order, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from servingclient.capacity import advice, sizes, sizing
from servingclient.capacity.result import BatchEffect, Needed, Plan
from servingclient.capacity.sizes import Range
from servingclient.capacity.sizing import Candidate
from servingclient.capacity.workload import Workload, duration, service_of
from servingclient.settings.planning import CALLS_PER_CORE, HEADROOM, UTILISATION


def plan(
    *,
    qps: float,
    service_time_s: float | None = None,
    service_times: Iterable[float] | Mapping[float, int] | None = None,
    service_std_s: float | None = None,
    service_scv: float | None = None,
    p99_goal_s: float | None = None,
    burst: float = 1.0,
    arrival_scv: float = 1.0,
    overhead_s: float | None = None,
    headroom: float = HEADROOM,
    utilisation: float = UTILISATION,
    row_time_s: float | None = None,
    batch_rows: int = 1,
    payload_bytes: int | None = None,
    route_optimized: bool | None = None,
    workload_type: str = "CPU",
    gpu_service_time_s: float | None = None,
    scale_lag_s: float | None = None,
    client_processes: int | None = None,
    calls_per_core: float | None = None,
) -> Plan:
    """Find the provisioned concurrency a load needs, and say what callers will see.

    The guide's formula, calls a second times seconds, gives the slots that are busy on average. A
    plan adds what the mean hides: how long calls wait for a slot at P95 and P99, at the sizes that
    are sold. A size fits if at the wanted rate its slots are no busier than ``utilisation``, and if
    at ``headroom`` more the goal is still kept.

    Args:
        qps: Calls a second. With ``batch_rows`` a call is a row, and requests are fewer.
        service_time_s: Seconds the model takes for a call, on average.
        service_times: Those of recorded calls instead: seconds of each, or how many calls took so
            many seconds; :func:`recorded` reads them from a file.
        service_std_s: Standard deviation of the service time. Without it, and without recorded
            times, half the mean is assumed.
        service_scv: The same as a squared coefficient of variation: 0 constant, 1 exponential.
        p99_goal_s: Seconds that 99 of 100 calls must not exceed, as the client sees them.
        burst: Peak rate as a multiple of ``qps``; the endpoint shall scale up to it.
        arrival_scv: Squared coefficient of variation of the time between calls: 1 random, above 1
            in bunches.
        overhead_s: Seconds a call takes besides waiting and the model; without it, the upper bound
            that is documented.
        headroom: Share by which the rate may rise with the goal still kept.
        utilisation: Busy share of the slots that is allowed at the wanted rate.
        row_time_s: Part of the service time that each row of a request adds.
        batch_rows: Rows the client puts into one request; needs ``row_time_s``.
        payload_bytes: Size of a request.
        route_optimized: Whether the endpoint is; decided by the plan when left out.
        workload_type: Hardware the service time was measured on.
        gpu_service_time_s: The same measured on a GPU, to compare.
        scale_lag_s: Seconds until an added slot serves; no figure is documented.
        client_processes: Client processes that share the load; counted by the plan when left out.
        calls_per_core: Calls a second one core of the client makes; without it, the figure of
            this library's benchmark.

    Returns:
        The plan. ``plan.reachable`` says whether any size sold will do.

    Raises:
        ConfigError: A number cannot be, or the goal is below what the model alone takes.

    Example:
        >>> from servingclient.capacity import plan
        >>> found = plan(qps=500, service_time_s=0.040, p99_goal_s=0.150)
        >>> found.needed.busy_slots, found.scaling
        (20.0, Range(least=32, most=32))
    """
    row, spread = service_of(service_time_s, service_times, service_std_s, service_scv)
    return planned(
        Workload(
            qps=qps,
            row=row,
            spread=spread,
            p99_goal_s=p99_goal_s,
            burst=burst,
            arrival_scv=arrival_scv,
            overhead_s=overhead_s,
            headroom=headroom,
            utilisation=utilisation,
            row_time_s=row_time_s,
            batch_rows=batch_rows,
            payload_bytes=payload_bytes,
            route_optimized=route_optimized,
            workload_type=workload_type,
            gpu_service_time_s=gpu_service_time_s,
            scale_lag_s=scale_lag_s,
            client_processes=client_processes,
            calls_per_core=CALLS_PER_CORE if calls_per_core is None else calls_per_core,
            calls_per_core_basis="measured" if calls_per_core is None else "given",
        )
    )


def planned(workload: Workload) -> Plan:
    """The plan for a workload that was checked."""
    route = advice.route(workload)
    if route is not None:
        return _on(workload, route)
    # the rate leaves both open: the standard endpoint if it will do, since it needs no OAuth
    standard = _on(workload, _STANDARD)
    if standard.reachable:
        return standard
    optimized = _on(workload, _OPTIMIZED)
    return optimized if optimized.reachable else standard


_STANDARD = advice.Figure(
    "route optimization",
    "not needed",
    "documented",
    f"up to {sizes.MOST_QPS_STANDARD} requests/s over all standard endpoints of a workspace, which "
    "are meant for development and small use",
)
_OPTIMIZED = advice.Figure(
    "route optimization",
    "needed",
    "computed",
    "the goal is met only with its lower overhead or its larger sizes",
)


def _on(workload: Workload, route: advice.Figure) -> Plan:
    optimized = route.value in ("on", "needed")
    most = sizes.MOST_SLOTS if optimized else sizes.MOST_SLOTS_STANDARD
    overhead = advice.overhead(workload, optimized=optimized)
    overhead_s = _overhead_s(workload, optimized=optimized)
    needed = _needed(workload, overhead_s)
    least = sizing.smallest(workload, workload.qps, overhead_s, most)
    peak = sizing.smallest(workload, workload.qps * workload.burst, overhead_s, most)
    sized = None if least is None or peak is None else Range(least, peak)
    problem = _problem(workload, sized, overhead_s, most, optimized=optimized)
    scaling = sized if problem is None else None
    shown = least or min(sizes.rounded_up(needed.busy_slots / workload.utilisation), most)
    candidates = [
        sizing.candidate(workload, slots, overhead_s)
        for slots in sizing.around(workload, shown, most)
    ]
    in_use = sized or Range(shown, shown)
    under_way_s = _response_mean_s(workload, shown, candidates, overhead_s)
    client = advice.client_side(workload, under_way_s)
    return Plan(
        workload=workload,
        needed=needed,
        scaling=scaling,
        candidates=tuple(candidates),
        overhead_s=overhead_s,
        route_optimized=optimized,
        advice=(
            route,
            overhead,
            advice.hardware(workload, least),
            advice.scale_to_zero(workload),
            *(advice.lag(workload, scaling) if scaling else ()),
        ),
        batching=_batching(workload, overhead_s, most),
        client=client,
        limits=advice.limits(workload, in_use, overhead_s, client, optimized=optimized),
        problem=problem,
    )


def _overhead_s(workload: Workload, *, optimized: bool) -> float:
    if workload.overhead_s is not None:
        return workload.overhead_s
    return sizes.OVERHEAD_ROUTE_OPTIMIZED_S if optimized else sizes.OVERHEAD_STANDARD_S


def _needed(workload: Workload, overhead_s: float) -> Needed:
    busy = workload.load(workload.qps)
    whole = busy + workload.requests_per_s(workload.qps) * overhead_s
    return Needed(busy, sizes.rounded_up(busy), whole, sizes.rounded_up(whole))


def _response_mean_s(
    workload: Workload, slots: int, candidates: list[Candidate], overhead_s: float
) -> float:
    wait_s = next((one.wait_mean_s for one in candidates if one.slots == slots), 0.0)
    return wait_s + workload.service.mean_s + overhead_s


_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)


def _batching(workload: Workload, overhead_s: float, most: int) -> tuple[BatchEffect, ...]:
    """What rows that share a request save; nothing where the time a row adds is not known."""
    if workload.row_time_s is None:
        return ()
    effects = []
    for rows in sorted({*_BATCHES, workload.batch_rows}):
        batched = workload.with_rows(rows)
        slots = sizing.smallest(batched, batched.qps, overhead_s, most)
        effects.append(
            BatchEffect(
                rows,
                batched.requests_per_s(batched.qps),
                batched.service.mean_s,
                batched.gathering_s,
                batched.load(batched.qps),
                slots,
            )
        )
    return tuple(effects)


def _problem(
    workload: Workload, scaling: Range | None, overhead_s: float, most: int, *, optimized: bool
) -> str | None:
    """Why no size will do, and what would help."""
    peak = workload.requests_per_s(workload.qps * workload.burst)
    limit = sizes.MOST_QPS_ROUTE_OPTIMIZED if optimized else sizes.MOST_QPS_STANDARD
    if peak > limit:
        kind = "A route-optimized endpoint gets" if optimized else "Standard endpoints get"
        remedy = "Send several rows in each" if optimized else "Use route optimization"
        return (
            f"{kind} at most {limit:,} requests/s (documented), {peak:,.0f} are wanted. {remedy}."
        )
    if scaling is not None:
        return None
    alone_s = workload.gathering_s + overhead_s + workload.service.quantile_s(0.99)
    goal_s = workload.p99_goal_s
    if goal_s is not None and alone_s > goal_s:
        return (
            f"P99 is {duration(alone_s)} without any waiting, the goal {duration(goal_s)}: no size "
            "helps. Make the slow calls faster, or allow more."
        )
    busy = workload.load(workload.qps * workload.burst)
    least = max(sizes.rounded_up(busy / workload.utilisation), most + sizes.SLOTS_STEP)
    kind = "one model with route optimization" if optimized else "one model without it"
    return (
        f"{least:,} slots or more are needed at peak; the largest size of {kind} has {most:,} "
        "(documented). Send several rows in each request, make the model faster, or divide the "
        f"load over {-(-least // most)} endpoints."
    )
