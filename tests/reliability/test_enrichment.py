"""Chaos row 23: the API that rows are enriched from fails, and predictions go on."""

from __future__ import annotations

import asyncio
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servingclient import (
    AsyncEnrichmentClient,
    CircuitOpen,
    EnrichmentClient,
    EnrichmentSettings,
    ServingClient,
    ServingError,
    Throttled,
)
from servingclient.emulator import Emulator, Fault, faults
from servingclient.settings import Breaker, Caching, RateLimit, Retry

SCALE = 50  # a minute of outage is 1.2 s
RULES = Breaker(open_s=5.0 / SCALE, max_open_s=60.0 / SCALE, probe_lease_s=10.0 / SCALE)
SETTINGS = EnrichmentSettings(
    allow_private_hosts=True,
    timeout_s=2.0,
    breaker=RULES,
    caching=Caching(early_refresh_factor=0.0, ttl_jitter=0.0),
    retry=Retry(backoff_base_s=0.001, backoff_cap_s=0.002, max_attempts=3, quota_capacity=1000),
)
TTL_S = 0.05
USERS = range(1, 51)
WITHIN_S = 10.0

Ask = Callable[..., Any]


class Asking:
    """One colour of client, asked one call after the other."""

    def __init__(self, colour: str, url: str, settings: EnrichmentSettings, ttl_s: float) -> None:
        self._loop = asyncio.new_event_loop() if colour == "async" else None
        if self._loop is None:
            self.client: Any = EnrichmentClient(url, ttl=ttl_s, settings=settings)
        else:
            self.client = AsyncEnrichmentClient(url, ttl=ttl_s, settings=settings)

    def get(self, user: object, **more: Any) -> Any:
        return self._run(self.client.get("/users/{id}", id=user, **more))

    def get_many(self, users: range, **more: Any) -> dict[int, Any]:
        return self._run(self.client.get_many("/users/{id}", users, **more))

    def _run(self, result: Any) -> Any:
        return result if self._loop is None else self._loop.run_until_complete(result)

    @property
    def breaker(self) -> str:
        return self.client.stats().breaker

    def close(self) -> None:
        if self._loop is None:
            self.client.close()
        else:
            self._loop.run_until_complete(self.client.aclose())
            self._loop.close()


@pytest.fixture
def emu() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.fixture(params=["sync", "async"])
def asking(request: pytest.FixtureRequest, emu: Emulator) -> Iterator[Callable[..., Asking]]:
    opened: list[Asking] = []

    def open_(settings: EnrichmentSettings = SETTINGS, ttl_s: float = TTL_S) -> Asking:
        opened.append(Asking(request.param, emu.external.base_url, settings, ttl_s))
        return opened[-1]

    yield open_
    for one in opened:
        one.close()


def until(holds: Callable[[], bool]) -> None:
    """Go on until something holds; each look is a call, so nothing sleeps."""
    give_up_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < give_up_s


def probes_within(span_s: float, rules: Breaker = RULES) -> int:
    """The most calls that a breaker lets through in so long, its opening at the beginning."""
    rounds, passed_s = 0, rules.open_s
    while passed_s <= span_s:
        rounds += 1
        passed_s += min(rules.open_s * 2.0**rounds, rules.max_open_s)
    return rounds * rules.probe_calls


DOWN: dict[str, Fault | None] = {
    "500": None,
    "503": faults.empty(503),
    "reset": faults.reset(),
    "closed": faults.disconnect("after"),
}


@pytest.mark.parametrize("how", DOWN)
def test_row_23_with_what_is_kept_nobody_sees_an_outage(
    how: str, emu: Emulator, asking: Callable[..., Asking]
) -> None:
    api, client = emu.external, asking()
    for user in USERS:
        assert client.get(user).source == "origin"
    begun_s = time.monotonic()
    if DOWN[how] is None:
        api.go_down()
    else:
        api.always(DOWN[how])
    before = len(api.requests)
    sources: Counter[str] = Counter()
    opened_s = math.inf
    while (now_s := time.monotonic()) < begun_s + 60.0 / SCALE:
        for user in USERS:
            sources[client.get(user).source] += 1
        if opened_s == math.inf and client.breaker != "closed":
            opened_s = now_s
    asked = [one.received_at_s for one in api.requests[before:]]
    assert set(sources) <= {"fresh", "stale"}
    assert sources["stale"] > 10 * len(asked)
    assert opened_s < begun_s + 2.0
    # Verdicts of 20 calls open it; sixteen more may be under way by then, and a connection that
    # broke while idle is tried anew without a verdict
    until_open = RULES.min_calls + 2 * SETTINGS.max_calls
    assert len(asked) <= until_open + probes_within(60.0 / SCALE)

    api.come_back()
    api.always(None)
    api.touch(*USERS)
    until(lambda: all(client.get(user).value["version"] == 1 for user in USERS))
    assert client.breaker == "closed"


