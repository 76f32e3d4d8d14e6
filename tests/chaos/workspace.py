"""The stage of rows about what only a workspace has: tokens, slots, queues before them.

As ``kit.Stage``, with the emulator for an endpoint::

    @rows("lanes", "httpx", on="workspace")
    def test_chaos_17_a_brown_out(workspace: WorkspaceStage) -> None: ...
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from servingclient import AsyncServingClient, ServingClient, Settings
from servingclient.emulator import Emulator
from servingclient.emulator.connection import Connection
from tests.chaos.endpoint import Sent
from tests.chaos.kit import Stage
from tests.chaos.load import Caller

ECHO = "echo"
JOURNAL_LIMIT = 200_000
"""Requests it remembers: those of four minutes at 240 a second, three times over."""


class Emulated:
    """An emulator's endpoint that echoes ids, read as ``kit.Stage`` reads its own."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        emulator.add_endpoint(ECHO, echo="id")

    @property
    def port(self) -> int:
        """Of the workspace."""
        return int(self.emulator.host.rpartition(":")[2])

    @property
    def sent(self) -> list[Sent]:
        """The requests to score, in the order in which they came."""
        asked = [one for one in self.emulator.requests if one.kind == "invocation"]
        asked.sort(key=lambda one: one.received_at_s)
        return [
            Sent(str(one.client_request_id), one.received_at_s, one.connection_id) for one in asked
        ]

    @property
    def processed(self) -> Counter[str]:
        """How often each id was run."""
        ran = self.emulator.executions(ECHO)
        return Counter({call_id: times for call_id, times in ran.items() if call_id is not None})

    def be_well(self) -> None:
        """From now on answer as at the start."""
        self.emulator.clear(ECHO)
        self.emulator.token_always(None)


@dataclass
class WorkspaceStage(Stage):
    """An emulator's endpoint. Clients call it past the proxy, as service principals."""

    endpoint: Emulated  # type: ignore[assignment]
    token_s: dict[str, float] = field(default_factory=dict)
    """How long each answered call waited for a token."""

    @property
    def emulator(self) -> Emulator:
        """The workspace."""
        return self.endpoint.emulator

    def client(self, settings: Settings) -> Any:
        """One client of this kind; an async one needs a running loop."""
        who: dict[str, Any] = {
            "host": self.emulator.host,
            "client_id": self.emulator.client_id,
            "client_secret": self.emulator.client_secret,
            **self.more(),
        }
        if self.kind == "sync":
            return ServingClient(ECHO, settings=settings, **who)
        transport = None
        if self.kind == "httpx":
            transport = httpx.AsyncHTTPTransport()
            self._transports.append(transport)
        return AsyncServingClient(ECHO, settings=settings, transport=transport, **who)

    def more(self) -> dict[str, Any]:
        """Further arguments of the next client."""
        return {}

    def caller(self, client: Any, options: dict[str, Any]) -> Caller:
        """How one client is called."""

        def given(call_id: str) -> dict[str, Any]:
            return {"inputs": [{"id": call_id}], "client_request_id": call_id, **options}

        def call(call_id: str) -> Any:
            prediction = client.predict(**given(call_id))
            self.token_s[call_id] = prediction.timing.token_s
            return prediction

        async def call_async(call_id: str) -> Any:
            prediction = await client.predict(**given(call_id))
            self.token_s[call_id] = prediction.timing.token_s
            return prediction

        return call if self.kind == "sync" else call_async

    def logins(self) -> list[Connection]:
        """Connections on which a login waits for its answer now."""
        listener = self.emulator._hosting.listeners["workspace"]
        return [
            one
            for one in tuple(listener.connections)
            if one._current is not None and one._current.path.startswith("/oidc")
        ]

    def hang_up_on_logins(self) -> None:
        """The login service was started anew, and what was open to it is reset."""
        self.emulator._hosting.do(lambda: [one.reset() for one in self.logins()])  # type: ignore[arg-type,return-value]
