"""Steady load over one client, in any weather: what grows while it lasts, and what is left."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from servingclient import AsyncServingClient, ServingClient
from tests.soak.callers import Calls, tasks, threads
from tests.soak.gauges import Held, Trace, held, slope_mb
from tests.soak.session import (
    ENOUGH_CALLS,
    LANES,
    MOST_MB_PER_10_000,
    Soak,
    settled,
    tell_errors,
    until_idle,
)

TASKS, THREADS = 32, 8
_WARM_SHARE = 0.25
_WARM_CALLS = 10_000
_MOST_MB_OF_FEW = 8.0
_SPARE_DESCRIPTORS = 12


def steady_tasks(soak: Soak, part: str, share: float, weather: str = "fair", **made: Any) -> None:
    """Tasks over one client."""

    async def run() -> None:
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, **made
        )

        async def load(calls: Calls, seconds: float) -> None:
            await tasks(client, calls, seconds, TASKS)

        before = await settled(lambda: True)
        await client.predict([{"id": 1.0}])
        with _under(soak, weather):
            warm, calls, early, late = await _measured(soak, share, load)
        await until_idle(client)
        idle = await settled(lambda: True)
        await client.aclose()
        after = await settled(lambda: held().descriptors <= before.descriptors + 2)
        _judge_load(soak, part, warm, calls, early, late)
        _judge_left(soak, part, before, idle, after)

    asyncio.run(run())


def steady_threads(soak: Soak, part: str, share: float, weather: str = "fair", **made: Any) -> None:
    """Threads over one client."""

    async def run() -> None:  # only the load blocks; measuring is the same
        client = ServingClient("demo", host=soak.endpoint.host, token=soak.endpoint.token, **made)

        async def load(calls: Calls, seconds: float) -> None:
            threads(client, calls, seconds, THREADS)

        before = await settled(lambda: True)
        client.predict([{"id": 1.0}])
        with _under(soak, weather):
            warm, calls, early, late = await _measured(soak, share, load)
        await until_idle(client)
        idle = await settled(lambda: True)
        client.close()
        after = await settled(lambda: held().descriptors <= before.descriptors + 2)
        _judge_load(soak, part, warm, calls, early, late)
        _judge_left(soak, part, before, idle, after)

    asyncio.run(run())


async def _measured(
    soak: Soak, share: float, load: Callable[[Calls, float], Any]
) -> tuple[Calls, tuple[Calls, Trace], Held, Held]:
    """Warm up, then load and look."""
    seconds = soak.seconds * share
    warm = Calls()
    await load(warm, seconds * _WARM_SHARE)
    early = held()
    trace = Trace(max(0.05, seconds / 200))
    calls = Calls(trace)
    await load(calls, seconds * (1.0 - _WARM_SHARE))
    return warm, (calls, trace), early, held()


def _judge_load(
    soak: Soak, part: str, warm: Calls, loaded: tuple[Calls, Trace], early: Held, late: Held
) -> None:
    calls, trace = loaded
    soak.judge(part, "calls", calls.made, least=1)
    soak.judge(part, "answered, share", calls.good / max(1, calls.made))
    tell_errors(soak, part, calls)
    soak.judge(part, "wrong answers", calls.wrong + warm.wrong, most=0)
    pinned = calls.pinned + warm.pinned
    soak.judge(part, "inputs that errors pinned", pinned.total(), most=0)
    for error, count in pinned.items():
        soak.judge(part, f"inputs that {error} pinned", count, most=0)
    enough = calls.made >= ENOUGH_CALLS and warm.made >= _WARM_CALLS
    slope = slope_mb(trace.points, 10_000)
    if enough:
        soak.judge(part, "RSS, MB per 10,000 calls", slope, most=MOST_MB_PER_10_000)
    grown = late.resident_mb - early.resident_mb
    soak.judge(part, "RSS grown, MB", grown, most=_most_grown(calls.made if enough else 0))
    objects = (late.objects - early.objects) / max(1, calls.made)
    # a few thousand calls have not filled what is bounded: windows of figures, quantiles
    soak.judge(part, "objects per call", objects, **({"most": 0.1} if enough else {}))


def _most_grown(calls: int) -> float:
    return max(_MOST_MB_OF_FEW, MOST_MB_PER_10_000 * calls / 10_000)


def _judge_left(soak: Soak, part: str, before: Held, idle: Held, after: Held) -> None:
    soak.judge(part, "tasks left", idle.tasks - before.tasks, most=0)
    soak.judge(part, "futures left", after.futures - before.futures, most=0)
    soak.judge(part, "threads left", after.threads - before.threads, most=0)
    soak.judge(part, "descriptors left", after.descriptors - before.descriptors, most=2)
    soak.judge(
        part,
        "descriptors while idle",
        idle.descriptors - before.descriptors,
        most=LANES + _SPARE_DESCRIPTORS,
    )


@contextmanager
def _under(soak: Soak, weather: str) -> Iterator[None]:
    soak.endpoint.tell(weather=weather)
    try:
        yield
    finally:
        soak.endpoint.tell(weather="fair")
