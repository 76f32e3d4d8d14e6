"""``httpx_wire`` for asyncio: no cancel ever reaches httpx's pool.

Cancelling a call inside httpx's async pool can leave a connection that nobody owns and everybody
waits for (httpcore#1093). So each exchange runs in a task of its own, and whoever waits for it may
leave at any moment. The task then sees its socket shut down, ends, and only then gives back its
permit: abandoned exchanges are bounded too.
"""

from __future__ import annotations

import asyncio
import math
import os
from collections.abc import Callable

import httpx

from servingclient._types import FaultKind, Origin, Reply, Target, WireFault
from servingclient.errors import ConfigError, WrongLoopError
from servingclient.settings import Settings
from servingclient.transport.addresses import Refuses
from servingclient.transport.async_httpx_exchange import AsyncHttpxStream, Exchange
from servingclient.transport.async_httpx_home import Home
from servingclient.transport.async_lane import keep_uncollected
from servingclient.transport.httpx_judged import judge_async
from servingclient.transport.httpx_plan import Plan, async_proxy_transport, quiet_loggers


class AsyncHttpxWire:
    """The wire.

    Args:
        transport: The transport; closed by ``aclose``.
        settings: Time-outs and limits.
        stock: The transport is httpx's own (see ``httpx_plan.is_stock``).
        remake: Makes the transport again in a forked child or for a further event loop; without
            it a transport with connections serves one loop at a time and no child.
    """

    def __init__(
        self,
        transport: httpx.AsyncBaseTransport,
        settings: Settings,
        *,
        stock: bool,
        remake: Callable[[], httpx.AsyncBaseTransport] | None = None,
    ) -> None:
        if not isinstance(transport, httpx.AsyncBaseTransport):
            raise ConfigError(
                f"transport= is of type {type(transport).__name__}; an async client takes an async "
                "httpx transport, a blocking client a blocking one."
            )
        quiet_loggers()
        self._transport = transport
        self._remake = remake
        self._plan = Plan(settings, transport, stock=stock)
        self._homes: dict[asyncio.AbstractEventLoop, Home] = {}
        self._used = False
        self._pid = os.getpid()
        self._closed = False

    @classmethod
    def of_settings(cls, settings: Settings, refuses: Refuses | None = None) -> AsyncHttpxWire:
        """Over a stock transport with the proxy and certificates of ``settings``.

        Args:
            settings: These.
            refuses: Judges the addresses a host's name leads to; None takes any.
        """

        def make() -> httpx.AsyncHTTPTransport:
            made = async_proxy_transport(settings)
            if refuses is not None:
                judge_async(made, refuses)
            return made

        return cls(make(), settings, stock=True, remake=make)

    def lanes(self) -> None:
        """No figures: the transport keeps its connections to itself."""

    def __repr__(self) -> str:
        return f"over {type(self._transport).__name__}"

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """See ``_ports.Wire.send``."""
        del max_idle_s
        exchange = await self._admit(target, deadline_s)
        return await exchange.run(exchange.whole(target, body, deadline_s), deadline_s)

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> AsyncHttpxStream:
        """See ``_ports.Wire.open``."""
        del max_idle_s
        exchange = await self._admit(target, deadline_s)
        try:
            job = exchange.head(target, body, deadline_s)
            response, decoder = await exchange.run(job, deadline_s)
        except BaseException:
            exchange.finish_behind()
            raise
        return AsyncHttpxStream(exchange, response, decoder, self._plan.settings.stream_idle_s)

    async def _admit(self, target: Target, deadline_s: float) -> Exchange:
        if self._closed:
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        home = self._homes.get(asyncio.get_running_loop())
        if home is None or home.ended or self._pid != os.getpid():
            home = await self._move_in()
        if not home.permits.try_enter():
            await home.permits.enter(deadline_s)
        return Exchange(home, self._plan, target.origin)

    async def _move_in(self) -> Home:
        """Make a home on the running loop."""
        transport = self._transport_here()
        home = Home(transport, self._plan.settings.httpx_calls)
        self._homes[asyncio.get_running_loop()] = home
        if self._plan.pooled:
            await home.end_with_loop()
        return home

    def _transport_here(self) -> httpx.AsyncBaseTransport:
        forked = self._pid != os.getpid()
        if forked:
            keep_uncollected((self._homes, self._transport))
            self._pid = os.getpid()
        alive = [
            (loop, home)
            for loop, home in list(self._homes.items())
            if not (forked or home.ended or loop.is_closed())
        ]
        self._homes = dict(alive)
        used, self._used = self._used, True
        if not self._plan.pooled or not used:
            return self._transport
        if self._remake is not None:
            return self._remake()
        if forked:
            raise ConfigError(
                "this client's httpx transport was made before the process forked; the child would "
                "share its connections with the parent. Make the client in the child."
            )
        if alive:
            raise WrongLoopError(
                "this client's httpx transport is in use on another event loop; connections "
                "cannot cross loops. Make one AsyncServingClient per loop."
            )
        return self._transport

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Nothing: httpx opens connections when they are needed and not before."""

    async def aclose(self) -> None:
        """End what runs and close the transport."""
        self._closed = True
        home = self._homes.pop(asyncio.get_running_loop(), None)
        if home is not None:
            await home.aclose()
        elif not self._used:
            await self._transport.aclose()
