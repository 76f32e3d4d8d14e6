"""What a kept answer is good for now. Pure: time and chance come as arguments."""

from __future__ import annotations

import math
from dataclasses import replace
from enum import Enum
from typing import Any, Final, NamedTuple

from servingclient.enrichment.cache_control import Said
from servingclient.enrichment.entry import Entry
from servingclient.settings import Caching

_LEAST_CHANCE: Final = 2.0**-53
"""The smallest number above 0 that ``random()`` gives: its logarithm bounds the early refresh."""
_EARLIEST: Final = -math.log(_LEAST_CHANCE)
_VALIDATOR_S: Final = 3600.0
"""How long beyond its time an answer with an ETag is kept to ask "still the same?": a 304 saves the
API the work and the network the answer."""


class Freshness(Enum):
    """What may be done with a kept answer."""

    FRESH = "fresh"
    """Give it out."""
    REVALIDATE = "revalidate"
    """Give it out, and fetch a new one behind the callers."""
    STALE_ON_ERROR = "stale_on_error"
    """Fetch a new one; give it out if there is none to be had."""
    GONE = "gone"
    """Of no more use, but for its ETag."""


def freshness(entry: Entry, now_s: float, early_factor: float, rand: float) -> Freshness:
    """Judge an entry.

    Shortly before its time it is taken for due at random, the more likely the nearer the end and
    the longer it takes to fetch, so that of a crowd one fetches it anew before all have to wait:
    XFetch, https://cseweb.ucsd.edu/~avattani/papers/cache_stampede.pdf.

    Args:
        entry: What is kept.
        now_s: The instant, on the clock of ``entry.stored_s``.
        early_factor: ``Caching.early_refresh_factor``.
        rand: A number in [0, 1).
    """
    left_s = entry.stored_s + entry.fresh_s - now_s
    if left_s > 0.0:
        early_s = entry.took_s * early_factor * -math.log(max(rand, _LEAST_CHANCE))
        if left_s > early_s or entry.negative:
            return Freshness.FRESH
        return Freshness.REVALIDATE
    if -left_s < entry.revalidate_s:
        return Freshness.REVALIDATE
    if -left_s < entry.on_error_s:
        return Freshness.STALE_ON_ERROR
    return Freshness.GONE


def sure_until_s(entry: Entry, early_factor: float) -> float:
    """Instant up to which an entry is fresh whatever chance says: it need not be judged."""
    early_s = 0.0 if entry.negative else entry.took_s * early_factor * _EARLIEST
    return entry.stored_s + entry.fresh_s - early_s


def useful_until_s(entry: Entry) -> float:
    """Instant from which on an entry is of no use."""
    beyond_s = max(entry.revalidate_s, entry.on_error_s, _VALIDATOR_S if entry.etag else 0.0)
    return entry.stored_s + entry.fresh_s + beyond_s


class Answer(NamedTuple):
    """What an API answered, apart from how long it is kept.

    Attributes:
        value: Decoded; None for a negative one.
        size_bytes: As it arrived.
        negative: There is no such thing.
        said: What its headers say about keeping it.
    """

    value: Any
    size_bytes: int
    negative: bool
    said: Said


def entry_of(
    answer: Answer,
    rules: Caching,
    *,
    ttl_s: float,
    now_s: float,
    took_s: float,
    rand: float,
    tags: tuple[str, ...] = (),
) -> Entry:
    """What is kept of an answer, and how long.

    The API's headers may shorten what the settings say, never lengthen it.

    Args:
        answer: What came.
        rules: The settings.
        ttl_s: Time to live asked for.
        now_s: When it was there.
        took_s: How long the API took.
        rand: A number in [0, 1): how much is taken off.
        tags: What it can be invalidated by.
    """
    heard = answer.said
    longest_s = rules.negative_ttl_s if answer.negative else ttl_s
    fresh_s = _least(longest_s, heard.fresh_s) * (1.0 - rules.ttl_jitter * rand)
    revalidate_s = on_error_s = 0.0
    if not answer.negative:
        own_s = rules.stale_while_revalidate_s
        if own_s is None:
            # the time to live in force, unless the API says itself how long beyond
            own_s = ttl_s if heard.revalidate_s is not None else _least(ttl_s, heard.fresh_s)
        revalidate_s = _least(own_s, heard.revalidate_s)
        on_error_s = _least(rules.stale_if_error_s, heard.on_error_s)
    if not heard.store:
        fresh_s = revalidate_s = on_error_s = 0.0
    return Entry(
        answer.value,
        now_s,
        fresh_s,
        revalidate_s,
        on_error_s,
        took_s,
        answer.size_bytes,
        answer.negative,
        None if answer.negative or not heard.store else heard.etag,
        tags,
    )


def bounded(entry: Entry, ttl_s: float) -> Entry:
    """An entry that another process keeps, for a caller to whom it may be fresh for less long."""
    return entry if entry.fresh_s <= ttl_s else replace(entry, fresh_s=ttl_s)


def _least(own_s: float, heard_s: float | None) -> float:
    return own_s if heard_s is None else min(own_s, heard_s)
