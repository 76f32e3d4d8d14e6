"""Both colours of the OpenAI client under one handle."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Literal

from servingclient.emulator import Emulator, RequestRecord
from servingclient.integrations.openai import async_openai_client, openai_client

HELLO = [{"role": "user", "content": "good morning"}]


class Face:
    """One colour of client; closes what it opened."""

    def __init__(self, colour: Literal["sync", "async"], emulator: Emulator) -> None:
        self.colour = colour
        self.emulator = emulator
        self.loop = asyncio.new_event_loop()
        self._opened: list[Any] = []

    def open(self, **arguments: Any) -> Any:
        """A client that is closed at the end of the test; by personal access token."""
        make = openai_client if self.colour == "sync" else async_openai_client
        if not {"client_id", "config"} & arguments.keys():
            arguments.setdefault("token", self.emulator.token)
        client = make(**{"host": self.emulator.host, **arguments})
        self._opened.append(client)
        return client

    def run(self, outcome: Any) -> Any:
        """The result of a call that may have to be awaited."""
        if not inspect.isawaitable(outcome):
            return outcome

        async def wait() -> Any:
            return await outcome

        return self.loop.run_until_complete(wait())

    def ask(self, client: Any, model: str = "assistant", **more: Any) -> Any:
        """One chat completion."""
        given = {"messages": HELLO, **more}
        return self.run(client.chat.completions.create(model=model, **given))

    def words(self, client: Any, into: list[str], **more: Any) -> None:
        """Read a streamed chat completion, as far as it comes."""
        stream = self.ask(client, stream=True, **more)
        if self.colour == "sync":
            into.extend(chunk.choices[0].delta.content or "" for chunk in stream)
            return

        async def read() -> None:
            async for chunk in stream:
                into.append(chunk.choices[0].delta.content or "")  # noqa: PERF401 - it may break

        self.run(read())

    def calls(self) -> list[RequestRecord]:
        """The invocations that arrived."""
        return [record for record in self.emulator.requests if record.kind == "invocation"]

    def end(self) -> None:
        for client in self._opened:
            self.run(client.close())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()
