"""The lanes as httpx transports.

Any httpx client gets the fast pool with one argument::

    httpx.Client(transport=LaneTransport())
    openai.AsyncOpenAI(http_client=httpx.AsyncClient(transport=AsyncLaneTransport()))

They are httpx's own transport classes with another way to send: they raise httpx's exceptions and
read its time-outs. What lanes do not speak (HEAD, a Host header of one's own, upgrades, a proxy)
and everything while httpx is patched (see ``patched``) goes the inherited way.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import AsyncIterator, Iterator
from typing import Generic, Protocol, TypeVar

import httpx

from servingclient import _step
from servingclient._types import FaultKind, Origin, RawHeaders, WireFault
from servingclient.errors import ConfigError, QueueFull
from servingclient.policies.concurrency import fixed
from servingclient.settings import Pool, Settings
from servingclient.transport import patched
from servingclient.transport.async_lane import AsyncLane
from servingclient.transport.async_pool import AsyncLanePool
from servingclient.transport.httpx_plan import transport_options
from servingclient.transport.httpx_terms import (
    FOREVER_S,
    MIB,
    Times,
    head_of,
    is_spoken,
    not_admitted,
    not_connected,
    origin_of,
    raise_as_httpx,
    response,
    times_of,
)
from servingclient.transport.lane import Lane
from servingclient.transport.loop_gate import LoopGate
from servingclient.transport.pool import LanePool
from servingclient.transport.thread_gate import ThreadGate


def _lane_pool(settings: Settings) -> Pool:
    """Connect time-outs come with each request, so the pool's own must not be shorter."""
    return dataclasses.replace(settings.pool, connect_timeout_s=FOREVER_S)


# Blocking ---------------------------------------------------------------------------------------


class LaneTransport(httpx.HTTPTransport):
    """A blocking httpx transport over lanes.

    Args:
        settings: Pool, queue and TLS settings; retries and tokens are no transport's business.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        super().__init__(**transport_options(settings))
        self._direct = settings.proxy is None
        self._connect_s = settings.pool.connect_timeout_s
        self._lanes = LanePool(_lane_pool(settings), settings.tls)
        self._gate = ThreadGate(fixed(settings.pool.max_lanes), settings.queue)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the response holds its lane until it is read or closed."""
        if not self._direct or patched.sync_patched() or not is_spoken(request):
            return super().handle_request(request)
        times = times_of(request, self._connect_s)
        origin = origin_of(request.url)
        body = request.read()
        head = head_of(request, origin, len(body))
        self._enter(times.pool)
        try:
            loan = self._borrow(origin, times.connect)
        except BaseException:
            self._gate.leave()
            raise
        try:
            status, headers = _exchange(loan.lane, head, body, times)
        except BaseException as error:
            loan.end(error)
            raise
        return response(status, headers, _LaneBody(loan, times.read))

    def _enter(self, timeout_s: float) -> None:
        if self._gate.try_enter():
            return
        try:
            _step.run(self._gate.enter(time.monotonic() + timeout_s))
        except (WireFault, QueueFull) as error:
            raise not_admitted(error) from error

    def _borrow(self, origin: Origin, timeout_s: float) -> _Loan[Lane]:
        taken_s = time.monotonic()
        try:
            lane = self._lanes.take(origin, taken_s, taken_s + timeout_s)
        except (WireFault, ConfigError) as error:
            raise not_connected(error, taken_s + timeout_s) from error
        return _Loan(self._lanes, self._gate, lane, taken_s)

    def close(self) -> None:
        """End what runs and close all connections."""
        self._lanes.close()
        super().close()


def _exchange(lane: Lane, head: bytes, body: bytes, times: Times) -> tuple[int, RawHeaders]:
    try:
        lane.begin(head, body, time.monotonic() + times.write_s(len(body)))
    except WireFault as fault:
        if fault.kind is FaultKind.TIMEOUT:
            raise httpx.WriteTimeout(fault.detail) from fault
        raise_as_httpx(fault)
    try:
        return lane.read_head(time.monotonic() + times.read)
    except WireFault as fault:
        raise_as_httpx(fault)


L = TypeVar("L")
LentL_contra = TypeVar("LentL_contra", contravariant=True)


class _Lender(Protocol[LentL_contra]):
    """What a loan asks of either pool."""

    def give(self, lane: LentL_contra) -> None: ...

    def drop(self, lane: LentL_contra) -> None: ...

    def found_stale(self, lane: LentL_contra, taken_s: float) -> None: ...


