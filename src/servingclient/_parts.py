"""What the clients are made of: clock, connections, gate, sign-in and the rest, in each colour.

A client and its copies share one set. Fake clients have sets of their own.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from servingclient._ports import Access as AccessPort
from servingclient._ports import Clock, Gate, Hedging, Wire, World
from servingclient._step import run
from servingclient._types import Origin
from servingclient._version import __version__
from servingclient._watching import Watching
from servingclient.auth.access import Access
from servingclient.auth.credentials import Credentials
from servingclient.auth.ports import task_ports, thread_ports
from servingclient.batching.batched import slots_of
from servingclient.batching.leader import ThreadBatcher
from servingclient.batching.task import LoopBatcher
from servingclient.policies.concurrency import Limiter
from servingclient.policies.hedge import HedgePolicy
from servingclient.policies.quota import Quota
from servingclient.settings import Settings
from servingclient.stages.functions import Api
from servingclient.stages.tasks import TaskHands
from servingclient.stages.threads import ThreadHands
from servingclient.telemetry.recorder import Recorder
from servingclient.telemetry.snapshot import Stats
from servingclient.transport.async_hedging import TaskHedger
from servingclient.transport.async_wire import AsyncWire, async_wire
from servingclient.transport.clock import LoopClock, ThreadClock
from servingclient.transport.fork_lock import fork_lock
from servingclient.transport.hedging import LaneHedger
from servingclient.transport.loop_gate import LoopGate
from servingclient.transport.thread_gate import ThreadGate
from servingclient.transport.wire import SyncWire, most_calls, sync_wire

if TYPE_CHECKING:
    import httpx


@dataclass(frozen=True, slots=True)
class ThreadParts:
    """Of a blocking client.

    Attributes:
        clock: Tells the time, and wakes who sleeps when the client closes.
        wire: Carries requests.
        gate: Admits calls.
        access: Knows the endpoint, and signs in.
        hands: Run the caller's functions.
        batcher: Brings calls together; None without ``Settings.batching``.
        world: What a story needs of all these.
    """

    clock: ThreadClock
    wire: SyncWire
    gate: ThreadGate
    access: Access
    hands: ThreadHands
    batcher: ThreadBatcher | None
    world: World

    def close(self, timeout_s: float) -> None:
        """Admit no more calls, wait ``timeout_s`` for those running, then end them."""
        self.gate.refuse()
        self.hands.refuse()
        if self.batcher is not None:
            self.batcher.refuse()
        self.clock.wake()
        try:
            self.gate.wait_empty(timeout_s)
        finally:  # an interrupt ends the wait, not the closing
            self.wire.close()
            run(self.access.close())


def thread_parts(
    endpoint: str,
    credentials: Credentials,
    origin: Origin | None,
    settings: Settings,
    transport: httpx.BaseTransport | None,
    watching: Watching,
) -> ThreadParts:
    """The parts of a blocking client; nothing is sent yet.

    Raises:
        ConfigError: The endpoint's name, a header or a trusted host is malformed, or settings
            contradict the transport.
    """
    clock, wire = ThreadClock(), sync_wire(settings, transport)
    limiter = Limiter(settings.concurrency, most_calls(settings, transport))
    gate = ThreadGate(limiter, settings.queue)
    access = Access(
        endpoint,
        credentials,
        origin,
        settings,
        thread_ports(wire, clock, random),
        version=__version__,
        provisioned=gate.provisioned,
    )
    quota = Quota(settings.retry.quota_capacity, fork_lock())
    hedging = None
    if settings.hedge is not None:
        policy = HedgePolicy(settings.hedge, quota, settings.retry.retry_cost, fork_lock())
        hedging = Hedging(policy, LaneHedger(wire))
    batcher = None
    if settings.batching is not None:
        slots = partial(slots_of, settings, access)
        batcher = ThreadBatcher(settings.batching, settings.queue.max_calls, gate, slots)
    world = world_of(clock, random.random, wire, gate, access, quota, watching, hedging)
    return ThreadParts(clock, wire, gate, access, ThreadHands(), batcher, world)


@dataclass(frozen=True, slots=True)
class TaskParts:
    """Of an async client; as ``ThreadParts``."""

    clock: LoopClock
    wire: AsyncWire
    gate: LoopGate
    access: Access
    hands: TaskHands
    batcher: LoopBatcher | None
    world: World

    async def close(self, timeout_s: float) -> None:
        """As ``ThreadParts.close``."""
        self.gate.refuse()
        self.hands.refuse()
        if self.batcher is not None:
            self.batcher.refuse()
        self.clock.wake()
        try:
            await self.gate.wait_empty(timeout_s)
        finally:  # a cancel ends the wait, not the closing
            await self.wire.aclose()
            await self.access.close()


def task_parts(
    endpoint: str,
    credentials: Credentials,
    origin: Origin | None,
    settings: Settings,
    transport: httpx.AsyncBaseTransport | None,
    watching: Watching,
) -> TaskParts:
    """The parts of an async client; as ``thread_parts``."""
    clock, wire = LoopClock(), async_wire(settings, transport)
    limiter = Limiter(settings.concurrency, most_calls(settings, transport))
    gate = LoopGate(limiter, settings.queue)
    access = Access(
        endpoint,
        credentials,
        origin,
        settings,
        task_ports(wire, clock, random),
        version=__version__,
        provisioned=gate.provisioned,
    )
    quota = Quota(settings.retry.quota_capacity)
    hedging = None
    if settings.hedge is not None:
        policy = HedgePolicy(settings.hedge, quota, settings.retry.retry_cost)
        hedging = Hedging(policy, TaskHedger(wire))
    batcher = None
    if settings.batching is not None:
        slots = partial(slots_of, settings, access)
        batcher = LoopBatcher(settings.batching, settings.queue.max_calls, gate, slots)
    world = world_of(clock, random.random, wire, gate, access, quota, watching, hedging)
    return TaskParts(clock, wire, gate, access, TaskHands(settings.stage_threads), batcher, world)


def world_of(
    clock: Clock,
    rand: Callable[[], float],
    wire: Wire,
    gate: Gate,
    access: AccessPort,
    quota: Quota,
    watching: Watching,
    hedging: Hedging | None = None,
) -> World:
    """The world of a story, with figures of its own."""
    return World(
        clock.now,
        clock.sleep,
        rand,
        wire,
        gate,
        access,
        quota,
        watching.observers,
        hedging=hedging,
        recorder=Recorder(clock.now, threading.RLock),
        tracer=watching.tracer,
    )


def stats_of(parts: ThreadParts | TaskParts, endpoint: str, apis: Sequence[Api]) -> Stats:
    """What has been counted and is held now."""
    world, batcher = parts.world, parts.batcher
    total, recent = world.recorder.read()
    return Stats(
        endpoint,
        parts.gate.stats(),
        world.quota.available,
        None if batcher is None else batcher.stats(),
        None if world.hedging is None else world.hedging.policy.stats(),
        lanes=parts.wire.lanes(),
        token=parts.access.token_stats(),
        enrichment=tuple(api.stats() for api in apis),
        total=total,
        recent=recent,
    )
