"""The life of one request: how long it may take, whose trace it belongs to, when it ends early."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from servingclient.integrations.fastapi import problems
from servingclient.integrations.fastapi.deadline import UnreadableTime, given_s
from servingclient.integrations.fastapi.ending import Ending
from servingclient.integrations.fastapi.tracing import join_trace

_DEADLINE: Final = "servingclient.deadline_s"
"""Where a request's scope holds its deadline, in seconds of the monotonic clock."""
_GRACE_S: Final = 0.1
"""How long after it a request is ended whose calls did not end it: theirs says more."""
_ONE_BY_ONE: Final = ("1.0", "1.1")
"""Versions of HTTP in which a reply may close its connection."""


def time_left(request: HTTPConnection) -> float | None:
    """Seconds that the caller of ``request`` still waits, as its header lines say.

    For calls that take a ``timeout=`` of their own; 0 or below when time is over.

    Returns:
        None where the caller does not say.
    """
    deadline_s: float | None = request.scope.get(_DEADLINE)
    return None if deadline_s is None else deadline_s - time.monotonic()


def answer(problem: problems.Problem) -> JSONResponse:
    """The reply that tells of ``problem``."""
    return JSONResponse(
        problem.body(), problem.status, problem.headers(), media_type=problems.MEDIA_TYPE
    )


class RequestLife:
    """ASGI middleware: ends a request when its time is over, its caller gone or the service ended.

    Args:
        app: What answers requests.
        ending: Whether the service ends.
    """

    def __init__(self, app: ASGIApp, ending: Ending) -> None:
        self._app = app
        self._ending = ending

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            given = given_s(scope["headers"])
        except UnreadableTime as error:
            await answer(problems.unreadable(str(error)))(scope, receive, send)
            return
        if given is not None:
            if given == 0.0:
                await answer(problems.late("no"))(scope, receive, send)
                return
            scope[_DEADLINE] = time.monotonic() + given
        exchange = _Exchange(scope, receive, send, self._ending)
        problem = await self._lived(scope, exchange, given)
        if problem is not None:
            await answer(problem)(scope, receive, exchange.send)

    async def _lived(
        self, scope: Scope, exchange: _Exchange, given: float | None
    ) -> problems.Problem | None:
        """Let the app answer, to the end.

        Returns:
            What to answer in its stead, where it did not come to it.
        """
        work = asyncio.create_task(self._work(scope, exchange))
        gone = asyncio.create_task(exchange.read_ahead())
        either = {work, gone}
        running = self._ending.running
        running.add(work)
        try:
            limit_s = None if given is None else given + _GRACE_S
            done, _ = await asyncio.wait(either, timeout=limit_s, return_when=_FIRST)
            late = not done and not exchange.begun
            if not done and not late:  # the end of a reply that has begun is not waited for by us
                await asyncio.wait(either, return_when=_FIRST)
            if late or (exchange.gone and not exchange.complete):
                work.cancel()
            await asyncio.wait({work})
        finally:
            running.discard(work)
            await _ended(work, gone)
        if not work.cancelled():
            work.result()
            return None
        if exchange.begun or exchange.gone:
            return None
        return problems.late("maybe") if late else problems.ending()

    async def _work(self, scope: Scope, exchange: _Exchange) -> None:
        join_trace(scope["headers"])
        await self._app(scope, exchange.receive, exchange.send)


_FIRST: Final = asyncio.FIRST_COMPLETED


async def _ended(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # looked at, so that nobody complains that nobody did


class _Exchange:
    """A request and its reply, as they pass.

    Attributes:
        gone: The caller has hung up.
        begun: The reply has begun.
        complete: It has been sent; what runs now runs behind it.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, ending: Ending) -> None:
        self._receive = receive
        self._send = send
        self._ending = ending
        self._closes = scope.get("http_version") in _ONE_BY_ONE
        self._ahead: asyncio.Queue[Message] = asyncio.Queue(1)
        self.gone = self.begun = self.complete = False

    async def read_ahead(self) -> None:
        """Return when the caller is gone. Servers tell so only to who reads, so a message is read
        ahead, and another waits to be taken; no more of a body is held than that.
        """
        while not self.gone:
            message = await self._receive()
            if message["type"] != "http.disconnect":
                await self._ahead.put(message)
                continue
            self.gone = True
            if self._ahead.empty():  # someone may wait for it
                self._ahead.put_nowait(message)

    async def receive(self) -> Message:
        """What the app reads."""
        if self.gone and self._ahead.empty():
            return {"type": "http.disconnect"}
        return await self._ahead.get()

    async def send(self, message: Message) -> None:
        """What the app writes."""
        if message["type"] == "http.response.start":
            self.begun = True
            if self._closes and self._ending.begun:  # the next request goes to who stays
                message = {**message, "headers": [*message.get("headers", ()), _CLOSE]}
        elif message["type"] == "http.response.body" and not message.get("more_body", False):
            self.complete = True
        await self._send(message)


_CLOSE: Final = (b"connection", b"close")
