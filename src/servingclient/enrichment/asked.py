"""What a caller asks for, and where it is had from. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from servingclient.enrichment.entry import Entry
from servingclient.enrichment.freshness import Answer
from servingclient.enrichment.keys import Key


class Asked:
    """One value that is asked for.

    Attributes:
        key: Under which it is kept.
        what: What its source needs to know: a path, a key, arguments.
        ttl_s: How long it stays fresh.
        tags: What it can be invalidated by, as they are kept.
        known: What is kept of it, too old to be given out without asking.
        spare: It may be given out when there is no other, so the source is not waited for long.
        failures: Fetches of others that failed while this caller waited.
    """

    __slots__ = ("failures", "key", "known", "spare", "tags", "ttl_s", "what")

    def __init__(self, key: Key, what: Any, ttl_s: float, tags: tuple[str, ...] = ()) -> None:
        self.key: tuple[Any, ...] = key
        self.what: Any = what
        self.ttl_s: float = ttl_s
        self.tags: tuple[str, ...] = tags
        self.known: Entry | None = None
        self.spare: bool = False
        self.failures: int = 0

    def again(self) -> Asked:
        """The same for another caller."""
        other = Asked(self.key, self.what, self.ttl_s, self.tags)
        other.known = self.known
        return other


class Got(NamedTuple):
    """An answer for one value.

    Attributes:
        answer: What came.
        took_s: Seconds its source took.
        shared: It may be kept where other processes find it.
    """

    answer: Answer
    took_s: float
    shared: bool = True


class Source(Protocol):
    """Where values are had from."""

    what: str
    """What messages call it."""
    shared: bool
    """Whether other processes may be given its values."""

    def parts(self, asked: Sequence[Asked]) -> list[Sequence[Asked]]:
        """What is asked for together, in one request each."""

    async def fetch(self, part: Sequence[Asked], deadline_s: float) -> list[Got]:
        """The answers for one part, in its order.

        Raises:
            Exception: There are none.
        """
