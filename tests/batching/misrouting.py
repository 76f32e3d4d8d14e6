"""B1: rows of many callers in shared requests over a line where everything happens at random.

Latencies, refusals, broken connections, replies of the wrong length, rows that the model refuses,
callers that are cancelled or run out of time. Each caller sends numbers of its own and looks at
what it gets. The tests take a short form; a million rows, in both colours:

    python -m tests.batching.misrouting --rows 1000000
"""

from __future__ import annotations

import argparse
import asyncio
import math
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

from servingclient import ServingError, _step
from servingclient._call import Story
from servingclient._ports import Grant, World
from servingclient._types import FaultKind, Reply, Target, WireFault
from servingclient.batching.batched import BatchedStory
from servingclient.batching.leader import ThreadBatcher
from servingclient.batching.task import LoopBatcher
from servingclient.policies.quota import Quota
from servingclient.settings import Batching, Retry, Settings
from tests.batching.world import TARGET, Quiet

CALLERS = 64
LIMITS = Batching(max_batch_rows=32, max_in_flight=6, max_wait_s=0.001)
SETTINGS = Settings(batching=LIMITS, retry=Retry(quota_capacity=100_000_000))


class Line(Quiet):
    """All ports of a story. The model gives every number back, and refuses whole hundreds."""

    def __init__(self, pause: Callable[[float], Any], seed: int) -> None:
        self.chance = random.Random(seed)
        self.requests = 0
        self.coalesced = 0
        self._pause = pause

    room = True

    def try_enter(self) -> bool:
        return True

    async def enter(self, *_: Any, **__: Any) -> None:
        raise AssertionError("there is always room")

    def leave(self) -> None:
        pass

    def ready(self, served_model: str | None, now_s: float) -> Grant:
        return Grant(TARGET, 1, 1 << 24)

    async def obtain(self, served_model: str | None, deadline_s: float) -> Grant:
        return Grant(TARGET, 1, 1 << 24)

    async def sleep(self, seconds: float) -> None:
        await self._wait(0.0)

    async def _wait(self, seconds: float) -> None:
        waiting = self._pause(seconds)
        if asyncio.iscoroutine(waiting):
            await waiting

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        rows = orjson.loads(body)["inputs"]
        self.requests += 1
        self.coalesced += len(rows)
        happens = self.chance.random()
        await self._wait(self.chance.expovariate(2000.0))
        now_s = time.monotonic()
        if happens < 0.005:
            raise WireFault(FaultKind.CUT_OFF, "at random", sent="maybe", host="h")
        if happens < 0.01:
            return Reply(429, [], b'{"message": "busy"}', now_s, now_s, 0.0)
        if happens < 0.012:
            return Reply(503, [], b'{"message": "no"}', now_s, now_s, 0.0)
        if any(row[0] % 500 == 0 for row in rows):
            return Reply(400, [], b'{"message": "bad row"}', now_s, now_s, 0.0)
        values = [row[0] for row in rows]
        if happens < 0.022:
            values.pop()
        return Reply(200, [], orjson.dumps({"predictions": values}), now_s, now_s, 0.0)


def calls_over(line: Line, batcher: Any) -> BatchedStory:
    world = World(time.monotonic, line.sleep, random.random, line, line, line, Quota(100_000), ())
    return BatchedStory(Story("m", SETTINGS, world), batcher, LIMITS)


async def call(calls: BatchedStory, numbers: list[int], timeout_s: float) -> str:
    """One call, and what became of it."""
    rows = [[number] for number in numbers]
    try:
        prediction = await calls.predict(rows, None, None, None, None, timeout_s, True, 1)
    except ServingError as error:
        if type(error).__name__ == "BadRequest":
            return "BadRequest" if any(n % 500 == 0 for n in numbers) else "blamed for another"
        return type(error).__name__
    got = prediction.predictions
    if got == numbers or (len(got) < len(numbers) and got == numbers[:-1]):
        return "right"  # who was alone gets what came, short as it may be
    return "misrouted"


def by_tasks(rows: int, seed: int = 1) -> tuple[Counter[str], Line]:
    """Callers are tasks; one call in 100 is cancelled in the midst."""
    line = Line(asyncio.sleep, seed)
    ends: Counter[str] = Counter()
    chance = random.Random(seed)
    numbers = iter(range(1, rows + 1))

    async def caller(calls: BatchedStory) -> None:
        while mine := take(numbers, chance.randint(1, 5)):
            timeout_s = 0.001 if chance.random() < 0.01 else 10.0
            if chance.random() < 0.01:
                task = asyncio.ensure_future(call(calls, mine, timeout_s))
                await asyncio.sleep(chance.expovariate(1000.0))
                task.cancel()
                try:
                    ends[await task] += 1
                except asyncio.CancelledError:
                    ends["CancelledError"] += 1
            else:
                ends[await call(calls, mine, timeout_s)] += 1

    async def everybody() -> None:
        calls = calls_over(line, LoopBatcher(LIMITS, 1000, line, lambda: 6))  # type: ignore[arg-type]
        await asyncio.gather(*(caller(calls) for _ in range(CALLERS)))

    asyncio.run(everybody())
    return ends, line


def by_threads(rows: int, seed: int = 1) -> tuple[Counter[str], Line]:
    """Callers are threads; one call in 100 has hardly any time."""
    pause = threading.Event()
    line = Line(pause.wait, seed)
    calls = calls_over(line, ThreadBatcher(LIMITS, 1000, line, lambda: 6))  # type: ignore[arg-type]
    ends: Counter[str] = Counter()
    lock = threading.Lock()
    numbers = iter(range(1, rows + 1))

    def caller(chance: random.Random) -> None:
        mine_end: Counter[str] = Counter()
        while True:
            with lock:
                mine = take(numbers, chance.randint(1, 5))
            if not mine:
                break
            timeout_s = 0.001 if chance.random() < 0.01 else 10.0
            mine_end[_step.run(call(calls, mine, timeout_s))] += 1
        with lock:
            ends.update(mine_end)

    threads = [threading.Thread(target=caller, args=(random.Random(n),)) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return ends, line


def take(numbers: Any, count: int) -> list[int]:
    return [number for _, number in zip(range(count), numbers, strict=False)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Count misrouted rows")
    parser.add_argument("--rows", type=int, default=1_000_000)
    options = parser.parse_args()
    for run in (by_tasks, by_threads):
        began_s = time.monotonic()
        ends, line = run(options.rows)
        took_s = time.monotonic() - began_s
        sys.stdout.write(
            f"{run.__name__}: {options.rows:,} rows in {line.requests:,} requests, "
            f"{line.coalesced / line.requests:.1f} rows each, {took_s:.0f} s\n"
            f"  {dict(ends.most_common())}\n"
        )


if __name__ == "__main__":
    main()
