"""The limit as a user meets it: what the endpoint tells, what ``stats()`` shows, who goes first."""

from __future__ import annotations

import httpx
import pytest

from servingclient import Prediction, QueueFull, Settings
from servingclient.emulator import Emulator, faults
from servingclient.settings import Concurrency, Pool, Queue, Retry
from tests.doors.kit import ROW, Door, errors, invocations, pat, principal

PATIENT = Retry(throttled_base_s=0.1, max_attempts=10, quota_capacity=10_000)


@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
@pytest.mark.parametrize(("processes", "limit"), [(1, 12), (4, 3), (100, 2)])
def test_the_limit_starts_at_the_provisioned_concurrency(
    door: Door, emulator: Emulator, endpoint: str, processes: int, limit: int
) -> None:
    emulator.change_endpoint(endpoint, slots=12)
    settings = Settings(concurrency=Concurrency(client_processes=processes))
    client = door.open(endpoint, principal(emulator), settings)
    assert client.stats().concurrency.limit == 20
    door.run(client.warmup())
    assert client.stats().concurrency.limit == limit


def test_without_a_description_it_starts_at_20(door: Door, emulator: Emulator) -> None:
    emulator.change_endpoint("demo", slots=12)
    client = door.open("demo", pat(emulator), Settings(describe=False))
    door.predict(client)
    assert client.stats().concurrency.limit == 20


def test_lanes_are_its_ceiling(door: Door, emulator: Emulator) -> None:
    emulator.change_endpoint("demo", slots=64)
    client = door.open("demo", pat(emulator), Settings(pool=Pool(max_lanes=8)))
    door.run(client.warmup())
    assert client.stats().concurrency.limit == 8


def test_over_an_httpx_transport_it_is_32_at_most(door: Door, emulator: Emulator) -> None:
    kind = httpx.HTTPTransport if door.colour == "sync" else httpx.AsyncHTTPTransport
    settings = Settings(concurrency=Concurrency(initial_calls=100))
    client = door.open("demo", pat(emulator), settings, transport=kind())
    assert client.stats().concurrency.limit == 32
    assert door.open("demo", pat(emulator), settings).stats().concurrency.limit == 100


def test_429_makes_it_sink_and_all_calls_come_through(door: Door, emulator: Emulator) -> None:
    emulator.change_endpoint("demo", slots=4, queue=0, service_time_s=0.02)
    settings = Settings(concurrency=Concurrency(initial_calls=32), retry=PATIENT)
    client = door.open("demo", pat(emulator), settings)
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(48)))
    assert errors(outcomes) == []
    stats = client.stats().concurrency
    refused = sum(record.status == 429 for record in invocations(emulator))
    assert stats.throttled == refused > 0
    assert stats.limit < 16
    assert (stats.in_flight, stats.waiting, stats.rejected) == (0, 0, 0)


def test_at_the_provisioned_concurrency_nothing_is_refused(door: Door, emulator: Emulator) -> None:
    emulator.change_endpoint("demo", slots=4, queue=0, service_time_s=0.01)
    settings = Settings(concurrency=Concurrency(adaptive=True, smoothing=0.01))
    client = door.open("demo", pat(emulator), settings)
    door.run(client.warmup())
    assert errors(door.many(client, ({"inputs": [ROW]} for _ in range(16)))) == []
    assert client.stats().concurrency.throttled == 0


def test_a_full_line_is_told_at_once(door: Door, emulator: Emulator) -> None:
    settings = Settings(
        concurrency=Concurrency(adaptive=False, initial_calls=1),
        queue=Queue(max_calls=1),
        timeout_s=5.0,
    )
    client = door.open("demo", pat(emulator), settings)
    door.predict(client)
    emulator.always("demo", faults.slow(0.3))
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(5)))
    refusals = errors(outcomes)
    assert [type(one) for one in refusals] == [QueueFull] * 3
    assert all(one.retryable and one.attempts == () for one in refusals)  # type: ignore[attr-defined]
    assert client.stats().concurrency.rejected == 3


def test_who_would_come_too_late_is_told_at_once(door: Door, emulator: Emulator) -> None:
    # replies take 50 ms one at a time, so the twentieth would have to wait for a second
    settings = Settings(concurrency=Concurrency(adaptive=False, initial_calls=1))
    client = door.open("demo", pat(emulator), settings)
    emulator.always("demo", faults.slow(0.05))
    for _ in range(10):
        door.predict(client)
    outcomes = door.many(client, ({"inputs": [ROW], "timeout": 0.5} for _ in range(20)))
    assert any(isinstance(one, Prediction) for one in outcomes)
    refusals = [one for one in errors(outcomes) if isinstance(one, QueueFull)]
    assert any("its turn would come in about" in str(one) for one in refusals)
    assert client.stats().concurrency.rejected == len(refusals)


def test_critical_calls_go_first(door: Door, emulator: Emulator) -> None:
    settings = Settings(concurrency=Concurrency(adaptive=False, initial_calls=1), priority="batch")
    client = door.open("demo", pat(emulator), settings)
    door.predict(client)
    before = len(invocations(emulator))
    emulator.script("demo", faults.slow(0.4))  # whoever is first; the others line up meanwhile
    names = ["batch", "batch", "default", "critical"]
    calls = [{"inputs": [ROW], "client_request_id": name, "priority": name} for name in names]
    del calls[0]["priority"], calls[1]["priority"]
    assert errors(door.many(client, calls)) == []
    first, *others = [one.client_request_id for one in invocations(emulator)[before:]]
    assert sorted([first, *others]) == sorted(names)
    assert others == sorted(others, key=["critical", "default", "batch"].index)
