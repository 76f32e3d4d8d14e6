"""Enrichment as a typed program uses it: checked by mypy, never run."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
from typing_extensions import assert_type

from servingclient import (
    ApiKey,
    AsyncEnrichmentClient,
    AsyncLoader,
    Basic,
    Bearer,
    Breaker,
    Caching,
    Enriched,
    EnrichmentClient,
    EnrichmentSettings,
    EnrichmentStats,
    HeaderProvider,
    Loader,
    RateLimit,
    RedisCache,
)

RULES = EnrichmentSettings(
    caching=Caching(max_entries=10), rate_limit=RateLimit(calls_per_s=5), breaker=Breaker()
)


def every_way_to_open(transport: httpx.BaseTransport, other: httpx.AsyncBaseTransport) -> None:
    def headers() -> Mapping[str, str]:
        return {}

    async def awaited() -> Mapping[str, str]:
        return {}

    EnrichmentClient("https://a", ttl=1, auth="token", headers={"X": "y"})
    EnrichmentClient("https://a", ttl=1.5, auth=Bearer("t", principal="p"), settings=RULES)
    EnrichmentClient("https://a", ttl=1, auth=Basic("a", "b"), transport=transport)
    EnrichmentClient("https://a", ttl=1, auth=ApiKey("k"), cache=RedisCache("redis://localhost"))
    EnrichmentClient("https://a", ttl=1, auth=HeaderProvider(headers, principal="p"))
    AsyncEnrichmentClient("https://a", ttl=1, auth=HeaderProvider(awaited, principal="p"))
    AsyncEnrichmentClient("https://a", ttl=1, headers=[("X", "y")], transport=other)


def sync(client: EnrichmentClient) -> None:
    with client as opened:
        assert_type(opened, EnrichmentClient)
    found = client.get("/users/{id}", id=7, params={"a": 1}, tags=["t"], ttl=5, timeout=1)
    assert_type(found, Enriched)
    assert_type(found.age_s, float)
    assert_type(found.found, bool)
    assert_type(client.post("/a", json={"a": 1}, cacheable=True), Enriched)
    assert_type(client.get_many("/users/{id}", [1, 2], on_error="return"), dict[Any, Any])
    loader = client.loader("/users", key=lambda record: record["id"])
    assert_type(loader, Loader)
    assert_type(loader.load(1), Enriched)
    assert_type(client.stats(), EnrichmentStats)
    client.invalidate("/users/{id}", id=7)

    @client.cached(ttl=5)
    def name(number: int, *, short: bool = False) -> str:
        return str(number)

    assert_type(name(7, short=True), str)
    name.invalidate(7)
    name("7")  # type: ignore[arg-type]


async def asynchronous(client: AsyncEnrichmentClient) -> None:
    async with client as opened:
        assert_type(opened, AsyncEnrichmentClient)
    assert_type(await client.get("/users/{id}", id=7), Enriched)
    assert_type(await client.get_many("/users/{id}", range(3)), dict[Any, Any])
    loader = client.loader("/users", key=lambda record: record["id"])
    assert_type(loader, AsyncLoader)
    assert_type(await loader.load(1), Enriched)
    await client.invalidate(tag="t")

    @client.cached()
    async def name(number: int) -> str:
        return str(number)

    assert_type(asyncio.create_task(name(7)), asyncio.Task[str]).cancel()
    assert_type(await name(7), str)
    name.invalidate(7)