def test_row_23_without_anything_kept_it_opens_within_20_calls(
    emu: Emulator, asking: Callable[..., Asking]
) -> None:
    api, client = emu.external, asking()
    api.go_down()
    failed = 0
    while client.breaker == "closed":
        with pytest.raises(ServingError):
            client.get(1000 + failed)
        failed += 1
    assert failed <= 20
    assert len(api.requests) == RULES.min_calls


def test_row_23_after_a_busy_hour_it_opens_within_20_calls_too(
    emu: Emulator, asking: Callable[..., Asking]
) -> None:
    api, client = emu.external, asking()
    assert all(one.found for one in client.get_many(range(1, 1001)).values())
    api.go_down()
    while client.breaker == "closed":
        with pytest.raises(ServingError):
            client.get(5000)
    assert len(api.requests) == 1000 + RULES.min_calls


def test_row_23_open_it_refuses_in_less_than_a_millisecond(
    emu: Emulator, asking: Callable[..., Asking]
) -> None:
    slow = Breaker(open_s=3600.0, max_open_s=3600.0)
    api, client = emu.external, asking(SETTINGS.replace(breaker=slow))
    api.go_down()
    while client.breaker == "closed":
        with pytest.raises(ServingError):
            client.get(1)
    before = len(api.requests)
    took_s = []
    for user in range(2, 202):
        begun_s = time.perf_counter()
        with pytest.raises(CircuitOpen):
            client.get(user)
        took_s.append(time.perf_counter() - begun_s)
    assert statistics.median(took_s) < 0.001
    assert len(api.requests) == before
    assert client.client.stats().refused >= 200


def test_row_23_what_an_api_refuses_is_no_outage(
    emu: Emulator, asking: Callable[..., Asking]
) -> None:
    api, client = emu.external, asking(SETTINGS.replace(timeout_s=0.2))
    for fault in (faults.throttled(), faults.answer(403, b"{}"), faults.answer(400, b"{}")):
        api.always(fault)
        for user in range(40):
            with pytest.raises(ServingError):
                client.get(user)
        assert client.breaker == "closed"


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_row_23_a_crowd_at_half_open_sends_three(emu: Emulator, colour: str) -> None:
    api = emu.external
    settings = SETTINGS.replace(breaker=Breaker(open_s=0.1), max_calls=200)
    api.go_down()

    async def crowd() -> list[object]:
        async with AsyncEnrichmentClient(api.base_url, ttl=60.0, settings=settings) as client:
            while client.stats().breaker != "open":
                await asyncio.gather(
                    *(client.get("/users/{id}", id=user) for user in range(20)),
                    return_exceptions=True,
                )
            api.always(faults.hang())  # so that no probe ends while others come
            while client.stats().breaker != "half_open":
                pass
            before.append(len(api.requests))
            calls = (client.get("/users/{id}", id=user, timeout=1.0) for user in range(200))
            return await asyncio.gather(*calls, return_exceptions=True)

    def crowd_of_threads() -> list[object]:
        with EnrichmentClient(api.base_url, ttl=60.0, settings=settings) as client:
            while client.stats().breaker != "open":
                client.get_many("/users/{id}", range(20), on_error="return")
            api.always(faults.hang())
            while client.stats().breaker != "half_open":
                pass
            before.append(len(api.requests))
            users = range(200)
            found = client.get_many(
                "/users/{id}", users, on_error="return", concurrency=50, timeout=1.0
            )
            return list(found.values())

    before: list[int] = []
    outcomes = asyncio.run(crowd()) if colour == "async" else crowd_of_threads()
    assert len(outcomes) == 200
    assert sum(isinstance(one, CircuitOpen) for one in outcomes) >= 197
    assert len(api.requests) - before[0] <= 3


@pytest.mark.parametrize("waiting", ["for a place", "for the rate limit"])
def test_row_23_calls_that_wait_when_it_opens_are_not_sent(
    waiting: str, emu: Emulator, asking: Callable[..., Asking]
) -> None:
    by_rate = waiting == "for the rate limit"
    settings = SETTINGS.replace(
        breaker=Breaker(min_calls=5),
        max_calls=100 if by_rate else 2,
        rate_limit=RateLimit(calls_per_s=100.0 if by_rate else None, burst_calls=1),
        retry=Retry(max_attempts=1),
    )
    api, client = emu.external, asking(settings)
    api.go_down()
    found = client.get_many(range(100), on_error="return", concurrency=100)
    assert all(isinstance(one, ServingError) for one in found.values())
    sent = len(api.requests)
    assert 5 <= sent <= 20
    assert sum(isinstance(one, CircuitOpen) for one in found.values()) == 100 - sent
    assert client.client.stats().breaker == "open"


