"""The story of a value: kept here, kept where other processes keep it, or asked for. Pure.

The only place that knows the order: this process's store, what another caller is asking for at the
moment, the shared cache, a lease, the source; then what is kept and what each caller gets. A value
past its time is given out where the rules allow, while a new one is fetched behind the callers, or
when there is none to be had. Written once as ``async def`` over ports.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Protocol

from servingclient._types import WireFault
from servingclient.enrichment import explain
from servingclient.enrichment.asked import Asked, Got, Source
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.figures import Figures
from servingclient.enrichment.flight import MOST_FAILURES, Flight, Flights, copied, fail, follow
from servingclient.enrichment.freshness import Freshness, entry_of, freshness
from servingclient.enrichment.keys import Key, Keys
from servingclient.enrichment.ports import SharedCache
from servingclient.enrichment.store import Store
from servingclient.enrichment.values import Enriched
from servingclient.enrichment.values import Source as Origin
from servingclient.errors import ServingError
from servingclient.settings import EnrichmentSettings

_LEASE_S: Final = 2.0
"""For how long another process leaves a fetch to us: a look-up that takes longer is sent twice."""
_LOOK_AGAIN_S: Final = 0.1
"""How long after finding a fetch under way elsewhere the shared cache is looked at again."""
_NEWER_S: Final = 0.05
"""An entry of the shared cache counts as newer than one we know by this at least: its stamp has
been through the wall clock and back."""

_REFRESH_PAUSE_S: Final = 1.0
"""How long after a new value could not be had behind the callers that is not tried again."""

Outcome = Enriched | Exception


class Behind(Protocol):
    """Runs actions behind the callers."""

    def start(self, action: Callable[[], Awaitable[None]]) -> bool:
        """Run it soon; False where too many wait already, or the client is closed."""


class Crew(Protocol):
    """Runs several jobs at once."""

    async def run(self, jobs: Sequence[Callable[[], Awaitable[None]]], most: int) -> None:
        """Run all, at most so many at once, until all have ended. They do not raise."""


@dataclass(frozen=True, slots=True)
class World:
    """What the story needs of the world.

    Attributes:
        now: The monotonic clock, in seconds.
        sleep: Waits.
        rand: A number in [0, 1).
        flights: What is being fetched now.
        behind: For new values behind the callers.
        crew: For several requests at once.
        shared: The shared cache, or None.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rand: Callable[[], float]
    flights: Flights[Entry]
    behind: Behind
    crew: Crew
    shared: SharedCache | None


class _Round:
    """One caller's values while they are had.

    Attributes:
        source: Where they are had from.
        began_s: When the caller came.
        deadline_s: When its time is up.
        most: Requests at once.
        halts: After a failure the caller wants no more of them.
        refreshes: Nobody waits for them: they are fetched behind the callers.
        halted: One failed, and the caller wants no more.
        outcomes: What it gets, by key.
        written: What is to be written to the shared cache.
        leased: The key that other processes leave to this one.
    """

    __slots__ = (
        "began_s",
        "deadline_s",
        "halted",
        "halts",
        "leased",
        "most",
        "outcomes",
        "refreshes",
        "source",
        "written",
    )

    def __init__(
        self,
        source: Source,
        began_s: float,
        timeout_s: float,
        most: int,
        *,
        halts: bool = False,
        refreshes: bool = False,
    ) -> None:
        self.source = source
        self.began_s = began_s
        self.deadline_s = began_s + timeout_s
        self.most = most
        self.halts = halts
        self.refreshes = refreshes
        self.halted = False
        self.outcomes: dict[Key, Outcome] = {}
        self.written: dict[str, Entry] = {}
        self.leased: str | None = None


