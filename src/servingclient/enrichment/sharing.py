"""The shared cache in the story of a value: read before the source is asked, told afterwards. Pure.

Who would fetch a single value takes a lease; other processes wait for what it brings. That costs a
round trip, so it is done for a single value and not for a thousand. A caller waits for looks and
for leases; nobody waits while a value is written and a lease given back.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

from servingclient.enrichment.asked import Asked
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.keys import Key, Keys
from servingclient.enrichment.ports import SharedCache
from servingclient.enrichment.rounds import Round, Written
from servingclient.enrichment.world import World

_LOOK_AGAIN_S: Final = 0.1
"""How long after finding a fetch under way elsewhere the shared cache is looked at again; then
twice as long each time."""
_MOST_DOUBLINGS: Final = 2
_SHARE_FOR_OTHERS: Final = 0.5
"""Of the time a caller has left, that it gives to another process's fetch: the rest is for its own,
should the other have died. An API that takes more than the rest would come too late either way."""
_NEWER_S: Final = 0.05
"""An entry of the shared cache counts as newer than one we know by this at least: its stamp has
been through the wall clock and back."""


Outdated = Callable[[Key, Entry], bool]
"""Whether an entry was forgotten since it was asked for."""


class Sharing:
    """One client's use of a shared cache.

    Args:
        shared: The cache.
        keys: Makes keys.
        world: Time, and what runs behind the callers.
    """

    def __init__(self, shared: SharedCache, keys: Keys, world: World) -> None:
        self._shared = shared
        self._keys = keys
        self._world = world

    async def newer(self, this: Round, wanted: Sequence[Asked]) -> list[Entry | None]:
        """What other processes keep that is newer than what is known here."""
        this.looked_s = self._world.now()
        keys = [self._keys.shared(one.key) for one in wanted]
        tags = tuple(dict.fromkeys(tag for one in wanted for tag in one.tags))
        found = await self._shared.get_many(keys, this.deadline_s, tags)
        return [
            None if entry is None or not _is_newer(entry, one.known) else entry
            for one, entry in zip(wanted, found, strict=True)
        ]

    async def leased(self, this: Round, wanted: Sequence[Asked], *, patient: bool) -> bool:
        """Whether this process shall fetch what is wanted. If not, the cache is worth another look:
        it has waited for a while, or who held the lease has just ended.

        Args:
            this: For whom.
            wanted: What.
            patient: Wait until the other process has ended, and not for one look only.
        """
        if len(wanted) != 1 or this.leased is not None or self._shared.bypassed:
            return True
        key = self._keys.shared(wanted[0].key)
        left_s = this.deadline_s - self._world.now()
        if await self._shared.lease(key, left_s, this.deadline_s, this.looked_s):
            this.leased = key
            return not this.looks  # a value is written before its lease is given back
        return not await self._waited(this, patient=patient)

    async def _waited(self, this: Round, *, patient: bool) -> bool:
        """Wait for a while; False where this caller has waited enough."""
        world = self._world
        now_s = world.now()
        if not this.looks:
            this.patient_until_s = now_s + (this.deadline_s - now_s) * _SHARE_FOR_OTHERS
        wait_s = _LOOK_AGAIN_S * 2.0 ** min(this.looks, _MOST_DOUBLINGS) * (0.5 + world.rand())
        wait_s = min(wait_s, this.patient_until_s - now_s)
        if wait_s <= 0.0 or (this.looks and not patient):
            return False
        this.looks += 1
        await world.sleep(wait_s)
        return world.now() >= now_s + wait_s / 2.0  # ended early: the client was closed

    def note(self, this: Round, one: Asked, entry: Entry) -> None:
        """Have an entry written with the others of its round."""
        if entry.fresh_s > 0.0:
            this.written[self._keys.shared(one.key)] = Written(one.key, entry)

    def tell(self, this: Round, outdated: Outdated) -> None:
        """Have what was noted written behind the caller, and the lease given back. May be called
        again. Where too much waits behind the callers, or the client is closed, it is left out: a
        miss for others, and a lease that ends by its time.

        Args:
            this: For whom.
            outdated: Whether an entry was forgotten since it was asked for: then it is not
                written, or taken back if it is written just then.
        """
        written, leased = this.written, this.leased
        this.written, this.leased = {}, None
        if not written and leased is None:
            return
        try:
            self._world.behind.start(partial(self._told, written, leased, outdated))
        except RuntimeError:  # the loop has ended, and with it whoever was to be told
            return

    async def _told(
        self, written: Mapping[str, Written], leased: str | None, outdated: Outdated
    ) -> None:
        shared = self._shared
        good = {place: one for place, one in written.items() if not outdated(*one)}
        if good:
            await shared.set_many({place: one.entry for place, one in good.items()}, math.inf)
            # the invalidation may have come to the cache first
            late = tuple(place for place, one in good.items() if outdated(*one))
            if late:
                await shared.invalidate(math.inf, keys=late)
        if leased is not None:
            await shared.release(leased, math.inf)


def _is_newer(entry: Entry, known: Entry | None) -> bool:
    return known is None or entry.stored_s >= known.stored_s + _NEWER_S
