"""The ``Wire`` port over lanes, for asyncio."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Union

from servingclient._stats import LaneStats
from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Target, WireFault
from servingclient.settings import Settings
from servingclient.transport import faults, patched
from servingclient.transport.async_lane import AsyncLane
from servingclient.transport.async_pool import AsyncLanePool
from servingclient.transport.wire import check_one, head_of

if TYPE_CHECKING:
    import httpx

    from servingclient.transport.async_httpx_exchange import AsyncHttpxStream
    from servingclient.transport.async_httpx_wire import AsyncHttpxWire

AsyncWire = Union["AsyncLaneWire", "AsyncHttpxWire"]


def async_wire(settings: Settings, transport: httpx.AsyncBaseTransport | None) -> AsyncWire:
    """The wire for an async client; as ``wire.sync_wire``."""
    if transport is None and settings.proxy is None:
        return AsyncLaneWire(settings)
    from servingclient.transport.httpx_wire import AsyncHttpxWire, is_stock

    if transport is None:
        return AsyncHttpxWire.of_settings(settings)
    check_one(settings)
    return AsyncHttpxWire(transport, settings, stock=is_stock(transport))


class AsyncLaneWire:
    """For asyncio. A cancelled call closes its own lane; nothing awaits in the clean-up.

    While httpx is patched (mocks, tracing) requests go through stock httpx, as the patch expects.
    """

    def __init__(self, settings: Settings) -> None:
        self.pool: AsyncLanePool = AsyncLanePool(settings.pool, settings.tls)
        self._settings = settings
        self._stock: AsyncHttpxWire | None = None

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """See ``_ports.Wire.send``."""
        if patched.async_patched():
            return await self._stock_wire().send(target, body, deadline_s)
        pool = self.pool
        taken_s = time.monotonic()
        if taken_s >= deadline_s:
            raise faults.too_late(target.origin)
        lane = await pool.take(target.origin, taken_s, deadline_s, max_idle_s)
        try:
            reply = await lane.exchange(head_of(target, body), body, deadline_s)
        except BaseException as error:
            _after_async_failure(pool, lane, taken_s, error)
            raise
        pool.give(lane)
        return reply

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> AsyncLaneStream | AsyncHttpxStream:
        """See ``_ports.Wire.open``."""
        if patched.async_patched():
            return await self._stock_wire().open(target, body, deadline_s)
        pool = self.pool
        taken_s = time.monotonic()
        if taken_s >= deadline_s:
            raise faults.too_late(target.origin)
        lane = await pool.take(target.origin, taken_s, deadline_s, max_idle_s)
        try:
            status, headers = await lane.open(head_of(target, body), body, deadline_s)
        except BaseException as error:
            _after_async_failure(pool, lane, taken_s, error)
            raise
        return AsyncLaneStream(pool, lane, status, headers, self._settings.pool.stream_idle_s)

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Open lanes ahead of the first calls."""
        if patched.async_patched():
            return
        await self.pool.warm(origin, count, deadline_s)

    def lanes(self) -> LaneStats:
        """Figures of the connections."""
        found = self.pool.stats()
        return LaneStats(found.busy, found.idle, found.opened, found.stale)

    def __repr__(self) -> str:
        return repr(self.pool)

    def _stock_wire(self) -> AsyncHttpxWire:
        if self._stock is None:
            from servingclient.transport.async_httpx_wire import AsyncHttpxWire

            self._stock = AsyncHttpxWire.of_settings(self._settings, self.pool.refuses)
        return self._stock

    async def aclose(self) -> None:
        """End what runs and close all lanes."""
        await self.pool.aclose()
        if self._stock is not None:
            await self._stock.aclose()


def _after_async_failure(
    pool: AsyncLanePool, lane: AsyncLane, taken_s: float, error: BaseException
) -> None:
    if isinstance(error, WireFault) and error.kind is FaultKind.STALE:
        pool.found_stale(lane, taken_s)
    pool.drop(lane)


class AsyncLaneStream:
    """A reply that is read in pieces; holds its lane until it is closed."""

    def __init__(
        self,
        pool: AsyncLanePool,
        lane: AsyncLane,
        status: int,
        headers: RawHeaders,
        idle_s: float,
    ) -> None:
        self.status = status
        self.headers = headers
        self._pool = pool
        self._lane: AsyncLane | None = lane
        self._idle_s = idle_s

    async def chunks(self, deadline_s: float = math.inf) -> AsyncGenerator[bytes, None]:
        """See ``_ports.StreamedReply.chunks``."""
        lane = self._lane
        if lane is None:
            return
        while piece := await lane.read(min(deadline_s, time.monotonic() + self._idle_s)):
            yield piece
        self._lane = None
        self._pool.give(lane)

    async def aclose(self) -> None:
        """Give the lane back; one in the middle of a reply is closed."""
        lane, self._lane = self._lane, None
        if lane is None:
            return
        if lane.reusable:  # all of it has come, read or not: [DONE] stands before its end
            while await lane.read(0.0):
                pass
            self._pool.give(lane)
        else:
            self._pool.drop(lane)
