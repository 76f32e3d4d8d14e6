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
import sys
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import httpx

from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Target, WireFault
from servingclient.errors import ConfigError, WrongLoopError
from servingclient.policies.concurrency import fixed
from servingclient.settings import Queue, Settings
from servingclient.transport import faults, patched
from servingclient.transport.addresses import Refuses
from servingclient.transport.async_lane import keep_uncollected
from servingclient.transport.httpx_faults import late
from servingclient.transport.httpx_judged import judge_async
from servingclient.transport.httpx_lifeline import Ending, Lifeline
from servingclient.transport.httpx_plan import (
    Body,
    Plan,
    async_proxy_transport,
    no_cookies,
    quiet_loggers,
    reply,
)
from servingclient.transport.loop_gate import LoopGate

_UNWIND_S = 0.5  # for abandoned exchanges to notice that their socket was shut down
_ENDLESS = Queue(max_calls=sys.maxsize)  # who comes here has waited in the bounded line before

T = TypeVar("T")


class _Home:
    """A transport on the event loop it belongs to, with the permits and tasks of its calls."""

    def __init__(self, transport: httpx.AsyncBaseTransport, places: int) -> None:
        self.transport = transport
        self.permits: LoopGate = LoopGate(fixed(places), _ENDLESS)
        self.tasks: dict[asyncio.Task[Any], _Exchange] = {}
        self.ended: bool = False
        self._client: httpx.AsyncClient | None = None
        self._guard: AsyncGenerator[None, None] | None = None

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Send one request; see ``HttpxWire`` for the way through a client."""
        if not patched.async_patched():
            return await self.transport.handle_async_request(request)
        if self._client is None:
            self._client = httpx.AsyncClient(
                transport=self.transport, trust_env=False, cookies=no_cookies()
            )
        return await self._client.send(request, stream=True, follow_redirects=False)

    def start(self, job: Coroutine[Any, Any, T], exchange: _Exchange) -> asyncio.Task[T]:
        """Run ``job`` in a task that outlives whoever waits for it."""
        task = asyncio.get_running_loop().create_task(job)
        self.tasks[task] = exchange
        task.add_done_callback(self.tasks.pop)
        return task

    async def end_with_loop(self) -> None:
        """Have the loop close the connections before it ends; the one hook that loops offer."""
        self._guard = _ended_with_loop(weakref.ref(self))
        await self._guard.__anext__()

    async def end(self) -> None:
        """End what runs, wait for it to unwind, close the transport."""
        if self.ended:
            return
        self.ended = True
        for exchange in list(self.tasks.values()):
            exchange.line.end("closed")
        await self._unwind()
        for task in list(self.tasks):
            task.cancel()  # its pool is about to go: there is nothing left to damage
        await self._unwind()
        await self.transport.aclose()
        await asyncio.sleep(0)  # sockets are closed in the loop's next round

    async def _unwind(self) -> None:
        if self.tasks:
            await asyncio.wait(set(self.tasks), timeout=_UNWIND_S)

    async def aclose(self) -> None:
        """``end``, and take the hook out."""
        await self.end()
        if self._guard is not None:
            await self._guard.aclose()


async def _ended_with_loop(home: weakref.ref[_Home]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if (alive := home()) is not None:
            await alive.end()


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
        self._homes: dict[asyncio.AbstractEventLoop, _Home] = {}
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

    async def _admit(self, target: Target, deadline_s: float) -> _Exchange:
        if self._closed:
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        home = self._homes.get(asyncio.get_running_loop())
        if home is None or home.ended or self._pid != os.getpid():
            home = await self._move_in()
        if not home.permits.try_enter():
            await home.permits.enter(deadline_s)
        return _Exchange(home, self._plan, target.origin)

    async def _move_in(self) -> _Home:
        """Make a home on the running loop."""
        transport = self._transport_here()
        home = _Home(transport, self._plan.settings.httpx_calls)
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


class _Exchange:
    """One exchange: its line and its permit, which is given back exactly once.

    The coroutines ``whole``, ``head`` and ``piece`` run in tasks of their own and return errors
    instead of raising them, for there may be nobody left to see one.
    """

    def __init__(self, home: _Home, plan: Plan, origin: Origin) -> None:
        self._home = home
        self._plan = plan
        self._origin = origin
        self._permit: LoopGate | None = home.permits
        self._task: asyncio.Task[Any] | None = None
        self._response: httpx.Response | None = None
        self.line: Lifeline = plan.line(home.transport)

    async def whole(self, target: Target, body: bytes, deadline_s: float) -> Reply | Exception:
        """The whole exchange."""
        try:
            request = self._request(target, body, deadline_s)
            response, decoder = await self._to_head(request)
            first_byte_s = time.monotonic()
            pieces = [p async for data in _stream(response) for p in decoder.pieces(data)]
            decoder.finish()
            return reply(response, b"".join(pieces), self.line, first_byte_s)
        except Exception as error:  # noqa: BLE001 - raised again by who waits, if anyone does
            return self._meaning(error)
        finally:
            await self._let_go()

    async def head(
        self, target: Target, body: bytes, deadline_s: float
    ) -> tuple[httpx.Response, Body] | Exception:
        """The exchange up to the end of the head."""
        try:
            request = self._request(target, body, deadline_s)
            opened = await self._to_head(request)
            self._plan.allow_gaps(request)
            return opened
        except Exception as error:  # noqa: BLE001 - as above
            return self._meaning(error)

    async def piece(self, stream: AsyncIterator[bytes]) -> bytes | Exception | None:
        """The next piece of a streamed body; None at its end."""
        try:
            return await stream.__anext__()
        except StopAsyncIteration:
            return None
        except Exception as error:  # noqa: BLE001 - as above
            return self._meaning(error)

    def _request(self, target: Target, body: bytes, deadline_s: float) -> httpx.Request:
        return self._plan.request(target, body, deadline_s, self.line, self.line.trace_async)

    async def _to_head(self, request: httpx.Request) -> tuple[httpx.Response, Body]:
        self._response = response = await self._home.handle(request)
        self.line.arrived(response.extensions.get("network_stream"))
        return response, self._plan.body(response, self._origin)

    def _meaning(self, error: Exception) -> Exception:
        fault = self._plan.fault(error, self._origin, self.line)
        if fault is not error:
            fault.__cause__ = error
        return fault

    async def _let_go(self) -> None:
        """Close the response and give back the permit.

        The line lets go first: the connection may be lent again at once.
        """
        self.line.over()
        response, self._response = self._response, None
        try:
            if response is not None:
                await _stream(response).aclose()
        except (httpx.HTTPError, OSError):  # the reply is whole, or its fault already known
            pass
        finally:
            self._leave()

    def _leave(self, _task: object = None) -> None:
        permit, self._permit = self._permit, None
        if permit is not None:
            permit.leave()

    async def run(self, job: Coroutine[Any, Any, T | Exception], deadline_s: float) -> T:
        """What ``job`` returns, or a fault at the deadline; it goes on without its caller."""
        self._task = task = self._home.start(job, self)
        try:
            await asyncio.wait({task}, timeout=max(0.0, deadline_s - time.monotonic()))
        except BaseException:
            self._abandon(task, "abandoned")
            raise
        if not task.done():
            fault = late(self._origin, self.line)
            self._abandon(task, "deadline")
            raise fault
        if task.cancelled():
            raise faults.client_closed(self._origin)
        outcome = task.result()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _abandon(self, task: asyncio.Task[Any], why: Ending) -> None:
        self.line.end(why)
        if self._plan.cancellable:
            task.cancel()
            task.add_done_callback(self._leave)  # one that never began has no ``finally``

    def finish_behind(self) -> None:
        """Close the response in a task, after what still runs."""
        self._task = self._home.start(self._finish(self._task), self)

    async def finish(self) -> None:
        """Close the response; what takes its time goes on behind the caller."""
        task = self._home.start(self._finish(self._task), self)
        await asyncio.wait({task}, timeout=_UNWIND_S)

    async def _finish(self, before: asyncio.Task[Any] | None) -> None:
        if before is not None and not before.done():
            self.line.end("abandoned")
            await asyncio.wait({before})
        await self._let_go()


def _stream(response: httpx.Response) -> httpx.AsyncByteStream:
    stream = response.stream
    if not isinstance(stream, httpx.AsyncByteStream):
        raise TypeError(f"the transport answered with a blocking {type(stream).__name__}")
    return stream


class AsyncHttpxStream:
    """A reply that is read in pieces; holds its connection until it is closed."""

    def __init__(
        self, exchange: _Exchange, response: httpx.Response, decoder: Body, idle_s: float
    ) -> None:
        self.status: int = response.status_code
        self.headers: RawHeaders = response.headers.raw
        self._exchange: _Exchange | None = exchange
        self._response = response
        self._decoder = decoder
        self._idle_s = idle_s

    async def chunks(self, deadline_s: float = math.inf) -> AsyncGenerator[bytes, None]:
        """See ``_ports.StreamedReply.chunks``."""
        exchange = self._exchange
        if exchange is None:
            return
        stream = _stream(self._response).__aiter__()
        while True:
            data = await exchange.run(
                exchange.piece(stream), min(deadline_s, time.monotonic() + self._idle_s)
            )
            if data is None:
                break
            for piece in self._decoder.pieces(data):
                if piece:
                    yield piece
        self._decoder.finish()
        await self.aclose()

    async def aclose(self) -> None:
        """Give the connection back; httpx drops it when the reply was not read to its end."""
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            await exchange.finish()
