"""T4's other process: warms a client, forks four children, and all five call at the same time.

Run by ``test_connections.py``; prints what came of 250 calls as JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from typing import Any

from servingclient import AsyncServingClient, ServingClient, ServingError

CHILDREN = 4
CALLS = 50


def main(colour: str, host: str, token: str) -> None:
    call, close = door(colour, host, token)
    assert call("warm") == ["warm"]
    readers = [in_child(call, close, f"child{n}") for n in range(CHILDREN)]
    found = tell(call, "parent")
    for read in readers:
        for name, count in read().items():
            found[name] += count
    close()
    sys.stdout.write(json.dumps(found))


def door(
    colour: str, host: str, token: str
) -> tuple[Callable[[str], list[Any]], Callable[[], object]]:
    if colour == "sync":
        client = ServingClient("m", host=host, token=token)
        return lambda i: client.predict({"inputs": [1], "id": i}).predictions, client.close
    loops = {os.getpid(): asyncio.new_event_loop()}
    waiting = AsyncServingClient("m", host=host, token=token)

    def loop() -> asyncio.AbstractEventLoop:
        # the parent's loop is the parent's: a child makes its own
        pid = os.getpid()
        return loops.get(pid) or loops.setdefault(pid, asyncio.new_event_loop())

    def call(call_id: str) -> list[Any]:
        given = {"inputs": [1], "id": call_id}
        found: list[Any] = loop().run_until_complete(waiting.predict(given)).predictions
        return found

    def close() -> None:
        mine = loop()
        mine.run_until_complete(waiting.aclose())
        mine.run_until_complete(mine.shutdown_asyncgens())
        mine.close()

    return call, close


def tell(call: Callable[[str], list[Any]], name: str) -> dict[str, int]:
    found = {"wrong": 0, "errors": 0, "right": 0}
    for n in range(CALLS):
        try:
            right = call(f"{name}-{n}") == [f"{name}-{n}"]
        except ServingError:
            found["errors"] += 1
        else:
            found["right" if right else "wrong"] += 1
    return found


def in_child(
    call: Callable[[str], list[Any]], close: Callable[[], object], name: str
) -> Callable[[], dict[str, int]]:
    """Fork; the child calls, writes what it found into a pipe and is gone."""
    end, start = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(end)
        found = tell(call, name)
        close()
        os.write(start, json.dumps(found).encode())
        os._exit(0)
    os.close(start)

    def read() -> dict[str, int]:
        with os.fdopen(end) as pipe:
            found: dict[str, int] = json.loads(pipe.read())
        os.waitpid(child, 0)
        return found

    return read


if __name__ == "__main__":
    main(*sys.argv[1:])
