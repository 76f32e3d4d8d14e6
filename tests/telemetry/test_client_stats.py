"""``client.stats()`` of both doors, over real connections to the emulator."""

from __future__ import annotations

import inspect
import os
import signal
import warnings
from typing import Any

import pytest

from servingclient import (
    AsyncServingClient,
    Batching,
    Hedge,
    Retry,
    ServingClient,
    ServingError,
    Settings,
    Stats,
    Traffic,
)
from servingclient.emulator import Emulator, faults
from servingclient.telemetry.exported import figures, lasting
from servingclient.telemetry.histogram import Histogram
from tests.doors.kit import Door, pat, principal

NO_RETRY = Settings(retry=Retry(max_attempts=1))


def test_what_calls_came_to(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), NO_RETRY)
    for _ in range(20):
        door.predict(client)
    emulator.script("demo", faults.throttled())
    with pytest.raises(ServingError):
        door.predict(client)
    stats: Stats = client.stats()
    assert isinstance(stats, Stats)
    total = stats.total
    assert (total.answered, total.failed, total.attempts, total.throttled) == (20, 1, 21, 1)
    assert total.errors == {"Throttled": 1}
    assert total.failed_attempts == {"429": 1}
    assert stats.concurrency.throttled == 1
    for window in (stats.last_10s, stats.last_minute, stats.last_5min):
        assert isinstance(window, Traffic)
        assert window.calls == 21
        assert 0.0 < (window.p50_s or 0.0) <= (window.p99_s or 0.0) <= (window.max_s or 0.0)
    assert total.first_byte_s.count == 20
    assert total.request_bytes.max == len(emulator.requests[-1].body)
    assert "21 calls" in str(stats)
    assert "Throttled" in stats._repr_html_()
    assert client.with_options(timeout_s=3.0).stats().total.calls == 21, "copies share it"


def test_retries_are_told(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    emulator.script("demo", faults.throttled(retry_after="0"), faults.ok())
    door.predict(client)
    total = client.stats().total
    assert (total.answered, total.failed, total.attempts, total.retries) == (1, 0, 2, 1)
    assert total.backoff_s.count == 1


def test_connections_and_token_are_told(door: Door, emulator: Emulator) -> None:
    fresh = door.open("demo-fast", principal(emulator))
    assert fresh.stats().token is None
    assert fresh.stats().lanes.opened == 0
    door.predict(fresh)
    door.predict(fresh)
    stats = fresh.stats()
    assert stats.lanes.busy == 0
    assert stats.lanes.idle >= 1
    assert stats.lanes.opened >= 1
    assert stats.token.route_optimized
    assert not stats.token.failing
    assert 0.0 <= stats.token.age_s < 20.0
    assert 0.0 < stats.token.left_s <= emulator.token_ttl_s
    door.predict(fresh)
    assert fresh.stats().token.age_s > stats.token.age_s
    assert fresh.stats().token.left_s < stats.token.left_s


def test_a_personal_access_token_has_no_end(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    door.predict(client)
    token = client.stats().token
    assert token.left_s is None
    assert not token.route_optimized


def test_calls_that_share_requests_are_told_as_calls(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), Settings(batching=Batching(max_in_flight=1)))
    door.many(client, [{"inputs": [{"a": 1.0, "b": 2.0}]} for _ in range(12)])
    stats = client.stats()
    assert stats.total.answered == 12
    assert stats.total.attempts == len(
        [one for one in emulator.requests if one.path.endswith("/invocations")]
    )
    assert stats.batching.calls == 12


@pytest.mark.parametrize("kind", [ServingClient, AsyncServingClient])
def test_asking_needs_no_event_loop(kind: type) -> None:
    assert not inspect.iscoroutinefunction(kind.stats)


def counted(client: Any) -> dict[str, float]:
    """What only grows, and has."""
    sizes = {
        name: value.count if isinstance(value, Histogram) else value
        for (name, _), value in lasting(figures(client.stats())).items()
    }
    return {name: size for name, size in sizes.items() if size}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_T4_in_a_forked_child_all_that_is_counted_begins_anew(
    door: Door, emulator: Emulator
) -> None:
    quick = Retry(throttled_base_s=0.001)
    settings = Settings(retry=quick, batching=Batching(), hedge=Hedge())
    client = door.open("demo", pat(emulator), settings)
    emulator.script("demo", faults.throttled(retry_after="0"), faults.ok())
    for _ in range(3):
        door.predict(client)
    mine = counted(client)
    with warnings.catch_warnings():  # Python 3.12 remarks on threads
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # rather than wait for a lock for ever
        code = 1
        try:
            stats = client.stats()
            none = (stats.concurrency.throttled, stats.hedging.calls, stats.lanes.stale)
            code = 0 if (counted(client), none) == ({}, (0, 0, 0)) else 2
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert {"call.attempts", "call.retries", "connections.opened", "batch.calls"} <= set(mine)
    assert client.stats().concurrency.throttled == 1
    assert counted(client) == mine
