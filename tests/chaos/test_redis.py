"""Row 22: the Redis behind enrichment is ill."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from servingclient import (
    AsyncEnrichmentClient,
    EnrichmentClient,
    EnrichmentSettings,
    RedisCache,
)
from servingclient.emulator import Emulator
from servingclient.settings import Caching
from tests.chaos.form import Form
from tests.chaos.judge import Judge
from tests.chaos.kit import CLIENTS, PER_S
from tests.chaos.load import Caller, Load, Phase
from tests.chaos.meter import Call, outcomes, quantile, those
from tests.enrichment.redis.conftest import Server, end, start
from tests.enrichment.redis.proxy import Proxy

KEYS = 40
TTL_S = 10.0
BYPASSED_AFTER_S = 1.0
"""By then each client has met the fault, and leaves Redis alone."""
QUIET_MS = 50.0
"""On a machine on which a hundredth of the calls takes longer without any Redis, nobody can tell
what one adds to them."""


@dataclass
class Cache:
    """A Redis that can be made ill.

    Attributes:
        url: Where clients find it.
        begin: Makes it ill.
        end: And well.
    """

    url: str
    begin: Callable[[], object]
    end: Callable[[], object]


@contextlib.contextmanager
def killed(folder: Path) -> Iterator[Cache]:
    """A server of its own, whose process is ended, and started again."""
    running = [start(folder)]

    def in_a_thread(action: Callable[[], object]) -> None:
        """It waits with an event loop of its own, and we may run on one."""
        thread = threading.Thread(target=action)
        thread.start()
        thread.join()

    def again() -> None:
        (folder / "redis.sock").unlink(missing_ok=True)
        running[0] = start(folder)

    try:
        yield Cache(running[0][1].url, lambda: end(running[0][0]), lambda: in_a_thread(again))
    finally:
        end(running[0][0])


@contextlib.contextmanager
def behind_proxy(server: Server, **ill: Any) -> Iterator[Cache]:
    """One that answers late, or something else."""
    with Proxy(server.path) as proxy:

        def begin() -> None:
            for name, value in ill.items():
                setattr(proxy.script, name, value)

        def well() -> None:
            proxy.script.delay_s, proxy.script.answer = 0.0, None

        yield Cache(proxy.url, begin, well)


WRONG = b"*1\r\n$3\r\nabc\r\n"


@pytest.fixture
def cache(
    request: pytest.FixtureRequest,
    redis_server: Server,
    tmp_path: Path,
) -> Iterator[Cache]:
    made = {
        "down": lambda: killed(tmp_path),
        "1 s slow": lambda: behind_proxy(redis_server, delay_s=1.0),
        "wrong replies": lambda: behind_proxy(redis_server, answer=WRONG),
    }
    with made[request.param]() as one:
        yield one


def opened(colour: str, url: str, ttl_s: float, cache: Cache | None) -> Any:
    kind = EnrichmentClient if colour == "sync" else AsyncEnrichmentClient
    settings = EnrichmentSettings(
        allow_private_hosts=True, caching=Caching(early_refresh_factor=0.0, ttl_jitter=0.0)
    )
    shared = None if cache is None else RedisCache(cache.url)
    return kind(url, ttl=ttl_s, settings=settings, cache=shared)


def asking(client: Any, colour: str) -> Caller:
    """One client as the load calls it: a call's id is what its answer must carry."""

    def user(call_id: str) -> int:
        return int(call_id[1:]) // (2 * CLIENTS) % KEYS + 1

    def told(call_id: str, found: Any) -> Any:
        right = found.value["id"] == user(call_id)
        return SimpleNamespace(predictions=[call_id if right else found.value], attempts=())

    async def call_async(call_id: str) -> Any:
        return told(call_id, await client.get("/users/{id}", id=user(call_id)))

    def call(call_id: str) -> Any:
        return told(call_id, client.get("/users/{id}", id=user(call_id)))

    return call if colour == "sync" else call_async


