"""The ``Wire`` port over lanes, blocking."""

from __future__ import annotations

import math
import time
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Union

from servingclient._stats import LaneStats
from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Target, WireFault
from servingclient.errors import ConfigError
from servingclient.settings import Settings
from servingclient.transport import faults, patched
from servingclient.transport.lane import Lane
from servingclient.transport.pool import LanePool

if TYPE_CHECKING:
    import httpx

    from servingclient.transport.httpx_wire import HttpxStream, HttpxWire

SyncWire = Union["LaneWire", "HttpxWire"]


def sync_wire(settings: Settings, transport: httpx.BaseTransport | None) -> SyncWire:
    """The wire for a blocking client: lanes, unless a transport or a proxy asks for httpx.

    Raises:
        ConfigError: ``transport`` is none of httpx's.
    """
    if transport is None and settings.proxy is None:
        return LaneWire(settings)
    from servingclient.transport.httpx_wire import HttpxWire, is_stock

    if transport is None:
        return HttpxWire.of_settings(settings)
    check_one(settings)
    return HttpxWire(transport, settings, stock=is_stock(transport))


def most_calls(settings: Settings, transport: object) -> int:
    """How many calls at once the wire over ``transport`` takes."""
    if transport is None and settings.proxy is None:
        return settings.pool.max_lanes
    return settings.pool.httpx_calls


def check_one(settings: Settings) -> None:
    """A transport brings its own proxy.

    Raises:
        ConfigError: ``settings`` name one too.
    """
    if settings.proxy is not None:
        raise ConfigError(
            "transport= and Settings.proxy were given; put the proxy into the transport: "
            "httpx.HTTPTransport(proxy=...)."
        )


def head_of(target: Target, body: bytes) -> bytes:
    """The head of a request, complete."""
    return b"%bContent-Length: %d\r\n\r\n" % (target.head, len(body))


class LaneWire:
    """Blocking. Methods are ``async def`` that never suspend: ``_step.run`` steps them.

    While httpx is patched (mocks, tracing) requests go through stock httpx, as the patch expects.
    """

    def __init__(self, settings: Settings) -> None:
        self.pool: LanePool = LanePool(settings.pool, settings.tls)
        self._settings = settings
        self._stock: HttpxWire | None = None

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """See ``_ports.Wire.send``."""
        if patched.sync_patched():
            return await self._stock_wire().send(target, body, deadline_s)
        pool = self.pool
        taken_s = time.monotonic()
        if taken_s >= deadline_s:
            raise faults.too_late(target.origin)
        lane = pool.take(target.origin, taken_s, deadline_s, max_idle_s)
        try:
            reply = lane.exchange(head_of(target, body), body, deadline_s)
        except BaseException as error:
            after_failure(pool, lane, taken_s, error)
            raise
        pool.give(lane)
        return reply

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> LaneStream | HttpxStream:
        """See ``_ports.Wire.open``."""
        if patched.sync_patched():
            return await self._stock_wire().open(target, body, deadline_s)
        pool = self.pool
        taken_s = time.monotonic()
        if taken_s >= deadline_s:
            raise faults.too_late(target.origin)
        lane = pool.take(target.origin, taken_s, deadline_s, max_idle_s)
        try:
            lane.begin(head_of(target, body), body, deadline_s)
            status, headers = lane.read_head(deadline_s)
        except BaseException as error:
            after_failure(pool, lane, taken_s, error)
            raise
        return LaneStream(pool, lane, status, headers, self._settings.pool.stream_idle_s)

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Open lanes ahead of the first calls."""
        if patched.sync_patched():
            return
        self.pool.warm(origin, count, deadline_s)

    def lanes(self) -> LaneStats:
        """Figures of the connections."""
        found = self.pool.stats()
        return LaneStats(found.busy, found.idle, found.opened, found.stale)

    def __repr__(self) -> str:
        return repr(self.pool)

    def _stock_wire(self) -> HttpxWire:
        if self._stock is None:
            from servingclient.transport.httpx_wire import HttpxWire

            self._stock = HttpxWire.of_settings(self._settings, self.pool.refuses)
        return self._stock

    def close(self) -> None:
        """End what runs and close all lanes."""
        self.pool.close()
        if self._stock is not None:
            self._stock.close()


def after_failure(pool: LanePool, lane: Lane, taken_s: float, error: BaseException) -> None:
    """Part with a lane whose exchange did not end well, and learn from its end."""
    if isinstance(error, WireFault) and error.kind is FaultKind.STALE:
        pool.found_stale(lane, taken_s)
    pool.drop(lane)


class LaneStream:
    """A reply that is read in pieces; holds its lane until it is closed."""

    def __init__(
        self,
        pool: LanePool,
        lane: Lane,
        status: int,
        headers: RawHeaders,
        idle_s: float,
    ) -> None:
        self.status = status
        self.headers = headers
        self._pool = pool
        self._lane: Lane | None = lane
        self._idle_s = idle_s

    async def chunks(self, deadline_s: float = math.inf) -> AsyncGenerator[bytes, None]:
        """See ``_ports.StreamedReply.chunks``."""
        lane = self._lane
        if lane is None:
            return
        for piece in lane.read_pieces(self._idle_s, deadline_s):
            yield piece
        self._lane = None
        self._pool.give(lane)

    async def aclose(self) -> None:
        """Give the lane back; one in the middle of a reply is closed."""
        lane, self._lane = self._lane, None
        if lane is None:
            return
        if lane.reusable:  # all of it has come, read or not: [DONE] stands before its end
            self._pool.give(lane)
        else:
            self._pool.drop(lane)
