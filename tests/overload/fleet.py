"""Many calls of real stories against a modelled endpoint, on virtual time.

Story, retry rules, quota, limiter and gate are those that ship; only the wire and the token are
modelled. So what is measured here is what a fleet of clients does to an endpoint in trouble.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from servingclient import ServingError, Settings
from servingclient._call import Story
from servingclient._ports import Grant, World
from servingclient._types import FaultKind, Origin, Reply, Target, WireFault
from servingclient.policies.concurrency import Limiter
from servingclient.policies.quota import Quota
from servingclient.settings import Concurrency, Retry
from servingclient.transport.loop_gate import LoopGate
from tests.overload import virtual
from tests.overload.services import Service

ROWS = [{"a": 1.5}]
GOOD = b'{"predictions": [3.5]}'
CLIENTS = 8
CRITICAL, DEFAULT, BATCH = 0, 1, 2

OURS = Settings(timeout_s=5.0)
NO_RETRY = OURS.replace(retry=Retry(max_attempts=1))
NAIVE = OURS.replace(retry=Retry(quota_capacity=10**9), concurrency=Concurrency(adaptive=False))
"""The control, which proves that the meter measures: retries without quota, and no limit."""


@dataclass
class Told:
    """What happened.

    Attributes:
        sends: Instants at which the endpoint saw a request.
        ended: Instant, outcome (``"ok"`` or the name of the error) and rank of each call.
        most_at_once: Most requests of one client under way at one time.
    """

    sends: list[float] = field(default_factory=list)
    ended: list[tuple[float, str, int]] = field(default_factory=list)
    most_at_once: int = 0

    @property
    def outcomes(self) -> Counter[str]:
        """How calls ended, and how many."""
        return Counter(outcome for _, outcome, _ in self.ended)

    @property
    def amplification(self) -> float:
        """Requests the endpoint saw per call."""
        return len(self.sends) / len(self.ended)

    def success(self, start_s: float = 0.0, end_s: float = math.inf, *, rank: int = -1) -> float:
        """Share of the calls that ended in this time; of one rank, if one is given."""
        ends = [
            outcome
            for at_s, outcome, one in self.ended
            if start_s <= at_s < end_s and rank in (-1, one)
        ]
        return ends.count("ok") / len(ends) if ends else 0.0

    def goodput(self, start_s: float, end_s: float) -> float:
        """Successes a second."""
        good = sum(outcome == "ok" for at_s, outcome, _ in self.ended if start_s <= at_s < end_s)
        return good / (end_s - start_s)

    def recovery_s(self, start_s: float, window_s: float = 5.0) -> float:
        """Seconds from ``start_s`` until every later window has 99 % success; inf if never.

        Windows begin at each fifth of their length, as those of ``tests/chaos/meter``.
        """
        last_s, step_s = max(at_s for at_s, _, _ in self.ended), window_s / 5
        recovered_s = math.inf
        for n in range(int((last_s - window_s - start_s) // step_s), -1, -1):
            at_s = start_s + n * step_s
            if self.success(at_s, at_s + window_s) < 0.99:
                break
            recovered_s = at_s - start_s
        return recovered_s


class Wire:
    """Carries requests of one client to the modelled endpoint."""

    def __init__(self, service: Service, told: Told) -> None:
        self._service = service
        self._told = told
        self._at_once = 0

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        loop, told = asyncio.get_running_loop(), self._told
        sent_s = loop.time()
        told.sends.append(sent_s)
        self._at_once += 1
        told.most_at_once = max(told.most_at_once, self._at_once)
        fate = self._service.take(sent_s)
        await asyncio.sleep(min(fate.at_s, deadline_s) - sent_s)
        self._at_once -= 1
        if fate.at_s > deadline_s:
            raise WireFault(FaultKind.TIMEOUT, "no complete reply in time", sent="maybe", host="h")
        return Reply(fate.status, [], GOOD, sent_s, loop.time(), 0.0)


class Access:
    """A token that is always at hand."""

    _target = Target(Origin("https", "host", 443), "POST", "/invocations", (), b"")
    _grant = Grant(_target, 1, 1 << 20)

    def ready(self, served_model: str | None, now_s: float) -> Grant:
        return self._grant


def client(service: Service, settings: Settings, told: Told, seed: int) -> tuple[Story, LoopGate]:
    """One client, as a door makes it. Needs a running loop."""
    now = asyncio.get_running_loop().time
    gate = LoopGate(Limiter(settings.concurrency, settings.pool.max_lanes), settings.queue, now)
    quota = Quota(settings.retry.quota_capacity)
    wire, chance = Wire(service, told), random.Random(seed)
    world = World(now, asyncio.sleep, chance.random, wire, gate, Access(), quota, ())  # type: ignore[arg-type]
    return Story("m", settings, world), gate


def simulate(
    service: Service,
    arrivals: Iterable[float],
    settings: Settings = OURS,
    *,
    clients: int = CLIENTS,
    ranks: Iterable[int] = (DEFAULT,),
) -> Told:
    """Play the calls that arrive: one after the other at each of the clients, of each rank."""
    told = Told()

    async def call(story: Story, rank: int) -> None:
        try:
            await story.predict(ROWS, None, None, None, None, settings.timeout_s, True, rank)
            outcome = "ok"
        except ServingError as error:
            outcome = type(error).__name__
        told.ended.append((asyncio.get_running_loop().time(), outcome, rank))

    async def play() -> None:
        loop = asyncio.get_running_loop()
        fleet = itertools.cycle(
            [client(service, settings, told, seed)[0] for seed in range(clients)]
        )
        running: set[asyncio.Task[None]] = set()
        for at_s, story, rank in zip(arrivals, fleet, itertools.cycle(ranks)):
            await asyncio.sleep(at_s - loop.time())
            task = loop.create_task(call(story, rank))
            running.add(task)
            task.add_done_callback(running.discard)
        await asyncio.gather(*running)

    virtual.run(play())
    return told


def steady(per_s: float, duration_s: float, seed: int = 1) -> Iterator[float]:
    """Instants of calls that arrive at random, ``per_s`` a second on average."""
    chance = random.Random(seed)
    now_s = chance.expovariate(per_s)
    while now_s < duration_s:
        yield now_s
        now_s += chance.expovariate(per_s)
