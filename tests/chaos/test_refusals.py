"""Rows 1 to 5: the endpoint answers, and refuses."""

from __future__ import annotations

from tests.chaos.endpoint import UNAVAILABLE, on_share
from tests.chaos.kit import Stage, rows
from tests.chaos.meter import failed, outcomes, quantile, success, those


@rows("lanes", "httpx", "sync")
def test_chaos_01_503_all(stage: Stage) -> None:
    with stage.judge(1) as judge:
        told = stage.play(
            60.0,
            lambda: stage.endpoint.answer(UNAVAILABLE),
            settings=stage.settings.replace(retry=stage.form.retry),
        )
        judge.exactly("errors", set(outcomes(failed(told.calls))), {"ServerError"})
        judge.at_most("amp", told.amplification(), 1.10)
        half_s = sum(told.fault_s) / 2  # the quota is spent long before
        late = those(failed(told.during), lambda call: call.began_s >= half_s)
        judge.at_most("late failures p99 s", quantile([call.took_s for call in late], 0.99), 0.3)
        judge.at_most("recover s", told.recovery_s, 2.0)


@rows("lanes", "httpx")
def test_chaos_02_503_on_10_percent(stage: Stage) -> None:
    with stage.judge(2) as judge:
        ill = on_share(0.1, UNAVAILABLE, stage.endpoint.well)
        told = stage.play(60.0, lambda: stage.endpoint.answer(ill))
        judge.at_least("success", success(told.during), 0.995)
        judge.at_most("amp", told.amplification(), 1.15)
