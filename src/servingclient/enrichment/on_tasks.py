"""A client of an external API over tasks: what it is made of, and how that ends."""

from __future__ import annotations

import asyncio
import inspect
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from servingclient.auth.blocking import TaskBlocking
from servingclient.auth.single_flight import too_late
from servingclient.enrichment.api import Api
from servingclient.enrichment.auth import GivenHeaders
from servingclient.enrichment.fetch_ports import Ports
from servingclient.enrichment.landed import task_flights
from servingclient.enrichment.opening import Given, api_of, kept, made_cache
from servingclient.enrichment.ports import CacheSpec, SharedCache
from servingclient.enrichment.tasks import TaskBehind, TaskCrew
from servingclient.enrichment.world import World
from servingclient.policies.breaker import Breaker
from servingclient.policies.concurrency import fixed
from servingclient.policies.quota import Quota
from servingclient.policies.ratelimit import Bucket
from servingclient.transport.async_wire import AsyncLaneWire, async_wire
from servingclient.transport.clock import LoopClock
from servingclient.transport.loop_gate import LoopGate
from servingclient.transport.wire import most_calls

if TYPE_CHECKING:
    import httpx


class OnTasks:
    """The parts of one async client.

    Args:
        args: The door's arguments, checked.
        cache: A cache that processes share, or None.
        transport: An httpx transport instead of the own connections, or None.

    Attributes:
        api: The API, over these parts.
        behind: Runs actions behind the callers.
        gate: Admits so many at once.
        shared: The shared cache, or None.
    """

    def __init__(
        self, args: Given, cache: CacheSpec | None, transport: httpx.AsyncBaseTransport | None
    ) -> None:
        rules = args.settings
        self._clock = clock = LoopClock()
        connections = args.wire_settings()
        self._wire = async_wire(connections, transport)
        if isinstance(self._wire, AsyncLaneWire):
            self._wire.pool.refuses = args.refuses()
        most = min(rules.max_calls, most_calls(connections, transport))
        self.gate: LoopGate = LoopGate(fixed(most), args.queue())
        self.behind: TaskBehind = TaskBehind()
        mine = kept(args, clock.now)
        ports = Ports(
            clock.now,
            time.time,
            clock.sleep,
            random.random,
            self._wire,
            self.gate,
            None if rules.breaker is None else Breaker(rules.breaker),
            Bucket(rules.rate_limit),
            Quota(rules.retry.quota_capacity),
            _provider(args.identity.provider, clock),
            mine.figures,
        )
        self.shared: SharedCache | None = made_cache(cache, "for_tasks")
        world = World(
            clock.now,
            clock.sleep,
            random.random,
            task_flights(clock),
            self.behind,
            TaskCrew(),
            self.shared,
        )
        self.api: Api = api_of(args, mine, world, ports)

    async def aclose(self) -> None:
        """Admit no more calls, wait for those running, then end them. May be called again."""
        self.api.fetcher.refuse()
        self.gate.refuse()
        self._clock.wake()
        try:
            await self.gate.wait_empty(self.api.settings.close_timeout_s)
        finally:  # a cancel ends the wait, not the closing
            await self._wire.aclose()
            await self.behind.aclose()
            self.api.lookup.store.close()
            if self.shared is not None:
                await self.shared.aclose()

    def __repr__(self) -> str:
        return f"{self.gate!r}, {self._wire!r}"


def _provider(
    function: GivenHeaders | None, clock: LoopClock
) -> Callable[[float], Awaitable[object]] | None:
    """A user's function that gives headers; a plain one runs off the loop, with a hard deadline."""
    if function is None:
        return None
    blocking = TaskBlocking(clock)

    async def provide(deadline_s: float) -> object:
        if inspect.iscoroutinefunction(function):
            found: object = function()
        else:
            found = await blocking.call(function, deadline_s)
        if not inspect.isawaitable(found):
            return found
        left_s = max(0.0, deadline_s - clock.now())
        try:
            return await asyncio.wait_for(found, left_s)
        except asyncio.TimeoutError:
            raise too_late("the function of HeaderProvider did not return") from None

    return provide
