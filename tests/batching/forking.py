"""T4's other process: forks while calls wait for company. Run by ``test_doors.py``; prints JSON."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from typing import Any

from servingclient import AsyncServingClient, ServingClient, Settings
from servingclient.settings import Batching

SETTINGS = Settings(batching=Batching(max_in_flight=1, max_wait_s=60.0))


def rows(number: int) -> list[dict[str, Any]]:
    return [{"id": number, "b": 0.5}]


def in_child(work: Any) -> int:
    """Fork; the child writes what ``work`` returns. The end to read it from."""
    end, start = os.pipe()
    if os.fork() == 0:
        os.close(end)
        os.write(start, json.dumps(work()).encode())
        os._exit(0)
    os.close(start)
    return end


def read(end: int) -> Any:
    with os.fdopen(end) as pipe:
        found = json.loads(pipe.read())
    os.wait()
    return found


def crowd(client: ServingClient, numbers: range) -> list[Any]:
    found: dict[int, Any] = {}

    def call(number: int) -> None:
        found[number] = client.predict(rows(number)).predictions

    threads = [threading.Thread(target=call, args=(number,)) for number in numbers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [found[number] for number in numbers]


def by_threads(host: str, token: str) -> dict[str, Any]:
    client = ServingClient("echo", host=host, token=token, settings=SETTINGS)
    client.predict(rows(0))
    ends: list[Any] = []
    waiting = threading.Thread(target=lambda: ends.extend(crowd(client, range(1, 4))))
    waiting.start()
    while client.stats().batching.waiting < 2:  # type: ignore[union-attr]
        pass
    child = in_child(lambda: crowd(client, range(100, 116)))
    waiting.join()
    found = {"child": read(child), "parent": ends}
    client.close()
    return found


def by_tasks(host: str, token: str) -> dict[str, Any]:
    client = AsyncServingClient("echo", host=host, token=token, settings=SETTINGS)

    async def crowd_of_tasks(numbers: range) -> list[Any]:
        made = await asyncio.gather(*(client.predict(rows(number)) for number in numbers))
        return [one.predictions for one in made]

    def child_work() -> list[Any]:
        asyncio.events._set_running_loop(None)  # the parent's runs only there
        loop = asyncio.new_event_loop()
        return loop.run_until_complete(crowd_of_tasks(range(100, 116)))

    async def scenario() -> dict[str, Any]:
        await client.predict(rows(0))
        waiting = asyncio.ensure_future(crowd_of_tasks(range(1, 4)))
        while client.stats().batching.waiting < 2:  # type: ignore[union-attr]  # noqa: ASYNC110
            await asyncio.sleep(0)
        child = in_child(child_work)
        ends = await waiting
        found = {"child": read(child), "parent": ends}
        await client.aclose()
        return found

    return asyncio.run(scenario())


if __name__ == "__main__":
    colour, *where = sys.argv[1:]
    sys.stdout.write(json.dumps((by_threads if colour == "sync" else by_tasks)(*where)))
