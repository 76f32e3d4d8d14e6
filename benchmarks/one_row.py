"""What a row of a shared request costs at least, whoever sends it: parts, each in a tight loop.

    python benchmarks/one_row.py

Behind the target of the part ``batching`` that is not reached; ``README.md`` tells what follows.
"""

from __future__ import annotations

import asyncio
import time
import timeit
from collections.abc import Callable

from contenders.place import ROW

from servingclient.payload.divide import divide
from servingclient.payload.encode import encode
from servingclient.settings import Payload

TASKS, TURNS, RUNS = 256, 50, 9


async def waits(waiting: list[asyncio.Future[None]]) -> None:
    """One caller: it waits for a future of its own, again and again."""
    loop = asyncio.get_running_loop()
    for _ in range(TURNS):
        turn = loop.create_future()
        waiting.append(turn)
        await turn


async def all_wait() -> None:
    """Nothing but the waking of callers: all at once, as by the answer to a shared request."""
    waiting: list[asyncio.Future[None]] = []
    tasks = [asyncio.ensure_future(waits(waiting)) for _ in range(TASKS)]
    for _ in range(TURNS + 1):
        await asyncio.sleep(0)
        woken, waiting[:] = waiting[:], []
        for turn in woken:
            turn.set_result(None)
    await asyncio.gather(*tasks)


def waking_us() -> float:
    took = []
    for _ in range(RUNS):
        began = time.process_time()
        asyncio.run(all_wait())
        took.append(time.process_time() - began)
    return min(took) / (TASKS * TURNS) * 1e6


def least_us(way: Callable[[], object]) -> float:
    return min(timeit.repeat(way, number=2000, repeat=5 * RUNS)) / 2000 * 1e6


def main() -> None:
    rules, rows = Payload(), [ROW]
    body = encode(rows, None, None, None, rules)
    encoding_us = least_us(lambda: encode(rows, None, None, None, rules))
    dividing_us = least_us(lambda: divide(body, rows, None, rules))
    print(f"a future, its waiter and the waking  {waking_us():5.2f} µs")
    print(f"encoding a row of {len(ROW)} columns         {encoding_us:5.2f} µs")
    print(f"dividing it around the row           {dividing_us:5.2f} µs")


if __name__ == "__main__":
    main()
