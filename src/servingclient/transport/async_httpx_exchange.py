"""One exchange over an async httpx transport, which goes on when its caller has left."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

import httpx

from servingclient._types import Origin, RawHeaders, Reply, Target
from servingclient.transport import faults
from servingclient.transport.async_httpx_home import UNWIND_S, Home
from servingclient.transport.httpx_faults import late
from servingclient.transport.httpx_lifeline import Ending, Lifeline
from servingclient.transport.httpx_plan import Body, Plan, reply
from servingclient.transport.loop_gate import LoopGate

T = TypeVar("T")


class Exchange:
    """One exchange: its line and its permit, which is given back exactly once.

    The coroutines ``whole``, ``head`` and ``piece`` run in tasks of their own and return errors
    instead of raising them, for there may be nobody left to see one.
    """

    def __init__(self, home: Home, plan: Plan, origin: Origin) -> None:
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
        self._task = task = self._home.start(job, self.line)
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
        self._task = self._home.start(self._finish(self._task), self.line)

    async def finish(self) -> None:
        """Close the response; what takes its time goes on behind the caller."""
        task = self._home.start(self._finish(self._task), self.line)
        await asyncio.wait({task}, timeout=UNWIND_S)

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
        self, exchange: Exchange, response: httpx.Response, decoder: Body, idle_s: float
    ) -> None:
        self.status: int = response.status_code
        self.headers: RawHeaders = response.headers.raw
        self._exchange: Exchange | None = exchange
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
