"""Many clients, as in many processes, over one real Redis: who asks the API, and who waits."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import redis

from servingclient import AsyncEnrichmentClient, EnrichmentClient, EnrichmentSettings, RedisCache
from tests.enrichment.redis.conftest import Server

API = "http://127.0.0.1:1/v1"
SETTINGS = EnrichmentSettings(allow_private_hosts=True)
CLIENTS = 8
API_S = 0.25


class Origin:
    """An API that takes its time, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        self._lock = threading.Lock()

    def _count(self) -> httpx.Response:
        with self._lock:
            self.asked += 1
        return httpx.Response(200, json={"n": 7})

    def blocking(self, _: httpx.Request) -> httpx.Response:
        threading.Event().wait(API_S)
        return self._count()

    async def awaited(self, _: httpx.Request) -> httpx.Response:
        await asyncio.sleep(API_S)
        return self._count()


def test_a_fleet_of_threads_does_not_ask_one_by_one(server: Server, admin: redis.Redis) -> None:
    origin = Origin()
    cache = RedisCache(server.url, budget_s=10.0)
    clients = [
        EnrichmentClient(
            API,
            ttl=300,
            settings=SETTINGS,
            cache=cache,
            transport=httpx.MockTransport(origin.blocking),
        )
        for _ in range(CLIENTS)
    ]
    with ThreadPoolExecutor(CLIENTS) as pool:
        found = list(pool.map(lambda client: client.get("/users/{id}", id=7), clients))
    for client in clients:
        client.close()
    assert [one.value for one in found] == [{"n": 7}] * CLIENTS
    assert origin.asked <= 2, "one that looked before the value and tried the lease after it"


def test_a_fleet_of_loops_does_not_ask_one_by_one(server: Server, admin: redis.Redis) -> None:
    origin = Origin()
    cache = RedisCache(server.url, budget_s=10.0)

    async def main() -> list[object]:
        clients = [
            AsyncEnrichmentClient(
                API,
                ttl=300,
                settings=SETTINGS,
                cache=cache,
                transport=httpx.MockTransport(origin.awaited),
            )
            for _ in range(CLIENTS)
        ]
        found = await asyncio.gather(*(client.get("/users/{id}", id=7) for client in clients))
        for client in clients:
            await client.aclose()
        return [one.value for one in found]

    assert asyncio.run(main()) == [{"n": 7}] * CLIENTS
    assert origin.asked <= 2, "one that looked before the value and tried the lease after it"


def test_the_look_up_and_the_lease_of_a_call_end_together(
    server: Server, admin: redis.Redis
) -> None:
    origin = httpx.MockTransport(lambda _: httpx.Response(200, json=1))
    cache = RedisCache(server.url, budget_s=2.0)
    with EnrichmentClient(API, ttl=300, settings=SETTINGS, cache=cache, transport=origin) as api:
        due: list[tuple[str, float]] = []
        links = api._parts.shared._asking._links  # type: ignore[union-attr]
        run = links.run

        async def noted(commands: Any, deadline_s: float) -> Any:
            if threading.current_thread() is threading.main_thread():
                due.append((commands[0][0], deadline_s))
            return await run(commands, deadline_s)

        links.run = noted
        began_s = time.monotonic()
        api.get("/users/{id}", id=7)
        ended_s = time.monotonic()
    assert [name for name, _ in due][-1] == "SET", "and the value is written behind the caller"
    assert max(due_s for _, due_s in due) == due[0][1], "no later than the look-up"
    assert began_s + 2.0 <= due[0][1] <= ended_s + 2.0
