"""Too much: an endpoint that answers nobody, and more calls than a client takes in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from servingclient import AsyncServingClient, QueueFull, ServingError, Settings
from servingclient.settings import Concurrency, Queue, Retry
from tests.soak.callers import Calls, tasks
from tests.soak.gauges import held, resident_mb
from tests.soak.session import SETTINGS, Soak


def outage(soak: Soak, part: str, share: float) -> None:
    """Retries add a tenth at most; with a quota that never ends the same meter shows a storm."""
    seconds = soak.seconds * share / 2
    ours = _amplification(soak, seconds, SETTINGS)
    naive = SETTINGS.replace(
        retry=Retry(quota_capacity=10**9), concurrency=Concurrency(adaptive=False)
    )
    control = _amplification(soak, min(seconds, 10.0), naive)
    calls, requests = ours
    soak.judge(part, "calls", calls, least=1)
    # the quota of 500 pays 35 retries of 14 each
    most = 1.10 if calls >= 600 else 1.0 + 36.0 / calls
    soak.judge(part, "requests per call", requests / calls, most=most)
    soak.judge(part, "requests per call, naive control", control[1] / control[0], least=3.5)


def _amplification(soak: Soak, seconds: float, settings: Settings) -> tuple[int, int]:
    async def run() -> tuple[int, int]:
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, settings=settings
        )
        calls = Calls()
        await client.predict([{"id": 1.0}])
        before = soak.endpoint.tell(weather="outage")["calls"]
        await tasks(client, calls, seconds, 16, _one)
        requests = soak.endpoint.tell(weather="fair")["calls"] - before
        await client.aclose()
        return calls.made, requests

    return asyncio.run(run())


async def _one(client: Any, calls: Calls, number: int) -> str:
    try:
        await client.predict([{"id": float(number)}])
    except ServingError as error:
        return type(error).__name__
    return "ok"


OFFERED, BOUND = 10_000, 1_000
_MOST_INTAKE_MB = 20.0


def intake(soak: Soak, part: str, _share: float) -> None:
    """10,000 calls at once where 1,000 may wait: the others are told so, and memory stays."""

    async def run() -> None:
        settings = SETTINGS.replace(timeout_s=20.0, queue=Queue(max_calls=BOUND))
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, settings=settings
        )
        await client.predict([{"id": 1.0}])
        outcomes: list[str] = []
        peak_mb = before_mb = held().resident_mb

        async def offer(number: int) -> None:
            nonlocal peak_mb
            try:
                await client.predict([{"id": float(number)}])
            except QueueFull:
                outcomes.append("refused")
            else:
                outcomes.append("ok")
            if number % 100 == 0:
                peak_mb = max(peak_mb, resident_mb())

        async with _gathering() as begin:
            for number in range(OFFERED):
                begin(offer(number))
                if number % 100 == 0:
                    await asyncio.sleep(0)
        soak.judge(part, "calls", len(outcomes), least=OFFERED, most=OFFERED)
        soak.judge(part, "answered", outcomes.count("ok"), least=BOUND)
        soak.judge(part, "refused", outcomes.count("refused"))
        soak.judge(part, "RSS grown, MB", peak_mb - before_mb, most=_MOST_INTAKE_MB)
        await client.aclose()

    asyncio.run(run())


class _gathering:  # noqa: N801 - used as a function
    """Begin tasks, and wait for all of them at the end."""

    async def __aenter__(self) -> Callable[[Any], None]:
        self._tasks: set[asyncio.Task[None]] = set()
        return self._begin

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aexit__(self, *_: object) -> None:
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))
