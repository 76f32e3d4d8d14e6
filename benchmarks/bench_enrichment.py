"""What it costs to have a value that is kept, beside caches that do only that.

A hit is what most calls of an enrichment client are. Caches in memory are asked for a key that is
made beforehand; ours is asked as users ask it, by template and value, and counts what it does. Each
async contender is awaited in a task that does nothing else. A call that is not kept, over loopback
to the server of these benchmarks, shows what a hit saves at the least: a real API is further away.
"""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
from collections.abc import Awaitable, Callable
from typing import Any

import harness
import machine
import report
from harness import Cell, Effort, RunCalls
from report import Figure, Part, Table

from servingclient import AsyncEnrichmentClient, EnrichmentClient, EnrichmentSettings, Tls

OURS_SYNC, OURS = "servingclient, sync", "servingclient, async"
UNCACHED_SYNC, UNCACHED = "not kept, sync", "not kept, async"
PEERS = ("cashews", "aiocache")
FULL, QUICK = Effort(12), Effort(2, 0.02, tries=1, warm=0)
TEMPLATE = "/benchmark/{what}"
VALUE = {"what": "invocations"}
SCORING = "/serving-endpoints/benchmark/invocations"
AN_HOUR_S = 3600.0
MOST_SYNC_US, MOST_ASYNC_US = 5.0, 8.0


def part(cores: machine.Cores, *, quick: bool) -> Part:
    effort = QUICK if quick else FULL
    loop = asyncio.new_event_loop()
    try:
        with machine.server(cores.server) as server:
            hits, asked = measured(loop, server, effort)
    finally:
        loop.run_until_complete(end_of_all(loop))
        loop.close()
    return Part(
        "Enrichment",
        "CPU of one value in one thread; hits of one key, counted, against caches in memory that "
        "are given the key. Not kept: over TLS to the server of these benchmarks, on a warm "
        "connection.",
        figures(hits),
        [
            Table("A value that is kept", HEADER, rows(hits, OURS)),
            Table("A value that is not", HEADER, rows(asked, UNCACHED)),
        ],
        {"hits": medians(hits), "not_kept": medians(asked)},
        [*hits.slices(), *asked.slices()],
    )


def measured(
    loop: asyncio.AbstractEventLoop, server: machine.Server, effort: Effort
) -> tuple[Cell, Cell]:
    settings = EnrichmentSettings(allow_private_hosts=True, tls=Tls(ca_file=server.ca_file))

    def awaited(calling: Callable[[], Awaitable[Any]]) -> RunCalls:
        async def call(calls: int) -> None:
            for _ in range(calls):
                await calling()

        def run(calls: int) -> tuple[()]:
            loop.run_until_complete(call(calls))
            return ()

        return run

    with EnrichmentClient(server.host, ttl=AN_HOUR_S, settings=settings) as client:
        other = AsyncEnrichmentClient(server.host, ttl=AN_HOUR_S, settings=settings)
        try:
            check(client.get(TEMPLATE, **VALUE))
            check(loop.run_until_complete(other.get(TEMPLATE, **VALUE)))
            subjects = {
                OURS_SYNC: repeated(lambda: client.get(TEMPLATE, **VALUE)),
                OURS: awaited(lambda: other.get(TEMPLATE, **VALUE)),
            }
            for name in installed():
                subjects[name] = awaited(loop.run_until_complete(peer(name)))
            hits = harness.measure(subjects, effort)
            sent = {
                UNCACHED_SYNC: repeated(lambda: client.post(SCORING, json=[])),
                UNCACHED: awaited(lambda: other.post(SCORING, json=[])),
            }
            asked = harness.measure(sent, effort, server_waited_s=server.waited_s)
        finally:
            loop.run_until_complete(other.aclose())
    return hits, asked


async def end_of_all(loop: asyncio.AbstractEventLoop) -> None:
    """cashews looks for what has expired in a task of its own."""
    others = asyncio.all_tasks(loop) - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def check(found: Any) -> None:
    if not found.found:
        raise SystemExit("the server does not answer what is asked for here")


def repeated(calling: Callable[[], Any]) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            calling()
        return ()

    return run


# ---------------------------------------------------------------- caches in memory


def installed() -> list[str]:
    """Those of the ``bench`` extra that are here."""
    return [name for name in PEERS if importlib.util.find_spec(name) is not None]


async def peer(name: str) -> Callable[[], Awaitable[Any]]:
    """A hit of a cache that holds one value for an hour."""
    key, value = "GET /benchmark/invocations", {"count": 1}
    cache: Any
    if name == "cashews":
        from cashews import Cache

        cache = Cache()
        cache.setup("mem://")
        await cache.set(key, value, expire=AN_HOUR_S)
    else:
        from aiocache import SimpleMemoryCache

        cache = SimpleMemoryCache()
        await cache.set(key, value, ttl=AN_HOUR_S)
    assert await cache.get(key) == value

    def hit() -> Awaitable[Any]:
        found: Awaitable[Any] = cache.get(key)
        return found

    return hit


# ---------------------------------------------------------------- figures


def figures(hits: Cell) -> list[Figure]:
    found = [
        Figure(
            "enrichment_hit_cpu_us_sync",
            "CPU of a fresh hit, sync",
            hits.series[OURS_SYNC].cpu_us,
            MOST_SYNC_US,
            True,
            "µs",
        ),
        Figure(
            "enrichment_hit_cpu_us_async",
            "CPU of a fresh hit, async",
            hits.series[OURS].cpu_us,
            MOST_ASYNC_US,
            True,
            "µs",
        ),
    ]
    for name in installed():
        what = f"A fresh hit, async: {name} / servingclient, CPU"
        times = hits.ratios(name, OURS)
        found.append(Figure(f"enrichment_hit_{name}_ratio", what, times, 1.0, False, "x"))
    return found


HEADER = ("", "µs CPU", "µs wall", "× ours, async")


def rows(cell: Cell, reference: str) -> list[tuple[str, ...]]:
    return [
        (
            name,
            report.number(statistics.median(series.cpu_us)),
            report.number(1e6 / statistics.median(one.calls_per_s for one in series.slices)),
            report.number(statistics.median(cell.ratios(name, reference))),
        )
        for name, series in cell.series.items()
    ]


def medians(cell: Cell) -> dict[str, dict[str, float]]:
    return {
        name: {
            "cpu_us": round(statistics.median(series.cpu_us), 3),
            "wall_us": round(1e6 / statistics.median(s.calls_per_s for s in series.slices), 3),
        }
        for name, series in cell.series.items()
    }
