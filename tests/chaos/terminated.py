"""Row 25's other process: a service that is told to end while calls run and others wait.

It does what a service does: the client lives in a ``with``, and SIGTERM leaves it. Prints ``first``
when four calls are on their way, and goes on with a line from the test; ``ready`` once everything
is under way; at its end, as JSON, what became of each call.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import httpx

from servingclient import AsyncServingClient, Batching, ServingClient, Settings
from servingclient.settings import Concurrency, Pool, Queue

CALLS = 164
IN_FLIGHT = 64
BATCHES = 4
FIRST = 999
"""The row of the calls that come before: they take all places, so that callers gather behind."""
LEAST_WAITING = 90
"""Of the other 100; in batches some of them are in one that waits for its place."""
LOOK_S = 0.005


def settings(kind: str, close_timeout_s: float) -> Settings:
    """64 at once and a hundred behind them; in batches 4 times 16."""
    batched = kind == "batched"
    return Settings(
        timeout_s=30.0,
        close_timeout_s=close_timeout_s,
        queue=Queue(max_calls=CALLS),
        pool=Pool(max_httpx_calls=IN_FLIGHT),
        concurrency=Concurrency(adaptive=False, initial_calls=BATCHES if batched else IN_FLIGHT),
        batching=Batching(max_batch_rows=16, max_in_flight=BATCHES) if batched else None,
    )


def row(number: int) -> dict[str, str]:
    return {"id": f"row-{number:03d}"}


def full(client: Any) -> bool:
    """As many under way as there may be, and all others wait behind them."""
    now = client.stats()
    gathering = 0 if now.batching is None else now.batching.waiting
    admitted = now.concurrency.in_flight == now.concurrency.limit
    return admitted and now.concurrency.waiting + gathering >= LEAST_WAITING


def until_told() -> None:
    """The test sees the first calls arrive, so that none of the others overtakes them."""
    print("first", flush=True)  # noqa: T201 - to the test
    sys.stdin.readline()


def told(outcomes: Sequence[object], closing_s: float) -> str:
    """Predictions by what they are, errors by their class; whatever is neither was never ended."""
    names = Counter(
        type(one).__name__ if isinstance(one, BaseException) else "answered" for one in outcomes
    )
    wrong = [
        number
        for number, one in enumerate(outcomes)
        if not isinstance(one, BaseException) and one.predictions != [row(number)["id"]]  # type: ignore[attr-defined]
    ]
    return json.dumps({"outcomes": names, "wrong": wrong, "closing_s": closing_s})


def threads(kind: str, host: str, token: str, close_timeout_s: float) -> None:
    def leave(*_: object) -> None:
        sys.exit(0)

    signal.signal(signal.SIGTERM, leave)
    transport = httpx.HTTPTransport(limits=httpx.Limits()) if kind == "httpx" else None
    futures: list[Future[Any]] = []
    began_s = 0.0
    with ThreadPoolExecutor(CALLS + BATCHES) as pool:
        try:
            with ServingClient(
                "echo",
                host=host,
                token=token,
                settings=settings(kind, close_timeout_s),
                transport=transport,
            ) as client:
                client.warmup()
                first = [pool.submit(client.predict, [row(FIRST)]) for _ in range(BATCHES)]
                until_told()
                pause = threading.Event()
                futures += [pool.submit(client.predict, [row(number)]) for number in range(CALLS)]
                wait(first)
                while not full(client):
                    pause.wait(LOOK_S)
                print("ready", flush=True)  # noqa: T201 - to the test
                try:
                    pause.wait()
                finally:
                    began_s = time.monotonic()
        finally:
            closing_s = time.monotonic() - began_s
            ended = [one.exception() or one.result() for one in futures]
            print(told(ended, closing_s), flush=True)  # noqa: T201 - to the test


async def tasks(kind: str, host: str, token: str, close_timeout_s: float) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    transport = httpx.AsyncHTTPTransport(limits=httpx.Limits()) if kind == "httpx" else None
    async with AsyncServingClient(
        "echo",
        host=host,
        token=token,
        settings=settings(kind, close_timeout_s),
        transport=transport,
    ) as client:
        await client.warmup()
        first = [asyncio.ensure_future(client.predict([row(FIRST)])) for _ in range(BATCHES)]
        await asyncio.to_thread(until_told)
        calls = [asyncio.ensure_future(client.predict([row(number)])) for number in range(CALLS)]
        await asyncio.wait(first)
        while not full(client):  # noqa: ASYNC110 - figures are asked for
            await asyncio.sleep(LOOK_S)
        print("ready", flush=True)  # noqa: T201 - to the test
        await stop.wait()
        began_s = time.monotonic()
    closing_s = time.monotonic() - began_s
    ended = await asyncio.gather(*calls, return_exceptions=True)
    print(told(ended, closing_s), flush=True)  # noqa: T201 - to the test


if __name__ == "__main__":
    colour, kind, host, token, close_timeout_s = sys.argv[1:]
    if colour == "sync":
        threads(kind, host, token, float(close_timeout_s))
    else:
        asyncio.run(tasks(kind, host, token, float(close_timeout_s)))
