"""The story of a value: kept here, kept where other processes keep it, or asked for. Pure.

The only place that knows the order: this process's store, what another caller is asking for at the
moment, the shared cache, a lease, the source; then what is kept and what each caller gets. A value
past its time is given out where the rules allow, while a new one is fetched behind the callers, or
when there is none to be had. Written once as ``async def`` over ports.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

from servingclient._types import WireFault
from servingclient.enrichment import explain
from servingclient.enrichment.asked import Asked, Got, Source
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.figures import Figures
from servingclient.enrichment.flight import MOST_FAILURES, Flight, copied, fail, follow
from servingclient.enrichment.freshness import Freshness, bounded, entry_of, freshness
from servingclient.enrichment.keys import Key, Keys
from servingclient.enrichment.rounds import Outcome, Round
from servingclient.enrichment.sharing import Sharing
from servingclient.enrichment.store import Store
from servingclient.enrichment.values import Enriched
from servingclient.enrichment.values import Source as Origin
from servingclient.enrichment.world import World
from servingclient.errors import CircuitOpen, ServingError
from servingclient.settings import EnrichmentSettings

_GOOD_ENOUGH: Final = (Freshness.FRESH, Freshness.REVALIDATE)
_COUNTED: Final = {"negative": "negatives", "fresh": "hits", "stale": "stale"}
"""What a kept value counts as, by its source."""
_REFRESH_PAUSE_S: Final = 1.0
"""How long after a new value could not be had behind the callers that is not tried again."""


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
        self._sharing = None if world.shared is None else Sharing(world.shared, keys, world)

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
        this = Round(source, self.world.now(), timeout_s, most, halts=halts)
        wanted = self._at_hand(this, asked)
        self._refresh(this)
        while wanted and not this.halted:
            wanted = await self._round(this, wanted, follows=True)
            self._refresh(this)
        return [this.outcomes[one.key] for one in asked if one.key in this.outcomes]

    # ------------------------------------------------------------------ what is kept here

    def _at_hand(self, this: Round, asked: Sequence[Asked]) -> list[Asked]:
        """Give out what is kept and good enough; those that are to be fetched remain."""
        wanted = []
        keys = [one.key for one in asked]
        this.puts = self.store.puts
        found = self.store.get_many(keys)
        failed = self.store.failures(keys) if self.settings.caching.error_ttl_s else {}
        had = []
        for one, kept in zip(asked, found, strict=True):
            verdict = Freshness.GONE
            if kept is not None:
                one.known = kept.entry
                verdict = self._judged(kept.entry)
            if verdict is Freshness.REVALIDATE:
                this.due.append(one)
            if kept is not None and verdict in _GOOD_ENOUGH:
                had.append((one, kept.entry))
            elif one.key in failed:
                self._give_failed(this, one, copied(failed[one.key]))
            else:
                wanted.append(one)
        self._give_kept(this, had)
        return wanted

    def _judged(self, entry: Entry) -> Freshness:
        world = self.world
        early = self.settings.caching.early_refresh_factor
        return freshness(entry, world.now(), early, world.rand())

    def _give_kept(self, this: Round, had: Sequence[tuple[Asked, Entry]]) -> None:
        now_s = self.world.now()
        counts = {"negative": 0, "fresh": 0, "stale": 0}
        for one, entry in had:
            age_s = now_s - entry.stored_s
            source: Origin = (
                "negative" if entry.negative else "fresh" if age_s < entry.fresh_s else "stale"
            )
            this.outcomes[one.key] = Enriched(entry.value, age_s, source)
            counts[source] += 1
        for name, number in counts.items():
            if number and not this.refreshes:
                self.figures.count(_COUNTED[name], now_s, number)

    def _give(self, this: Round, one: Asked, outcome: Outcome, counted: str) -> None:
        this.outcomes[one.key] = outcome
        if not this.refreshes:
            self.figures.count(counted, self.world.now())

    # ------------------------------------------------------------------ one round of fetching

    async def _round(self, this: Round, wanted: Sequence[Asked], *, follows: bool) -> list[Asked]:
        """Fetch what nobody is fetching, then wait for what others are.

        Returns:
            Those whose fetch ended without a value, to be tried by this caller.
        """
        flights = self.world.flights
        this.tickets = {one.key: flights.ticket() for one in wanted}
        led: list[Asked] = []
        followed: list[tuple[Asked, Flight[Entry]]] = []
        try:
            for one in wanted:
                mine = this.tickets[one.key]
                flight = flights.enter(one.key, mine)
                if flight is mine:
                    led.append(one)
                elif follows:
                    followed.append((one, flight))
            led = self._not_had_meanwhile(this, led)
            if led:
                await self._lead(this, led)
        finally:
            for key, ticket in this.tickets.items():
                flights.leave(key, ticket)
        again = []
        for one, flight in followed:
            if not await self._followed(this, one, flight):
                again.append(one)
        return again

    def _not_had_meanwhile(self, this: Round, led: Sequence[Asked]) -> list[Asked]:
        """Those still to be had: another caller's flight may have ended just before ours began."""
        if self.store.puts == this.puts:
            return list(led)
        found = self.store.get_many([one.key for one in led])
        return self._take(
            this,
            led,
            [
                None if had is None or had.entry is one.known else had.entry
                for one, had in zip(led, found, strict=True)
            ],
        )

    def _take(
        self, this: Round, led: Sequence[Asked], found: Iterable[Entry | None]
    ) -> list[Asked]:
        """Give out entries that came to be known, if they are good enough, to who follows too.

        Returns:
            Those still to be had.
        """
        world, tickets = self.world, this.tickets
        leave, rand, now_s = world.flights.leave, world.rand, world.now()
        early = self.settings.caching.early_refresh_factor
        had, left = [], []
        for one, entry in zip(led, found, strict=True):
            verdict = Freshness.GONE
            if entry is not None:
                one.known = entry
                verdict = freshness(entry, now_s, early, rand())
            if verdict is Freshness.REVALIDATE and not this.refreshes:
                this.due.append(one)
            elif verdict is not Freshness.FRESH:
                left.append(one)
                continue
            assert entry is not None
            tickets[one.key].result = entry
            had.append((one, entry))
        self._give_kept(this, had)
        for one, _ in had:
            leave(one.key, tickets[one.key])
            del tickets[one.key]
        return left

    async def _followed(self, this: Round, one: Asked, flight: Flight[Entry]) -> bool:
        """Wait for another caller's fetch; False when this one shall try itself."""
        if flight.landed.mine():
            raise explain.asks_itself(this.source.what)
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

    def _late(self, this: Round, fault: WireFault) -> ServingError:
        limit = self.settings.max_value_bytes
        spent_s = self.world.now() - this.began_s
        return explain.fault_error(fault, this.source.what, spent_s=spent_s, limit_bytes=limit)

    async def _lead(self, this: Round, led: Sequence[Asked]) -> None:
        """Have the values from the shared cache or from their source, for all who follow too."""
        generation = self.store.generation
        sharing = self._sharing if this.source.shared else None
        if sharing is None:
            await self._fetched(this, led, generation)
            return
        try:
            led = await self._not_shared(this, led, sharing)
            patient = len(led) == 1 and not self._still_of_use(led[0])
            while led and not await sharing.leased(this, led, patient=patient):
                led = await self._not_shared(this, led, sharing)
            if led:
                await self._fetched(this, led, generation)
        finally:  # also where it was cancelled: others wait for whoever holds a lease
            store = self.store
            sharing.tell(this, lambda key, entry: store.outdated(key, entry, generation))

    async def _fetched(self, this: Round, led: Sequence[Asked], generation: int) -> None:
        """Have the values from their source."""
        jobs = [partial(self._ask, this, part, generation) for part in this.source.parts(led)]
        if len(jobs) == 1:
            await jobs[0]()
        else:
            await self.world.crew.run(jobs, this.most)

    async def _not_shared(self, this: Round, led: Sequence[Asked], sharing: Sharing) -> list[Asked]:
        """Take what other processes keep; those that are to be fetched remain."""
        generation = self.store.generation
        found = [
            None if entry is None else bounded(entry, one.ttl_s)
            for one, entry in zip(led, await sharing.newer(this, led), strict=True)
        ]
        kept = [(one.key, entry) for one, entry in zip(led, found, strict=True) if entry]
        self.store.put_many(kept, generation)
        return self._take(this, led, found)

    async def _ask(self, this: Round, part: Sequence[Asked], generation: int) -> None:
        """One request: keep what comes of it, and end the flights it is for."""
        if this.halted:
            return
        for one in part:
            one.spare = not this.refreshes and self._still_of_use(one)
        try:
            answers = await this.source.fetch(part, this.deadline_s)
        except Exception as error:  # noqa: BLE001 - it is each caller's outcome
            self._failed(this, part, error)
        else:
            for one, got in zip(part, answers, strict=True):
                entry = self._entry(one, got)
                this.tickets[one.key].result = entry
                self.store.put(one.key, entry, generation)
                if self._sharing is not None and got.shared:
                    self._sharing.note(this, one, entry)
                self._give_new(this, one, entry, "misses")
        for one in part:
            self.world.flights.leave(one.key, this.tickets[one.key])

    def _failed(self, this: Round, part: Sequence[Asked], error: Exception) -> None:
        if isinstance(error, WireFault):
            error = self._late(this, error)
        # Frames of ours hold it, and it would hold them. A user's function keeps its own.
        trace = None if isinstance(error, ServingError) else error.__traceback__
        error = error.with_traceback(None if trace is None else trace.tb_next)
        bare = copied(error).with_traceback(None)
        for one in part:
            if one.spare and not isinstance(error, CircuitOpen):
                this.due.append(one)  # it had one try; behind the callers it has them all
            ticket = this.tickets[one.key]
            fail(ticket, bare)
            if ticket.error is not None and self.settings.caching.error_ttl_s:
                self.store.put_failure(one.key, bare)
            if one.spare:  # nor do others wait for longer, who can be given the same
                ticket.error = bare
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

    def _give_new(self, this: Round, one: Asked, entry: Entry, counted: str) -> None:
        age_s = max(0.0, self.world.now() - entry.stored_s)
        source: Origin = "negative" if entry.negative else "origin"
        self._give(this, one, Enriched(entry.value, age_s, source), counted)

    def _give_failed(self, this: Round, one: Asked, error: Exception) -> None:
        """What is past its time, if the rules allow; else the error."""
        one.failures += 1
        if one.known is not None and self._still_of_use(one):
            self._give_kept(this, [(one, one.known)])
            return
        self._give(this, one, error, "misses")
        this.halted = this.halted or this.halts

    def _still_of_use(self, one: Asked) -> bool:
        return one.known is not None and self._judged(one.known) is not Freshness.GONE

    # ------------------------------------------------------------------ behind the callers

    def _refresh(self, this: Round) -> None:
        """Have new values fetched behind the callers for those that are due, each once."""
        due, this.due = this.due, []
        if not due:
            return
        flights, now_s = self.world.flights, self.world.now()
        mine = [one for one in due if flights.claim(one.key, now_s)]
        if mine and not self.world.behind.start(partial(self._fetch_behind, this.source, mine)):
            for one in mine:
                flights.disclaim(one.key)

    async def _fetch_behind(self, source: Source, due: Sequence[Asked]) -> None:
        settings = self.settings
        this = Round(
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
