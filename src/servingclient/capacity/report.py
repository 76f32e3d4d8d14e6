"""A plan for people: sections of figures, each with where it comes from, and tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from servingclient.capacity import sizes
from servingclient.capacity.advice import Figure
from servingclient.capacity.workload import Basis, count, duration
from servingclient.payload.report import LOGGED_BYTES
from servingclient.settings import planning

if TYPE_CHECKING:
    from servingclient.capacity.result import Plan


class Section(NamedTuple):
    """A part of the report.

    Attributes:
        title: Its heading.
        figures: Figures with their sources.
        header: Of its table; empty where there is none.
        rows: Of its table.
        note: A sentence below.
    """

    title: str
    figures: Sequence[Figure] = ()
    header: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    note: str = ""


def headline(plan: Plan) -> str:
    """The answer in one line."""
    if plan.problem is not None:
        return f"No size that is sold will do. {plan.problem}"
    assert plan.scaling is not None
    least, most = plan.scaling
    slots = f"{least:,} slots" if least == most else f"{least:,} to {most:,} slots"
    size = sizes.size_name(plan.scaling)
    named = f"workload size {size}" if size else "a custom size"
    return f"Order {slots} of provisioned concurrency ({named})."


def sections(plan: Plan) -> Iterator[Section]:
    """All parts, in reading order."""
    yield Section("What was asked", tuple(asked(plan)))
    yield Section("Provisioned concurrency", tuple(needed(plan)))
    if plan.candidates:
        yield _sizes(plan)
    yield Section("The endpoint", plan.advice)
    if plan.batching:
        yield _batching(plan)
    yield Section("The client", tuple(client(plan)))
    yield _limits(plan)
    yield Section(
        "Not documented, and not guessed here",
        note="; ".join(sizes.NOT_DOCUMENTED) + ".",
    )


def asked(plan: Plan) -> Iterator[Figure]:
    """The questions, as they were understood."""
    work = plan.workload
    unit = "rows" if work.batch_rows > 1 else "calls"
    yield Figure("rate", f"{work.qps:,.6g} {unit}/s", "given", "")
    if work.burst > 1.0:
        yield Figure("peak", f"{work.qps * work.burst:,.6g} {unit}/s", "given", "")
    if work.batch_rows > 1:
        per_s = work.requests_per_s(work.qps)
        yield Figure("requests", f"{count(per_s)}/s of {work.batch_rows} rows", "given", "")
    mean: Basis = "measured" if work.spread == "measured" else "given"
    yield Figure("model time", duration(work.service.mean_s), mean, "mean of a request")
    spread_s = math.sqrt(work.service.scv) * work.service.mean_s
    why = {
        "assumed": "half the mean, as nothing was said: measure it, the P99 hangs on it",
        "measured": "of the recorded times",
    }
    yield Figure("its spread", f"± {duration(spread_s)}", work.spread, why.get(work.spread, ""))
    if work.service.scv > 2.0:
        yield Figure(
            "beware",
            "long tail",
            work.spread,
            "the formulas are known to hold to ± 2 times the variance of an exponential time; "
            "check with servingclient.capacity.simulate",
        )
    if work.p99_goal_s is not None:
        yield Figure("goal", f"P99 ≤ {duration(work.p99_goal_s)}", "given", "the client sees it")
    arrivals = "at random" if work.arrival_scv == 1.0 else f"scv {work.arrival_scv:g}"
    basis: Basis = "assumed" if work.arrival_scv == 1.0 else "given"
    yield Figure("calls arrive", arrivals, basis, "")
    yield _default("utilisation", work.utilisation, planning.UTILISATION, "allowed at this rate")
    yield _default("headroom", work.headroom, planning.HEADROOM, "rise that must keep the goal")
    if work.payload_bytes is not None:
        yield _payload(plan)


def _default(name: str, value: float, default: float, why: str) -> Figure:
    return Figure(name, f"{value:.0%}", "assumed" if value == default else "given", why)


def _payload(plan: Plan) -> Figure:
    work = plan.workload
    assert work.payload_bytes is not None
    bytes_per_s = work.payload_bytes * work.requests_per_s(work.qps * work.burst)
    why = f"{work.payload_bytes:,} B a request, at peak"
    if work.payload_bytes > LOGGED_BYTES:
        why += "; above 1 MB: served, but not logged in the inference table (documented)"
    return Figure("upload", f"{count(bytes_per_s * 8 / 1e6)} Mbit/s", "computed", why)


def needed(plan: Plan) -> Iterator[Figure]:
    """From the guide's formula to what to order."""
    work, found = plan.workload, plan.needed
    per_s = f"{count(work.requests_per_s(work.qps))}/s"
    yield Figure(
        "requests × model time",
        f"{count(found.busy_slots)} slots",
        "documented",
        f"{per_s} × {duration(work.service.mean_s)}: busy on average, {found.slots:,} as sold; "
        "nothing less can do",
    )
    latency_s = work.service.mean_s + plan.overhead_s
    yield Figure(
        "requests × latency",
        f"{count(found.busy_slots_whole)} slots",
        "documented",
        f"{per_s} × {duration(latency_s)}: {found.slots_whole:,} as sold; the production guide's "
        "careful reading, if a slot were held for the overhead too",
    )
    if plan.scaling is not None:
        why = "smallest size that keeps utilisation, headroom and goal; see the table"
        yield Figure("order, least", f"{plan.scaling.least:,} slots", "computed", why)
        yield Figure("order, most", f"{plan.scaling.most:,} slots", "computed", "the same at peak")
        yield from _named(plan.scaling)


