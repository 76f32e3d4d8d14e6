"""Slots, queue, growth and limits: latency grows first, then requests are refused."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from servingclient.emulator import Emulator, EndpointSpec, faults
from servingclient.emulator.capacity import Capacity
from tests.emulator.peer import TWO_ROWS, Answer, call, call_fast, connected, post, read
from tests.scripted.server import eventually
from tests.stopwatch import Stopwatch

ENDPOINT_TEXT = (
    "Too many concurrent requests. Consider increasing the provisioned concurrency of the served "
    "entity."
)
WORKSPACE_TEXT = (
    "Exceeded max number of parallel requests. Please contact your Databricks representative to "
    "increase the limit"
)


def at_once(count: int, ask: Callable[[], Answer]) -> list[tuple[Answer, float]]:
    """The answers to simultaneous calls, with their latency in seconds."""
    start = threading.Barrier(count)

    def timed(_: int) -> tuple[Answer, float]:
        start.wait()
        began = time.monotonic()
        return ask(), time.monotonic() - began

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(timed, range(count)))


def until(ask: Callable[[], bool]) -> bool:
    """Ask again and again, for what comes with time alone."""
    deadline = time.monotonic() + 5.0
    while not (held := ask()) and time.monotonic() < deadline:
        pass
    return held


def statuses(answers: list[tuple[Answer, float]]) -> Counter[int]:
    return Counter(answer.status for answer, _ in answers)


def test_latency_grows_first_and_then_requests_are_refused(emu: Emulator) -> None:
    emu.add_endpoint("small", slots=1, queue=2, service_time_s=0.1)
    answers = at_once(5, lambda: call(emu, "small"))
    assert statuses(answers) == {200: 3, 429: 2}
    served = sorted(latency for answer, latency in answers if answer.status == 200)
    # each served one waited for those before it
    assert [int(latency / 0.1) >= place for place, latency in enumerate(served, 1)] == [True] * 3
    for answer, _ in answers:
        if answer.status == 429:
            assert answer.message == ENDPOINT_TEXT
            assert "retry-after" not in answer.headers
    assert sum(emu.executions("small").values()) == 3


def test_slots_run_side_by_side(emu: Emulator) -> None:
    emu.add_endpoint("wide", slots=4, queue=0, service_time_s=0.1)
    answers = at_once(4, lambda: call(emu, "wide"))
    assert statuses(answers) == {200: 4}
    assert statuses(at_once(5, lambda: call(emu, "wide"))) == {200: 4, 429: 1}


def test_the_queue_is_four_a_slot_unless_said(emu: Emulator) -> None:
    emu.add_endpoint("small", slots=1, service_time_s=0.03)
    assert statuses(at_once(7, lambda: call(emu, "small"))) == {200: 5, 429: 2}


def test_slots_grow_after_a_lag(emu: Emulator) -> None:
    emu.add_endpoint("grows", slots=1, max_slots=4, scale_lag_s=0.05, queue=9, service_time_s=0.2)
    answers = at_once(7, lambda: call(emu, "grows"))
    assert statuses(answers) == {200: 7}
    # 1 slot would need 1.4 s; 1, then 2, then 4 slots are done within three rounds
    assert max(latency for _, latency in answers) < 1.0
    described = read(emu, "/api/2.0/serving-endpoints/grows", emu.token).json()
    assert described["config"]["served_entities"][0]["max_provisioned_concurrency"] == 4


def test_without_growth_the_same_load_takes_its_time(emu: Emulator) -> None:
    emu.add_endpoint("fixed", slots=1, queue=9, service_time_s=0.1)
    answers = at_once(4, lambda: call(emu, "fixed"))
    # one after another; a timer may come a little early
    assert max(latency for _, latency in answers) >= 0.39


def test_a_row_may_cost_time(emu: Emulator) -> None:
    emu.add_endpoint("rows", row_time_s=0.05)
    began = time.monotonic()
    call(emu, "rows", TWO_ROWS)
    assert time.monotonic() - began >= 0.1


def test_jitter_spreads_the_service_time(emu: Emulator) -> None:
    emu.add_endpoint("even", service_time_s=0.02)
    emu.add_endpoint("uneven", service_time_s=0.02, service_jitter=0.9)

    def spread(name: str) -> float:
        emu.reset()
        with connected(emu) as peer:
            for _ in range(8):
                peer.send(post(emu, name))
                peer.answer()
        took = [record.decided_at_s - record.received_at_s for record in emu.requests]
        return min(took)

    assert spread("even") >= 0.02
    assert spread("uneven") < 0.018


def test_a_gone_client_still_costs_its_execution(emu: Emulator) -> None:
    emu.add_endpoint("small", slots=1, queue=1, service_time_s=0.05)
    with connected(emu) as first, connected(emu) as second:
        first.send(post(emu, "small", {**TWO_ROWS, "client_request_id": "first"}))
        assert emu.wait_for(lambda: emu.executions("small")["first"] == 1)
        second.send(post(emu, "small", {**TWO_ROWS, "client_request_id": "second"}))
        second.close()
        assert emu.wait_for(lambda: emu.executions("small")["second"] == 1)
        assert first.answer().status == 200
    assert emu.wait_for(lambda: len(emu.requests) == 2)
    assert [record.status for record in emu.requests] == [200, None]


def test_the_size_can_change_while_requests_wait(emu: Emulator) -> None:
    emu.add_endpoint("asleep", slots=0, queue=2)
    with connected(emu) as peer:
        peer.send(post(emu, "asleep"))
        assert eventually(lambda: emu._workspace.endpoints["asleep"].capacity.waiting == 1)
        emu.change_endpoint("asleep", slots=1)
        assert peer.answer().status == 200


def test_slots_go_to_a_number_evenly(emu: Emulator) -> None:
    emu.add_endpoint("ramp", slots=1, queue=0)
    capacity = emu._workspace.endpoints["ramp"].capacity
    began = time.monotonic()
    emu.scale_endpoint("ramp", 5, over_s=0.2)
    seen: list[int] = []

    def grown() -> bool:
        slots = capacity.slots
        if slots not in seen:
            seen.append(slots)
        return slots == 5

    assert until(grown)
    assert time.monotonic() - began >= 0.2
    assert seen == [1, 2, 3, 4, 5]
    described = read(emu, "/api/2.0/serving-endpoints/ramp", emu.token).json()
    (entity,) = described["config"]["served_entities"]
    assert entity["min_provisioned_concurrency"] == 1
    assert entity["max_provisioned_concurrency"] == 5


def test_they_shrink_too_and_a_new_size_ends_it(emu: Emulator) -> None:
    emu.add_endpoint("ramp", slots=4)
    capacity = emu._workspace.endpoints["ramp"].capacity
    emu.scale_endpoint("ramp", 2, over_s=0.02)
    assert until(lambda: capacity.slots == 2)
    emu.scale_endpoint("ramp", 100, over_s=60.0)
    emu.scale_endpoint("ramp", 3)
    assert (capacity.slots, capacity._step) == (3, None)
    emu.scale_endpoint("ramp", 100, over_s=60.0)
    emu.change_endpoint("ramp", slots=1)
    assert (capacity.slots, capacity._step) == (1, None)


def test_who_waits_starts_when_slots_grow(emu: Emulator) -> None:
    emu.add_endpoint("asleep", slots=0, queue=1)
    with connected(emu) as peer:
        peer.send(post(emu, "asleep"))
        assert eventually(lambda: emu._workspace.endpoints["asleep"].capacity.waiting == 1)
        emu.scale_endpoint("asleep", 1, over_s=0.01)
        assert peer.answer().status == 200


def test_demand_adds_nothing_while_slots_go_to_a_number(emu: Emulator) -> None:
    emu.add_endpoint("ramp", slots=1, max_slots=8, scale_lag_s=0.0, queue=0, service_time_s=0.05)
    emu.scale_endpoint("ramp", 2, over_s=60.0)
    assert statuses(at_once(3, lambda: call(emu, "ramp"))) == {200: 1, 429: 2}
    assert emu._workspace.endpoints["ramp"].capacity.slots == 1


def test_a_slot_is_passed_on_at_the_instant_it_was_free() -> None:
    capacity = Capacity(EndpointSpec(name="x", slots=1, queue=9))
    started: list[float] = []
    capacity.admit(started.append)
    capacity.admit(started.append)
    capacity.admit(started.append)
    (first_s,) = started
    capacity.release(first_s + 5.0)  # however late the loop noticed
    capacity.release(first_s + 10.0)
    assert started == [first_s, first_s + 5.0, first_s + 10.0]


def test_nobody_starts_before_he_came() -> None:
    capacity = Capacity(EndpointSpec(name="x", slots=1, queue=9))
    started: list[float] = []
    capacity.admit(started.append)
    capacity.admit(started.append)
    capacity.release(started[0] - 5.0)
    assert started[1] >= started[0]


def test_many_that_wait_and_need_no_time_start_without_nesting(emu: Emulator) -> None:
    emu.add_endpoint("asleep", slots=0, queue=2000)
    capacity = emu._workspace.endpoints["asleep"].capacity
    with connected(emu) as peer:
        started: list[int] = []
        for number in range(1500):
            capacity.admit(
                lambda at_s, number=number: (started.append(number), capacity.release(at_s))
            )
        emu.change_endpoint("asleep", slots=1)
        assert started == list(range(1500))
        assert capacity.running == 0
        peer.send(post(emu, "asleep"))
        assert peer.answer().status == 200


def test_the_workspace_limit_counts_standard_endpoints_only(emu: Emulator) -> None:
    emu.change(workspace_parallel_limit=2)
    emu.change_endpoint("demo", service_time_s=0.1)
    emu.change_endpoint("demo-fast", service_time_s=0.1)
    emu.add_endpoint("other", service_time_s=0.1)
    with connected(emu) as first, connected(emu) as second:
        for peer, name in ((first, "demo"), (second, "other")):
            peer.send(post(emu, name, {**TWO_ROWS, "client_request_id": "r"}))
            assert emu.wait_for(lambda name=name: emu.executions(name)["r"] == 1)
        refused = call(emu)
        assert (refused.status, refused.message) == (429, WORKSPACE_TEXT)
        assert call_fast(emu).status == 200
        assert [first.answer().status, second.answer().status] == [200, 200]
    assert call(emu).status == 200


def test_the_gateway_counts_a_rolling_window(emu: Emulator) -> None:
    emu.add_endpoint("limited", requests_per_minute=2, minute_s=0.2)
    answers = [call(emu, "limited") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert answers[2].json() == {
        "error_code": "REQUEST_LIMIT_EXCEEDED",
        "message": "User defined rate limit(s) exceeded for 'limited'. Requests-per-minute (RPM) "
        "rate limit exceeded for endpoint",
    }
    assert until(lambda: call(emu, "limited").status == 200)


@pytest.mark.parametrize("status", [504, 408])
def test_over_the_execution_limit(emu: Emulator, status: int) -> None:
    emu.add_endpoint(
        "slow",
        service_time_s=0.2,
        execution_limit_s=0.05,
        execution_limit_status=status,
        slots=1,
        queue=0,
    )
    with Stopwatch() as watch:
        answer = call(emu, "slow")
    assert watch.elapsed_s > 0.05
    assert watch.took_s < 0.2
    assert (answer.status, answer.body) == (status, b"Request processing time exceeded limit")
    assert answer.headers["content-type"] == "application/json"
    assert emu.requests[-1].executed
    # the execution goes on and keeps its slot
    assert call(emu, "slow").status == 429


def test_a_cold_start_holds_the_first_requests(emu: Emulator) -> None:
    emu.add_endpoint("cold", cold_start_s=0.1)
    began = time.monotonic()
    assert call(emu, "cold").status == 200
    assert time.monotonic() - began >= 0.1
    with Stopwatch() as watch:
        assert call(emu, "cold").status == 200
    assert watch.took_s < 0.1


def test_or_refuses_them(emu: Emulator) -> None:
    emu.add_endpoint("cold", cold_start_s=0.1, cold_start="refuse")
    refused = call(emu, "cold")
    assert (refused.status, "scaling up" in refused.message) == (503, True)
    assert until(lambda: call(emu, "cold").status == 200)
    emu.change_endpoint("cold", cold_start_s=30.0)
    assert call(emu, "cold").status == 503


@pytest.mark.parametrize(("state", "status"), [("NOT_READY", 503), ("STOPPED", 400)])
def test_states_that_do_not_serve(emu: Emulator, state: str, status: int) -> None:
    emu.change_endpoint("demo", state=state)
    assert call(emu).status == status
    described = read(emu, "/api/2.0/serving-endpoints/demo", emu.token).json()
    assert described["state"]["ready"] == "NOT_READY"
    emu.change_endpoint("demo", state="READY")
    assert call(emu).status == 200


def test_faults_that_run_the_model_wait_for_a_slot_too(emu: Emulator) -> None:
    emu.add_endpoint("busy", slots=1, queue=0, service_time_s=0.1)
    emu.script("busy", faults.ok(), faults.slow(0.0), faults.empty(502))
    values: list[Any] = at_once(3, lambda: call(emu, "busy"))
    assert sorted(statuses(values)) == [200, 429, 502]
