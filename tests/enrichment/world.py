"""A scripted API under virtual time, driven through the doors' own parts, in both colours.

Each port does what the script says, records what it was asked, and moves the clock instead of
waiting. What runs behind the callers runs when a test says so.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from servingclient import EnrichmentSettings, EnrichmentStats, _step
from servingclient._types import FaultKind, Reply, Sent, Target, WireFault
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.fetch_ports import Ports
from servingclient.enrichment.flight import Flights
from servingclient.enrichment.opening import api_of, given, kept
from servingclient.enrichment.several import answers
from servingclient.enrichment.values import Enriched
from servingclient.enrichment.world import World
from servingclient.errors import QueueFull
from servingclient.policies.breaker import Breaker
from servingclient.policies.quota import Quota
from servingclient.policies.ratelimit import Bucket

URL = "https://api.example.com/v1"
START_S = 1000.0
WALL_S = 1.7e9
TTL_S = 60.0


@dataclass(frozen=True)
class Answer:
    """A whole reply."""

    status: int = 200
    value: Any = "v"
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_s: float = 0.1
    body: bytes | None = None


@dataclass(frozen=True)
class Breaks:
    """No complete reply."""

    kind: FaultKind = FaultKind.CUT_OFF
    sent: Sent = "maybe"
    takes_s: float = 0.1


DOWN = Breaks(FaultKind.NOT_CONNECTED, "no", takes_s=0.01)
Script = Callable[[Target, bytes], "Answer | Breaks"]


class _Landed:
    """Nobody waits for anybody where one caller runs at a time."""

    def set(self) -> None:
        pass

    async def wait(self, deadline_s: float) -> bool:
        raise AssertionError("one caller waited for another")

    def usable(self) -> bool:
        return True

    def mine(self) -> bool:
        return False


class _Crew:
    """One job after the other."""

    async def run(self, jobs: Sequence[Callable[[], Awaitable[None]]], most: int) -> None:
        for job in jobs:
            await job()


class FakeShared:
    """A shared cache: what was written, and every round trip. Stamps go through its own clock."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.trips: list[str] = []
        self.leases: set[str] = set()
        self.leased_s: list[tuple[float, float | None]] = []
        self.foreign = False
        self.bypassed = False
        self.on_wait: Callable[[], None] = lambda: None
        self.on_lease: Callable[[], None] = lambda: None
        self.closed = 0
        self.invalidated: list[tuple[tuple[str, ...], str | None, str | None]] = []

    async def get_many(
        self, keys: Sequence[str], deadline_s: float, tags: Sequence[str] = ()
    ) -> list[Entry | None]:
        self.trips.append("get")
        return [self.entries.get(key) for key in keys]

    async def set_many(self, entries: Mapping[str, Entry], deadline_s: float) -> None:
        self.trips.append("set")
        self.entries.update(entries)

    async def lease(
        self, key: str, seconds: float, deadline_s: float, since_s: float | None = None
    ) -> bool:
        self.trips.append("lease")
        self.on_lease()
        self.leased_s.append((seconds, since_s))
        if self.foreign:
            self.on_wait()
            return False
        self.leases.add(key)
        return True

    async def release(self, key: str, deadline_s: float) -> None:
        self.trips.append("release")
        self.leases.discard(key)

    async def invalidate(
        self,
        deadline_s: float,
        *,
        keys: Sequence[str] = (),
        prefix: str | None = None,
        tag: str | None = None,
    ) -> None:
        self.invalidated.append((tuple(keys), prefix, tag))
        self.entries = {
            key: entry
            for key, entry in self.entries.items()
            if key not in keys
            and not (prefix is not None and key.startswith(prefix))
            and tag not in entry.tags
        }

    async def aclose(self) -> None:
        self.closed += 1


