"""How much is asked of the endpoint, and what becomes of it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from servingclient.capacity import sizes
from servingclient.capacity.doctor.demand import Demand, carried_qps
from servingclient.capacity.doctor.diagnosis import Check, Verdict
from servingclient.capacity.doctor.measured import Measured
from servingclient.settings.planning import UTILISATION
from servingclient.settings.targets import Targets
from servingclient.telemetry.table import percent, rate, seconds

_FEWEST_ATTEMPTS = 20
"""Below it one refused attempt is more than the share allows, and says nothing about the rest."""
_LEAST_SLOWER_S = 0.005
"""What machine and network add by themselves: 0.4 ms in place of 0.1 ms is no queue."""
_LEAST_WAIT_S = 0.001
"""A mean wait below it may be scheduling: beside a model of 0.1 ms it would be called a queue."""


def load(measured: Measured, targets: Targets, need: Demand | None) -> Iterator[Check]:
    """Rate, errors, refusals, queue, route and slots."""
    yield _rate(measured, targets)
    yield _errors(measured, targets)
    yield _throttling(measured, targets, need)
    yield _depth(measured, targets, need)
    yield _queueing(measured, targets, need)
    yield _route(measured, targets)
    yield _slots(measured, need)


def raised(measured: Measured, need: Demand | None) -> str:
    """The advice to raise the concurrency, with the size where it is known."""
    if need is None or need.slots is None:
        return "Raise the provisioned concurrency."
    slots = measured.slots
    if slots is not None and need.slots <= slots:
        return (
            f"The mean load fits {slots:g} slots, so calls come in bunches: spread them, or raise "
            "the provisioned concurrency all the same."
        )
    return f"Raise the provisioned concurrency to {need.slots:,}."


def _rate(measured: Measured, targets: Targets) -> Check:
    name, qps, carried = "queries per second", measured.qps, carried_qps(measured)
    if qps is None:
        why = "Neither this client nor the endpoint's figures know a rate."
        return Check(name, "–", "what the slots carry", "unknown", why=why)
    if carried is None:
        why = "How many the endpoint carries takes its own figures, or calls."
        return Check(name, f"{rate(qps)}/s", "what the slots carry", "unknown", why=why)
    wanted = max(qps, targets.qps or 0.0)
    target = f"at most {rate(carried)}/s"
    why = f"what {measured.slots:g} slots carry when {percent(UTILISATION)} busy"
    if wanted <= carried:
        return Check(name, f"{rate(qps)}/s", target, "ok", why=why)
    if wanted > qps:
        why = f"{rate(wanted)}/s are wanted; {why}"
    action = "Raise the provisioned concurrency (below), send several rows in each request."
    return Check(name, f"{rate(qps)}/s", target, "bad", action, why)


def _errors(measured: Measured, targets: Targets) -> Check:
    name, target, calls = "error rate", f"at most {percent(targets.error_rate)}", measured.calls
    if calls.count:
        share, why = calls.error_rate, f"after retries, {calls.source}"
        worst = sorted(calls.errors.items(), key=lambda item: (-item[1], item[0]))[:3]
        told = ", ".join(f"{count:,} {error}" for error, count in worst)
    elif measured.figures.error_rate is not None:
        share, told = measured.figures.error_rate, ""
        why = "replies 4xx and 5xx of the endpoint's last minute; refused requests may be missing"
    else:
        why = "No call was seen by either side."
        return Check(name, "–", target, "unknown", why=why)
    if share <= targets.error_rate:
        return Check(name, percent(share), target, "ok", why=why)
    if told:
        why = f"{told}; {why}"
    return Check(name, percent(share), target, "bad", _error_action(measured), why)


def _error_action(measured: Measured) -> str:
    errors = measured.calls.errors
    most = max(errors, key=lambda name: errors[name], default="")
    if most in {"Throttled", "QueueFull"}:
        return "The endpoint has no room: see throttling and provisioned concurrency."
    if most in {"BadRequest", "PayloadError", "PayloadTooLarge", "SchemaMismatch"}:
        return "Requests do not fit the model: log their ids, compare with client.explain(inputs)."
    if most == "DeadlineExceeded":
        return "Calls run out of time: see latency, or allow a longer timeout."
    four, five = measured.figures.errors_4xx or 0.0, measured.figures.errors_5xx or 0.0
    if not most and four > five:
        return "Most are 4xx: requests that do not fit, or that met no room (429)."
    return "Look the request ids up in the endpoint's logs and inference table."


def _throttling(measured: Measured, targets: Targets, need: Demand | None) -> Check:
    name, calls = "throttling (429)", measured.calls
    target = f"at most {percent(targets.throttled_rate)} of attempts"
    if not calls.attempts:
        why = "Only clients see it: requests refused before the model may be missing in its figures"
        return Check(name, "–", target, "unknown", why=f"{why}.")
    share = calls.throttled / calls.attempts
    shown = f"{percent(share)} ({calls.throttled:,} of {calls.attempts:,})"
    if share <= targets.throttled_rate:
        return Check(name, shown, target, "ok", why=calls.source)
    verdict: Verdict = "bad" if calls.attempts >= _FEWEST_ATTEMPTS else "warn"
    action = (
        f"{raised(measured, need)} For bursts let it scale within a range and keep the client's "
        "retries; a limit set in AI Gateway must be raised there."
    )
    return Check(name, shown, target, verdict, action, calls.source)


def _depth(measured: Measured, targets: Targets, need: Demand | None) -> Check:
    name = "queue depth"
    target = f"at most {targets.queue_depth:g} waiting"
    calls, figures = measured.calls, measured.figures
    here = calls.qps * (calls.waited_mean_s or 0.0)
    there = None
    if figures.qps is not None and measured.queue_mean_s is not None:
        there = figures.qps * measured.queue_mean_s
    if there is None and not calls.count:
        why = "The endpoint tells no queue time, and this client made no calls."
        return Check(name, "–", target, "unknown", why=why)
    told = "not known" if there is None else _waiting(there)
    why = (
        f"rate x mean wait (Little's law): {_waiting(here)} in this client ({calls.waiting} now), "
        f"{told} at the endpoint"
    )
    shown = f"{_waiting(max(here, there or 0.0))} waiting"
    if max(here, there or 0.0) <= targets.queue_depth:
        return Check(name, shown, target, "ok", why=why)
    if here > (there or 0.0):
        action = (
            "Calls wait in this client for a place, as its limit follows what the endpoint takes. "
            f"{raised(measured, need)}"
        )
        return Check(name, shown, target, "bad", action, why)
    return Check(name, shown, target, "bad", raised(measured, need), why)


def _waiting(calls: float) -> str:
    return "0" if calls < 0.005 else f"{calls:.2g}"


def _queueing(measured: Measured, targets: Targets, need: Demand | None) -> Check:
    name, queue_s, model_s = "queueing", measured.queue_mean_s, measured.model_mean_s
    if queue_s is not None and model_s:
        share = queue_s / model_s
        target = f"wait at most {percent(targets.queue_share)} of the model's time"
        shown = f"{seconds(queue_s)} ({percent(round(share, 3))})"
        why = "means of the endpoint's last minute"
        if share <= targets.queue_share:
            return Check(name, shown, target, "ok", why=why)
        if queue_s < _LEAST_WAIT_S:
            return Check(name, shown, target, "ok", why=f"{why}; below 1 ms it is no queue")
        return Check(name, shown, target, "bad", raised(measured, need), why)
    target = f"median at most {targets.slowdown:g} x unloaded"
    now_s, unloaded_s = measured.calls.first_byte_p50_s, measured.calls.unloaded_s
    if now_s is None or not unloaded_s:
        why = "The endpoint tells no queue time, and this client made no calls."
        return Check(name, "–", target, "unknown", why=why)
    ratio = now_s / unloaded_s
    shown = f"{ratio:.1f} x ({seconds(now_s)} against {seconds(unloaded_s)})"
    why = "first byte, median against the fastest 5 % since the start"
    if ratio <= targets.slowdown or now_s - unloaded_s < _LEAST_SLOWER_S:
        return Check(name, shown, target, "ok", why=why)
    action = f"{raised(measured, need)} First see whether it falls with fewer calls at once."
    return Check(name, shown, target, "warn", action, f"{why}; a model may vary so by itself")


def _route(measured: Measured, targets: Targets) -> Check:
    name, described, qps = "route optimization", measured.described, measured.qps
    if described is None:
        return Check(name, "–", "fits the rate", "unknown", why=measured.why_undescribed)
    wanted = max(qps or 0.0, targets.qps or 0.0)
    if described.route_optimized:
        most = sizes.MOST_QPS_ROUTE_OPTIMIZED
        if wanted <= most:
            return Check(name, "on", f"at most {most:,}/s", "ok")
        action = "Send several rows in each request, or divide the load over several endpoints."
        return Check(name, f"on, {rate(wanted)}/s", f"at most {most:,}/s", "bad", action)
    limit = sizes.MOST_QPS_STANDARD
    shown = "off" if qps is None else f"off, {rate(qps)}/s"
    target = f"off up to {limit}/s"
    why = f"standard endpoints of a workspace get {limit} requests/s together (documented)"
    if wanted > limit:
        action = (
            "Create a route-optimized endpoint and move to it: it can only be chosen at creation, "
            "and takes OAuth, no personal access token."
        )
        return Check(name, shown, target, "bad", action, why)
    if wanted > targets.route_share * limit:
        action = "Plan the move to a route-optimized endpoint: it takes a new one."
        return Check(name, shown, target, "warn", action, why)
    known = qps is not None or targets.qps is not None
    return Check(name, shown, target, "ok" if known else "unknown", why=why)


def _slots(measured: Measured, need: Demand | None) -> Check:
    name, slots = "provisioned concurrency", measured.slots
    shown = "–" if slots is None else f"{slots:g}"
    if need is None or slots is None:
        why = "It takes the rate, a service time, and the endpoint's size; one is not known."
        return Check(name, shown, "what the load needs", "unknown", why=why)
    if need.slots is None:
        return Check(name, shown, "more than is sold", "bad", need.problem, need.basis)
    target = f"at least {need.slots:,}"
    described = measured.described
    most = slots if described is None else max(slots, described.most_slots or 0.0)
    if need.slots <= slots:
        return Check(name, shown, target, "ok", why=need.basis)
    if need.slots <= most:
        why = f"it may scale to {most:g}; {need.basis}"
        action = f"Raise the minimum to {need.slots:,} if calls are refused while it scales up."
        return Check(name, shown, target, "warn", action, why)
    verdict: Verdict = "bad" if need.busy > UTILISATION * slots else "warn"
    return Check(name, shown, target, verdict, raised(measured, need), need.basis)
