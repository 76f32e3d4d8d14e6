"""Callers that give up: at the end nothing is in use, and the client works."""

from __future__ import annotations

import asyncio

from servingclient import AsyncServingClient
from servingclient.settings import Concurrency, Pool
from tests.soak.callers import Calls, cancelled, tasks
from tests.soak.gauges import Trace, held, slope_mb
from tests.soak.session import (
    ENOUGH_CALLS,
    MOST_MB_PER_10_000,
    SETTINGS,
    Soak,
    busy,
    settled,
    until_idle,
)


def churn(soak: Soak, part: str, share: float) -> None:
    """Half of the calls are cancelled; at the end nothing is in use, and all of 20 calls work."""

    async def run() -> None:
        settings = SETTINGS.replace(
            pool=Pool(max_lanes=10), concurrency=Concurrency(initial_calls=10)
        )
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, settings=settings
        )
        trace = Trace(max(0.05, soak.seconds * share / 100))
        calls = Calls(trace)
        before = await settled(lambda: True)
        await tasks(client, calls, soak.seconds * share, 20, cancelled)
        await until_idle(client)
        soak.judge(part, "calls", calls.made, least=1)
        soak.judge(part, "cancelled", calls.outcomes["cancelled"], least=1)
        soak.judge(part, "wrong answers", calls.wrong, most=0)
        soak.judge(part, "lanes and places in use", busy(client), most=0)
        probes = [client.predict([{"id": float(n)}], timeout=5.0) for n in range(20)]
        answers = await asyncio.gather(*probes, return_exceptions=True)
        good = sum(getattr(one, "predictions", None) == [float(n)] for n, one in enumerate(answers))
        soak.judge(part, "good calls of 20 afterwards", good, least=20)
        await client.aclose()
        after = await settled(lambda: held().descriptors <= before.descriptors + 2)
        slope = slope_mb(trace.points[len(trace.points) // 4 :], 10_000)
        if calls.made >= ENOUGH_CALLS:
            soak.judge(part, "RSS, MB per 10,000 calls", slope, most=MOST_MB_PER_10_000)
        soak.judge(part, "tasks left", after.tasks - before.tasks, most=0)
        soak.judge(part, "futures left", after.futures - before.futures, most=0)
        soak.judge(part, "descriptors left", after.descriptors - before.descriptors, most=2)

    asyncio.run(run())
