"""Rows 10 to 13: connections break while they are used, or drip."""

from __future__ import annotations

import pytest

from tests.chaos.kit import Stage, rows
from tests.chaos.meter import failed, longest_s, outcomes, quantile, success, those
from tests.faults.rules import Moment, Rule, always, both, every, every_connection
from tests.faults.toxics import (
    CutBody,
    Drip1xx,
    DripBody,
    DripHead,
    FinAfter,
    IdleClose,
    Toxic,
    Toxics,
)


@rows("lanes", "httpx", "sync", "tls", "sync tls")
@pytest.mark.parametrize("idempotent", [True, False])
def test_chaos_10_rst_mid_body(stage: Stage, idempotent: bool) -> None:
    # Each 20th reply: were they drawn, one call in 400 would be hit three times in a row.
    with stage.judge(10, "" if idempotent else "unsafe") as judge:
        told = stage.play(
            60.0,
            lambda: stage.proxy.use(every(20, CutBody("rst"))),
            settings=stage.patient,
            idempotent=idempotent,
        )
        if idempotent:
            judge.at_least("success", success(told.during), 0.995, timed=True)
            judge.exactly("most processed", told.most_processed(), 2)
        else:
            judge.at_most("most processed", told.most_processed(), 1)
            kinds = set(outcomes(failed(told.calls)))
            judge.exactly("errors", kinds, {"ConnectionLost"}, timed=True)
            judge.told("success", success(told.during))


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_11_fin_after_each_reply(stage: Stage) -> None:
    # Calls come in twos, the second when the first one's FIN is on its way.
    stage.in_a_row = 2
    with stage.judge(11) as judge:
        told = stage.play(
            60.0, lambda: stage.proxy.use(always(FinAfter(1))), settings=stage.patient
        )
        judge.exactly("errors", dict(outcomes(failed(told.calls))), {}, timed=True)
        judge.told("amp", told.amplification())


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_12_idle_close(stage: Stage) -> None:
    # each of four clients calls every 50 ms, just when its connection is closed
    with stage.judge(12) as judge:
        told = stage.play(
            25.0,
            lambda: stage.proxy.use(always(IdleClose(0.05))),
            settings=stage.patient,
            clients=4,
            per_s=80.0,
            before_s=1.0,
            after_s=1.0,
        )
        closed = sum(count.closed == "fin" for count in stage.proxy.counts)
        judge.at_least("closed connections", closed, 4)
        judge.exactly("errors", dict(outcomes(failed(told.calls))), {}, timed=True)
        judge.told("calls", len(told.during))
        judge.told("amp", told.amplification())


def dripping(interval_s: float) -> Rule:
    """Each tenth connection, in turn: bodies, heads, 103s."""
    drips: tuple[Toxic, ...] = (
        DripBody(interval_s),
        DripHead(interval_s),
        Drip1xx(interval_s),
    )

    def rule(moment: Moment) -> Toxics:
        return every_connection(10, drips[moment.connection // 10 % 3])(moment)

    return rule


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_13_drips(stage: Stage) -> None:
    # Connections end after ten replies, before the fault too: there must be new ones to be hit.
    timeout_s = stage.form.timeout_s
    with stage.judge(13) as judge:
        stage.endpoint.take(0.05)
        stage.proxy.use(always(FinAfter(10)))
        fault = both(always(FinAfter(10)), dripping(timeout_s / 10))
        told = stage.play(60.0, lambda: stage.proxy.use(fault), least_fault_s=2.5)
        dripped = those(told.during, lambda call: call.outcome != "ok")
        others = those(told.during, lambda call: call.outcome == "ok")
        judge.at_least("dripped calls", len(dripped), 1)
        judge.exactly("their errors", set(outcomes(dripped)), {"DeadlineExceeded"})
        judge.in_time("their longest s", longest_s(dripped), timeout_s + 0.25)
        before_s = quantile([call.took_s for call in told.before], 0.99)
        others_s = quantile([call.took_s for call in others], 0.99)
        # of 50 calls in the steady second the 99th percentile is the slowest
        limit_s = before_s * (1.1 if stage.form.is_long else 2.0)
        judge.in_time("others' p99 s", others_s, limit_s)
        judge.told("before s", before_s)
