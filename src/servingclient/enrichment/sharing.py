"""The shared cache in the story of a value: read before the source is asked, told afterwards. Pure.

A lease keeps other processes from the same fetch. It costs a round trip, so it is taken for a
single value and not for a thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from servingclient.enrichment.asked import Asked
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.keys import Keys
from servingclient.enrichment.ports import SharedCache
from servingclient.enrichment.rounds import Round
from servingclient.enrichment.world import World

_LEASE_S: Final = 2.0
"""For how long another process leaves a fetch to us: a look-up that takes longer is sent twice."""
_LOOK_AGAIN_S: Final = 0.1
"""How long after finding a fetch under way elsewhere the shared cache is looked at again; then
twice as long each time."""
_MOST_DOUBLINGS: Final = 2
_NEWER_S: Final = 0.05
"""An entry of the shared cache counts as newer than one we know by this at least: its stamp has
been through the wall clock and back."""


class Sharing:
    """One client's use of a shared cache.

    Args:
        shared: The cache.
        keys: Makes keys.
        world: Time.
    """

    def __init__(self, shared: SharedCache, keys: Keys, world: World) -> None:
        self._shared = shared
        self._keys = keys
        self._world = world

    async def newer(self, this: Round, wanted: Sequence[Asked]) -> list[Entry | None]:
        """What other processes keep that is newer than what is known here."""
        keys = [self._keys.shared(one.key) for one in wanted]
        tags = tuple(dict.fromkeys(tag for one in wanted for tag in one.tags))
        found = await self._shared.get_many(keys, this.deadline_s, tags)
        return [
            None if entry is None or not _is_newer(entry, one.known) else entry
            for one, entry in zip(wanted, found, strict=True)
        ]

    async def leased(self, this: Round, wanted: Sequence[Asked], *, patient: bool) -> bool:
        """Whether this process shall fetch what is wanted. If not, it has waited for a while: the
        cache is worth another look.

        Args:
            this: For whom.
            wanted: What.
            patient: Wait until the other process must have ended, and not for one look only.
        """
        if len(wanted) != 1 or self._shared.bypassed:
            return True
        key = self._keys.shared(wanted[0].key)
        if await self._shared.lease(key, _LEASE_S, this.deadline_s):
            this.leased = key
            return True
        world = self._world
        now_s = world.now()
        if not this.looks:
            this.patient_until_s = now_s + min(_LEASE_S, (this.deadline_s - now_s) / 2.0)
        wait_s = _LOOK_AGAIN_S * 2.0 ** min(this.looks, _MOST_DOUBLINGS) * (0.5 + world.rand())
        wait_s = min(wait_s, this.patient_until_s - now_s)
        if wait_s <= 0.0 or (this.looks and not patient):
            return True
        this.looks += 1
        await world.sleep(wait_s)
        return world.now() < now_s + wait_s / 2.0  # ended early: the client was closed

    def note(self, this: Round, one: Asked, entry: Entry) -> None:
        """Have an entry written with the others of its round."""
        if entry.fresh_s > 0.0:
            this.written[self._keys.shared(one.key)] = entry

    async def tell(self, this: Round, *, outdated: bool) -> None:
        """Write what was noted, unless something was forgotten meanwhile."""
        if this.written and not outdated:
            await self._shared.set_many(this.written, this.deadline_s)
        if this.leased is not None:  # or this process would wait for itself
            await self._shared.release(this.leased, this.deadline_s)


def _is_newer(entry: Entry, known: Entry | None) -> bool:
    return known is None or entry.stored_s >= known.stored_s + _NEWER_S
