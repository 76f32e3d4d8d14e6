"""One schedule: some hours of a client's life, drawn by chance, under virtual time.

Story, gate, limiter, retry quota, tokens, single flight and hedging are those that ship; the wire
leads to ``remote``. There are bursts of calls, quiet times in which tokens end, weather that
changes, callers that leave, and the end of the client. ``verdict`` compares the books of the far
end with what the callers were told.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from typing import Any, NamedTuple

from servingclient import ServingError
from servingclient._call import Story
from servingclient._opening import open_stream
from servingclient._ports import Hedging, World
from servingclient._watching import AttemptEnded, CallEnded
from servingclient.auth.access import Access
from servingclient.auth.credentials import credentials_from
from servingclient.auth.ports import task_ports
from servingclient.policies.concurrency import Limiter
from servingclient.policies.hedge import HedgePolicy
from servingclient.policies.quota import Quota
from servingclient.settings import Concurrency, Hedge, Pool, Queue, Retry, Settings
from servingclient.transport.async_hedging import TaskHedger
from servingclient.transport.clock import LoopClock
from servingclient.transport.loop_gate import LoopGate
from tests.auth.world import HOST
from tests.story.remote import Remote
from tests.story.weather import CALM, WEATHERS

QUIET_S = 200.0
"""Longer than any pause: a client in good weather works again by then."""


class Caller(NamedTuple):
    """One call as it was planned."""

    number: int
    start_s: float = 0.0
    timeout_s: float = 30.0
    idempotent: bool = True
    priority: int = 1
    streams: bool = False
    leaves_s: float | None = None


@dataclass
class Told:
    """How one call went for its caller.

    Attributes:
        caller: As planned.
        began_s: When it began.
        ended_s: When it was over; -1 before.
        opened_s: When a stream began; None if none did.
        outcome: What it gave or raised.
        left: Its caller cancelled it.
    """

    caller: Caller
    began_s: float
    ended_s: float = -1.0
    opened_s: float | None = None
    outcome: object = None
    left: bool = False

    @property
    def ending(self) -> str:
        """The outcome's type in a word."""
        return type(self.outcome).__name__


