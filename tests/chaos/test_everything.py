"""Row 28: everything at random, and a history that is judged afterwards."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from servingclient import Batching, Hedge, Settings
from servingclient.emulator import Emulator
from servingclient.settings import Concurrency, Pool, Retry, Token
from tests.chaos.callers import TaskCallers, ThreadCallers, Wanted
from tests.chaos.form import Form
from tests.chaos.history import History, problems
from tests.chaos.judge import Judge
from tests.chaos.weather import ENDPOINT, Weather
from tests.faults.proxy import FaultProxy
from tests.scripted.server import eventually

FREE_RESENDS = 4
"""Tries beyond ``max_attempts``: a stale lane, a refused token, plain for gzip, a new address."""
TOKENS = Token(
    refresh_jitter_s=0.0, margin_s=0.0, try_timeout_s=0.5, cooldown_s=0.1, cooldown_cap_s=0.5
)


class Told(NamedTuple):
    """What came of a run."""

    history: History
    changes: int


def settings(chance: random.Random) -> Settings:
    """A client's, drawn at random."""
    return Settings(
        token=TOKENS,
        retry=Retry(throttled_base_s=0.1, backoff_cap_s=1.0),
        pool=Pool(
            max_lanes=chance.choice((4, 32)),
            connect_timeout_s=0.5,
            keepalive_s=chance.choice((0.05, 45.0)),
            max_age_s=chance.choice((0.5, 300.0)),
        ),
        concurrency=Concurrency(adaptive=chance.random() < 0.7),
        batching=Batching(max_batch_rows=8) if chance.random() < 0.4 else None,
        hedge=Hedge() if chance.random() < 0.3 else None,
    )


def run(seed: int, duration_s: float) -> Told:
    """Three clients under changing weather."""
    chance = random.Random(seed)
    processed: Counter[str] = Counter()
    before = descriptors()

    def model(rows: list[Mapping[str, Any]]) -> list[str]:
        processed.update(row["id"] for row in rows)
        return [row["id"] for row in rows]

    with Emulator(tls=False, token_ttl_s=1.5, seed=seed) as emulator:
        emulator.add_endpoint(ENDPOINT, model)
        with FaultProxy(int(emulator.host.rpartition(":")[2])) as proxy:
            host = f"http://127.0.0.1:{proxy.port}"
            secret = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
            ways = ({"host": host, "token": emulator.token}, {"host": host, **secret})
            threads = ThreadCallers("threads", Wanted(chance.choice(ways), settings(chance)), seed)
            tasks = TaskCallers("tasks", Wanted(chance.choice(ways), settings(chance)), seed)
            plain = settings(chance).replace(hedge=None)
            over_httpx = TaskCallers(
                "httpx", Wanted(chance.choice(ways), plain, httpx.AsyncHTTPTransport()), seed
            )
            callers = (threads, tasks, over_httpx)
            weather = Weather(emulator, proxy, seed, tasks.stall)
            for one in callers:
                one.start()
            with weather:
                threading.Event().wait(duration_s)
            for one in callers:
                one.stop()
        quiet(emulator)
    history = History(Retry().max_attempts + FREE_RESENDS, Retry().quota_capacity)
    for name, one in zip(("threads", "tasks", "httpx"), callers, strict=True):
        history.calls += one.calls
        history.quota += one.quota
        history.left |= {f"{what} of {name}": held for what, held in one.left.items()}
    history.processed = processed
    history.left["descriptors"] = descriptors() - before
    return Told(history, weather.changes)


def descriptors() -> int:
    """How many this process has open."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def quiet(emulator: Emulator) -> None:
    """Wait until the endpoint works on nothing any more: it does so for callers who have gone."""
    capacity = emulator._endpoint(ENDPOINT).capacity
    assert eventually(lambda: not (capacity.running or capacity.waiting), 10.0)


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(1, 20))]
)
def test_chaos_28_everything_at_random(
    request: pytest.FixtureRequest, form: Form, seed: int
) -> None:
    """Five minutes; in short forms a fifth of what is left of them."""
    lasts_s = form.phase_s(300.0) / (1 if form.is_long else 5)
    with Judge(28, f"seed {seed}", request.node.user_properties) as judge:
        told = run(seed, lasts_s)
        history = told.history
        judge.told("changes", told.changes)
        judge.told("calls", len(history.calls))
        judge.told("answered", history.outcomes["ok"] / len(history.calls))
        judge.told("kinds of errors", len(history.outcomes) - 1)
        judge.told("least quota", min(history.quota))
        judge.exactly("problems", problems(history), [])