class Lookup:
    """How one client has its values.

    Args:
        keys: Makes keys.
        settings: The rules.
        store: What is kept here.
        figures: Counts.
        world: The ports.
    """

    def __init__(
        self,
        keys: Keys,
        settings: EnrichmentSettings,
        store: Store,
        figures: Figures,
        world: World,
    ) -> None:
        self.keys = keys
        self.settings = settings
        self.store = store
        self.figures = figures
        self.world = world

    def hit(self, key: Key) -> Enriched | None:
        """The value at hand, if it is fresh beyond doubt."""
        now_s = self.world.now()
        entry = self.store.hit(key, now_s)
        if entry is None:
            return None
        return Enriched(
            entry.value, now_s - entry.stored_s, "negative" if entry.negative else "fresh"
        )

    async def one(self, source: Source, asked: Asked, timeout_s: float) -> Enriched:
        """One value.

        Raises:
            Exception: There is none; of an API, a ``ServingError``.
        """
        outcomes = await self.many(source, (asked,), timeout_s, most=1)
        outcome = outcomes[0]
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                del outcome, outcomes  # its traceback holds this frame
        return outcome

    async def many(
        self,
        source: Source,
        asked: Sequence[Asked],
        timeout_s: float,
        *,
        most: int,
        halts: bool = False,
    ) -> list[Outcome]:
        """Several values, each key once.

        Args:
            source: Where they are had from.
            asked: Which, each key once.
            timeout_s: Seconds for all of it.
            most: Requests at once.
            halts: After one that failed no further one is asked for; those are missing then.

        Returns:
            What each came to, in order. After a halt only the first that failed is of interest.
        """
        this = _Round(source, self.world.now(), timeout_s, most, halts=halts)
        wanted = self._at_hand(this, asked)
        while wanted and not this.halted:
            wanted = await self._round(this, wanted, follows=True)
        return [this.outcomes[one.key] for one in asked if one.key in this.outcomes]

    # ------------------------------------------------------------------ what is kept here

    def _at_hand(self, this: _Round, asked: Sequence[Asked]) -> list[Asked]:
        """Give out what is kept and good enough; those that are to be fetched remain."""
        wanted, due = [], []
        keys = [one.key for one in asked]
        found = self.store.get_many(keys)
        failed = self.store.failures(keys) if self.settings.caching.error_ttl_s else {}
        for one, kept in zip(asked, found, strict=True):
            verdict = Freshness.GONE
            if kept is not None:
                one.known = kept.entry
                verdict = self._judged(kept.entry)
            if verdict is Freshness.REVALIDATE:
                due.append(one)
            if verdict in (Freshness.FRESH, Freshness.REVALIDATE):
                assert one.known is not None
                self._give_kept(this, one, one.known)
            elif one.key in failed:
                self._give_failed(this, one, copied(failed[one.key]))
            else:
                wanted.append(one)
        if due:
            self._refresh(this.source, due)
        return wanted

    def _judged(self, entry: Entry) -> Freshness:
        world = self.world
        early = self.settings.caching.early_refresh_factor
        return freshness(entry, world.now(), early, world.rand())

    def _give_kept(self, this: _Round, one: Asked, entry: Entry) -> None:
        age_s = self.world.now() - entry.stored_s
        if entry.negative:
            self._give(this, one, Enriched(None, age_s, "negative"), "negatives")
        elif age_s < entry.fresh_s:
            self._give(this, one, Enriched(entry.value, age_s, "fresh"), "hits")
        else:
            self._give(this, one, Enriched(entry.value, age_s, "stale"), "stale")

    def _give(self, this: _Round, one: Asked, outcome: Outcome, counted: str) -> None:
        this.outcomes[one.key] = outcome
        if not this.refreshes:
            self.figures.count(counted, self.world.now())

    # ------------------------------------------------------------------ one round of fetching

    async def _round(self, this: _Round, wanted: Sequence[Asked], *, follows: bool) -> list[Asked]:
        """Fetch what nobody is fetching, then wait for what others are.

        Returns:
            Those whose fetch ended without a value, to be tried by this caller.
        """
        flights = self.world.flights
        tickets = {one.key: flights.ticket() for one in wanted}
        led: list[Asked] = []
        followed: list[tuple[Asked, Flight[Entry]]] = []
        try:
            for one in wanted:
                mine = tickets[one.key]
                flight = flights.enter(one.key, mine)
                if flight is mine:
                    led.append(one)
                elif follows:
                    followed.append((one, flight))
            if led:
                await self._lead(this, led, tickets)
        finally:
            for key, ticket in tickets.items():
                flights.leave(key, ticket)
        again = []
        for one, flight in followed:
            if not await self._followed(this, one, flight):
                again.append(one)
        return again

    async def _followed(self, this: _Round, one: Asked, flight: Flight[Entry]) -> bool:
        """Wait for another caller's fetch; False when this one shall try itself."""
        try:
            entry = await follow(flight, this.deadline_s)
        except WireFault as fault:
            self._give_failed(this, one, self._late(this, fault))
            return True
        if entry is not None:
            self._give_new(this, one, entry, "coalesced")
            return True
        if flight.error is None:  # who led was cancelled, or had too little time
            return False
        one.failures += 1
        if one.failures < MOST_FAILURES and not self._still_of_use(one):
            return False
        self._give_failed(this, one, copied(flight.error))
        return True

    def _late(self, this: _Round, fault: WireFault) -> ServingError:
        limit = self.settings.max_value_bytes
        spent_s = self.world.now() - this.began_s
        return explain.fault_error(fault, this.source.what, spent_s=spent_s, limit_bytes=limit)

    async def _lead(
        self, this: _Round, led: Sequence[Asked], tickets: dict[Key, Flight[Entry]]
    ) -> None:
        """Have the values from the shared cache or from their source, for all who follow too."""
        generation = self.store.generation
        shared = self.world.shared if this.source.shared else None
        if shared is not None:
            led = await self._from_shared(this, led, tickets, shared)
        if not led:
            return
        jobs = [
            partial(self._ask, this, part, tickets, generation) for part in this.source.parts(led)
        ]
        if len(jobs) == 1:
            await jobs[0]()
        else:
            await self.world.crew.run(jobs, this.most)
        if shared is not None:
            await self._tell_shared(this, shared, generation)

    async def _ask(
        self,
        this: _Round,
        part: Sequence[Asked],
        tickets: dict[Key, Flight[Entry]],
        generation: int,
    ) -> None:
        """One request: keep what comes of it, and end the flights it is for."""
        if this.halted:
            return
        flights = self.world.flights
        try:
            answers = await this.source.fetch(part, this.deadline_s)
        except Exception as error:  # noqa: BLE001 - it is each caller's outcome
            self._failed(this, part, tickets, error)
        else:
            for one, got in zip(part, answers, strict=True):
                entry = self._entry(one, got)
                tickets[one.key].result = entry
                self.store.put(one.key, entry, generation)
                if got.shared and entry.fresh_s > 0.0:
                    this.written[self.keys.shared(one.key)] = entry
                self._give_new(this, one, entry, "misses")
        for one in part:
            flights.leave(one.key, tickets[one.key])

    def _failed(
        self,
        this: _Round,
        part: Sequence[Asked],
        tickets: dict[Key, Flight[Entry]],
        error: Exception,
    ) -> None:
        if isinstance(error, WireFault):
            error = self._late(this, error)
        # Frames of ours hold it, and it would hold them. A user's function keeps its own.
        trace = None if isinstance(error, ServingError) else error.__traceback__
        error = error.with_traceback(None if trace is None else trace.tb_next)
        bare = copied(error).with_traceback(None)
        for one in part:
            ticket = tickets[one.key]
            fail(ticket, bare)
            if ticket.error is not None and self.settings.caching.error_ttl_s:
                self.store.put_failure(one.key, bare)
            self._give_failed(this, one, error if len(part) == 1 else copied(bare))

    def _entry(self, one: Asked, got: Got) -> Entry:
        world = self.world
        return entry_of(
            got.answer,
            self.settings.caching,
            ttl_s=one.ttl_s,
            now_s=world.now(),
            took_s=got.took_s,
            rand=world.rand(),
            tags=one.tags,
        )

    def _give_new(self, this: _Round, one: Asked, entry: Entry, counted: str) -> None:
        age_s = max(0.0, self.world.now() - entry.stored_s)
        source: Origin = "negative" if entry.negative else "origin"
        self._give(this, one, Enriched(entry.value, age_s, source), counted)

    def _give_failed(self, this: _Round, one: Asked, error: Exception) -> None:
        """What is past its time, if the rules allow; else the error."""
        one.failures += 1
        if one.known is not None and self._still_of_use(one):
            self._give_kept(this, one, one.known)
            return
        self._give(this, one, error, "misses")
        this.halted = this.halted or this.halts

    def _still_of_use(self, one: Asked) -> bool:
        return one.known is not None and self._judged(one.known) is not Freshness.GONE

    # ------------------------------------------------------------------ the shared cache

    async def _from_shared(
        self,
        this: _Round,
        led: Sequence[Asked],
        tickets: dict[Key, Flight[Entry]],
        shared: SharedCache,
    ) -> list[Asked]:
        """Take what other processes keep; those that are to be fetched remain."""
        left = await self._read_shared(this, led, tickets, shared)
        if len(left) != 1 or shared.bypassed:
            return left  # a lease is a round trip each: worth it for one value, not for a thousand
        key = self.keys.shared(left[0].key)
        if await shared.lease(key, _LEASE_S, this.deadline_s):
            this.leased = key
            return left
        world = self.world
        left_s = this.deadline_s - world.now()
        await world.sleep(max(0.0, min(_LOOK_AGAIN_S * (0.5 + world.rand()), left_s / 4)))
        return await self._read_shared(this, left, tickets, shared)

    async def _read_shared(
        self,
        this: _Round,
        led: Sequence[Asked],
        tickets: dict[Key, Flight[Entry]],
        shared: SharedCache,
    ) -> list[Asked]:
        generation = self.store.generation
        keys = [self.keys.shared(one.key) for one in led]
        tags = tuple(dict.fromkeys(tag for one in led for tag in one.tags))
        found = await shared.get_many(keys, this.deadline_s, tags)
        left, due = [], []
        for one, entry in zip(led, found, strict=True):
            known = one.known
            if entry is None or (known is not None and entry.stored_s < known.stored_s + _NEWER_S):
                left.append(one)
                continue
            self.store.put(one.key, entry, generation)
            one.known = entry
            verdict = self._judged(entry)
            if verdict is Freshness.REVALIDATE and not this.refreshes:
                due.append(one)
            elif verdict is not Freshness.FRESH:
                left.append(one)
                continue
            tickets[one.key].result = entry
            self._give_kept(this, one, entry)
            self.world.flights.leave(one.key, tickets[one.key])
        if due:
            self._refresh(this.source, due)
        return left

    async def _tell_shared(self, this: _Round, shared: SharedCache, generation: int) -> None:
        """Let other processes have what was fetched."""
        if this.written and generation == self.store.generation:
            await shared.set_many(this.written, this.deadline_s)
        elif this.leased is not None:
            await shared.release(this.leased, this.deadline_s)

    # ------------------------------------------------------------------ behind the callers

    def _refresh(self, source: Source, due: Sequence[Asked]) -> None:
        """Have new values fetched behind the callers, each once."""
        flights = self.world.flights
        now_s = self.world.now()
        fresh = [one for one in due if flights.claim(one.key, now_s)]
        if not fresh:
            return
        if not self.world.behind.start(partial(self._fetch_behind, source, fresh)):
            for one in fresh:
                flights.disclaim(one.key)

    async def _fetch_behind(self, source: Source, due: Sequence[Asked]) -> None:
        settings = self.settings
        this = _Round(
            source, self.world.now(), settings.timeout_s, settings.max_calls, refreshes=True
        )
        mine = [one.again() for one in due]
        try:
            await self._round(this, mine, follows=False)
        finally:
            # While the API is down every caller of a stale value would try anew
            pause_s = self.world.now() + _REFRESH_PAUSE_S
            for one in mine:
                had = isinstance(this.outcomes.get(one.key), Enriched) and not one.failures
                self.world.flights.disclaim(one.key, None if had else pause_s)