class VirtualClock(LoopClock):
    """The client's clock on the loop's time."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()


class Client:
    """One client as the async door makes it, over a remote."""

    def __init__(self, settings: Settings, remote: Remote, chance: random.Random) -> None:
        self.settings, self.remote = settings, remote
        self.clock = VirtualClock()
        now = self.clock.now
        self.gate = LoopGate(
            Limiter(settings.concurrency, settings.pool.max_lanes), settings.queue, now
        )
        credentials, origin = credentials_from(
            host=HOST, client_id="id", client_secret="s3cret", settings=settings
        )
        ports = task_ports(remote, self.clock, chance)
        self.access = Access(
            "m",
            credentials,
            origin,
            settings,
            ports,
            version="1.0",
            provisioned=self.gate.provisioned,
        )
        self.quota = Quota(settings.retry.quota_capacity)
        hedging = None
        if settings.hedge is not None:
            policy = HedgePolicy(settings.hedge, self.quota, settings.retry.retry_cost)
            hedging = Hedging(policy, TaskHedger(remote))
        self.ended: list[CallEnded] = []
        world = World(
            now,
            self.clock.sleep,
            chance.random,
            remote,
            self.gate,
            self.access,
            self.quota,
            (self,),
            hedging=hedging,
        )
        self.story = Story("m", settings, world)
        self.closed = False

    def call_ended(self, event: CallEnded) -> None:
        self.ended.append(event)

    def attempt_failed(self, event: AttemptEnded) -> None:
        pass

    async def close(self) -> None:
        """As ``AsyncServingClient.aclose`` does."""
        self.closed = True
        self.gate.refuse()
        self.clock.wake()
        await self.gate.wait_empty(self.settings.close_timeout_s)
        await self.remote.aclose()
        await self.access.close()


class Schedule:
    """One schedule, drawn and played from one seed.

    Attributes:
        told: How each call ended, in the order they were planned.
        wrong: What must never be and was seen on the way, in words.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.chance = chance = random.Random(seed)
        self.told: list[Told] = []
        self.wrong: list[str] = []
        self.settings = _settings(chance)
        lifetime_s = chance.choice((90.0, 600.0, 3600.0, 3600.0))
        own_host = chance.random() < 0.3
        self.remote = Remote(chance, seed, lifetime_s, own_host=own_host)
        self.client = Client(self.settings, self.remote, chance)
        self.remote.looks = self._look

    async def play(self) -> None:
        """From the first call to the close and one more call."""
        chance = self.chance
        closing = chance.random() < 0.3
        bursts = chance.randint(2, 4)
        for burst in range(bursts):
            self.remote.weather = chance.choice(WEATHERS)
            ends = closing and burst == bursts - 1
            await self._burst(ends=ends)
            if not ends:
                self._check_rest()
                await asyncio.sleep(chance.choice((1.0, 60.0, 1800.0, 3000.0, 3600.0)))
        if not closing:
            await self._works_again()
            await self.client.close()
        await self._is_closed()
        self._check_rest()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        if left:
            self.wrong.append(f"{len(left)} tasks are left: {left}")

    async def _burst(self, *, ends: bool) -> None:
        chance, loop = self.chance, asyncio.get_running_loop()
        running = [self._begin(self._caller()) for _ in range(chance.randint(1, 7))]
        if chance.random() < 0.2:
            loop.call_later(chance.choice((0.0, 0.01, 0.1)), self.remote.revoke_all)
        if ends:
            await asyncio.sleep(chance.choice((0.0, 0.01, 0.05, 0.3, 3.0)))
            await self.client.close()
        await asyncio.gather(*running)

    def _caller(self) -> Caller:
        chance = self.chance
        return Caller(
            number=len(self.told),
            start_s=chance.choice((0.0, 0.0, 0.01, 0.05, 0.3)),
            timeout_s=chance.choice((0.01, 0.05, 0.5, 3.0, 30.0, 120.0)),
            idempotent=chance.random() < 0.6,
            priority=chance.randrange(3),
            streams=chance.random() < 0.15,
            leaves_s=chance.choice((0.0, 0.01, 0.05, 0.3, 5.0)) if chance.random() < 0.25 else None,
        )

    def _begin(self, caller: Caller) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()
        told = Told(caller, loop.time() + caller.start_s)
        self.told.append(told)
        task = loop.create_task(self._live(told))
        if caller.leaves_s is not None:
            loop.call_later(caller.start_s + caller.leaves_s, _leave, task, told)
        return task

    async def _live(self, told: Told) -> None:
        caller, loop = told.caller, asyncio.get_running_loop()
        try:
            await asyncio.sleep(caller.start_s)
            told.began_s = loop.time()
            told.outcome = await (self._streamed(told) if caller.streams else self._called(caller))
        except ServingError as error:
            told.outcome = error
        except asyncio.CancelledError as error:
            told.outcome = error
        except BaseException as error:  # noqa: BLE001 - what must not be is told at the end
            told.outcome = error
            self.wrong.append(f"call {caller.number} ended with {error!r}")
        told.ended_s = loop.time()

    def _arguments(self, caller: Caller) -> tuple[Any, ...]:
        rows = {"dataframe_split": {"columns": ["n"], "data": [[caller.number]]}}
        return rows, None, None, None, None, caller.timeout_s, caller.idempotent, caller.priority

    async def _called(self, caller: Caller) -> object:
        prediction = await self.client.story.predict(*self._arguments(caller))
        if prediction.predictions != [caller.number]:
            self.wrong.append(f"call {caller.number} was given {prediction.predictions}")
        return prediction

    async def _streamed(self, told: Told) -> object:
        opened = await open_stream(self.client.story, *self._arguments(told.caller))
        told.opened_s = asyncio.get_running_loop().time()
        events = opened.events()
        try:
            async for _ in events:
                pass
        finally:
            await events.aclose()
            await opened.aclose()
        return opened

    async def _works_again(self) -> None:
        """In good weather, after the longest pause, a call is answered."""
        self.remote.weather = CALM
        await asyncio.sleep(QUIET_S)
        last = await self._one_more()
        if last.ending != "Prediction":
            self.wrong.append(f"after {QUIET_S} s of calm a call still ends with {last.outcome!r}")

    async def _is_closed(self) -> None:
        before = len(self.remote.books.requests)
        late = await self._one_more()
        if late.ending != "ClientClosedError":
            self.wrong.append(f"after the close a call ended with {late.outcome!r}")
        if len(self.remote.books.requests) != before:
            self.wrong.append("after the close a request was sent")

    async def _one_more(self) -> Told:
        await self._begin(Caller(len(self.told)))
        return self.told[-1]

    def _look(self) -> None:
        """At each request and at rest: what must hold at any time."""
        gate, settings, quota = self.client.gate, self.settings, self.client.quota
        if gate.inside > settings.pool.max_lanes:
            self.wrong.append(f"{gate.inside} are inside, of {settings.pool.max_lanes} at most")
        if (
            settings.hedge is None and self.remote.under_way > gate.inside
        ):  # a loser ends a bit late
            self.wrong.append(f"{self.remote.under_way} under way, and {gate.inside} inside")
        if gate.waiting > settings.queue.max_calls:
            self.wrong.append(f"{gate.waiting} wait, of {settings.queue.max_calls} at most")
        if not 0 <= quota.available <= settings.retry.quota_capacity:
            self.wrong.append(f"the quota holds {quota.available}")

    def _check_rest(self) -> None:
        """Nobody calls: nothing may be held."""
        self._look()
        held = (self.client.gate.inside, self.client.gate.waiting, self.remote.open_streams)
        if held != (0, 0, 0):
            self.wrong.append(f"at rest, inside, waiting and streams are {held}")


def _settings(chance: random.Random) -> Settings:
    return Settings(
        retry=Retry(
            max_attempts=chance.randint(1, 5),
            quota_capacity=chance.choice((5, 14, 30, 500, 500)),
            retry_read_timeout=chance.random() < 0.2,
        ),
        pool=Pool(
            max_lanes=chance.choice((1, 2, 4, 256)),
            attempt_timeout_s=chance.choice((None, None, 1.0)),
        ),
        queue=Queue(max_calls=chance.choice((1, 3, 1000))),
        concurrency=Concurrency(adaptive=chance.random() < 0.5),
        hedge=Hedge(min_samples=1, max_share=1.0) if chance.random() < 0.25 else None,
        close_timeout_s=chance.choice((0.0, 0.05, 5.0)),
    )


def _leave(task: asyncio.Task[None], told: Told) -> None:
    told.left = True
    task.cancel()