class _Loan(Generic[L]):
    """A lane of either colour with its place behind the gate, given back exactly once.

    Nothing here waits, so a cancel cannot interrupt it.
    """

    __slots__ = ("_gate", "_lanes", "_taken_s", "lane", "open")

    def __init__(
        self, lanes: _Lender[L], gate: ThreadGate | LoopGate, lane: L, taken_s: float
    ) -> None:
        self._lanes = lanes
        self._gate = gate
        self._taken_s = taken_s
        self.lane = lane
        self.open = True

    def end(self, error: BaseException | None = None, *, whole: bool = False) -> None:
        """Give the lane back after a whole reply, drop it otherwise."""
        if not self.open:
            return
        self.open = False
        try:
            if whole:
                self._lanes.give(self.lane)
            else:
                if _is_stale(error):
                    self._lanes.found_stale(self.lane, self._taken_s)
                self._lanes.drop(self.lane)
        finally:
            self._gate.leave()


def _is_stale(error: BaseException | None) -> bool:
    fault = error.__cause__ if error is not None else None
    return isinstance(fault, WireFault) and fault.kind is FaultKind.STALE


class _LaneBody(httpx.SyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, loan: _Loan[Lane], idle_s: float) -> None:
        self._loan = loan
        self._idle_s = idle_s

    def __iter__(self) -> Iterator[bytes]:
        if not self._loan.open:
            return
        try:
            yield from self._loan.lane.read_pieces(self._idle_s, math.inf)
        except WireFault as fault:
            self._loan.end(fault)
            raise_as_httpx(fault)
        self._loan.end(whole=True)

    def close(self) -> None:
        self._loan.end()


# asyncio ----------------------------------------------------------------------------------------


class AsyncLaneTransport(httpx.AsyncHTTPTransport):
    """An httpx transport over lanes, for asyncio.

    Args:
        settings: Pool, queue and TLS settings; retries and tokens are no transport's business.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        settings = settings or Settings()
        super().__init__(**transport_options(settings))
        self._direct = settings.proxy is None
        self._connect_s = settings.pool.connect_timeout_s
        self._lanes = AsyncLanePool(_lane_pool(settings), settings.tls)
        self._gate = LoopGate(fixed(settings.pool.max_lanes), settings.queue)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the response holds its lane until it is read or closed."""
        if not self._direct or patched.async_patched() or not is_spoken(request):
            return await super().handle_async_request(request)
        times = times_of(request, self._connect_s)
        origin = origin_of(request.url)
        body = await request.aread()
        head = head_of(request, origin, len(body))
        await self._enter(times.pool)
        try:
            loan = await self._borrow(origin, times.connect)
        except BaseException:
            self._gate.leave()
            raise
        try:
            status, headers = await _exchange_async(loan.lane, head, body, times)
        except BaseException as error:
            loan.end(error)
            raise
        return response(status, headers, _AsyncLaneBody(loan, times.read))

    async def _enter(self, timeout_s: float) -> None:
        if self._gate.try_enter():
            return
        try:
            await self._gate.enter(time.monotonic() + timeout_s)
        except (WireFault, QueueFull) as error:
            raise not_admitted(error) from error

    async def _borrow(self, origin: Origin, timeout_s: float) -> _Loan[AsyncLane]:
        taken_s = time.monotonic()
        try:
            lane = await self._lanes.take(origin, taken_s, taken_s + timeout_s)
        except (WireFault, ConfigError) as error:
            raise not_connected(error, taken_s + timeout_s) from error
        return _Loan(self._lanes, self._gate, lane, taken_s)

    async def aclose(self) -> None:
        """End what runs and close all connections."""
        await self._lanes.aclose()
        await super().aclose()


async def _exchange_async(
    lane: AsyncLane, head: bytes, body: bytes, times: Times
) -> tuple[int, RawHeaders]:
    upload_s = times.write_s(len(body)) if len(body) > MIB else 0.0
    try:
        return await lane.open(head, body, time.monotonic() + upload_s + times.read)
    except WireFault as fault:
        raise_as_httpx(fault)


class _AsyncLaneBody(httpx.AsyncByteStream):
    """The body of a response, as it arrives."""

    def __init__(self, loan: _Loan[AsyncLane], idle_s: float) -> None:
        self._loan = loan
        self._idle_s = idle_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        loan = self._loan
        if not loan.open:
            return
        try:
            while piece := await loan.lane.read(time.monotonic() + self._idle_s):
                yield piece
        except WireFault as fault:
            loan.end(fault)
            raise_as_httpx(fault)
        loan.end(whole=True)

    async def aclose(self) -> None:
        self._loan.end()
