"""Callers that want all sorts of things of one client, and write down what they got."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any, Protocol

from servingclient import AsyncServingClient, Prediction, ServingClient, ServingError, Settings
from tests.chaos.history import Call, Outcome
from tests.chaos.weather import ENDPOINT
from tests.scripted.server import eventually, eventually_async

AT_ONCE = 16
PADS = (0, 0, 0, 300, 20_000)
TIMEOUTS_S = (0.05, 0.3, 1.0, 3.0)
GIVES_UP = 0.1
"""Share of the calls of tasks whose caller goes away before they end."""


@dataclass(frozen=True)
class Wanted:
    """What is called, and how."""

    client: dict[str, Any]
    settings: Settings
    transport: Any = None


class Callers(Protocol):
    """One client with its callers, on a thread or more of their own."""

    calls: list[Call]
    quota: list[int]
    left: dict[str, int]

    def start(self) -> None:
        """Begin to call."""

    def stop(self) -> None:
        """Begin no call any more, wait for those there are, see that the client is well, close."""


@dataclass
class _Asking:
    """What one caller asks next, drawn by a seed."""

    name: str
    seed: int
    made: list[Call]
    numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    def call(self, *, probing: bool = False) -> Call:
        timeout_s = self.chance.choice(TIMEOUTS_S)
        call = Call(
            f"{self.name}-{next(self.numbers)}",
            idempotent=self.chance.random() < 0.5,
            timeout_s=max(TIMEOUTS_S) if probing else timeout_s,
        )
        self.made.append(call)
        return call

    def options(self, call: Call) -> dict[str, Any]:
        pad = "x" * self.chance.choice(PADS)
        return {
            "inputs": [{"id": call.id, "pad": pad}],
            "timeout": call.timeout_s,
            "idempotent": call.idempotent,
            "priority": self.chance.choice(("critical", "default", "batch")),
        }


def _answered(prediction: Prediction, hedged: int) -> Outcome:
    answer = prediction.predictions
    one = answer[0] if isinstance(answer, list) and len(answer) == 1 else answer
    return Outcome(None, one, len(prediction.attempts) + hedged)


def _failed(error: BaseException, hedged: int) -> Outcome:
    name = type(error).__name__
    if isinstance(error, ServingError):
        return Outcome(name, None, len(error.attempts) + hedged, error.sent)
    if isinstance(error, asyncio.CancelledError):
        return Outcome(name, sent="maybe")
    return Outcome(f"{name}({error})", sent="maybe", ours=False)


@contextmanager
def _timed(call: Call) -> Iterator[None]:
    began_s = time.monotonic()
    yield
    call.took_s = time.monotonic() - began_s


def _held(client: ServingClient | AsyncServingClient) -> dict[str, int]:
    """What the client still holds of its calls, but for lanes."""
    now = client.stats()
    held = {"places": now.concurrency.in_flight, "waiting calls": now.concurrency.waiting}
    if now.batching is not None:
        held["gathering calls"] = now.batching.waiting
    return held


def _busy_lanes(client: ServingClient | AsyncServingClient) -> int:
    """A token that is renewed behind the calls has one, too: for a moment, and without a place."""
    lanes = client.stats().lanes
    return 0 if lanes is None else lanes.busy


PROBES = 20
WELL_WITHIN_S = 10.0


class ThreadCallers:
    """Sixteen threads on a blocking client."""

    def __init__(self, name: str, wanted: Wanted, seed: int) -> None:
        self.calls: list[Call] = []
        self.quota: list[int] = []
        self.left: dict[str, int] = {}
        self._hedged = int(wanted.settings.hedge is not None)
        self._client = ServingClient(
            ENDPOINT, settings=wanted.settings, transport=wanted.transport, **wanted.client
        )
        self._over = threading.Event()
        self._name = name
        numbers = count()
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(_Asking(name, 100 * seed + one, self.calls, numbers),),
                name=f"{name}-{one}",
            )
            for one in range(AT_ONCE)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def _run(self, asking: _Asking) -> None:
        while not self._over.wait(asking.chance.uniform(0.0, 0.1)):
            self._once(asking)
            self.quota.append(self._client._story.world.quota.available)

    def _once(self, asking: _Asking, *, probing: bool = False) -> Call:
        call = asking.call(probing=probing)
        options = asking.options(call)
        with _timed(call):
            try:
                call.outcomes.append(_answered(self._client.predict(**options), self._hedged))
            except Exception as error:  # noqa: BLE001 - judged with the history
                call.outcomes.append(_failed(error, self._hedged))
        return call

    def stop(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.left = _held(self._client)
        eventually(lambda: not _busy_lanes(self._client))
        self.left["busy lanes"] = _busy_lanes(self._client)
        asking = _Asking(f"{self._name}-probe", 0, self.calls)
        give_up_s = time.monotonic() + WELL_WITHIN_S
        well = 0
        while well < PROBES and time.monotonic() < give_up_s:
            failed = self._once(asking, probing=True).outcomes[0].error
            well = 0 if failed else well + 1
        self.left["probes not answered"] = PROBES - well
        self._client.close()


class TaskCallers:
    """Tasks on an asyncio client: whoever comes does not wait for those before."""

    def __init__(self, name: str, wanted: Wanted, seed: int) -> None:
        self.calls: list[Call] = []
        self.quota: list[int] = []
        self.left: dict[str, int] = {}
        self._wanted = wanted
        self._hedged = int(wanted.settings.hedge is not None)
        self._asking = _Asking(name, 100 * seed, self.calls)
        self._over = threading.Event()
        self._began = threading.Event()
        self._broken: list[BaseException] = []
        self._thread = threading.Thread(target=self._serve, name=name)

    def start(self) -> None:
        self._thread.start()
        assert self._began.wait(5)

    def stall(self, seconds: float) -> None:
        """Somebody blocks the loop."""
        self._loop.call_soon_threadsafe(threading.Event().wait, seconds)

    def stop(self) -> None:
        self._over.set()
        self._thread.join()
        if self._broken:
            raise self._broken[0]

    def _serve(self) -> None:
        try:
            asyncio.run(self._run())
        except BaseException as error:  # noqa: BLE001 - raised where the run is judged
            self._broken.append(error)
            self._began.set()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began.set()
        wanted, chance = self._wanted, self._asking.chance
        running: set[asyncio.Task[None]] = set()
        async with AsyncServingClient(
            ENDPOINT, settings=wanted.settings, transport=wanted.transport, **wanted.client
        ) as client:
            while not self._over.is_set():
                await asyncio.sleep(chance.expovariate(AT_ONCE / 0.1))
                self.quota.append(client._story.world.quota.available)
                task = asyncio.ensure_future(self._once(client, self._asking))
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.gather(*running)
            await asyncio.sleep(0)
            self.left = _held(client)
            await eventually_async(lambda: not _busy_lanes(client))
            self.left["busy lanes"] = _busy_lanes(client)
            await self._probe(client)
        for _ in range(3):
            await asyncio.sleep(0)
        self.left["tasks"] = len(asyncio.all_tasks()) - 1

    async def _once(self, client: AsyncServingClient, asking: _Asking) -> None:
        call = asking.call()
        options = asking.options(call)
        leaves_s = call.timeout_s * asking.chance.random()
        stays = asking.chance.random() >= GIVES_UP
        with _timed(call):
            task = asyncio.ensure_future(client.predict(**options))
            await asyncio.wait({task}, timeout=None if stays else leaves_s)
            task.cancel()  # of one that has ended it is nothing
            try:
                call.outcomes.append(_answered(await task, self._hedged))
            except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - judged later
                call.outcomes.append(_failed(error, self._hedged))

    async def _probe(self, client: AsyncServingClient) -> None:
        asking = replace(self._asking, name=f"{self._asking.name}-probe", numbers=count())
        give_up_s = time.monotonic() + WELL_WITHIN_S
        well = 0
        while well < PROBES and time.monotonic() < give_up_s:
            call = asking.call(probing=True)
            with _timed(call):
                try:
                    found = await client.predict(**asking.options(call))
                    call.outcomes.append(_answered(found, self._hedged))
                except Exception as error:  # noqa: BLE001 - judged with the history
                    call.outcomes.append(_failed(error, self._hedged))
            well = 0 if call.outcomes[0].error else well + 1
        self.left["probes not answered"] = PROBES - well
