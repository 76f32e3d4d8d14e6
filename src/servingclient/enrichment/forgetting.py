"""What an invalidation forgets, here and in a shared cache. Pure.

A path may have been asked for with parameters, and what hashes of them stand in keys cannot be
listed. So such answers carry a tag of their path, and one without is found by its key.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from servingclient.enrichment.arguments import checked_text
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.keys import Keys
from servingclient.enrichment.templates import Template
from servingclient.errors import ConfigError


class Forgotten(NamedTuple):
    """What is invalidated.

    Attributes:
        matches: Whether something that is kept here is meant.
        keys: Keys in a shared cache.
        prefix: What keys in a shared cache begin with, or None.
        tag: A tag as it is kept, or None.
    """

    matches: Callable[[Hashable, Entry], bool]
    keys: tuple[str, ...] = ()
    prefix: str | None = None
    tag: str | None = None


def forgotten(
    keys: Keys,
    plan: Template | None,
    prefix: str | None,
    tag: str | None,
    values: Mapping[str, Any],
) -> Forgotten:
    """What is meant by a template with values or without, a prefix of templates, or a tag.

    Raises:
        ConfigError: Not exactly one of them is given, or a value has no place.
    """
    if (plan is not None) + (prefix is not None) + (tag is not None) != 1:
        raise ConfigError(
            "invalidate takes one of template (with its values, for one path), prefix (of "
            "templates; '/' is all) and tag."
        )
    if plan is None and values:
        raise ConfigError(f"invalidate has no place for {min(values)}: values need their template.")
    if tag is not None:
        kept = keys.tag(checked_text(tag, "tag"))
        return Forgotten(lambda _key, entry: kept in entry.tags, tag=kept)
    if prefix is not None:
        start = checked_text(prefix, "prefix")
        return Forgotten(
            lambda key, _: _template_of(key).startswith(start), prefix=keys.prefix(start)
        )
    assert plan is not None
    if not values:
        whole = keys.prefix(plan.text) + "|"
        return Forgotten(lambda key, _: _template_of(key) == plan.text, prefix=whole)
    segments = plan.segments(values)
    exact = keys.key("GET", plan.text, segments, ())
    resource = keys.resource(plan.text, segments)
    return Forgotten(
        lambda key, entry: key == exact or resource in entry.tags,
        keys=(keys.shared(exact),),
        tag=resource,
    )


def _template_of(key: Hashable) -> str:
    return key[2] if isinstance(key, tuple) else ""
