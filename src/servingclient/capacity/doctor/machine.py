"""The endpoint itself: whether it serves, how busy its machines are, whether it sleeps. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from servingclient.capacity.doctor.diagnosis import Check
from servingclient.capacity.doctor.measured import Measured
from servingclient.settings.targets import Targets
from servingclient.telemetry.table import seconds

_BUSY: Final = (
    "Raise the provisioned concurrency, which adds replicas; take a larger CPU type where one "
    "request needs more cores; move pre- and post-processing to the client."
)
_FULL: Final = (
    "Take a workload type with more memory, or make the model smaller: a replica that runs out of "
    "it is killed and loaded anew."
)
_GPU_BUSY: Final = "Raise the provisioned concurrency, or send fewer rows in each request."
_GPU_FULL: Final = "Take a larger GPU type, or a smaller batch."


def state(measured: Measured) -> Check:
    """Whether it serves."""
    name, target, described = "state", "READY", measured.described
    if described is None:
        return Check(name, "–", target, "unknown", why=measured.why_undescribed)
    if described.ready is None:
        why = "The description has no state."
        return Check(name, "–", target, "unknown", why=why)
    if not described.ready:
        action = (
            "Wait until it is deployed, or start it; its build and service logs tell why it is not."
        )
        why = "calls are refused or held until it serves; what it does not tell is unknown below"
        return Check(name, "NOT_READY", target, "bad", action, why)
    if described.updating is not None:
        action = "See its events: the configuration it serves may not be the one you gave."
        if described.updating == "IN_PROGRESS":
            action = "Judge it again when the update is done: figures have gaps until then."
        return Check(name, f"READY, update {described.updating}", target, "warn", action)
    return Check(name, "READY", target, "ok")


def machine(measured: Measured, targets: Targets) -> Iterator[Check]:
    """Processor and memory; graphics processors where there are some."""
    figures = measured.figures
    busiest = figures.busiest_cpu_percent
    why = "" if busiest is None else f"the busiest replica: {busiest:.3g} %"
    yield _percent(measured, "CPU", figures.cpu_percent, targets.cpu_percent, _BUSY, why)
    yield _percent(measured, "memory", figures.memory_percent, targets.memory_percent, _FULL)
    if figures.gpu_percent is not None:
        yield _percent(measured, "GPU", figures.gpu_percent, targets.gpu_percent, _GPU_BUSY)
    if figures.gpu_memory_percent is not None:
        found, goal = figures.gpu_memory_percent, targets.memory_percent
        yield _percent(measured, "GPU memory", found, goal, _GPU_FULL)


def _percent(
    measured: Measured, name: str, found: float | None, goal: float, action: str, why: str = ""
) -> Check:
    target = f"at most {goal:g} %"
    if found is None:
        why = measured.figures.why_none or "the endpoint's figures do not hold it"
        return Check(name, "–", target, "unknown", why=f"{why[0].upper()}{why[1:]}.")
    shown = f"{found:.3g} %"
    if found <= goal:
        return Check(name, shown, target, "ok", why=why)
    return Check(name, shown, target, "bad", action, why)


def scale_to_zero(measured: Measured, targets: Targets) -> Check:
    """Whether it may sleep, and whether a call had to wake it."""
    name, target, described = "scale to zero", "off in production", measured.described
    if described is None:
        return Check(name, "–", target, "unknown", why=measured.why_undescribed)
    if described.scale_to_zero is None:
        return Check(name, "–", target, "unknown", why="The description does not say.")
    if not described.scale_to_zero:
        return Check(name, "off", target, "ok")
    action = "Switch scale-to-zero off and set a minimum concurrency: the service gives no bound."
    longest_s = measured.calls.first_byte_longest_s
    refused = measured.calls.failed_attempts.get("503", 0)
    if refused:
        why = f"{refused:,} x 503, which is the answer while it wakes up"
        return Check(name, "on, cold start seen", target, "bad", action, why)
    if longest_s is not None and longest_s >= targets.cold_start_s:
        why = f"a call waited {seconds(longest_s)} for its first byte, as waking up takes"
        return Check(name, "on, cold start seen", target, "bad", action, why)
    why = "after 30 min without calls the next one waits until it is awake, usually 10 to 20 s"
    return Check(name, "on", target, "warn", action, why)
