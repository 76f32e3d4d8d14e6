"""Rows 17 and 18: the endpoint holds less than it is asked for, for a while."""

from __future__ import annotations

import pytest

from servingclient import Settings
from servingclient.settings import Concurrency, Retry
from tests.chaos.form import Form
from tests.chaos.kit import rows
from tests.chaos.meter import Told
from tests.chaos.workspace import ECHO, WorkspaceStage

SLOTS = 4
WELL_PER_S, ILL_PER_S, LOAD_PER_S = 62.0, 25.0, 50.0


def no_retry(form: Form) -> Settings:
    return form.settings.replace(retry=Retry(max_attempts=1))


def naive(form: Form) -> Settings:
    """The control: retries without quota, and no limit of calls at once."""
    return form.settings.replace(
        retry=Retry(quota_capacity=10**9), concurrency=Concurrency(adaptive=False)
    )


def brown_out(workspace: WorkspaceStage, settings: Settings, queue: int) -> Told:
    """Half a minute of calm, ten seconds at 25 a second, and a minute at 62 again."""

    def holds(per_s: float) -> None:
        workspace.emulator.change_endpoint(
            ECHO, slots=SLOTS, queue=queue, service_time_s=SLOTS / per_s
        )

    workspace.emulator.reset()
    holds(WELL_PER_S)
    return workspace.play(
        10.0,
        begin=lambda: holds(ILL_PER_S),
        end=lambda: holds(WELL_PER_S),
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
@rows("lanes", "httpx", "sync", on="workspace")
def test_chaos_17_a_brown_out(workspace: WorkspaceStage, queue: int) -> None:
    form = workspace.form
    with workspace.judge(17, "429" if queue < LOAD_PER_S * 2 else "queueing") as judge:
        plain = brown_out(workspace, no_retry(form), queue)
        told = brown_out(workspace, form.settings, queue)
        judge.at_most("recover without retries s", plain.recovery_s, 21.0)
        judge.at_most(
            "recover s", told.recovery_s, 1.2 * plain.recovery_s + 5.0 * form.timeout_s / 5.0
        )
        judge.told("amp", told.amplification())
