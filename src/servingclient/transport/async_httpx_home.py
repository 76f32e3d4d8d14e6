"""An async httpx transport on its event loop, with the permits and tasks of its calls."""

from __future__ import annotations

import asyncio
import sys
import weakref
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

import httpx

from servingclient.policies.concurrency import fixed
from servingclient.settings import Queue
from servingclient.transport import patched
from servingclient.transport.httpx_lifeline import Lifeline
from servingclient.transport.httpx_plan import no_cookies
from servingclient.transport.loop_gate import LoopGate

UNWIND_S = 0.5
"""For abandoned exchanges to notice that their socket was shut down."""
_ENDLESS = Queue(max_calls=sys.maxsize)  # who comes here has waited in the bounded line before

T = TypeVar("T")


class Home:
    """What ends with the event loop it belongs to."""

    def __init__(self, transport: httpx.AsyncBaseTransport, places: int) -> None:
        self.transport = transport
        self.permits: LoopGate = LoopGate(fixed(places), _ENDLESS)
        self.tasks: dict[asyncio.Task[Any], Lifeline] = {}
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

    def start(self, job: Coroutine[Any, Any, T], line: Lifeline) -> asyncio.Task[T]:
        """Run ``job``, an exchange over ``line``, in a task that outlives whoever waits for it."""
        task = asyncio.get_running_loop().create_task(job)
        self.tasks[task] = line
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
        for line in list(self.tasks.values()):
            line.end("closed")
        await self._unwind()
        for task in list(self.tasks):
            task.cancel()  # its pool is about to go: there is nothing left to damage
        await self._unwind()
        await self.transport.aclose()
        await asyncio.sleep(0)  # sockets are closed in the loop's next round

    async def _unwind(self) -> None:
        if self.tasks:
            await asyncio.wait(set(self.tasks), timeout=UNWIND_S)

    async def aclose(self) -> None:
        """``end``, and take the hook out."""
        await self.end()
        if self._guard is not None:
            await self._guard.aclose()


async def _ended_with_loop(home: weakref.ref[Home]) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        if (alive := home()) is not None:
            await alive.end()
