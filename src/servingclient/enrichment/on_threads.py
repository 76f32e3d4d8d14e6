"""A client of an external API over threads: what it is made of, and how that ends."""

from __future__ import annotations

import inspect
import random
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from servingclient._step import run
from servingclient.auth.blocking import ThreadBlocking
from servingclient.enrichment.api import Api
from servingclient.enrichment.auth import GivenHeaders
from servingclient.enrichment.fetch_ports import Ports
from servingclient.enrichment.landed import thread_flights
from servingclient.enrichment.opening import Given, api_of, kept, made_cache
from servingclient.enrichment.ports import CacheSpec, SharedCache
from servingclient.enrichment.threads import ThreadBehind, ThreadCrew
from servingclient.enrichment.world import World
from servingclient.errors import ConfigError
from servingclient.policies.breaker import Breaker
from servingclient.policies.concurrency import fixed
from servingclient.policies.quota import Quota
from servingclient.policies.ratelimit import Bucket
from servingclient.transport.clock import ThreadClock
from servingclient.transport.fork_lock import fork_lock
from servingclient.transport.thread_gate import ThreadGate
from servingclient.transport.wire import LaneWire, most_calls, sync_wire

if TYPE_CHECKING:
    import httpx


class OnThreads:
    """The parts of one blocking client.

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
        self, args: Given, cache: CacheSpec | None, transport: httpx.BaseTransport | None
    ) -> None:
        rules = args.settings
        self._clock = clock = ThreadClock()
        connections = args.wire_settings()
        self._wire = sync_wire(connections, transport)
        if isinstance(self._wire, LaneWire):
            self._wire.pool.refuses = args.refuses()
        most = min(rules.max_calls, most_calls(connections, transport))
        self.gate: ThreadGate = ThreadGate(fixed(most), args.queue())
        self.behind: ThreadBehind = ThreadBehind()
        mine = kept(args, clock.now)
        ports = Ports(
            clock.now,
            time.time,
            clock.sleep,
            random.random,
            self._wire,
            self.gate,
            None if rules.breaker is None else Breaker(rules.breaker, fork_lock()),
            Bucket(rules.rate_limit, fork_lock()),
            Quota(rules.retry.quota_capacity, fork_lock()),
            _provider(args.identity.provider, clock),
            mine.figures,
        )
        self.shared: SharedCache | None = made_cache(cache, "for_threads")
        world = World(
            clock.now,
            clock.sleep,
            random.random,
            thread_flights(clock),
            self.behind,
            ThreadCrew(),
            self.shared,
        )
        self.api: Api = api_of(args, mine, world, ports)

    def close(self) -> None:
        """Admit no more calls, wait for those running, then end them. May be called again."""
        self.api.fetcher.refuse()
        self.gate.refuse()
        self.behind.close()
        self._clock.wake()
        self.gate.wait_empty(self.api.settings.close_timeout_s)
        self._wire.close()
        self.api.lookup.store.close()
        if self.shared is not None:
            run(_closed(self.shared))

    def __repr__(self) -> str:
        return f"{self.gate!r}, {self._wire!r}"


async def _closed(shared: SharedCache) -> None:
    await shared.aclose()


def _provider(
    function: GivenHeaders | None, clock: ThreadClock
) -> Callable[[float], Awaitable[object]] | None:
    """A user's function that gives headers, with a hard deadline."""
    if function is None:
        return None
    if inspect.iscoroutinefunction(function):
        raise ConfigError(
            "HeaderProvider.function is async, and this is the blocking client. Give a plain "
            "function, or use AsyncEnrichmentClient."
        )
    blocking = ThreadBlocking(clock)

    async def provide(deadline_s: float) -> object:
        return await blocking.call(function, deadline_s)

    return provide