def played(colour: str, url: str, ttl_s: float, cache: Cache, phases: list[Phase]) -> Load:
    """Eight clients of one Redis, as so many processes; in turn with eight that have none."""
    shared = [cache, None] * CLIENTS
    per_s = 2 * PER_S
    if colour == "sync":
        with contextlib.ExitStack() as stack:
            fleet = [stack.enter_context(opened(colour, url, ttl_s, one)) for one in shared]
            load = Load([asking(one, colour) for one in fleet], phases, per_s)
            load.run_threads()
            return load

    async def play() -> Load:
        async with contextlib.AsyncExitStack() as stack:
            fleet = [
                await stack.enter_async_context(opened(colour, url, ttl_s, one)) for one in shared
            ]
            load = Load([asking(one, colour) for one in fleet], phases, per_s)
            await load.run()
            return load

    return asyncio.run(play())


@pytest.mark.parametrize("cache", ["down", "1 s slow", "wrong replies"], indirect=True)
@pytest.mark.parametrize("colour", ["async", "sync"])
@pytest.mark.soak
def test_chaos_22_redis_is_ill(
    request: pytest.FixtureRequest, form: Form, cache: Cache, colour: str
) -> None:
    how = request.node.callspec.params["cache"]
    steady_s, fault_s = form.phase_s(60.0), form.phase_s(60.0, 4.0)
    phases = [Phase(steady_s), Phase(fault_s, cache.begin), Phase(steady_s, cache.end)]
    ttl_s = TTL_S * min(1.0, fault_s / 60.0)
    with (
        Judge(22, f"{colour} {how}", request.node.user_properties) as judge,
        Emulator(tls=False) as emulator,
    ):
        load = played(colour, emulator.external.base_url, ttl_s, cache, phases)
        begun_s, over_s = load.turned_s[1:3]
        in_fault = those(load.calls, lambda call: begun_s <= call.began_s < over_s)
        first = those(in_fault, lambda call: call.began_s < begun_s + BYPASSED_AFTER_S)
        later = those(in_fault, lambda call: call.began_s >= begun_s + BYPASSED_AFTER_S)
        judge.exactly("outcomes", dict(outcomes(load.calls)), {"ok": load.started})
        judge.at_most("added p50 ms at first", added_ms(first, 0.5), 60.0)
        judge.at_most("then p50", added_ms(later, 0.5), 2.0)
        for name, calls, limit_ms in (("at first p99", first, 60.0), ("then p99", later, 2.0)):
            with_none_ms = 1e3 * quantile([call.took_s for call in calls if not shared(call)], 0.99)
            if form.is_long and with_none_ms <= QUIET_MS:
                judge.at_most(name, added_ms(calls, 0.99), limit_ms)
            else:
                judge.told(
                    f"{name} (not judged: {with_none_ms:.0f} ms without)", added_ms(calls, 0.99)
                )
        times = asked(emulator, begun_s, over_s)
        judge.at_most(
            "requests of a key in a TTL, of one client",
            max(times.values()) / (2 * CLIENTS) / (1 + math.ceil((over_s - begun_s) / ttl_s)),
            1.0,
        )


def shared(call: Call) -> bool:
    """Whether it was made by a client with a Redis."""
    return int(call.id[1:]) % 2 == 0


def added_ms(calls: list[Call], share: float) -> float:
    """What those with a Redis took longer than those without, who were called in turn with them."""
    with_one, with_none = (
        quantile([call.took_s for call in calls if shared(call) is wanted], share)
        for wanted in (True, False)
    )
    return 1e3 * (with_one - with_none)


def asked(emulator: Emulator, begun_s: float, over_s: float) -> Counter[str]:
    """How often the API was asked for each user, in the fault."""
    return Counter(
        one.path for one in emulator.external.requests if begun_s <= one.received_at_s < over_s
    )
