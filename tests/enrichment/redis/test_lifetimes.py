"""Cancelled callers, threads, loops, forks, and what is left when a cache is closed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from servingclient import RedisCache, WrongLoopError, _step
from tests.enrichment.redis.conftest import PASSWORD, Server, entry, far
from tests.enrichment.redis.proxy import Proxy

KEYS = [f"k{number}" for number in range(500)]


def filled(server: Server) -> None:
    cache = RedisCache(server.url, budget_s=10.0).for_threads()
    _step.run(cache.set_many({key: entry(key) for key in KEYS}, far()))
    _step.run(cache.aclose())


async def test_c4_500_cancelled_callers_and_not_one_wrong_answer(
    server: Server, admin: redis.Redis, proxy: Proxy
) -> None:
    filled(server)
    cache = RedisCache(proxy.url, budget_s=10.0).for_tasks()
    chance = random.Random(4)
    proxy.script.delay_s = 0.1

    async def leave_early(key: str) -> None:
        task = asyncio.ensure_future(cache.get_many([key], far()))
        await asyncio.sleep(chance.random() * 0.2)
        task.cancel()
        await asyncio.wait((task,))

    for start in range(0, 500, 100):
        await asyncio.gather(*map(leave_early, KEYS[start : start + 100]))
    found = await asyncio.gather(*(cache.get_many([key], far()) for key in KEYS))
    # an answer to another question would be a miss: its key stands in it
    assert [got and got.value for (got,) in found] == KEYS
    assert not cache.bypassed
    await cache.aclose()


async def test_c4_exchanges_that_ran_out_of_time_leave_no_connection_behind(
    server: Server, admin: redis.Redis, proxy: Proxy
) -> None:
    filled(server)
    cache = RedisCache(proxy.url, budget_s=10.0).for_tasks()
    await cache.get_many(KEYS[:1], far())
    proxy.script.delay_s = 0.1
    for _ in range(10):
        soon_s = time.monotonic() + 0.05
        found = await asyncio.gather(*(cache.get_many([key], soon_s) for key in KEYS[:16]))
        assert found == [[None]] * 16
        if cache.bypassed:
            break
    proxy.script.delay_s = 0.0
    end_s = far()
    while cache.bypassed:
        assert time.monotonic() < end_s
        await cache.get_many(KEYS[:1], far())
        await asyncio.sleep(0.01)
    found = await asyncio.gather(*(cache.get_many([key], far()) for key in KEYS))
    assert [got and got.value for (got,) in found] == KEYS
    await cache.aclose()


def test_threads_share_it(server: Server, admin: redis.Redis) -> None:
    filled(server)
    cache = RedisCache(server.url, budget_s=10.0).for_threads()
    wrong: list[object] = []

    def read(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(100):
            some = chance.sample(KEYS, 3)
            found = _step.run(cache.get_many(some, far()))
            if [got and got.value for got in found] != some:
                wrong.append(found)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert not cache.bypassed
    told = admin.info("stats")
    assert told["total_connections_received"] <= 16 + 4
    _step.run(cache.aclose())


def test_a_fork_shares_no_connection(server: Server, admin: redis.Redis) -> None:
    filled(server)
    cache = RedisCache(server.url, budget_s=10.0).for_threads()
    _step.run(cache.get_many(KEYS[:1], far()))
    children = []
    for child in range(4):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                for key in KEYS[child * 100 : child * 100 + 100]:
                    (got,) = _step.run(cache.get_many([key], far()))
                    assert got is not None
                    assert got.value == key
                status = 0
            finally:
                os._exit(status)
        children.append(pid)
    for key in KEYS[400:]:
        (got,) = _step.run(cache.get_many([key], far()))
        assert got is not None
        assert got.value == key
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0] * 4
    _step.run(cache.aclose())


TWENTY_LOOPS = """
import asyncio, gc, sys, time
from servingclient import RedisCache
from servingclient.enrichment.entry import Entry

cache = RedisCache(sys.argv[1], ca_file=sys.argv[2], budget_s=10.0).for_tasks()

async def main(number):
    far_s = time.monotonic() + 60
    kept = Entry(number, time.monotonic(), 300.0, 0.0, 0.0, 0.0, 1)
    await asyncio.gather(*(cache.set_many({f"k{n}": kept}, far_s) for n in range(20)))
    return [got.value for got in await cache.get_many(["k1", "k2"], far_s)]

print([asyncio.run(main(number)) for number in range(20)] == [[n, n] for n in range(20)])
if "close" in sys.argv:
    asyncio.run(cache.aclose())
del cache
gc.collect()
"""


@pytest.mark.parametrize("tls", [False, True], ids=["socket", "tls"])
@pytest.mark.parametrize("closed", [["close"], []], ids=["closed", "left open"])
def test_twenty_loops_one_after_the_other(
    server: Server, admin: redis.Redis, closed: list[str], *, tls: bool
) -> None:
    url = f"rediss://app:{quote(PASSWORD, safe='')}@localhost:{server.tls_port}"
    command = [sys.executable, "-W", "error", "-c", TWENTY_LOOPS]
    command += [url if tls else server.url, server.ca_file]
    done = subprocess.run([*command, *closed], capture_output=True, text=True, check=False)
    assert done.stdout == "True\n"
    assert done.stderr == ""


async def test_two_loops_at_once_are_refused(server: Server, admin: redis.Redis) -> None:
    cache = RedisCache(server.url, budget_s=10.0).for_tasks()
    await cache.get_many(["k"], far())

    def elsewhere() -> None:
        with pytest.raises(WrongLoopError):
            asyncio.run(cache.get_many(["k"], far()))

    await asyncio.to_thread(elsewhere)
    await cache.aclose()


def test_closed_it_holds_nothing_and_finds_nothing(server: Server, admin: redis.Redis) -> None:
    before = int(admin.info("clients")["connected_clients"])
    for colour in ("threads", "tasks"):
        spec = RedisCache(server.url, budget_s=10.0)
        cache = spec.for_threads() if colour == "threads" else spec.for_tasks()

        async def use(cache=cache) -> None:  # type: ignore[no-untyped-def]
            await cache.set_many({"k": entry(1)}, far())
            await cache.aclose()
            await cache.aclose()
            assert await cache.get_many(["k"], far()) == [None]

        _step.run(use()) if colour == "threads" else asyncio.run(use())
    end_s = far()
    while int(admin.info("clients")["connected_clients"]) > before:
        assert time.monotonic() < end_s


ALONE = """
import sys
import servingclient
assert "redis" not in sys.modules, "imported with the package"
spec = servingclient.RedisCache("redis://localhost")
assert "redis" not in sys.modules, "imported before a client needs it"
sys.modules["redis"] = None
try:
    servingclient.RedisCache("redis://localhost")
except servingclient.ConfigError as error:
    print(error)
"""


def test_redis_py_is_imported_late_and_its_absence_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", ALONE], capture_output=True, text=True, check=False
    )
    assert done.stderr == ""
    assert "pip install 'servingclient[redis]'" in done.stdout
