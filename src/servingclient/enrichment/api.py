"""What the two doors of enrichment have in common: from their arguments to what is asked for.

Pure: nothing here waits or sends.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from servingclient._open import checked_timeout
from servingclient._stats import EnrichmentStats
from servingclient.enrichment.arguments import (
    OnError,
    checked_count,
    checked_text,
    checked_ttl,
    dumped,
    halts,
)
from servingclient.enrichment.asked import Asked
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.fetch import Fetcher
from servingclient.enrichment.forgetting import Forgotten, forgotten
from servingclient.enrichment.keys import Keys
from servingclient.enrichment.lookup import Lookup
from servingclient.enrichment.request import Request
from servingclient.enrichment.several import Several, several
from servingclient.enrichment.sources import OneEach
from servingclient.enrichment.templates import Template, params_of, query_of
from servingclient.enrichment.values import Enriched
from servingclient.errors import ConfigError
from servingclient.policies.breaker import Breaker
from servingclient.settings import EnrichmentSettings

_MOST_TEMPLATES: Final = 1000
"""Templates are written by programmers; whoever puts values into them would fill the memory."""


class One(NamedTuple):
    """A value that is asked for, and where it is had from."""

    source: OneEach
    asked: Asked


class Api:
    """One external API as a client sees it.

    Args:
        name: Its base URL, for figures and ``repr``.
        ttl_s: How long answers stay fresh.
        settings: The settings.
        lookup: Has values.
        fetcher: Sends requests.
        breaker: For the figures.

    Attributes:
        keys: Makes keys.
        loaders: The functions of each loader, by what its values are kept under.
    """

    def __init__(
        self,
        name: str,
        ttl_s: float,
        settings: EnrichmentSettings,
        lookup: Lookup,
        fetcher: Fetcher,
        breaker: Breaker | None,
    ) -> None:
        self.name = name
        self.ttl_s = ttl_s
        self.settings = settings
        self.lookup = lookup
        self.fetcher = fetcher
        self._breaker = breaker
        self.keys: Keys = lookup.keys
        self._templates: dict[str, Template] = {}
        self.loaders: dict[tuple[str, ...], tuple[object, ...]] = {}

    # ------------------------------------------------------------------ one value

    def hit(
        self, template: str, values: Mapping[str, Any], params: Mapping[str, Any] | None
    ) -> Enriched | None:
        """The answer at hand, if it is fresh beyond doubt.

        Raises:
            ConfigError: A value has no place, or a place no value that can stand there.
        """
        try:
            plan = self._templates[template]
        except (KeyError, TypeError):
            plan = self.template(template)
        segments = plan.segments(values)
        return self.lookup.hit(
            self.keys.key("GET", template, segments, () if params is None else params_of(params))
        )

    def get(
        self,
        template: str,
        values: Mapping[str, Any],
        params: Mapping[str, Any] | None,
        tags: Sequence[str],
        ttl: float | None,
    ) -> One:
        """What ``get`` asks for."""
        plan = self.template(template)
        ask = self._asks_get(plan, params, tags, ttl)
        return One(self._source("GET", plan), ask(plan.segments(values)))

    def post(
        self,
        template: str,
        values: Mapping[str, Any],
        params: Mapping[str, Any] | None,
        json: Any,
        tags: Sequence[str],
        ttl: float | None,
        *,
        cacheable: bool,
    ) -> One:
        """What ``post`` asks for."""
        if not isinstance(cacheable, bool):
            raise ConfigError("cacheable must be True or False.")
        plan = self.template(template)
        segments, query = plan.segments(values), params_of(params)
        body = dumped(json)
        path = plan.path(segments) + query_of(query)
        request = Request("POST", plan.text, path, body, idempotent=cacheable, absent=cacheable)
        key = self.keys.key("POST", plan.text, segments, query, body)
        resource = self.keys.resource(plan.text, segments)
        asked = Asked(key, request, self.ttl_of(ttl), (*self.tags_of(tags), resource))
        return One(self._source("POST", plan), asked)

    def _asks_get(
        self,
        plan: Template,
        params: Mapping[str, Any] | None,
        tags: Sequence[str],
        ttl: float | None,
    ) -> Callable[[tuple[str, ...]], Asked]:
        """What makes of the values in a path what is asked for; the rest is checked once."""
        keys, query, ttl_s = self.keys, params_of(params), self.ttl_of(ttl)
        kept_tags, tail = self.tags_of(tags), query_of(query)

        def asked(segments: tuple[str, ...]) -> Asked:
            request = Request("GET", plan.text, plan.path(segments) + tail)
            key = keys.key("GET", plan.text, segments, query)
            if not query:
                return Asked(key, request, ttl_s, kept_tags)
            return Asked(key, request, ttl_s, (*kept_tags, keys.resource(plan.text, segments)))

        return asked

    async def send(self, asked: Asked, timeout_s: float) -> Enriched:
        """Send a request whose answer is not kept."""
        lookup = self.lookup
        deadline_s = lookup.world.now() + timeout_s
        try:
            fetched = await self.fetcher.fetch(asked.what, deadline_s)
        finally:
            lookup.figures.count("misses", lookup.world.now())
        return Enriched(fetched.value, 0.0, "origin")

    # ------------------------------------------------------------------ several values

    def get_many(
        self,
        template: str,
        ids: Iterable[Any],
        values: Mapping[str, Any],
        *,
        name: str | None,
        params: Mapping[str, Any] | None,
        tags: Sequence[str],
        ttl: float | None,
        timeout: float | None,
        concurrency: int | None,
        on_error: OnError,
    ) -> Several:
        """What ``get_many`` asks for."""
        plan = self.template(template)
        open_names = [place for place in plan.names if place not in values]
        if name is None and len(open_names) == 1:
            name = open_names[0]
        if name is None or name not in plan.names or name in values:
            raise ConfigError(
                f"get_many needs one place for the ids in {plan.text!r}: give name= if it has "
                "several, and the values of the others by their names."
            )
        ask_for = self._asks_get(plan, params, tags, ttl)
        path_values = dict(values)

        def ask(one: Any) -> Asked:
            path_values[name] = one
            return ask_for(plan.segments(path_values))

        most = self.settings.max_calls
        return several(
            self._source("GET", plan),
            ids,
            ask,
            what="ids",
            most=most if concurrency is None else min(most, checked_count(concurrency)),
            timeout_s=self.timeout_of(timeout),
            halts=halts(on_error),
        )

    # ------------------------------------------------------------------ invalidation

    def forgotten(
        self,
        template: str | None,
        prefix: str | None,
        tag: str | None,
        values: Mapping[str, Any],
    ) -> Forgotten:
        """What ``invalidate`` is to forget.

        Raises:
            ConfigError: It is not said by exactly one of template, prefix and tag.
        """
        plan = None if template is None else self.template(template)
        return forgotten(self.keys, plan, prefix, tag, values)

    def forget(self, matches: Callable[[Hashable, Entry], bool]) -> None:
        """Forget what is kept here; nobody joins what is being fetched now."""
        self.lookup.world.flights.forget()
        self.lookup.store.forget(matches)

    async def invalidate(self, what: Forgotten) -> None:
        """Forget what is kept here and where other processes find it."""
        self.forget(what.matches)
        shared = self.lookup.world.shared
        if shared is not None:
            deadline_s = self.lookup.world.now() + self.settings.timeout_s
            await shared.invalidate(deadline_s, keys=what.keys, prefix=what.prefix, tag=what.tag)

    # ------------------------------------------------------------------ arguments

    def template(self, text: str | None) -> Template:
        """A template, taken apart.

        Raises:
            ConfigError: It is malformed, or there are too many.
        """
        found = self._templates.get(text) if isinstance(text, str) else None
        if found is not None:
            return found
        plan = Template(text)
        if len(self._templates) >= _MOST_TEMPLATES:
            raise ConfigError(
                f"This client has seen {_MOST_TEMPLATES:,} templates. Write values as places, such "
                "as get('/users/{id}', id=7): only so they are encoded, and found again."
            )
        self._templates[plan.text] = plan
        return plan

    def ttl_of(self, ttl: float | None) -> float:
        """A ``ttl=`` argument in seconds.

        Raises:
            ConfigError: It is no number of at least 0.
        """
        return self.ttl_s if ttl is None else checked_ttl(ttl)

    def timeout_of(self, timeout: float | None) -> float:
        """A ``timeout=`` argument in seconds.

        Raises:
            ConfigError: It is no number above 0.
        """
        return self.settings.timeout_s if timeout is None else checked_timeout(timeout)

    def tags_of(self, tags: Sequence[str]) -> tuple[str, ...]:
        """Tags as they are kept.

        Raises:
            ConfigError: They are no list of texts.
        """
        if not tags and isinstance(tags, (tuple, list)):
            return ()
        if isinstance(tags, str) or not isinstance(tags, Iterable):
            raise ConfigError("tags must be a list of texts, such as tags=['user:7'].")
        return tuple(self.keys.tag(checked_text(tag, "tags")) for tag in tags)

    def _source(self, method: str, plan: Template) -> OneEach:
        what = f"{method} {plan.text} of {self.fetcher.api}"
        return OneEach(self.fetcher, self.settings, what)

    # ------------------------------------------------------------------ figures

    def stats(self) -> EnrichmentStats:
        """What has been counted."""
        lookup, breaker = self.lookup, self._breaker
        now_s, shared = lookup.world.now(), lookup.world.shared
        return lookup.figures.snapshot(
            self.name,
            now_s,
            refused=0 if breaker is None else breaker.refused,
            breaker=None if breaker is None else breaker.state(now_s),
            entries=len(lookup.store),
            entries_bytes=lookup.store.size_bytes,
            shared_bypassed=False if shared is None else shared.bypassed,
        )
