"""Row 16: replies come byte by byte."""

from __future__ import annotations

import time

from tests.chaos.kit import Stage, rows
from tests.chaos.load import Phase
from tests.chaos.meter import outcomes, quantile
from tests.faults.rules import always
from tests.faults.toxics import Slicer

UNHURRIED_S = 5.0
"""Also in the short form: it is not time that this row is about."""


@rows("lanes", "httpx")
def test_chaos_16_one_byte_at_a_time(stage: Stage) -> None:
    form, cpu_s = stage.form, []

    def mark() -> None:
        """Read the clock of the thread that makes the calls; the endpoint runs on others."""
        cpu_s.append(time.thread_time())

    def slice_() -> None:
        mark()
        stage.proxy.use(always(Slicer(1)))

    def end() -> None:
        mark()
        stage.heal()

    with stage.judge(16) as judge:
        phases = [
            Phase(form.phase_s(60.0), mark),
            Phase(form.phase_s(30.0), slice_),
            Phase(form.phase_s(10.0), end),
        ]
        told = stage.run(phases, stage.settings.replace(timeout_s=UNHURRIED_S))
        judge.exactly("wrong results", outcomes(told.calls)["WRONG"], 0)
        judge.exactly("results", set(outcomes(told.calls)), {"ok"}, timed=True)
        before_s, during_s = cpu_s[1] - cpu_s[0], cpu_s[2] - cpu_s[1]
        whole_ms = 1e3 * before_s / (phases[0].seconds * 50)
        sliced_ms = 1e3 * during_s / (phases[1].seconds * 50)
        judge.told("CPU ms a call", whole_ms)
        judge.told("sliced", sliced_ms)
        judge.at_most("CPU ratio", sliced_ms / whole_ms, 2.0)
        judge.told("p99 s", quantile([call.took_s for call in told.during], 0.99))