class FakeApi:
    """One client of a scripted API.

    Args:
        suspends: The async colour: each port suspends once when asked.
        script: What the API answers.
        shared: The shared cache, or None.
        auth: Who asks.
    """

    def __init__(
        self,
        script: Script | Answer | Breaks | Sequence[Answer | Breaks],
        *,
        suspends: bool = False,
        settings: EnrichmentSettings | None = None,
        shared: FakeShared | None = None,
        auth: Any = "token-canary",
        ttl: float = TTL_S,
        url: str = URL,
        clock: FakeApi | None = None,
    ) -> None:
        self.suspends = suspends
        self.sends: list[tuple[float, Target, bytes]] = []
        self.slept: list[float] = []
        self.rand_s = 0.5
        self.inside = 0
        self.full = False
        self.came_again: list[bool] = []
        self.woken = False
        self.behind: list[Callable[[], Awaitable[None]]] = []
        self.told: list[Callable[[], Awaitable[None]]] = []
        self.holds_back = False
        self._now = [START_S] if clock is None else clock._now
        self.script = script if callable(script) else _scripted(script)
        # nothing is taken off or fetched early unless a test asks for it
        settings = settings or quiet()
        args = given(url, ttl, auth, None, settings)
        breaker = None if settings.breaker is None else Breaker(settings.breaker)
        self.breaker = breaker
        mine = kept(args, self.now)
        ports = Ports(
            self.now,
            lambda: WALL_S + self.now(),
            self.sleep,
            lambda: self.rand_s,
            self,
            self,
            breaker,
            Bucket(settings.rate_limit),
            Quota(settings.retry.quota_capacity),
            None,
            mine.figures,
        )
        flights: Flights[Entry] = Flights(_Landed)
        world = World(self.now, self.sleep, lambda: self.rand_s, flights, self, _Crew(), shared)
        self.shared = shared
        self.flights = flights
        self.store = mine.store
        self.api = api_of(args, mine, world, ports)

    # what the tests use

    def run(self, job: Any) -> Any:
        """Step or await ``job``; then what it left to be told to the shared cache is told."""
        try:
            return self._stepped(job)
        finally:
            if not self.holds_back:
                self.tell_shared()

    def _stepped(self, job: Any) -> Any:
        if self.suspends:

            async def awaited() -> Any:
                return await job

            return asyncio.run(awaited())
        return _step.run(job)

    def tell_shared(self) -> int:
        """Tell the shared cache what waits to be told."""
        waiting, self.told = self.told, []
        for action in waiting:
            self._stepped(action())
        return len(waiting)

    def get(self, template: str = "/users/{id}", **options: Any) -> Enriched:
        """As the doors do it."""
        known = {name: options.pop(name, None) for name in ("params", "ttl", "timeout")}
        tags = options.pop("tags", ())
        values = options or ({"id": 7} if template == "/users/{id}" else {})
        found = self.api.hit(template, values, known["params"])
        if found is not None:
            return found
        source, asked = self.api.get(template, values, known["params"], tags, known["ttl"])
        timeout_s = self.api.timeout_of(known["timeout"])
        return self.run(self.api.lookup.one(source, asked, timeout_s))

    def get_many(self, ids: Sequence[Any], **options: Any) -> dict[Any, Any]:
        """As the doors do it."""
        asked: dict[str, Any] = dict.fromkeys(("name", "params", "ttl", "timeout", "concurrency"))
        asked |= {"tags": (), "on_error": "raise"} | options
        several = self.api.get_many("/users/{id}", ids, {}, **asked)
        return self.run(answers(several, self.api.lookup))

    def forget(self, template: str | None = None, **what: Any) -> None:
        """As the doors do it."""
        prefix, tag = what.pop("prefix", None), what.pop("tag", None)
        found = self.api.forgotten(template, prefix, tag, what)
        if self.shared is None:
            self.api.forget(found.matches)
        else:
            self.run(self.api.invalidate(found))

    def work_behind(self) -> int:
        """Do what waits behind the callers."""
        waiting, self.behind = self.behind, []
        for action in waiting:
            self.run(action())
        return len(waiting)

    def pass_time(self, seconds: float) -> None:
        """Let time pass."""
        self._now[0] += seconds

    @property
    def stats(self) -> EnrichmentStats:
        return self.api.stats()

    @property
    def paths(self) -> list[str]:
        return [target.path for _, target, _ in self.sends]

    # the ports

    def now(self) -> float:
        return self._now[0]

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await self._pause()
        if self.woken:
            return
        self._now[0] += seconds

    async def _pause(self) -> None:
        if self.suspends:
            await asyncio.sleep(0)

    def start(self, action: Callable[[], Awaitable[None]]) -> bool:
        told = isinstance(action, partial) and action.func.__name__ == "_told"
        (self.told if told else self.behind).append(action)
        return True

    def try_enter(self) -> bool:
        if self.full:
            return False
        self.inside += 1
        return True

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        self.came_again.append(again)
        raise QueueFull("too many wait")

    def leave(self) -> None:
        self.inside -= 1
        assert self.inside >= 0

    def answered(self, reply_s: float) -> None:
        pass

    def unanswered(self, waited_s: float) -> None:
        pass

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        self.sends.append((self.now(), target, body))
        step = self.script(target, body)
        await self._pause()
        if self.now() + step.takes_s > deadline_s:
            self._now[0] = max(self.now(), deadline_s)
            raise WireFault(FaultKind.TIMEOUT, "no complete reply in time", sent="maybe", host="h")
        self._now[0] += step.takes_s
        if isinstance(step, Breaks):
            raise WireFault(step.kind, "as scripted", sent=step.sent, host="h")
        headers = [(name.encode(), value.encode()) for name, value in step.headers.items()]
        content = json.dumps(step.value).encode() if step.body is None else step.body
        return Reply(step.status, headers, content, self.now() - step.takes_s, self.now(), 0.0)


def quiet(**changes: Any) -> EnrichmentSettings:
    """Settings without chance; ``caching`` may be changed by name."""
    base = EnrichmentSettings()
    without = {"ttl_jitter": 0.0, "early_refresh_factor": 0.0}
    caching = replace(base.caching, **without | changes.pop("caching", {}))
    return base.replace(caching=caching, **changes)


def _scripted(script: Answer | Breaks | Sequence[Answer | Breaks]) -> Script:
    """One step for ever, or several, of which the last repeats."""
    steps = [script] if isinstance(script, (Answer, Breaks)) else list(script)

    def step(target: Target, body: bytes) -> Answer | Breaks:
        return steps.pop(0) if len(steps) > 1 else steps[0]

    return step
