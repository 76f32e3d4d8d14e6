"""A cache in Redis behind ``EnrichmentClient``: what it saves, and what it costs when it is unwell.

Starts a redis-server of its own, on a Unix socket and on the server's core. The local cache is kept
down to one value, so that each look-up goes to Redis; the API is a transport that answers at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import harness
import httpx
import machine
import redis
import report
from harness import CALLS_PER_S, Cell, Effort, RunCalls
from report import Figure, Part, Table

from servingclient import (
    AsyncEnrichmentClient,
    EnrichmentClient,
    EnrichmentSettings,
    RedisCache,
    _step,
)
from servingclient.enrichment.ports import SharedCache
from servingclient.settings import Caching

IDS = 1000
FULL, QUICK = Effort(10), Effort(1, 0.01, tries=1, warm=0)
MANY, SINGLE = "get_many of 1,000", "get, one by one"
CACHE_MANY, CACHE_SINGLE = "cache alone, 1,000", "cache alone, one by one"
BARE = "redis-py GET, one by one"
TEMPLATE = "/users/{id}"
SETTINGS = EnrichmentSettings(
    allow_private_hosts=True, breaker=None, caching=Caching(max_entries=1)
)
HERE = "http://127.0.0.1:1"
BUDGET_S = 0.05


def part(cores: machine.Cores, *, quick: bool) -> Part:
    if shutil.which("redis-server") is None:
        raise SystemExit("redis: needs redis-server on the path (Debian: apt-get install)")
    effort = QUICK if quick else FULL
    with server(cores.server) as path:
        cells = {
            "threads": in_threads(path, effort),
            "tasks": in_tasks(path, effort),
        }
        trips = round_trips(path)
    faults = {name: under(fault, quick=quick) for name, fault in FAULTS.items()}
    return Part(
        "Redis",
        f"{IDS:,} look-ups of 100 bytes each that Redis holds, through EnrichmentClient and "
        "through its cache alone; then the client while Redis is gone, silent or a second slow, "
        "each time a new one. What is added is the difference to a client without a cache in the "
        "same round.",
        [
            *(figure for colour, cell in cells.items() for figure in speedups(colour, cell)),
            Figure(
                "redis_get_many_round_trips",
                "get_many of 1,000 that nobody holds: round trips to Redis",
                trips,
                3,
                at_most=True,
                unit="",
            ),
            *(figure for name, shown in faults.items() for figure in added(name, shown)),
        ],
        [
            *(
                report.cell_table(f"A look-up, {colour}", cell, MANY, "look-up")
                for colour, cell in cells.items()
            ),
            fault_table(faults),
        ],
        {
            colour: {name: statistics.median(one.cpu_us) for name, one in cell.series.items()}
            for colour, cell in cells.items()
        },
        [one for cell in cells.values() for one in cell.slices()],
    )


# ---------------------------------------------------------------- servers


@contextmanager
def server(core: int | None) -> Iterator[str]:
    """The path of the socket of a redis-server that keeps nothing on disk."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/redis.sock"
        command = ["redis-server", "--save", "", "--appendonly", "no", "--port", "0"]
        if core is not None and shutil.which("taskset"):
            command = ["taskset", "-c", str(core), *command]
        process = subprocess.Popen(
            [*command, "--unixsocket", path, "--dir", folder], stdout=subprocess.DEVNULL
        )
        try:
            with contextlib.closing(redis.Redis(unix_socket_path=path)) as look:
                for _ in range(500):
                    with contextlib.suppress(redis.ConnectionError):
                        look.ping()
                        break
                    time.sleep(0.01)
            yield path
        finally:
            process.terminate()
            process.wait()


def answer(request: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"id": request.url.path, "text": "x" * 80})


def client(cache: RedisCache | None) -> EnrichmentClient:
    return EnrichmentClient(
        HERE, ttl=300, settings=SETTINGS, cache=cache, transport=httpx.MockTransport(answer)
    )


def names_in(path: str, prefix: str = "servingclient") -> list[str]:
    """The names of all values, once they have been written behind the caller."""
    with contextlib.closing(redis.Redis(unix_socket_path=path)) as look:
        end_s = time.monotonic() + 10
        while len(names := look.keys(f"{prefix}:*:e:*")) < IDS:
            assert time.monotonic() < end_s, "the values were not written"
            time.sleep(0.01)
    return [name.decode() for name in names]


# ---------------------------------------------------------------- what it saves


