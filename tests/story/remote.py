"""A workspace and an endpoint under virtual time that do anything, and keep books of it.

The wire of one schedule leads here. What a request meets is drawn by chance from the weather of the
moment; what the endpoint really did with it (ran it or not) is written down beside what the client
is told, so that the two can be compared.
"""

from __future__ import annotations

import asyncio
import json
import math
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Target, WireFault
from servingclient.transport.clock import LoopClock
from tests.auth.world import own_url
from tests.story import weather
from tests.story.weather import CALM, TICKS_S, Fate

EVENT: Final = b"data: {}\n\n"

_CALL = re.compile(rb"\[\[(\d+)\]\]")


class Request(NamedTuple):
    """One request of a call, as the endpoint saw it."""

    call: int
    at_s: float
    deadline_s: float
    token: int
    max_idle_s: float


class Outcome(NamedTuple):
    """What the wire reported of a request."""

    call: int
    at_s: float
    token: int
    status: int | None
    fault: FaultKind | None
    hint: str | None


@dataclass
class Books:
    """What happened at the far end.

    Attributes:
        requests: Of calls, in order.
        outcomes: What their wire reported.
        ran: How often the model ran each call.
        ended_s: End of each token by its number, as the issuer has it.
        most_logins: Most logins under way at once.
        wrong: What can never be right, in words.
    """

    requests: list[Request] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    ran: Counter[int] = field(default_factory=Counter)
    ended_s: dict[int, float] = field(default_factory=dict)
    most_logins: int = 0
    wrong: list[str] = field(default_factory=list)


