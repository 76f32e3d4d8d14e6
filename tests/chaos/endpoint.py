"""The endpoint of the matrix: answers each call with its id, unless told otherwise, and counts."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import NamedTuple

from tests.reliability.kit import calls
from tests.scripted.server import Act, Connection, Request, ScriptedServer, echo, echo_after, reply


class Sent(NamedTuple):
    """A request as the endpoint saw it.

    Attributes:
        id: The call's.
        at_s: When, ``time.monotonic``.
        connection: On which connection.
    """

    id: str
    at_s: float
    connection: int


class Endpoint:
    """A model that echoes ids. ``with`` starts and stops it.

    Attributes:
        sent: The requests, in their order.
        most_at_once: Most requests that were under way here at one time.
    """

    def __init__(self) -> None:
        self._well = self._act = echo()
        self._at_once = 0
        self.most_at_once = 0
        self.sent: list[Sent] = []
        self.server = ScriptedServer(calls(self._take))

    def __enter__(self) -> Endpoint:
        self.server.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.__exit__(*error)

    @property
    def port(self) -> int:
        """Its port, behind the proxy."""
        return self.server.port

    @property
    def processed(self) -> Counter[str]:
        """How often each id was run."""
        return self.server.processed

    def answer(self, act: Act) -> None:
        """From now on answer so."""
        self._act = act

    def take(self, seconds: float) -> None:
        """Be a model that takes so long, from now on and whenever it is well."""
        self._well = self._act = echo_after(seconds)

    def be_well(self) -> None:
        """From now on answer as at the start."""
        self._act = self._well

    @property
    def well(self) -> Act:
        """The answer while it is well, for those that mix."""
        return self._well

    async def _take(self, conn: Connection, request: Request) -> None:
        self.sent.append(Sent(request.id, time.monotonic(), request.connection))
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await self._act(conn, request)
        finally:
            self._at_once -= 1


def status(line: str, *headers: str) -> Act:
    """Answer with this status, and run nothing."""
    data = reply(b'{"error_code": "X", "message": "by order of the test"}', *headers, status=line)

    async def act(conn: Connection, request: Request) -> None:
        await conn.send(data)

    return act


UNAVAILABLE = status("503 Service Unavailable")


def throttling(retry_after_s: float) -> Act:
    """429 with Retry-After."""
    return status("429 Too Many Requests", f"Retry-After: {retry_after_s:g}")


def on_share(part: float, ill: Act, well: Act, seed: int = 1) -> Act:
    """``ill`` for a share of the requests, drawn one by one; ``well`` for the others."""
    chance = random.Random(seed)

    async def act(conn: Connection, request: Request) -> None:
        await (ill if chance.random() < part else well)(conn, request)

    return act
