"""Rows 17 and 18: the endpoint holds less than it is asked for, for a while.

The default suite plays both on virtual time (``tests/overload``), with the controls that never get
well: here a minute cannot be made two seconds, since backoff and limits keep their own time.
"""

from __future__ import annotations

import pytest

from servingclient import Settings
from servingclient.settings import Pool, Retry
from tests.chaos.form import Form
from tests.chaos.kit import rows
from tests.chaos.load import Phase
from tests.chaos.meter import Told, success, those
from tests.chaos.workspace import ECHO, WorkspaceStage

SLOTS = 4
WELL_PER_S, ILL_PER_S, LOAD_PER_S = 62.0, 25.0, 50.0


def no_retry(form: Form) -> Settings:
    return form.settings.replace(retry=Retry(max_attempts=1))


def brown_out(workspace: WorkspaceStage, settings: Settings, queue: int) -> Told:
    """Half a minute of calm, ten seconds at 25 a second, and a minute at 62 again."""

    def offer(per_s: float) -> None:
        workspace.emulator.change_endpoint(
            ECHO, slots=SLOTS, queue=queue, service_time_s=SLOTS / per_s
        )

    workspace.emulator.reset()
    offer(WELL_PER_S)
    return workspace.play(
        10.0,
        begin=lambda: offer(ILL_PER_S),
        end=lambda: offer(WELL_PER_S),
        settings=settings,
        per_s=LOAD_PER_S,
        before_s=30.0,
    )


@pytest.mark.parametrize(
    "queue",
    [
        pytest.param(62, id="429"),  # who would wait for more than a second is refused
        pytest.param(100_000, id="queueing"),  # who has given up is worked for all the same
    ],
)
@rows("lanes", "httpx", "sync", default=(), on="workspace")
def test_chaos_17_a_brown_out(workspace: WorkspaceStage, queue: int) -> None:
    form = workspace.form
    with workspace.judge(17, "429" if queue < LOAD_PER_S * 2 else "queueing") as judge:
        plain = brown_out(workspace, no_retry(form), queue)
        told = brown_out(workspace, form.settings, queue)
        judge.at_most("recover without retries s", plain.recovery_s, 21.0, timed=True)
        judge.at_most("recover s", told.recovery_s, 1.2 * plain.recovery_s + 5.0, timed=True)
        judge.told("amp", told.amplification())


WORK_S = 0.2
OFFERED_PER_S = 240.0
FIRST_PER_S, LAST_PER_S = 80.0, 320.0
RAMP_S = 120.0


def holds(at_s: float, part: float) -> float:
    """Requests a second that the endpoint takes, so long after the ramp began."""
    return FIRST_PER_S + (LAST_PER_S - FIRST_PER_S) * min(at_s / (RAMP_S * part), 1.0)


@rows("lanes", "httpx", "sync", default=(), on="workspace")
def test_chaos_18_it_scales_up(workspace: WorkspaceStage) -> None:
    """From 80 a second to 320, with 240 wanted all the time: for two thirds of it too few."""
    form, emulator = workspace.form, workspace.emulator
    part = max(form.scale, 0.05)
    first, last = (round(per_s * WORK_S) for per_s in (FIRST_PER_S, LAST_PER_S))
    emulator.change_endpoint(ECHO, slots=first, queue=0, service_time_s=WORK_S)
    settings = form.settings.replace(
        retry=Retry(throttled_base_s=Retry().throttled_base_s * part),
        pool=Pool(max_httpx_calls=64),
    )
    enough_s = RAMP_S * (OFFERED_PER_S - FIRST_PER_S) / (LAST_PER_S - FIRST_PER_S)
    phases = [
        Phase(20.0 * part),
        Phase(enough_s * part, lambda: emulator.scale_endpoint(ECHO, last, over_s=RAMP_S * part)),
        Phase((RAMP_S - enough_s) * part),
    ]
    with workspace.judge(18) as judge:
        told = workspace.run(phases, settings, per_s=OFFERED_PER_S)
        start_s = told.fault_s[0]
        good = those(told.calls, lambda call: call.outcome == "ok" and call.ended_s >= start_s)
        could = sum(min(holds(n * part, part), OFFERED_PER_S) * part for n in range(round(RAMP_S)))
        in_time = those(good, lambda call: call.ended_s < start_s + RAMP_S * part)
        judge.at_least("goodput of capacity", len(in_time) / could, 0.85, timed=True)
        judge.at_most("amp", told.amplification(told.calls), 1.30)
        judge.at_most("recover s", told.recovery_s, 15.0 * part, timed=True)
        judge.told("success", success(told.calls))
