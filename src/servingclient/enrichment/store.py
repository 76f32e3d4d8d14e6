"""Answers kept in this process, bounded in number and bytes. Pure: time is an argument.

cachetools is not safe among threads: without a lock some keys raise for ever after
(https://github.com/tkem/cachetools/issues/294). So every access holds one, ``len`` and iteration
too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from functools import partial
from itertools import islice
from typing import Final, NamedTuple

import cachetools

from servingclient.enrichment.entry import Entry
from servingclient.enrichment.figures import Figures, Guarded
from servingclient.enrichment.freshness import sure_until_s, useful_until_s
from servingclient.settings import Caching

_SHARE: Final = 10
"""A single answer may have this part of all bytes: a larger one would push out everything else."""
_MOST_FAILURES: Final = 1000
_OVERHEAD_BYTES: Final = 512
"""What an entry takes beside its bytes: key, times and the places in cachetools' tables."""


_MOST_INVALIDATIONS: Final = 64
"""What is on its way is held to so many of the latest; older than those, it is not kept."""
Matches = Callable[[Hashable, Entry], bool]
"""Whether an entry under a key is meant."""


class Kept(NamedTuple):
    """An entry and how long it needs no judging.

    Attributes:
        entry: What is kept.
        sure_until_s: Up to this instant it is fresh, whatever chance says.
    """

    entry: Entry
    sure_until_s: float


class Store:
    """The answers of one client, for any number of threads.

    Args:
        rules: How many, and how eagerly they are fetched anew.
        now: The clock, in seconds.
        guard: The lock.
        figures: Where hits are counted, under the same lock.

    Attributes:
        generation: Grows with each invalidation.
        puts: Grows with each entry that is kept.
    """

    def __init__(
        self, rules: Caching, now: Callable[[], float], guard: Guarded, figures: Figures
    ) -> None:
        self._rules = rules
        self._now = now
        self._guard = guard
        self._figures = figures
        self.generation: int = 0
        self.puts: int = 0
        self._closed = False
        self._invalidations: deque[Matches] = deque(maxlen=_MOST_INVALIDATIONS)
        self._empty()
        guard.when_broken(self._empty)

    def _empty(self) -> None:
        self._kept: cachetools.TLRUCache[Hashable, Kept] = cachetools.TLRUCache(
            self._rules.max_bytes, _useful_until, self._now, _size
        )
        self._failures: cachetools.TTLCache[Hashable, Exception] = cachetools.TTLCache(
            _MOST_FAILURES, self._rules.error_ttl_s, self._now
        )

    def hit(self, key: Hashable, now_s: float) -> Entry | None:
        """What is kept under ``key`` if it is fresh whatever chance says; counted as had."""
        with self._guard.lock:
            try:
                entry, sure_s = self._kept[key]
            except KeyError:
                return None
            if now_s >= sure_s:
                return None
            figures = self._figures
            if entry.negative:
                figures.negatives += 1
            else:
                figures.hits += 1
            if now_s >= figures.due_s:
                figures.sample(now_s)
            return entry

    def get(self, key: Hashable) -> Kept | None:
        """What is kept under ``key``, of whatever use."""
        with self._guard.lock:
            try:
                return self._kept[key]
            except KeyError:
                return None

    def get_many(self, keys: Iterable[Hashable]) -> list[Kept | None]:
        """The same for several, in order."""
        with self._guard.lock:
            return [self._kept.get(key) for key in keys]  # a miss that raises costs 1 µs more

    def put(self, key: Hashable, entry: Entry, generation: int | None = None) -> bool:
        """Keep an entry, unless it is of no use or too large, or was forgotten meanwhile.

        Args:
            key: Under which.
            entry: What.
            generation: The store's generation when the entry was asked for: what was forgotten
                since then is not to come back.

        Returns:
            Whether it is kept.
        """
        return self.put_many([(key, entry)], generation) == 1

    def put_many(
        self, entries: Sequence[tuple[Hashable, Entry]], generation: int | None = None
    ) -> int:
        """The same for several, each key once.

        Returns:
            How many are kept.
        """
        rules = self._rules
        good: list[tuple[Hashable, Kept]] = []
        with self._guard.lock:
            now_s = self._now()
            for key, entry in entries:
                if self._closed or self.outdated(key, entry, generation):
                    continue
                kept = Kept(entry, sure_until_s(entry, rules.early_refresh_factor))
                if _size(kept) * _SHARE > rules.max_bytes or useful_until_s(entry) <= now_s:
                    self._discard(key)
                    continue
                good.append((key, kept))
            good = good[-rules.max_entries :]  # those before would have to go at once
            for key, kept in good:
                self._make_room(key)
                self._kept[key] = kept
            self.puts += len(good)
        return len(good)

    def _make_room(self, key: Hashable) -> None:
        """Drop what was least recently used, so that ``key`` has a place."""
        most = self._rules.max_entries
        count = cachetools.Cache.__len__  # what has expired is counted too, and not looked for
        if count(self._kept) < most or key in self._kept:
            return
        if len(self._kept) >= most:  # this looks for it
            while count(self._kept) >= most:
                self._kept.popitem()

    def outdated(self, key: Hashable, entry: Entry, generation: int | None) -> bool:
        """Whether it was forgotten since ``generation``, as far as that is known."""
        if generation is None or generation == self.generation:
            return False
        with self._guard.lock:
            since = self.generation - generation
            if since > len(self._invalidations):
                return True
            latest = islice(reversed(self._invalidations), since)
            return any(matches(key, entry) for matches in latest)

    def put_failure(self, key: Hashable, error: Exception) -> None:
        """Remember for ``Caching.error_ttl_s`` that there is none to be had."""
        with self._guard.lock:
            self._failures[key] = error

    def failures(self, keys: Iterable[Hashable]) -> dict[Hashable, Exception]:
        """The failures remembered of ``keys``."""
        with self._guard.lock:
            found = {key: self._failures.get(key) for key in keys}
        return {key: error for key, error in found.items() if error is not None}

    def forget(self, matches: Matches) -> int:
        """Drop what ``matches``, and have nothing of it kept that is being fetched now.

        Returns:
            How many were dropped.
        """
        with self._guard.lock:
            self.generation += 1
            self._invalidations.append(matches)
            # not self._kept[key]: looking for what to forget is no use of the others
            look = partial(cachetools.Cache.__getitem__, self._kept)
            found = [key for key in self._kept if matches(key, look(key).entry)]
            for key in found:
                self._discard(key)
            self._failures.clear()
            return len(found)

    def close(self) -> None:
        """Drop everything, and keep nothing more."""
        with self._guard.lock:
            self._closed = True
            self.generation += 1
            self._empty()

    def _discard(self, key: Hashable) -> None:
        try:
            del self._kept[key]
        except KeyError:  # not there, or past its use, which cachetools tells in the same way
            pass

    @property
    def size_bytes(self) -> int:
        """Bytes of what is kept."""
        with self._guard.lock:
            return int(self._kept.currsize)

    def __len__(self) -> int:
        with self._guard.lock:
            return len(self._kept)


def _useful_until(_key: Hashable, kept: Kept, _now_s: float) -> float:
    return useful_until_s(kept.entry)


def _size(kept: Kept) -> int:
    return kept.entry.size_bytes + _OVERHEAD_BYTES
