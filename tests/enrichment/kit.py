"""Both doors of enrichment under one handle, over real sockets."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

from servingclient import AsyncEnrichmentClient, EnrichmentClient, EnrichmentSettings
from tests.scripted.server import Request, ScriptedServer, echo, reply

LOCAL = EnrichmentSettings(allow_private_hosts=True)
Client = Any
"""``EnrichmentClient`` or ``AsyncEnrichmentClient``: their parity is tested elsewhere."""


def told(request: Request) -> bytes:
    """An answer that says what was asked."""
    return reply(json.dumps({"path": request.path, "body": request.body.decode()}).encode())


def api_of(answer: Callable[[Request], bytes] = told) -> ScriptedServer:
    """An API on loopback."""
    return ScriptedServer(echo(answer))


class Held:
    """An API that answers when it is let."""

    def __init__(self) -> None:
        self.free = threading.Event()

    async def __call__(self, conn: Any, request: Request) -> None:
        await asyncio.to_thread(self.free.wait, 10)
        conn.processed(request)
        await conn.send(told(request))


class Door:
    """One colour of client. Closes what it opened."""

    def __init__(self, colour: Literal["sync", "async"]) -> None:
        self.colour = colour
        self.loop = asyncio.new_event_loop()
        self._opened: list[Client] = []

    @property
    def kind(self) -> type[Any]:
        return EnrichmentClient if self.colour == "sync" else AsyncEnrichmentClient

    def open(
        self,
        api: ScriptedServer | str,
        settings: EnrichmentSettings = LOCAL,
        *,
        ttl: float = 60.0,
        **more: Any,
    ) -> Client:
        """A client that is closed at the end of the test."""
        url = api if isinstance(api, str) else f"http://127.0.0.1:{api.port}"
        client = self.kind(url, ttl=ttl, settings=settings, **more)
        self._opened.append(client)
        return client

    def run(self, outcome: Any) -> Any:
        """The result of a call that may have to be awaited."""
        if not inspect.isawaitable(outcome):
            return outcome

        async def wait() -> Any:
            return await outcome

        return self.loop.run_until_complete(wait())

    def crowd(
        self, call: Callable[[], Any], count: int, meanwhile: Callable[[], None] = lambda: None
    ) -> list[Any]:
        """The same call ``count`` times at once; ``meanwhile`` runs beside them."""
        if self.colour == "sync":
            with ThreadPoolExecutor(count) as pool:
                running = [pool.submit(contextvars.copy_context().run, call) for _ in range(count)]
                meanwhile()
                return [_outcome(one.result) for one in running]

        async def gather() -> list[Any]:
            tasks = [asyncio.ensure_future(call()) for _ in range(count)]
            await asyncio.get_running_loop().run_in_executor(None, meanwhile)
            return await asyncio.gather(*tasks, return_exceptions=True)

        return list(self.run(gather()))

    def close(self, client: Client) -> None:
        self.run(client.close() if self.colour == "sync" else client.aclose())

    def end(self) -> None:
        """Close all, and see that no task is left."""
        try:
            for client in self._opened:
                self.close(client)
            self.run(asyncio.sleep(0))
            left = asyncio.all_tasks(self.loop)
            self.run(self.loop.shutdown_asyncgens())
            self.run(self.loop.shutdown_default_executor())
            assert not left, f"tasks left: {left}"
        finally:
            self.loop.close()


def _outcome(result: Callable[[], Any]) -> Any:
    try:
        return result()
    except Exception as error:  # noqa: BLE001 - it is the outcome
        return error
