"""The lanes of an async client. They belong to one event loop at a time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
import weakref
from collections.abc import AsyncGenerator

from servingclient._types import FaultKind, Origin, WireFault
from servingclient.errors import WrongLoopError
from servingclient.settings import Pool, Tls
from servingclient.transport import async_dial, async_lane
from servingclient.transport.addresses import Refuses
from servingclient.transport.async_lane import AsyncLane
from servingclient.transport.exchange import Limits
from servingclient.transport.pool import PoolStats, check_security, lane_life_s
from servingclient.transport.shelf import Shelf
from servingclient.transport.tls import ssl_context


class AsyncLanePool:
    """Lends lanes to tasks. How many are in use at once is the gate's business.

    Attributes:
        refuses: Judges the addresses a host's name leads to; None takes any.
    """

    def __init__(self, settings: Pool, tls: Tls) -> None:
        self.settings = settings
        self._tls = tls
        self.refuses: Refuses | None = None
        self._limits = Limits(settings.max_head_bytes, settings.max_reply_bytes)
        self._inbox = async_lane.new_inbox()
        self._shelves: dict[Origin, Shelf[AsyncLane]] = {}
        self._busy: set[AsyncLane] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard: AsyncGenerator[None, None] | None = None
        self._opened = self._stale = self._desyncs = 0
        self._pid = os.getpid()
        self.closed: bool = False
        _pools.add(self)

    async def take(
        self, origin: Origin, now_s: float, deadline_s: float, max_idle_s: float = math.inf
    ) -> AsyncLane:
        """Lend a lane, warm if there is one.

        Raises:
            WireFault: None could be opened (nothing was sent).
            WrongLoopError: The client is in use on another running loop.
        """
        # A forked child has no loop of its parent's: no need to ask the system for the pid, 0.2 us.
        if asyncio.get_running_loop() is not self._loop:
            await self._adopt()
        shelf = self._shelves.get(origin) or self._new_shelf(origin)
        lane = shelf.take(now_s, max_idle_s)
        if lane is None:
            lane = await self._dial(
                origin, min(deadline_s, now_s + self.settings.connect_timeout_s)
            )
        self._busy.add(lane)
        if self.closed:
            self.drop(lane)
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        return lane

    async def _adopt(self) -> None:
        """Move to the running loop, if the old one has ended."""
        loop = asyncio.get_running_loop()
        old = self._loop
        if self._pid != os.getpid():
            self.forget()
        elif old is not None and old is not loop:
            if old.is_running():
                raise WrongLoopError(
                    "this client is in use on another running event loop; connections cannot "
                    "cross loops. Make one AsyncServingClient per loop."
                )
            self._drop_lanes_of(old)
        self._loop = loop
        self._guard = _close_with_loop(weakref.ref(self))
        await self._guard.__anext__()

    def _drop_lanes_of(self, old: asyncio.AbstractEventLoop) -> None:
        lanes = self._take_all()
        for lane in lanes:
            if old.is_closed():
                lane.forget()
            else:
                lane.close()

    def _take_all(self) -> list[AsyncLane]:
        lanes = [lane for shelf in self._shelves.values() for lane in shelf.idle]
        lanes.extend(self._busy)
        self._shelves = {}
        self._busy = set()
        return lanes

    def give(self, lane: AsyncLane) -> None:
        """Take a lane back after a whole exchange."""
        self._busy.discard(lane)
        if not lane.reusable or self.closed:
            self._desyncs += lane.desynced
            lane.close()
            return
        shelf = self._shelves[lane.origin]
        now_s = time.monotonic()
        lane.used = True
        lane.idle_since_s = now_s
        if now_s >= shelf.prune_s:
            shelf.prune(now_s)
        shelf.idle.append(lane)

    def drop(self, lane: AsyncLane) -> None:
        """Close a lane whose exchange did not end well."""
        self._busy.discard(lane)
        lane.close()

    def found_stale(self, lane: AsyncLane, taken_s: float) -> None:
        """A reused lane was dead."""
        self._stale += 1
        if (shelf := self._shelves.get(lane.origin)) is not None:
            shelf.died(taken_s - lane.idle_since_s, taken_s)

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Open ``count`` lanes ahead of the first calls."""
        if asyncio.get_running_loop() is not self._loop:
            await self._adopt()
        shelf = self._shelves.get(origin) or self._new_shelf(origin)
        missing = count - len(shelf.idle)
        ends = await asyncio.gather(
            *(self._stock_up(shelf, origin, deadline_s) for _ in range(missing)),
            return_exceptions=True,
        )
        for failed in filter(None, ends):
            raise failed

    async def _stock_up(self, shelf: Shelf[AsyncLane], origin: Origin, deadline_s: float) -> None:
        """Put one lane on the shelf: here, so that none is lost when ``warm`` is cancelled."""
        lane = await self._dial(origin, deadline_s)
        if self.closed:
            lane.close()
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        lane.connect_s = 0.0  # no call waited for it
        lane.used = True
        lane.idle_since_s = time.monotonic()
        shelf.idle.append(lane)

    def _new_shelf(self, origin: Origin) -> Shelf[AsyncLane]:
        check_security(origin, self._tls)
        return self._shelves.setdefault(origin, Shelf(self.settings.keepalive_s))

    async def _dial(self, origin: Origin, deadline_s: float) -> AsyncLane:
        context = ssl_context(self._tls) if origin.scheme == "https" else None
        lane = await async_dial.dial(
            origin, context, self._limits, deadline_s, self._inbox, self.refuses
        )
        lane.retire_s = time.monotonic() + lane_life_s(self.settings)
        self._opened += 1
        return lane

    def abort_all(self) -> None:
        """Close idle lanes and end what runs; its callers get ``CLOSED``."""
        for lane in list(self._busy):
            lane.abort()
        for shelf in list(self._shelves.values()):
            shelf.clear()

    async def aclose(self) -> None:
        """``abort_all``, for good; returns when the loop has let go of the sockets."""
        self.closed = True
        self.abort_all()
        guard, self._guard = self._guard, None
        if guard is not None and self._loop is asyncio.get_running_loop():
            await guard.aclose()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the loop's next round

    def forget(self) -> None:
        """In a forked child: close the parent's descriptors, never touch its loop, start anew."""
        self._pid = os.getpid()
        self._loop = None
        self._opened = self._stale = self._desyncs = 0
        async_lane.keep_uncollected(self._guard)
        self._guard = None
        for lane in self._take_all():
            lane.forget()

    def stats(self) -> PoolStats:
        """Live figures."""
        idle = sum(len(shelf.idle) for shelf in self._shelves.values())
        return PoolStats(len(self._busy), idle, self._opened, self._stale, self._desyncs)

    def __repr__(self) -> str:
        return self.stats().shown(self._shelves)

    def __del__(self) -> None:
        # A client in a notebook is seldom closed; its running loop would hold the sockets open.
        loop = self._loop
        if loop is not None and self._pid == os.getpid():
            lanes = [lane for shelf in self._shelves.values() for lane in shelf.idle]
            with contextlib.suppress(RuntimeError):  # it has ended, and they with it
                loop.call_soon_threadsafe(_close_all, lanes)


def _close_all(lanes: list[AsyncLane]) -> None:
    for lane in lanes:
        lane.close()


async def _close_with_loop(
    pool: weakref.ref[AsyncLanePool],
) -> AsyncGenerator[None, None]:
    """Started on a loop, it is finished by ``shutdown_asyncgens``: the one hook a loop offers
    before it closes. Without it every lane left open warns when it is collected.
    """
    try:
        yield
    finally:
        if (alive := pool()) is not None:
            alive.abort_all()


_pools: weakref.WeakSet[AsyncLanePool] = weakref.WeakSet()


def _forget_all() -> None:
    for pool in list(_pools):
        pool.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
