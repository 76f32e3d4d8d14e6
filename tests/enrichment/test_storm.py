"""Many callers at one client, over a wire that answers at once: nobody gets another's value."""

from __future__ import annotations

import asyncio
import json
import math
import random
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from servingclient import AsyncEnrichmentClient, EnrichmentClient, EnrichmentSettings
from servingclient._types import FaultKind, Reply, Target, WireFault
from servingclient.settings import Caching, Retry

URL = "https://api.example.com"
RULES = EnrichmentSettings(
    caching=Caching(max_entries=30, stale_while_revalidate_s=0.002),
    retry=Retry(max_attempts=1),
    breaker=None,
    timeout_s=10.0,
)


class Wire:
    """Answers with the path; now and then it fails. Counts what it is asked at once, by path."""

    def __init__(self, *, suspends: bool) -> None:
        self._suspends = suspends
        self._chance = random.Random(1)
        self._lock = threading.Lock()
        self._under_way: dict[str, int] = {}
        self.twice: list[str] = []
        self.sent = 0

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        path = target.path
        with self._lock:
            self.sent += 1
            count = self._under_way[path] = self._under_way.get(path, 0) + 1
            if count > 1:
                self.twice.append(path)
            fails = self._chance.random() < 0.05
        try:
            if self._suspends:
                await asyncio.sleep(0)
            if fails:
                raise WireFault(FaultKind.CUT_OFF, "as scripted", sent="maybe", host="h")
            now_s = time.monotonic()
            return Reply(200, [], json.dumps(path).encode(), now_s, now_s, 0.0)
        finally:
            with self._lock:
                self._under_way[path] -= 1


def over(client: Any, wire: Wire) -> None:
    fetcher = client._api.fetcher
    fetcher._ports = replace(fetcher._ports, wire=wire)


@pytest.fixture
def _switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_threads_get_their_own_values() -> None:
    wire = Wire(suspends=False)
    wrong: list[object] = []
    outcomes: list[int] = []
    with EnrichmentClient(URL, ttl=0.005, settings=RULES) as client:
        over(client, wire)

        def work(seed: int) -> None:
            chance, ended = random.Random(seed), 0
            for _ in range(400):
                one = chance.randrange(50)
                try:
                    if chance.random() < 0.02:
                        client.invalidate("/u/{id}", id=one)
                    elif chance.random() < 0.1:
                        ids = [chance.randrange(50) for _ in range(4)]
                        for asked, found in client.get_many("/u/{id}", ids).items():
                            if found.value != f"/u/{asked}":
                                wrong.append((asked, found))
                        ended += len(set(ids))
                    else:
                        found = client.get("/u/{id}", id=one)
                        ended += 1
                        if found.value != f"/u/{one}":
                            wrong.append((one, found))
                except Exception as error:  # noqa: BLE001 - judged below
                    if "as scripted" not in str(error):
                        wrong.append(error)
            outcomes.append(ended)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for thread in threading.enumerate():
            if thread.name == "servingclient-refresh":
                thread.join(5)
        stats = client.stats()
        assert wrong == []
        assert stats.entries <= 30
        assert stats.calls >= sum(outcomes)
        assert stats.requests == wire.sent
        assert not client._api.lookup.world.flights._flights
    assert client._parts.gate.inside == 0


async def test_tasks_get_their_own_values() -> None:
    wire = Wire(suspends=True)
    wrong: list[object] = []
    async with AsyncEnrichmentClient(URL, ttl=0.005, settings=RULES) as client:
        over(client, wire)

        async def work(seed: int) -> None:
            chance = random.Random(seed)
            for _ in range(40):
                one = chance.randrange(50)
                try:
                    found = await asyncio.wait_for(
                        client.get("/u/{id}", id=one), 0.0 if chance.random() < 0.05 else 9
                    )
                except asyncio.TimeoutError:
                    continue
                except Exception as error:  # noqa: BLE001 - judged below
                    if "as scripted" not in str(error):
                        wrong.append(error)
                else:
                    if found.value != f"/u/{one}":
                        wrong.append((one, found))

        await asyncio.gather(*(work(seed) for seed in range(100)))
        await asyncio.gather(*client._parts.behind._tasks)
        assert wrong == []
        assert wire.twice == [], "nothing is asked for twice at once"
        assert not client._api.lookup.world.flights._flights
        assert client._parts.gate.inside == 0
