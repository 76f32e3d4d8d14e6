"""The story of a shared cache in Redis, written once for both colours.

What lies in Redis, all names beginning with the user's prefix and the version of the layout:

====================  ====================================================================
``…:e:{key}``         an entry (``codec``), for as long as any rule may give it out
``…:g``               a hash: invalidated prefixes of keys and their tokens (``redis_marks``)
``…:t:{tag}``         the token of a tag
``…:l:{key}``         a lease: the token of who fetches ``key`` now
====================  ====================================================================
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from cachetools import LRUCache

from servingclient._ports import Guard
from servingclient.enrichment.codec import Codec, Stored
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.redis_asking import Asking, Until
from servingclient.enrichment.redis_links import Command, Refused
from servingclient.enrichment.redis_marks import MOST_PREFIXES, Marks, prefixes_of

_KEYS_AT_ONCE: Final = 1000
"""Keys in one round trip, which has the whole budget: reading a thousand costs redis-py 8 ms."""
_TAG_LIFE_S: Final = 7 * 86400
"""A tag nobody stored anything under for so long is forgotten. Entries live less, or end with it.
"""
_LONGEST_LIFE_S: Final = 30 * 86400
_KEYS_IN_MIND: Final = 10_000
"""Keys that were looked up and may be stored next, each with the tokens seen then."""
_RELEASE: Final = (
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end"
)
"""Compare and delete in one step. WATCH would take three round trips, and begin anew when somebody
else comes between. Where scripts are not allowed the lease ends by its time."""


class _Lease(NamedTuple):
    token: str
    until_s: float


class SharedRedis:
    """A cache in Redis; see ``ports.SharedCache``.

    Args:
        asking: What asks Redis, or leaves it alone.
        codec: How values are written.
        name: What all names in Redis begin with.
        lease_s: Longest lease.
        guard: Makes a few lines atomic.
        now: The monotonic clock.
        wall: The wall clock, which stamps are of.
    """

    def __init__(
        self,
        asking: Asking,
        codec: Codec,
        *,
        name: str,
        lease_s: float,
        guard: Guard,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._asking = asking
        self._codec = codec
        self._name = name
        self._lease_s = lease_s
        self._guard = guard
        self._now = now
        self._wall = wall
        self._marks: dict[str, Marks] = {}
        self._leases: LRUCache[str, _Lease] = LRUCache(_KEYS_IN_MIND)

    @property
    def bypassed(self) -> bool:
        """See ``ports.SharedCache.bypassed``."""
        return self._asking.bypassed

    async def aclose(self) -> None:
        """Close its connections."""
        await self._asking.aclose()

    # ---------------------------------------------------------------- reading

    async def get_many(
        self, keys: Sequence[str], deadline_s: float, tags: Sequence[str] = ()
    ) -> list[Entry | None]:
        """See ``ports.SharedCache.get_many``."""
        found: list[Entry | None] = []
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            until = self._asking.until(deadline_s)
            some = await self._get_some(keys[start : start + _KEYS_AT_ONCE], until, tags)
            if some is None:
                break
            found += some
        return found + [None] * (len(keys) - len(found))

    async def _get_some(
        self, keys: Sequence[str], until: Until, tags: Sequence[str]
    ) -> list[Entry | None] | None:
        names = [self._entry(key) for key in keys]
        known = list(dict.fromkeys(tags))
        commands = [self._prefixes(), ("MGET", *map(self._tag, known), *names)]
        replies = await self._asking.ask(commands, until, reads=names)
        if replies is None:
            return None
        values = replies[1]
        if not _is_list_of_values(values, len(known) + len(names)):
            self._asking.leave("an MGET was answered with something else")
            return None
        now_s, wall_s = self._now(), self._wall()
        stored = [
            None if data is None else self._codec.unpack(data, name, now_s, wall_s)
            for name, data in zip(names, values[len(known) :], strict=True)
        ]
        tokens = dict(zip(known, values, strict=False))
        marks = await self._complete(replies[0], tokens, stored, until)
        if marks is None:
            return None
        self._bear_in_mind(keys, marks)
        return [_valid(one, key, marks) for one, key in zip(stored, keys, strict=True)]

    def _bear_in_mind(self, keys: Sequence[str], marks: Marks) -> None:
        with self._guard:
            self._marks.update(dict.fromkeys(keys, marks))
            if len(self._marks) > _KEYS_IN_MIND:  # an LRUCache costs 2 µs a key on each look-up
                self._marks = dict(list(self._marks.items())[-_KEYS_IN_MIND // 2 :])

    async def _complete(
        self,
        reply: Any,
        tokens: Mapping[str, bytes | None],
        stored: Iterable[Stored | None],
        until: Until,
    ) -> Marks | None:
        """The tokens that decide about ``stored``; a second round trip where some are not known."""
        prefixes = prefixes_of(reply)
        have = {tag: token for tag, token in tokens.items() if token}
        need = dict.fromkeys(tag for tag in tokens if tag not in have)
        need |= dict.fromkeys(
            tag for one in stored if one for tag in one.entry.tags if tag not in have
        )
        if prefixes is not None and not need:
            return Marks(prefixes, have)
        return await self._look_up(list(need), have, until)

    async def _look_up(
        self, tags: Sequence[str], have: Mapping[str, bytes], until: Until
    ) -> Marks | None:
        """The tokens of all prefixes and of ``tags``; those that are missing are made."""
        commands: list[Command] = [("HSETNX", f"{self._name}:g", "", _token())]
        commands += [("SET", self._tag(tag), _token(), "NX", "EX", _TAG_LIFE_S) for tag in tags]
        commands += [self._prefixes()]
        if tags:
            commands += [("MGET", *map(self._tag, tags))]
        replies = await self._asking.ask(commands, until)
        if replies is None:
            return None
        found = replies.pop() if tags else []
        prefixes = prefixes_of(replies[-1])
        if prefixes is None or not _is_list_of_values(found, len(tags)):
            return None
        made = {tag: token for tag, token in zip(tags, found, strict=True) if token}
        return Marks(prefixes, {**have, **made})

    # ---------------------------------------------------------------- writing

    async def set_many(self, entries: Mapping[str, Entry], deadline_s: float) -> None:
        """See ``ports.SharedCache.set_many``."""
        if self._asking.left_alone():
            return
        keys = list(entries)
        for start in range(0, len(keys), _KEYS_AT_ONCE):
            some = {key: entries[key] for key in keys[start : start + _KEYS_AT_ONCE]}
            until = self._asking.until(deadline_s)
            marks = await self._marks_for(some, until)
            if marks is None:
                return
            commands = [
                command
                for key, entry in some.items()
                if (command := self._set(key, entry, marks[key])) is not None
            ]
            tags = dict.fromkeys(tag for entry in some.values() for tag in entry.tags)
            commands += [("EXPIRE", self._tag(tag), _TAG_LIFE_S) for tag in tags]
            if commands and await self._asking.ask(commands, until) is None:
                return

    async def _marks_for(
        self, entries: Mapping[str, Entry], until: Until
    ) -> dict[str, Marks] | None:
        """The tokens each of ``entries`` is stored with: those seen when it was looked up, before
        it was fetched, so that an invalidation in between is not lost.
        """
        with self._guard:
            seen = {key: self._marks.pop(key, None) for key in entries}
        known = {
            key: marks
            for key, marks in seen.items()
            if marks is not None and marks.tokens(entries[key].tags) is not None
        }
        if len(known) == len(entries):
            return known
        rest = [key for key in entries if key not in known]
        tags = list(dict.fromkeys(tag for key in rest for tag in entries[key].tags))
        marks = await self._look_up(tags, {}, until)
        if marks is None:
            return None
        for key in rest:
            before = seen[key]
            known[key] = (
                marks if before is None else Marks(before.prefixes, {**marks.tags, **before.tags})
            )
        return known

    def _set(self, key: str, entry: Entry, marks: Marks) -> Command | None:
        tokens = marks.tokens(entry.tags)
        age_s = max(self._now() - entry.stored_s, 0.0)
        life_s = entry.fresh_s + max(entry.revalidate_s, entry.on_error_s) - age_s
        if tokens is None or not life_s > 0.001:
            return None
        name = self._entry(key)
        data = self._codec.pack(name, entry, marks.epoch(key), tokens, age_s, self._wall())
        if data is None:
            return None
        return ("SET", name, data, "PX", int(min(life_s, _LONGEST_LIFE_S) * 1000))

    # ---------------------------------------------------------------- leases

    async def lease(
        self, key: str, seconds: float, deadline_s: float, since_s: float | None = None
    ) -> bool:
        """See ``ports.SharedCache.lease``."""
        began_s, span_s = self._now(), min(seconds, self._lease_s)
        with self._guard:
            mine = self._leases.get(key)
        if mine is not None and began_s < mine.until_s:
            return True  # of a fetch that has ended, and is about to give it back
        token = secrets.token_hex(8)
        millis = max(int(span_s * 1000), 1)
        command: Command = ("SET", f"{self._name}:l:{key}", token, "NX", "PX", millis)
        replies = await self._asking.ask([command], self._asking.until(deadline_s, since_s))
        if replies is not None and replies[0] == b"OK":
            with self._guard:
                self._leases[key] = _Lease(token, began_s + span_s)
        return replies is None or replies[0] is not None

    async def release(self, key: str, deadline_s: float) -> None:
        """See ``ports.SharedCache.release``."""
        with self._guard:
            mine = self._leases.pop(key, None)
        if mine is not None:
            command: Command = ("EVAL", _RELEASE, 1, f"{self._name}:l:{key}", mine.token)
            await self._asking.ask([command], self._asking.until(deadline_s))

    # ---------------------------------------------------------------- invalidation

    async def invalidate(
        self,
        deadline_s: float,
        *,
        keys: Sequence[str] = (),
        prefix: str | None = None,
        tag: str | None = None,
    ) -> None:
        """See ``ports.SharedCache.invalidate``. What Redis is not told now, it is told before this
        process reads from it again.
        """
        commands: list[Command] = [
            ("UNLINK", *map(self._entry, keys[start : start + _KEYS_AT_ONCE]))
            for start in range(0, len(keys), _KEYS_AT_ONCE)
        ]
        if tag is not None:
            commands.append(("SET", self._tag(tag), _token(), "EX", _TAG_LIFE_S))
        if prefix is not None:
            commands.append(("HSET", f"{self._name}:g", prefix, _token()))
            commands.append(("HLEN", f"{self._name}:g"))
        if not commands:
            return
        until = self._asking.until(deadline_s)
        replies = await self._asking.ask(commands, until)
        if replies is None or any(isinstance(reply, Refused) for reply in replies):
            self._asking.owe(commands, otherwise=self._all_anew())
        elif prefix is not None and isinstance(replies[-1], int) and replies[-1] > MOST_PREFIXES:
            await self._asking.ask(self._all_anew(), until)

    def _all_anew(self) -> list[Command]:
        """Invalidate everything, which makes all other prefixes superfluous."""
        name = f"{self._name}:g"
        return [("MULTI",), ("DEL", name), ("HSET", name, "", _token()), ("EXEC",)]

    def _entry(self, key: str) -> str:
        return f"{self._name}:e:{key}"

    def _tag(self, tag: str) -> str:
        return f"{self._name}:t:{tag}"

    def _prefixes(self) -> Command:
        return ("HGETALL", f"{self._name}:g")


def _token() -> bytes:
    return secrets.token_bytes(8)


def _is_list_of_values(reply: Any, count: int) -> bool:
    return (
        isinstance(reply, list)
        and len(reply) == count
        and all(value is None or isinstance(value, bytes) for value in reply)
    )


def _valid(stored: Stored | None, key: str, marks: Marks) -> Entry | None:
    """The entry, where nothing has been invalidated since that concerns it."""
    if stored is None or stored.epoch != marks.epoch(key):
        return None
    entry = stored.entry
    return entry if not entry.tags or stored.tag_tokens == marks.tokens(entry.tags) else None
