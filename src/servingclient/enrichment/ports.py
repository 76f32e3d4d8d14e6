"""What the story of an enrichment call needs of a cache beyond this process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from servingclient.enrichment.entry import Entry


class SharedCache(Protocol):
    """A cache that several processes share. One class per colour; a blocking one never suspends.

    A caller waits for one look at it, the lease included, no longer than its time budget (one for
    each thousand keys), and no call fails by it: what goes wrong here is a miss, and so is a value
    it cannot vouch for (other schema version, other key, too large, not MessagePack).
    """

    async def get_many(
        self, keys: Sequence[str], deadline_s: float, tags: Sequence[str] = ()
    ) -> list[Entry | None]:
        """The entries of ``keys``, in their order; one round trip for a thousand.

        Args:
            keys: Texts without anything of a person in them; nor have the tags.
            deadline_s: Instant at which the caller gives up.
            tags: What will be stored will have these: an invalidation of one of them between this
                and ``set_many`` then concerns it too, and they need no round trip of their own.
        """

    async def set_many(self, entries: Mapping[str, Entry], deadline_s: float) -> None:
        """Keep entries for as long as any rule may give them out; one round trip for a thousand. A
        value that would not come back the same is left out.
        """

    async def lease(
        self, key: str, seconds: float, deadline_s: float, since_s: float | None = None
    ) -> bool:
        """Whether this process shall fetch ``key``; if not, another one is at it.

        True also when that cannot be found out.

        Args:
            key: As in ``get_many``.
            seconds: How long others leave the fetch to this process, should it never give it back.
                The cache may have a lower limit.
            deadline_s: Instant at which the caller gives up.
            since_s: Instant at which it began to wait for the cache, since when its budget runs;
                None is now.
        """

    async def release(self, key: str, deadline_s: float) -> None:
        """Give a lease back; one that is somebody else's by now stays."""

    async def invalidate(
        self,
        deadline_s: float,
        *,
        keys: Sequence[str] = (),
        prefix: str | None = None,
        tag: str | None = None,
    ) -> None:
        """Forget entries by key, prefix of the key (any; the empty one is all), or tag.

        Those being fetched now are concerned too where a prefix or tag is invalidated.
        """

    @property
    def bypassed(self) -> bool:
        """It is left alone for now, because it was slow, down or wrong."""

    async def aclose(self) -> None:
        """Close its connections."""


class CacheSpec(Protocol):
    """What a user hands in as ``cache=``: plain, picklable, the same for both colours."""

    def for_threads(self) -> SharedCache:
        """A cache for a blocking client."""

    def for_tasks(self) -> SharedCache:
        """A cache for an async client."""
