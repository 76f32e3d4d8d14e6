"""Values asked for under a caller's own ids, and what each id gets. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, NamedTuple

from servingclient.enrichment.arguments import at_position, ids_of
from servingclient.enrichment.asked import Asked, Source
from servingclient.enrichment.keys import Key
from servingclient.enrichment.lookup import Lookup
from servingclient.enrichment.rounds import Outcome
from servingclient.errors import ConfigError


class Several(NamedTuple):
    """Values that are asked for under the caller's own ids.

    Attributes:
        source: Where they are had from.
        asked: Which, each once.
        places: The caller's ids in their order, each with the key it is kept under, or with its
            error where it can be none.
        most: Requests at once.
        timeout_s: Seconds for all.
        halts: Whether the first failure ends it.
    """

    source: Source
    asked: list[Asked]
    places: dict[Hashable, Key | ConfigError]
    most: int
    timeout_s: float
    halts: bool


def several(
    source: Source,
    ids: Iterable[Any],
    ask: Callable[[Any], Asked],
    *,
    what: str,
    most: int,
    timeout_s: float,
    halts: bool,
) -> Several:
    """What is asked for under ``ids``.

    Args:
        source: Where values are had from.
        ids: The caller's.
        ask: What is asked for under one of them; ``ConfigError`` where it can be no id.
        what: What messages call the ids.
        most: See :class:`Several`.
        timeout_s: See :class:`Several`.
        halts: See :class:`Several`.

    Raises:
        ConfigError: One of them can be no id, and that ends it, or it cannot stand in a result
            either, since it can be no key of a dict.
    """
    asked: dict[Key, Asked] = {}
    places: dict[Hashable, Key | ConfigError] = {}
    refused: dict[Hashable, ConfigError] = {}
    for number, given in enumerate(ids_of(ids)):
        try:
            one = ask(given)
        except ConfigError as error:
            wrong = at_position(what, number, given, error)
            if halts or not _is_key(given):
                raise wrong from None
            places[given] = refused[given] = wrong
            continue
        places[given] = one.key
        asked.setdefault(one.key, one)
    places.update(refused)  # where True stands beside 1, which is the same key of a dict
    return Several(source, list(asked.values()), places, most, timeout_s, halts)


async def answers(several: Several, lookup: Lookup) -> dict[Any, Any]:
    """What a caller of several values gets, by its own ids and in their order.

    Raises:
        Exception: The first that failed, if that ends it.
    """
    outcomes = await lookup.many(
        several.source,
        several.asked,
        several.timeout_s,
        most=several.most,
        halts=several.halts,
    )
    failed = _first_failed(outcomes) if several.halts else None
    if failed is not None:
        try:
            raise failed
        finally:
            del failed, outcomes  # its traceback holds this frame
    found: dict[Any, Outcome] = dict(zip([one.key for one in several.asked], outcomes, strict=True))
    return {
        given: place if isinstance(place, ConfigError) else found[place]
        for given, place in several.places.items()
    }


def _first_failed(outcomes: Sequence[Outcome]) -> Exception | None:
    return next((one for one in outcomes if isinstance(one, Exception)), None)


def _is_key(given: object) -> bool:
    try:
        hash(given)
    except TypeError:
        return False
    return True
