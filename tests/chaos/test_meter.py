"""The instruments: a meter, a judge and a load that cannot be wrong unnoticed."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from typing import Any

import pytest

from servingclient import ServerError, Settings
from tests.chaos.endpoint import Sent
from tests.chaos.judge import Judge
from tests.chaos.kit import check_every_row
from tests.chaos.load import Load, Phase
from tests.chaos.meter import Call, Left, Told, quantile, success

FAULT_S = (10.0, 20.0)


def call(number: int, ended_s: float, outcome: str = "ok", tries: int = 1) -> Call:
    return Call(f"c{number}", ended_s - 0.1, ended_s - 0.1, ended_s, outcome, tries)


def told(calls: list[Call], **changes: Any) -> Told:
    sent = [Sent(one.id, one.began_s, 0) for one in calls]
    record: dict[str, Any] = {
        "calls": calls,
        "sent": sent,
        "processed": Counter(one.id for one in calls if one.outcome == "ok"),
        "started": len(calls),
        "fault_s": FAULT_S,
        "over_s": 30.0,
        "window_s": 1.0,
        "left": Left(0, 0, (500,)),
    }
    return Told(**(record | changes))


def ten_a_second(bad: tuple[float, float]) -> Told:
    """Calls from 0 to 30 s, of which those that end between these instants fail."""
    instants = [0.1 * n + 0.05 for n in range(300)]
    return told(
        [
            call(n, at_s, "ServerError" if bad[0] <= at_s < bad[1] else "ok")
            for n, at_s in enumerate(instants)
        ]
    )


def test_recovery_is_counted_from_the_end_of_the_fault() -> None:
    assert ten_a_second((10.0, 20.0)).recovery_s == 0.0
    assert ten_a_second((10.0, 23.0)).recovery_s == pytest.approx(3.0)
    assert ten_a_second((25.0, 26.0)).recovery_s == pytest.approx(6.0), "ill again is not well"
    assert ten_a_second((10.0, 31.0)).recovery_s == math.inf


def test_a_silent_window_is_not_well() -> None:
    calls = [call(n, 0.1 * n) for n in range(200)]
    assert told(calls).recovery_s == math.inf


def test_amplification_counts_requests_of_the_calls_in_the_fault() -> None:
    run = ten_a_second((10.0, 20.0))
    again = [Sent(one.id, one.ended_s, 0) for one in run.during[:50]]
    stray = [Sent("c1", 1.0, 0)] * 40  # before the fault
    more = told(list(run.calls), sent=[*run.sent, *again, *stray])
    assert len(more.during) == 100
    assert more.amplification() == 1.5
    assert more.most_sent == 41
    assert success(more.during) == pytest.approx(0.01), "one began in it and ended later"


def test_noise_is_a_long_stall_or_many_short_ones() -> None:
    calls = [call(n, 0.1 * n) for n in range(300)]
    assert told(calls, stall_s=0.2, lost_s=2.0).noise == ""
    assert "0.30 s at once" in told(calls, stall_s=0.3, lost_s=0.3).noise
    assert "13% in all" in told(calls, stall_s=0.1, lost_s=4.0).noise


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [quantile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]
    assert quantile([], 0.99) == 0.0


@pytest.mark.parametrize(
    "changes",
    [
        {"started": 3},
        {"calls": [call(1, 1.0), call(1, 2.0)]},
        {"calls": [call(1, 1.0), call(2, 2.0, "WRONG")]},
        {"left": Left(1, 0, (500,))},
        {"left": Left(0, 1, (500,))},
        {"left": Left(0, 0, (501,))},
        {"left": Left(0, 0, (-1,))},
        {"processed": Counter({"c1": 2})},
    ],
)
def test_what_holds_in_every_row_is_checked_in_every_row(changes: dict[str, Any]) -> None:
    good = [call(1, 1.0), call(2, 2.0)]
    check_every_row(told(good), Settings())
    with pytest.raises(AssertionError):
        check_every_row(told(**({"calls": good} | changes)), Settings())


def test_the_judge_shows_all_figures_and_fails_for_one() -> None:
    properties: list[tuple[str, object]] = []

    def judged() -> None:
        with Judge(1, "lanes", properties) as judge:
            judge.at_most("amp", 1.2, 1.1)
            judge.at_least("success", 1.0, 0.9)
            judge.exactly("kinds", {"a"}, {"a"})

    with pytest.raises(AssertionError, match="row 1 lanes"):
        judged()
    line = dict(properties)["chaos"]
    assert isinstance(line, dict)
    assert line["passed"] is False
    assert line["figures"] == "amp 1.2 (<= 1.1) FAILED; success 1 (>= 0.9); kinds {'a'} (= {'a'})"


def test_limits_in_seconds_allow_for_a_stall() -> None:
    properties: list[tuple[str, object]] = []

    def judged(measured_s: float, noise: str = "") -> None:
        with Judge(1, "", properties, stall_s=0.2, noise=noise) as judge:
            judge.in_time("longest s", measured_s, 1.25)

    judged(1.4)
    with pytest.raises(AssertionError):
        judged(1.5)
    judged(9.0, noise="the machine stood still for 3 s")
    assert "9 (<= 1.25 + 0.2, not judged); the machine stood still for 3 s" in str(properties[-1])


def test_what_no_noise_excuses_is_judged_on_any_machine() -> None:
    def judged() -> None:
        with Judge(1, "", [], noise="the machine stood still for 3 s") as judge:
            judge.at_most("amp", 1.2, 1.1)

    with pytest.raises(AssertionError):
        judged()


def test_a_row_that_checks_nothing_fails() -> None:
    with pytest.raises(AssertionError, match="proves nothing"), Judge(1, "", []):
        pass


def test_the_load_begins_phases_when_they_are_due_and_calls_whatever_became_of_others() -> None:
    turned: list[str] = []
    seen: list[str] = []

    async def caller(call_id: str) -> Any:
        seen.append(call_id)
        await asyncio.sleep(0.2)
        raise ServerError("no")

    load = Load(
        [caller, caller],
        [Phase(0.1), Phase(0.1, lambda: turned.append(seen[-1])), Phase(0.1)],
        per_s=100.0,
    )
    asyncio.run(load.run())
    assert turned == ["c9"]
    assert [one.outcome for one in load.calls] == ["ServerError"] * 30
    assert sorted(seen) == sorted(f"c{n}" for n in range(30))
    assert len(load.turned_s) == 4
    assert load.turned_s[3] - load.turned_s[0] >= 0.3


def test_calls_in_a_row_are_calls_of_their_own() -> None:
    seen: list[str] = []

    async def caller(call_id: str) -> Any:
        seen.append(call_id)
        raise ServerError("no")

    load = Load([caller], [Phase(0.03)], per_s=100.0, in_a_row=2)
    asyncio.run(load.run())
    assert seen == [one.id for one in load.calls] == [f"c{n}" for n in range(6)]
    assert load.started == 6


def test_the_schedule_moves_with_a_machine_that_stands_still() -> None:
    starts: list[float] = []

    async def caller(call_id: str) -> Any:
        starts.append(time.monotonic())
        if call_id == "c2":
            threading.Event().wait(0.3)
        raise ServerError("no")

    load = Load([caller], [Phase(0.1)], per_s=50.0)
    asyncio.run(load.run())
    assert len(starts) == 5
    assert 0.25 <= load.stall_s <= load.lost_s
    assert starts[4] - starts[3] >= 0.015, "no burst makes up for it"