def in_threads(path: str, effort: Effort) -> Cell:
    spec = RedisCache(f"unix://{path}", budget_s=5.0)
    with client(spec) as api, contextlib.closing(redis.Redis(unix_socket_path=path)) as bare:
        api.get_many(TEMPLATE, range(IDS))
        names = names_in(path)

        def many(calls: int) -> tuple[()]:
            for _ in range(calls // IDS):
                found = api.get_many(TEMPLATE, range(IDS))
                assert all(one.source == "fresh" for one in found.values())
            return ()

        def single(calls: int) -> tuple[()]:
            for number in range(calls):
                assert api.get(TEMPLATE, id=number % IDS).source == "fresh"
            return ()

        def plain(calls: int) -> tuple[()]:
            for number in range(calls):
                assert bare.get(names[number % IDS])
            return ()

        subjects = {MANY: many, SINGLE: single, BARE: plain}
        return harness.measure(
            subjects | alone(spec.for_threads(), names, _step.run), effort, least_calls=IDS
        )


def alone(
    cache: SharedCache, names: Sequence[str], run: Callable[[Any], Any]
) -> dict[str, RunCalls]:
    """The cache without the client before it."""
    keys = [name.split(":e:", 1)[1] for name in names]
    assert len(keys) == IDS

    async def many(calls: int) -> None:
        for _ in range(calls // IDS):
            assert all(await cache.get_many(keys, time.monotonic() + 60))

    async def single(calls: int) -> None:
        for number in range(calls):
            assert all(await cache.get_many(keys[number % IDS :][:1], time.monotonic() + 60))

    def awaited(work: Callable[[int], Any]) -> RunCalls:
        def calls(count: int) -> tuple[()]:
            run(work(count))
            return ()

        return calls

    return {CACHE_MANY: awaited(many), CACHE_SINGLE: awaited(single)}


def in_tasks(path: str, effort: Effort) -> Cell:
    loop = asyncio.new_event_loop()
    spec = RedisCache(f"unix://{path}", budget_s=5.0)

    async def opened() -> AsyncEnrichmentClient:
        api = AsyncEnrichmentClient(
            HERE, ttl=300, settings=SETTINGS, cache=spec, transport=httpx.MockTransport(answer)
        )
        await api.get_many(TEMPLATE, range(IDS))
        await asyncio.to_thread(names_in, path)
        return api

    api = loop.run_until_complete(opened())
    cache = spec.for_tasks()
    names = names_in(path)

    async def many(calls: int) -> tuple[()]:
        for _ in range(calls // IDS):
            found = await api.get_many(TEMPLATE, range(IDS))
            assert all(one.source == "fresh" for one in found.values())
        return ()

    async def single(calls: int) -> tuple[()]:
        for number in range(calls):
            assert (await api.get(TEMPLATE, id=number % IDS)).source == "fresh"
        return ()

    def on_loop(work: Callable[[int], Any]) -> RunCalls:
        return lambda calls: loop.run_until_complete(work(calls))

    try:
        subjects = {MANY: on_loop(many), SINGLE: on_loop(single)}
        subjects |= alone(cache, names, loop.run_until_complete)
        return harness.measure(subjects, effort, least_calls=IDS)
    finally:
        loop.run_until_complete(cache.aclose())
        loop.run_until_complete(api.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def speedups(colour: str, cell: Cell) -> list[Figure]:
    pairs = {"": (MANY, SINGLE), "_cache": (CACHE_MANY, CACHE_SINGLE)}
    return [
        Figure(
            f"redis{short}_get_many_speedup_{colour}",
            f"{many} / one by one, {colour}: look-ups a second",
            cell.ratios(many, single, CALLS_PER_S),
            10,
            at_most=False,
            unit="x",
        )
        for short, (many, single) in pairs.items()
    ]


def round_trips(path: str) -> list[float]:
    """Of one ``get_many`` whose values nobody keeps yet: to look, and to keep what was fetched."""
    trips = 0
    with client(RedisCache(f"unix://{path}", prefix="cold", budget_s=5.0)) as api:
        links = api._parts.shared._asking._links  # noqa: SLF001 - to count what nobody tells
        real = links.run

        async def counted(commands: Any, deadline_s: float) -> Any:
            nonlocal trips
            trips += 1
            return await real(commands, deadline_s)

        links.run = counted
        found = api.get_many(TEMPLATE, range(IDS))
        assert all(one.source == "origin" for one in found.values())
        names_in(path, "cold")
    return [float(trips)]


# ---------------------------------------------------------------- what it costs while it is unwell


@contextmanager
def gone() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    yield f"redis://127.0.0.1:{port}"


@contextmanager
def silent() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def slow() -> Iterator[str]:
    """Answers each look-up, a second later."""

    def serve(line: socket.socket) -> None:
        with line, contextlib.suppress(OSError):
            while line.recv(65536):
                time.sleep(1)
                line.sendall(b"*0\r\n*1\r\n$-1\r\n")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                line, _ = listening.accept()
                threading.Thread(target=serve, args=(line,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


FAULTS = {"down": gone, "silent": silent, "slow": slow}


class Added(NamedTuple):
    """What a cache adds to the p99 of a call, per round, in ms."""

    first: Sequence[float]
    later: Sequence[float]


FIRST = 20


def under(fault: Callable[[], Any], *, quick: bool) -> Added:
    first, later = [], []
    calls, rounds = (100, 1) if quick else (2000, 7)
    for _ in range(rounds):
        with (
            fault() as url,
            client(RedisCache(url, budget_s=BUDGET_S)) as api,
            client(None) as bare,
        ):
            pairs = [(time_of(bare, number), time_of(api, number)) for number in range(calls)]
        without, with_it = ([pair[i] for pair in pairs] for i in (0, 1))
        base_s = harness.quantile(without, 0.99)
        first.append(difference_ms(max(with_it[:FIRST]), base_s))
        later.append(difference_ms(harness.quantile(with_it[FIRST:], 0.99), base_s))
    return Added(first, later)


def difference_ms(whole_s: float, base_s: float) -> float:
    """Below a hundredth it cannot be told from noise."""
    return max((whole_s - base_s) * 1e3, 0.01)


def time_of(api: EnrichmentClient, number: int) -> float:
    started = time.perf_counter()
    assert api.get(TEMPLATE, id=number).source == "origin"
    return time.perf_counter() - started


def added(name: str, shown: Added) -> list[Figure]:
    what = f"Redis {name}: added to the p99 of a call"
    key = f"redis_{name}_added_p99_ms"
    return [
        Figure(f"{key}_first_20", f"{what}, the first {FIRST}", shown.first, 60, True, "ms"),
        Figure(f"{key}_later", f"{what}, after them", shown.later, 2, True, "ms"),
    ]


def fault_table(faults: dict[str, Added]) -> Table:
    rows = [
        (name, *(report.number(statistics.median(one)) for one in shown))
        for name, shown in faults.items()
    ]
    return Table("Added to the p99 while Redis is unwell, ms", ("", "first 20", "later"), rows)
