"""How many slots the measured load needs, by a capacity plan. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.capacity.doctor.measured import Measured
from servingclient.capacity.planning import plan
from servingclient.errors import ConfigError
from servingclient.settings.planning import UTILISATION
from servingclient.settings.targets import Targets
from servingclient.telemetry.table import percent, rate, seconds


@dataclass(frozen=True, slots=True)
class Demand:
    """What a load asks of an endpoint.

    Attributes:
        qps: Requests a second it is for.
        service_s: Seconds each holds a slot.
        busy: Slots that are busy on average: the guide's formula, rate times seconds.
        slots: The smallest size that is sold and fits; None where none does.
        basis: How it was come by.
        problem: Why no size fits.
    """

    qps: float
    service_s: float
    busy: float
    slots: int | None
    basis: str
    problem: str = ""


def demand(measured: Measured, targets: Targets) -> Demand | None:
    """The slots needed for the measured rate, or the wanted one if that is higher.

    Returns:
        None where the rate, or how long a request holds a slot, is not known.
    """
    qps = max(measured.qps or 0.0, targets.qps or 0.0)
    held = _held_s(measured)
    if not qps or held is None:
        return None
    held_s, what = held
    busy = qps * held_s
    basis = (
        f"{rate(qps)} a second x {seconds(held_s)} ({what}) = {busy:.3g} busy slots, at most "
        f"{percent(UTILISATION)} of all"
    )
    optimized = None if measured.described is None else measured.described.route_optimized
    try:
        # a standard endpoint's rate limit is another check's; here only slots count
        found = plan(qps=qps, service_time_s=held_s, route_optimized=optimized or qps > 200)
    except ConfigError as error:
        return Demand(qps, held_s, busy, None, basis, str(error))
    slots = None if found.scaling is None else found.scaling.least
    return Demand(qps, held_s, busy, slots, basis, found.problem or "")


def carried_qps(measured: Measured) -> float | None:
    """Calls a second the slots carry at the utilisation a plan allows; None if not known."""
    held = _held_s(measured)
    if held is None or not measured.slots:
        return None
    return measured.slots * UTILISATION / held[0]


def _held_s(measured: Measured) -> tuple[float, str] | None:
    """How long a request holds a slot: the model's own time, else what is known to be longer."""
    if measured.model_mean_s:
        return measured.model_mean_s, "the model's mean"
    latency = measured.figures.latency
    if latency is not None and latency.mean_s:
        return latency.mean_s, "the endpoint's mean latency, more than the model takes"
    if measured.calls.first_byte_mean_s:
        return measured.calls.first_byte_mean_s, "mean first byte, more than the model takes"
    return None
