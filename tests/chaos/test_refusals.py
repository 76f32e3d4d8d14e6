"""Rows 1 to 5: the endpoint answers, and refuses."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from servingclient import Throttled
from servingclient.settings import Concurrency, Retry
from tests.chaos.endpoint import UNAVAILABLE, on_share, throttling
from tests.chaos.kit import Stage, rows
from tests.chaos.meter import Told, failed, outcomes, quantile, success, those


@rows("lanes", "httpx")
def test_chaos_01_503_all(stage: Stage) -> None:
    with stage.judge(1) as judge:
        told = stage.play(
            60.0,
            lambda: stage.endpoint.answer(UNAVAILABLE),
            settings=stage.patient.replace(retry=stage.form.retry),
            least_fault_s=2.0,
        )
        judge.exactly("errors", set(outcomes(failed(told.calls))), {"ServerError"}, timed=True)
        judge.at_most("amp", told.amplification(), 1.10)
        half_s = sum(told.fault_s) / 2  # the quota is spent before
        late = those(failed(told.during), lambda call: call.began_s >= half_s)
        late_s = quantile([call.took_s for call in late], 0.99)
        judge.in_time("late failures p99 s", late_s, 0.3)
        judge.in_time("recover s", told.recovery_s, 2.0)


@rows("lanes")
def test_chaos_01_the_control_shows_that_the_meter_sees_a_storm(stage: Stage) -> None:
    naive = stage.patient.replace(
        retry=Retry(quota_capacity=10**9), concurrency=Concurrency(adaptive=False)
    )
    with stage.judge(1, "control") as judge:
        told = stage.play(
            20.0, lambda: stage.endpoint.answer(UNAVAILABLE), settings=naive, before_s=1.0
        )
        judge.at_least("amp", told.amplification(), 3.5, timed=True)


@rows("lanes", "httpx")
def test_chaos_02_503_on_10_percent(stage: Stage) -> None:
    with stage.judge(2) as judge:
        ill = on_share(0.1, UNAVAILABLE, stage.endpoint.well)
        told = stage.play(60.0, lambda: stage.endpoint.answer(ill), settings=stage.patient)
        # of the 100 calls of the short form one may be unlucky four times
        least = 0.995 if stage.form.is_long else 0.98
        judge.at_least("success", success(told.during), least, timed=True)
        judge.at_most("amp", told.amplification(), 1.15 if stage.form.is_long else 1.3)


@rows("lanes", "httpx")
def test_chaos_03_503_on_50_percent(stage: Stage) -> None:
    # 80 calls a second, which are 600 for each client in a minute. At 50 the tokens with which a
    # client starts weigh more: amplification 1.24 to 1.26 (on virtual time, too), success 0.63.
    with stage.judge(3) as judge:
        ill = on_share(0.5, UNAVAILABLE, stage.endpoint.well)
        told = stage.play(
            60.0,
            lambda: stage.endpoint.answer(ill),
            settings=stage.patient.replace(retry=stage.form.retry),
            per_s=80.0,
        )
        # the short form: half of 160 calls, less five times the standard deviation
        least = 0.55 if stage.form.is_long else 0.30
        judge.at_least("success", success(told.during), least, timed=True)
        judge.at_most("amp", told.amplification(), 1.25 if stage.form.is_long else 1.5)


@rows("lanes", "httpx")
def test_chaos_04_429_with_retry_after(stage: Stage) -> None:
    # In the short form the hint is 1 s, the least a header can say beside 0, and calls have 2.5 s.
    form, long = stage.form, stage.form.is_long
    hint_s, timeout_s = (2.0, 5.0) if long else (1.0, 2.5)
    with stage.judge(4) as judge:
        told = stage.play(
            30.0,
            lambda: stage.endpoint.answer(throttling(hint_s)),
            settings=form.settings.replace(timeout_s=timeout_s),
            least_fault_s=2.5,
        )
        gaps = [
            later - before for at_s in _sends(told).values() for before, later in pairwise(at_s)
        ]
        judge.at_least("waits", len(gaps), 20)
        judge.at_least("least wait s", min(gaps), hint_s)
        bins = Counter(int((sent.at_s - told.fault_s[0]) / 0.1) for sent in told.sent)
        inside = [bins[n] for n in range(int((told.fault_s[1] - told.fault_s[0]) / 0.1))]
        mean = sum(inside) / len(inside)
        judge.at_most("fullest bin / mean", max(inside) / mean, 3.0, timed=True)
        judge.told("amp", told.amplification())
        kinds = set(outcomes(failed(told.during))) - {"QueueFull"}
        judge.exactly("errors", kinds, {"Throttled"}, timed=True)


@rows("lanes", "httpx")
def test_chaos_05_429_with_an_absurd_retry_after(stage: Stage) -> None:
    with stage.judge(5) as judge:
        ill = throttling(3600.0)
        told = stage.play(30.0, lambda: stage.endpoint.answer(ill), settings=stage.patient)
        refused = [call for call in told.during if isinstance(call.error, Throttled)]
        judge.at_least("refused", len(refused), 0.95 * len(told.during), timed=True)
        hints = {call.error.retry_after_s for call in refused}  # type: ignore[union-attr]
        judge.exactly("hints", hints, {3600.0})
        judge.at_most("sends of a call", told.most_sent, 1)
        sends = _sends(told)
        took_s = [call.ended_s - sends[call.id][0] for call in refused]
        judge.in_time("p99 s", quantile(took_s, 0.99), 0.05)
        judge.told("longest s", max(took_s))


def _sends(told: Told) -> dict[str, list[float]]:
    """When the endpoint saw the requests of each call of the fault."""
    instants: dict[str, list[float]] = {call.id: [] for call in told.during}
    for sent in told.sent:
        if sent.id in instants:
            instants[sent.id].append(sent.at_s)
    return instants