def _named(scaling: sizes.Range) -> Iterator[Figure]:
    """The size with a name that would do too, where custom ones are not to be had."""
    for name, sold in sizes.WORKLOAD_SIZES.items():
        if sold.least >= scaling.least and sold.most >= scaling.most and sold != scaling:
            why = f"scales from {sold.least} to {sold.most}; where custom sizes are not offered"
            yield Figure("or workload size", name, "documented", why)
            return


def client(plan: Plan) -> Iterator[Figure]:
    """What the callers need."""
    work, found = plan.workload, plan.client
    yield Figure(
        "under way", f"{count(found.in_flight)} requests", "computed", "on average, at peak rate"
    )
    yield Figure(
        "connections",
        f"{found.lanes:,}",
        "computed",
        "suffice 99.9 % of the time if calls arrive at random",
    )
    enough = found.processes >= found.processes_needed
    basis: Basis = "computed" if work.client_processes is None else "given"
    why = f"{found.lanes_each:,} connections each; set Concurrency(client_processes=...) to it"
    if not enough:
        why = f"at least {found.processes_needed} are needed"
    yield Figure("processes (pods)", f"{found.processes:,}", basis, why)
    source = "benchmarks/results.md, async_16: one row, TLS, one core of that machine"
    yield Figure(
        "calls a core",
        f"{work.calls_per_core:,.0f}/s",
        work.calls_per_core_basis,
        source if work.calls_per_core_basis == "measured" else "",
    )


def _sizes(plan: Plan) -> Section:
    rows = [
        (
            f"{one.slots:,}",
            f"{one.utilisation:.0%}",
            f"{one.delayed:.1%}",
            duration(one.wait_mean_s),
            duration(one.wait_p95_s),
            duration(one.wait_p99_s),
            duration(one.response_p50_s),
            duration(one.response_p95_s),
            duration(one.response_p99_s),
            one.short_of or "fits",
        )
        for one in plan.candidates
    ]
    return Section(
        "What callers see, by size (computed)",
        header=(
            "slots",
            "busy",
            "wait",
            "mean wait",
            "P95 wait",
            "P99 wait",
            "P50",
            "P95",
            "P99",
            "verdict",
        ),
        rows=rows,
        note="P50 to P99: overhead, wait and model together, on an endpoint without other callers.",
    )


def _batching(plan: Plan) -> Section:
    rows = [
        (
            f"{one.rows}",
            count(one.requests_per_s),
            duration(one.service_s),
            duration(one.gathering_s),
            count(one.busy_slots),
            "none sold" if one.slots is None else f"{one.slots:,}",
        )
        for one in plan.batching
    ]
    return Section(
        "Rows that share a request (computed from the given time of a row)",
        header=("rows", "requests/s", "model time", "gathering", "busy slots", "slots"),
        rows=rows,
        note=(
            "Gathering is for full requests; Settings.batching waits only while no slot is free. "
            "Slots by utilisation and headroom, without the goal."
        ),
    )


def _limits(plan: Plan) -> Section:
    unit = "rows/s" if plan.workload.batch_rows > 1 else "calls/s"
    now = plan.workload.qps
    rows = [
        (count(one.qps), f"{count(one.qps / now)} x", f"{one.basis}: {one.what}")
        for one in plan.limits
    ]
    return Section("What gives way first", header=(unit, "of now", "what happens"), rows=rows)
