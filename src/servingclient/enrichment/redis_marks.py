"""What has been invalidated, as entries of a shared cache are held against it. Pure.

Nothing is looked for and deleted. Each prefix of keys that was ever invalidated, and each tag, has
a random token; an entry holds the tokens of its time, and with other tokens it counts as absent. So
an invalidation is one small write, however many entries it concerns, and it also reaches an answer
that was asked for before it and is stored after it. Sets of keys by tag would have to be read and
deleted member by member, would lose members to eviction in silence, and miss that late answer.

A token that is gone is not one that never was: who finds none makes a new one, which makes all
older entries absent. So eviction can only cause misses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

Prefixes = Mapping[str, bytes]
"""Invalidated prefixes and their tokens. The empty prefix, the root, is always among them."""

MOST_PREFIXES = 256
"""With more the root gets a new token and the rest go: all of them are read with every look-up."""


class Marks(NamedTuple):
    """The tokens of one moment.

    Attributes:
        prefixes: Of prefixes.
        tags: Of tags.
    """

    prefixes: Prefixes
    tags: Mapping[str, bytes]

    def with_tags_of(self, later: Marks) -> Marks:
        """These, with the tags that only ``later`` knows."""
        return Marks(self.prefixes, {**later.tags, **self.tags})

    def epoch(self, key: str) -> bytes:
        """The tokens of all prefixes that ``key`` has, in the order of the prefixes."""
        if len(self.prefixes) == 1:
            return self.prefixes[""]
        matching = sorted(prefix for prefix in self.prefixes if key.startswith(prefix))
        return b"".join(self.prefixes[prefix] for prefix in matching)

    def tokens(self, tags: Sequence[str]) -> tuple[bytes, ...] | None:
        """The tokens of ``tags``, or None when one is not known."""
        found = tuple(self.tags.get(tag, b"") for tag in tags)
        return found if all(found) else None


def prefixes_of(reply: Any) -> Prefixes | None:
    """The prefixes in a reply to ``HGETALL``; None when it has no root or is something else."""
    if not isinstance(reply, list) or len(reply) % 2:
        return None
    if not all(isinstance(part, bytes) for part in reply):
        return None
    names = [name.decode("utf-8", "replace") for name in reply[::2]]
    found = dict(zip(names, reply[1::2], strict=True))
    return found if found.get("") else None
