"""Both colours of what the testing kit makes, under one handle."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

from servingclient.testing import AsyncFakeServingClient, FakeServingClient

ROWS = [{"a": 1.5, "b": 2}]


class Colour:
    """Makes fakes and awaits where that is needed."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.loop = asyncio.new_event_loop()
        self._opened: list[Any] = []

    def fake(self, *arguments: Any, **options: Any) -> Any:
        """A fake client that is closed at the end of the test."""
        kind = FakeServingClient if self.name == "sync" else AsyncFakeServingClient
        client = kind(*arguments, **options)
        self._opened.append(client)
        return client

    def run(self, outcome: Any) -> Any:
        """The result of a call that may have to be awaited."""
        if not inspect.isawaitable(outcome):
            return outcome

        async def wait() -> Any:
            return await outcome

        return self.loop.run_until_complete(wait())

    def listed(self, results: Any) -> list[Any]:
        """All that an iterator of either kind gives."""
        if self.name == "sync":
            return list(results)

        async def read() -> list[Any]:
            return [one async for one in results]

        return list(self.run(read()))

    def close(self, client: Any) -> None:
        self.run(client.close() if self.name == "sync" else client.aclose())

    def end(self) -> None:
        for client in self._opened:
            self.close(client)
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
