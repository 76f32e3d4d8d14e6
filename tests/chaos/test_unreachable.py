"""Rows 6 to 9: the endpoint is not there, or does not answer."""

from __future__ import annotations

from tests.chaos.kit import CLIENTS, Stage, rows
from tests.chaos.load import Phase
from tests.chaos.meter import failed, longest_s, outcomes, success, those
from tests.faults.rules import always
from tests.faults.toxics import Blackhole

LATE_S = 0.25
"""A call may end so much after its deadline."""


def gone(stage: Stage) -> None:
    """The process is no more: open connections die, new ones are refused."""
    stage.proxy.refuse()
    stage.proxy.cut()


def cut_off(stage: Stage) -> None:
    """The way there is no more: open connections die, and nobody answers attempts."""
    stage.proxy.drop_syns()
    stage.proxy.cut()


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_06_refused(stage: Stage) -> None:
    retry = stage.form.retry
    with stage.judge(6) as judge:
        told = stage.play(30.0, lambda: gone(stage), settings=stage.patient.replace(retry=retry))
        inside = those(told.during, lambda call: call.ended_s < told.fault_s[1])
        judge.exactly("success", success(inside), 0.0)
        judge.exactly("errors", set(outcomes(inside)), {"ConnectionFailed"}, timed=True)
        judge.at_most("amp", told.amplification(inside), 1.10)
        # No endpoint sees a refused attempt. There are as many as each client's quota pays for, and
        # one free resend for each connection that died: 1.19 in 30 s at six calls a second.
        free = retry.quota_capacity // retry.retry_cost + 1
        judge.at_most("tries", told.tries(inside), 1.0 + CLIENTS * free / len(inside))
        judge.in_time("recover s", told.recovery_s, 2.0)


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_07_syns_dropped(stage: Stage) -> None:
    timeout_s = stage.form.timeout_s
    with stage.judge(7) as judge:
        told = stage.play(30.0, lambda: cut_off(stage))
        judge.in_time("longest s", longest_s(told.calls), timeout_s + LATE_S)
        judge.at_most("in flight of a client", told.most_in_flight, told.highest_limit)
        judge.at_most("most processed", told.most_processed(), 2)  # what was cut off was sent again
        judge.in_time("recover s", told.recovery_s, timeout_s + 1.0)
        judge.told("kinds of errors", len(outcomes(failed(told.calls))))


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_08_accepted_and_never_answered(stage: Stage) -> None:
    timeout_s = stage.form.timeout_s
    with stage.judge(8) as judge:
        told = stage.play(30.0, lambda: stage.proxy.use(always(Blackhole("down"))))
        judge.in_time("longest s", longest_s(told.calls), timeout_s + LATE_S)
        kinds = set(outcomes(failed(told.calls)))
        judge.exactly("errors", kinds - {"QueueFull"}, {"DeadlineExceeded"})
        judge.at_most("sends of a call", told.most_sent, 1)
        judge.in_time("recover s", told.recovery_s, timeout_s + 1.0)


@rows("lanes", "httpx", "sync", "tls", "sync tls")
def test_chaos_09_half_open_idle_lanes(stage: Stage) -> None:
    timeout_s = stage.form.timeout_s
    lanes: list[int] = []

    def freeze() -> None:
        lanes.append(stage.proxy.open_connections)
        stage.proxy.freeze()

    with stage.judge(9) as judge:
        stage.endpoint.take(0.1)  # so that one client has several connections
        phases = [Phase(1.0), Phase(timeout_s + 0.5, freeze), Phase(2.0 * stage.form.window_s)]
        told = stage.run(phases, stage.settings, clients=1)
        slow = those(told.calls, lambda call: call.outcome != "ok" or call.took_s > timeout_s / 2)
        judge.at_least("lanes", lanes[0], 3)
        judge.at_most("slow calls", len(slow), lanes[0], timed=True)
        judge.in_time("longest s", longest_s(told.calls), timeout_s + LATE_S)
        clean = those(told.calls, lambda call: call.began_s >= told.fault_s[1])
        judge.exactly("success afterwards", success(clean), 1.0, timed=True)
