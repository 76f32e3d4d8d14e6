"""From what was measured to a diagnosis. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from servingclient.capacity.doctor import caller, machine
from servingclient.capacity.doctor.demand import demand
from servingclient.capacity.doctor.diagnosis import Check, Diagnosis
from servingclient.capacity.doctor.latency import latency
from servingclient.capacity.doctor.load import load
from servingclient.capacity.doctor.measured import Measured
from servingclient.capacity.doctor.split import split
from servingclient.settings.targets import Targets


def examine(measured: Measured, targets: Targets | None = None) -> Diagnosis:
    """Hold what was measured against the targets.

    What is missing is ``"unknown"`` with a sentence that says why; all else is judged without it.

    Args:
        measured: From ``client.doctor()``, or made by hand.
        targets: None takes the defaults.
    """
    goals = Targets() if targets is None else targets
    where = split(measured)

    def checks() -> Iterator[Check]:
        need = demand(measured, goals)
        yield machine.state(measured)
        yield from latency(measured, goals, where, need)
        yield from load(measured, goals, need)
        yield from machine.machine(measured, goals)
        yield machine.scale_to_zero(measured, goals)
        yield caller.payload(measured, goals)
        yield caller.reuse(measured, goals)
        yield caller.token(measured, goals)
        yield from caller.apis(measured, goals)

    figures = measured.figures
    described = measured.described is not None and measured.described.ready is not None
    examined = described or measured.calls.count > 0 or figures.samples > 0
    return Diagnosis(measured.endpoint, tuple(checks()), where, examined, tuple(_notes(measured)))


def _notes(measured: Measured) -> Iterator[str]:
    figures = measured.figures
    if measured.described is None:
        yield f"There is no description. {measured.why_undescribed}"
    if figures.why_none is not None:
        yield f"No figures of the endpoint's own: {figures.why_none}."
    elif figures.skipped:
        yield (
            f"{figures.skipped:,} lines of the endpoint's figures could not be read; "
            f"{figures.samples:,} could."
        )
    if not measured.calls.count:
        yield "This client made no calls: latency and errors are those the endpoint counts."
