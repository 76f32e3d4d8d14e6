"""Clients that call an endpoint whatever becomes of their calls, and the endpoint: the emulator."""

from __future__ import annotations

import asyncio
import http.client
import json
import math
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from servingclient import AsyncServingClient, ServingError, Settings

CLIENTS = 8
ROW = [{"a": 1.0, "b": 2.0}]
WELL = 0.99


# ---------------------------------------------------------------- the endpoint


@dataclass(frozen=True)
class Endpoint:
    """The emulator, and how to change what goes on there."""

    host: str
    token: str

    def add(self, name: str, **spec: Any) -> None:
        """Add an endpoint, or change one."""
        self._post("endpoint", {"name": name, **spec})

    def scale(self, name: str, slots: int, over_s: float) -> None:
        self._post("scale", {"endpoint": name, "slots": slots, "over_s": over_s})

    def fail(self, name: str) -> None:
        """503 from now on."""
        faults = [{"name": "plain", "status": 503}]
        self._post("script", {"endpoint": name, "faults": faults, "always": True})

    def _post(self, action: str, value: dict[str, Any]) -> None:
        connection = http.client.HTTPConnection(urlsplit(self.host).netloc, timeout=10)
        try:
            connection.request("POST", f"/_emulator/{action}", json.dumps(value))
            reply = connection.getresponse()
            text = reply.read().decode()
            if reply.status != 200:
                raise SystemExit(f"the emulator refused {action}: {text}")
        finally:
            connection.close()


@contextmanager
def emulator(core: int | None) -> Iterator[Endpoint]:
    """In a process of its own, on a core of its own."""
    command = [sys.executable, "-m", "servingclient.emulator", "--http", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        if core is not None:
            os.sched_setaffinity(process.pid, {core})
        facts = json.loads(process.stdout.readline())
        yield Endpoint(facts["host"], facts["token"])
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(10)


# ---------------------------------------------------------------- the fleet


@dataclass
class Told:
    """What came of the calls. Times count from the start of the scenario.

    Attributes:
        ended: When each call ended, and how: ``"ok"`` or the name of the error.
        requests: Requests sent for them.
    """

    ended: list[tuple[float, str]] = field(default_factory=list)
    requests: int = 0

    def call_ended(self, event: Any) -> None:
        self.requests += event.attempts

    def attempt_failed(self, event: Any) -> None:
        """Counted with the call."""

    @property
    def amplification(self) -> float:
        return self.requests / len(self.ended)

    def goodput(self, start_s: float, end_s: float) -> float:
        """Good calls a second."""
        good = sum(what == "ok" for at_s, what in self.ended if start_s <= at_s < end_s)
        return good / (end_s - start_s)

    def recovery_s(self, start_s: float, window_s: float) -> float:
        """Seconds from ``start_s`` to the end of the last window with under 99 % success.

        Infinite when that is the last window there is.
        """
        windows: dict[int, list[bool]] = {}
        for at_s, what in self.ended:
            if at_s >= start_s:
                windows.setdefault(int((at_s - start_s) / window_s), []).append(what == "ok")
        whole = sorted(windows)[:-1]  # the last is cut short
        ill = [n for n in whole if sum(windows[n]) < WELL * len(windows[n])]
        if not ill:
            return 0.0
        return math.inf if ill[-1] == whole[-1] else (ill[-1] + 1) * window_s

    def outcomes(self) -> str:
        counts = Counter(what for _, what in self.ended)
        return ", ".join(f"{count:,} {what}" for what, count in counts.most_common())


Happens = tuple[float, Callable[[], None]]
"""An instant of a scenario, and what happens to the endpoint then."""


async def play(
    endpoint: Endpoint,
    name: str,
    settings: Settings,
    *,
    per_s: float,
    seconds: float,
    happens: tuple[Happens, ...] = (),
) -> Told:
    """Calls that arrive at random, in turn at each client, whatever becomes of those before."""
    told, chance = Told(), random.Random(1)
    clients = [
        AsyncServingClient(
            name, host=endpoint.host, token=endpoint.token, settings=settings, observers=[told]
        )
        for _ in range(CLIENTS)
    ]
    for client in clients:
        await client.warmup()
    began_s = time.monotonic()

    async def call(client: AsyncServingClient) -> None:
        try:
            await client.predict(ROW)
            what = "ok"
        except ServingError as error:
            what = type(error).__name__
        told.ended.append((time.monotonic() - began_s, what))

    async def befall(at_s: float, change: Callable[[], None]) -> None:
        await asyncio.sleep(at_s)
        await asyncio.to_thread(change)

    running = {asyncio.ensure_future(befall(*one)) for one in happens}
    next_s, number_of_call = 0.0, 0
    while next_s < seconds:
        await asyncio.sleep(began_s + next_s - time.monotonic())
        task = asyncio.ensure_future(call(clients[number_of_call % CLIENTS]))
        running.add(task)
        task.add_done_callback(running.discard)
        number_of_call += 1
        next_s += chance.expovariate(per_s)
    await asyncio.gather(*running)
    for client in clients:
        await client.aclose()
    return told


async def side_by_side(plays: dict[str, Awaitable[Told]]) -> dict[str, Told]:
    """Each has endpoints of its own; together they keep neither core busy."""
    return dict(zip(plays, await asyncio.gather(*plays.values()), strict=True))