# -- a limit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["ietf", "x_seconds"])
def test_an_api_that_tells_its_limit_refuses_nobody(
    style: str, emu: Emulator, asking: Callable[..., Asking]
) -> None:
    api, client = emu.external, asking(SETTINGS.replace(timeout_s=15.0), ttl_s=60.0)
    api.change(limit_calls=30, limit_window_s=1.0, limit_headers=style)
    found = client.get_many(range(1, 51))
    assert all(one.source == "origin" for one in found.values())
    # 0 on a quiet machine; on a busy one a call may arrive after the window it was meant for
    assert sum(one.status == 429 for one in api.requests) <= 5


def test_the_rate_that_is_set_is_kept(emu: Emulator, asking: Callable[..., Asking]) -> None:
    settings = SETTINGS.replace(rate_limit=RateLimit(calls_per_s=100.0, burst_calls=5))
    api, client = emu.external, asking(settings, ttl_s=60.0)
    begun_s = time.monotonic()
    client.get_many(range(1, 51))
    arrived = [one.received_at_s for one in api.requests]
    assert len(arrived) == 50
    for calls, at_s in enumerate(arrived, start=1):
        assert at_s - begun_s >= (calls - 5) / 100.0 - 1e-6


def test_a_pause_asked_for_is_everybodys(emu: Emulator, asking: Callable[..., Asking]) -> None:
    api, client = emu.external, asking(SETTINGS.replace(timeout_s=0.5), ttl_s=60.0)
    api.script(faults.throttled(retry_after=30))
    for user in (1, 2, 3):
        with pytest.raises(Throttled):
            client.get(user)
    assert len(api.requests) == 1


def test_a_pause_holds_for_those_who_wait_already(
    emu: Emulator, asking: Callable[..., Asking]
) -> None:
    settings = SETTINGS.replace(rate_limit=RateLimit(calls_per_s=50.0, burst_calls=1))
    api, client = emu.external, asking(settings, ttl_s=60.0)
    api.script(faults.ok(), faults.ok(), faults.throttled(retry_after=1))
    found = client.get_many(range(1, 21), concurrency=20)
    assert all(one.source == "origin" for one in found.values())
    refused = next(one for one in api.requests if one.status == 429)
    after = [one for one in api.requests if one.received_at_s > refused.decided_at_s]
    early = [one for one in after if one.received_at_s < refused.decided_at_s + 1.0]
    assert len(after) == 18
    assert len(early) <= 5  # those that left before the refusal arrived


# -- and the predictions --------------------------------------------------------------------------


def test_row_23_predictions_follow_on_enrichment_error(emu: Emulator) -> None:
    emu.add_endpoint("scores", lambda rows: [row["score"] for row in rows])
    settings = SETTINGS.replace(caching=Caching(stale_if_error_s=0.0, stale_while_revalidate_s=0.0))

    with EnrichmentClient(emu.external.base_url, ttl=0.0, settings=settings) as users:

        def enrich(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
            found = users.get_many("/users/{id}", [row["user"] for row in rows])
            return [{"score": found[row["user"]].value["score"]} for row in rows]

        def without(rows: list[dict[str, Any]], _: object = None) -> list[dict[str, Any]]:
            return [{"score": -1.0} for _ in rows]

        def client(on_enrichment_error: Any) -> ServingClient:
            return ServingClient(
                "scores",
                host=emu.host,
                token=emu.token,
                enrich=enrich,
                on_enrichment_error=on_enrichment_error,
            )

        rows = [{"user": 7}, {"user": 8}]
        with client("raise") as strict, client(without) as lenient:
            assert strict.predict(rows).predictions == [0.259, 0.296]
            assert lenient.predict(rows).predictions == [0.259, 0.296]
            emu.external.go_down()
            scored = len([one for one in emu.requests if one.kind == "invocation"])
            for _ in range(30):
                with pytest.raises(ServingError):
                    strict.predict(rows)
                assert lenient.predict(rows).predictions == [-1.0, -1.0]
            assert users.stats().breaker != "closed"
            scored_since = [one for one in emu.requests if one.kind == "invocation"][scored:]
            assert len(scored_since) == 30
            emu.external.come_back()
            until(lambda: lenient.predict(rows).predictions == [0.259, 0.296])
            until(lambda: users.stats().breaker == "closed" or not lenient.predict(rows))
            assert strict.predict(rows).predictions == [0.259, 0.296]