class Remote:
    """The ``Wire`` of one client, and all that is behind it.

    Args:
        chance: Of the schedule.
        seed: Each call has a chance of its own, made of it: what one meets does not depend on the
            others.
        lifetime_s: Of tokens.
        own_host: The endpoint is route-optimized.

    Attributes:
        weather: Of the moment.
        books: What happened so far.
        under_way: Calls that are.
        open_streams: Streams that are.
        looks: Called when a call arrives.
    """

    def __init__(
        self, chance: random.Random, seed: int, lifetime_s: float, *, own_host: bool
    ) -> None:
        self.weather = CALM
        self.books = Books()
        self.open_streams = 0
        self.under_way = 0
        self.looks: Callable[[], None] = lambda: None
        self._chance = chance
        self._seed = seed
        self._chances: dict[int, random.Random] = {}
        self._lifetime_s = lifetime_s
        self._own_host = own_host
        self._logins = 0
        self._closed = False
        self._time = LoopClock()
        self._revoked: set[int] = set()

    def revoke_all(self) -> None:
        """No token issued so far is taken any more."""
        self._revoked.update(self.books.ended_s)

    # ------------------------------------------------------------------ the wire

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        if target.path == "/oidc/v1/token":
            return await self._login(deadline_s)
        if target.method == "GET":
            return await self._describe(deadline_s)
        call, fate, sent_s = await self._call(target, body, deadline_s, max_idle_s)
        content = self._content(call, fate)
        return Reply(fate.status, _raw(fate), content, sent_s, self._now(), 0.0)

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Stream:
        call, fate, _ = await self._call(target, body, deadline_s, max_idle_s)
        return Stream(self, fate.status, _raw(fate), self._content(call, fate), call)

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        raise AssertionError("nobody asked for it")

    async def aclose(self) -> None:
        """End what is under way."""
        self._closed = True
        self._time.wake()

    # ------------------------------------------------------------------ calls

    async def _call(
        self, target: Target, body: bytes, deadline_s: float, max_idle_s: float
    ) -> tuple[int, Fate, float]:
        sent_s, books = self._now(), self.books
        found = _CALL.search(body)
        assert found is not None
        call, token = int(found[1]), _token_in(target)
        books.requests.append(Request(call, sent_s, deadline_s, token, max_idle_s))
        if sent_s >= books.ended_s[token]:
            books.wrong.append(f"call {call} was sent with token {token}, which had ended")
        chance = self._chance_of(call)
        good = token not in self._revoked
        fate = weather.of_call(self.weather, chance, good=good, max_idle_s=max_idle_s)
        self.under_way += 1
        self.looks()
        try:
            fault = await self._wait(fate, deadline_s)
        except asyncio.CancelledError:
            books.ran[call] += chance.random() < 0.5
            raise
        finally:
            self.under_way -= 1
        books.ran[call] += fate.runs and (fault is None or fault.sent != "no")
        kind, status = (None, fate.status) if fault is None else (fault.kind, None)
        books.outcomes.append(Outcome(call, self._now(), token, status, kind, fate.hint))
        if fault is not None:
            raise fault
        return call, fate, sent_s

    async def _wait(self, fate: Fate, deadline_s: float) -> WireFault | None:
        """Let the time of a request pass; what broke it, if anything did."""
        late = await self._passed(fate.takes_s, deadline_s)
        if late is not None:
            return late
        if fate.fault is not None:
            return WireFault(fate.fault, "by chance", sent=fate.sent, host="h")
        return None

    async def _passed(self, takes_s: float, deadline_s: float) -> WireFault | None:
        """Wait so long, at most to the deadline, or until the wire is closed."""
        if self._closed:
            return WireFault(FaultKind.CLOSED, "the client was closed", sent="no")
        left_s = deadline_s - self._now()
        await self._time.sleep(max(0.0, min(takes_s, left_s)))
        for _ in range(self._chance.randrange(3)):  # what falls on one instant comes in any order
            await asyncio.sleep(0)
        if self._closed:
            return WireFault(FaultKind.CLOSED, "the client was closed", sent="maybe")
        if takes_s >= left_s:
            return WireFault(FaultKind.TIMEOUT, "no complete reply in time", sent="maybe", host="h")
        return None

    def _content(self, call: int, fate: Fate) -> bytes:
        if fate.status == 200:
            return b'{"predictions": [%d]}' % call
        message = {"message": "no", "error_code": fate.code}
        return json.dumps(message).encode()

    def _chance_of(self, call: int) -> random.Random:
        chance = self._chances.get(call)
        if chance is None:
            chance = self._chances[call] = random.Random(self._seed * 1000 + call)
        return chance

    # ------------------------------------------------------------------ the workspace

    async def _login(self, deadline_s: float) -> Reply:
        self._logins += 1
        self.books.most_logins = max(self.books.most_logins, self._logins)
        try:
            status = await self._asked(deadline_s)
        finally:
            self._logins -= 1
        if status != 200:
            return _plain(status, {"error": "temporarily_unavailable"})
        number = len(self.books.ended_s) + 1
        self.books.ended_s[number] = self._now() + self._lifetime_s
        issued = {"access_token": f"tok-{number}", "token_type": "Bearer"}
        return _plain(200, issued | {"expires_in": self._lifetime_s})

    async def _describe(self, deadline_s: float) -> Reply:
        status = await self._asked(deadline_s)
        own = own_url() if self._own_host else {"name": "m", "id": "e0"}
        return _plain(status, own if status == 200 else {"message": "no"})

    async def _asked(self, deadline_s: float) -> int:
        fate = weather.of_login(self.weather, self._chance)
        fault = await self._wait(fate, deadline_s)
        if fault is not None:
            raise fault
        return fate.status

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


class Stream:
    """A reply in pieces, which may break between them."""

    def __init__(
        self, remote: Remote, status: int, headers: RawHeaders, content: bytes, call: int
    ) -> None:
        self.status = status
        self.headers = headers
        self._content = content
        self._remote = remote
        self._call = call
        self._open = True
        remote.open_streams += 1

    async def chunks(self, deadline_s: float = math.inf) -> AsyncIterator[bytes]:
        remote = self._remote
        if self.status != 200:
            yield self._content
            return
        chance = remote._chance_of(self._call)
        for _ in range(chance.randrange(4)):
            fault = await remote._passed(chance.choice(TICKS_S), deadline_s)
            if fault is None and chance.random() < remote.weather.faults / 2:
                fault = WireFault(FaultKind.CUT_OFF, "in the middle", sent="yes", host="h")
            if fault is not None:
                raise fault
            yield EVENT
        yield b"data: [DONE]\n\n"

    async def aclose(self) -> None:
        if self._open:
            self._open = False
            self._remote.open_streams -= 1


def _token_in(target: Target) -> int:
    bearer = next(value for name, value in target.headers if name == "Authorization")
    return int(bearer.rpartition("-")[2])


def _raw(fate: Fate) -> RawHeaders:
    return [] if fate.hint is None else [(b"retry-after", fate.hint.encode())]


def _plain(status: int, body: dict[str, Any]) -> Reply:
    headers = [(b"content-type", b"application/json")]
    return Reply(status, headers, json.dumps(body).encode(), 0.0, 0.0, 0.0)
