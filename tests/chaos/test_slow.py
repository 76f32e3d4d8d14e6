"""Rows 14 and 15: all is right, and slow."""

from __future__ import annotations

import asyncio
import time

import pytest

from servingclient import DeadlineExceeded
from tests.chaos.kit import Stage, rows
from tests.chaos.meter import failed, longest_s, outcomes, success
from tests.faults.rules import always, changing
from tests.faults.toxics import Bandwidth, Latency
from tests.reliability.kit import numbered
from tests.scripted.server import eventually

SLOW_LINE = Bandwidth(10_000.0)
LATE_S = 0.25


@rows("lanes", "httpx")
def test_chaos_14_latency_ramp(stage: Stage) -> None:
    # Three times the usual load: with 50 calls a second nobody would have to be turned away.
    form = stage.form
    fault_s, most_s = form.phase_s(60.0, 2.0), form.scaled_s(2.0)
    ramp = changing(lambda at_s: (Latency(most_s * min(at_s / fault_s, 1.0)),))
    with stage.judge(14) as judge:
        told = stage.play(60.0, lambda: stage.proxy.use(ramp), per_s=150.0)
        judge.at_most("amp", told.amplification(told.calls), 1.0)
        judge.at_most("at once", told.most_in_flight, told.highest_limit)
        rejected = outcomes(failed(told.calls))
        judge.exactly("other errors", set(rejected) - {"QueueFull", "DeadlineExceeded"}, set())
        judge.in_time("longest s", longest_s(told.calls), form.timeout_s + LATE_S)
        judge.told("QueueFull", rejected["QueueFull"])
        judge.told("success", success(told.during))


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_15_bandwidth(stage: Stage) -> None:
    with stage.judge(15) as judge:
        slow = always(SLOW_LINE)
        told = stage.play(30.0, lambda: stage.proxy.use(slow), settings=stage.patient)
        judge.in_time("longest s", longest_s(told.calls), 5.0 + LATE_S)
        judge.exactly("success", success(told.calls), 1.0, timed=True)


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_15_a_large_body_ends_at_the_deadline(stage: Stage) -> None:
    timeout_s = stage.form.timeout_s
    body = numbered("large") | {"padding": "x" * 5_000_000}
    stage.proxy.use(always(SLOW_LINE))
    with stage.judge(15, "5 MB") as judge:
        took_s = _given_up_after_s(stage, body)
        judge.at_least("took s", took_s, timeout_s)
        # one call, and nothing beside it that would tell of a stall
        judge.at_most("took s", took_s, timeout_s + (LATE_S if stage.form.is_long else timeout_s))
        judge.at_most("bytes read of it", stage.proxy.counts[-1].up_bytes, 200_000)
        stage.proxy.use(always())  # what lies in the kernel arrives now, and is no request
        assert eventually(lambda: not stage.proxy.counts[-1].open)
        judge.exactly("processed", stage.endpoint.processed["large"], 0)


def _given_up_after_s(stage: Stage, body: dict[str, object]) -> float:
    if stage.blocking:
        with stage.client(stage.settings) as client:
            start_s = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.predict(body)
            return time.monotonic() - start_s

    async def call() -> float:
        async with stage.client(stage.settings) as client:
            start_s = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                await client.predict(body)
            return time.monotonic() - start_s

    return asyncio.run(call())
