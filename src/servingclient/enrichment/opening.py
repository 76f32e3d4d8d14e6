"""How a client of an external API is put together: what both doors share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from servingclient._types import Origin
from servingclient._version import __version__
from servingclient.auth.headers import Headers
from servingclient.enrichment.api import Api
from servingclient.enrichment.arguments import checked_ttl
from servingclient.enrichment.auth import Auth, Identity, identity_of
from servingclient.enrichment.base_url import parse_base_url, refusal
from servingclient.enrichment.fetch import Fetcher
from servingclient.enrichment.fetch_ports import Ports
from servingclient.enrichment.figures import Figures
from servingclient.enrichment.guard import Guard
from servingclient.enrichment.keys import Keys
from servingclient.enrichment.lookup import Lookup
from servingclient.enrichment.store import Store
from servingclient.enrichment.world import World
from servingclient.errors import ConfigError
from servingclient.settings import EnrichmentSettings, Queue, Settings


class Given(NamedTuple):
    """The arguments of a door, checked.

    Attributes:
        origin: Where the API is.
        path: What stands before each path.
        ttl_s: How long answers stay fresh.
        identity: Who asks.
        settings: The settings.
    """

    origin: Origin
    path: str
    ttl_s: float
    identity: Identity
    settings: EnrichmentSettings

    @property
    def name(self) -> str:
        """The base URL."""
        return f"{self.origin}{self.path}"

    def wire_settings(self) -> Settings:
        """What the connections go by."""
        settings = self.settings
        most = min(settings.pool.max_reply_bytes, settings.max_value_bytes)
        return Settings(pool=replace(settings.pool, max_reply_bytes=most), tls=settings.tls)

    def queue(self) -> Queue:
        """Who may wait for a place."""
        return Queue(max_calls=self.settings.max_waiting_calls)

    def refuses(self) -> Callable[[str], str | None]:
        """Judges the addresses that the host's name leads to."""
        allow = self.settings.allow_private_hosts
        return lambda address: refusal(address, allow_private=allow)


def given(
    base_url: str,
    ttl: float,
    auth: str | Auth | None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] | None,
    settings: EnrichmentSettings | None,
) -> Given:
    """The arguments of a door, checked.

    Raises:
        ConfigError: One of them is wrong. Nothing was sent.
    """
    if settings is None:
        settings = EnrichmentSettings()
    if not isinstance(settings, EnrichmentSettings):
        raise ConfigError(f"settings must be an EnrichmentSettings, not {type(settings).__name__}.")
    origin, path = parse_base_url(base_url, allow_private=settings.allow_private_hosts)
    identity = identity_of(auth, _pairs(headers))
    return Given(origin, path, checked_ttl(ttl), identity, settings)


def _pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]] | None) -> Headers:
    # Settings checks the form of headers for endpoints; the same words serve here
    return Settings(headers=() if headers is None else headers).headers  # type: ignore[arg-type]


class Kept(NamedTuple):
    """What one client keeps and counts."""

    keys: Keys
    store: Store
    figures: Figures
    guard: Guard


def kept(given: Given, now: Callable[[], float]) -> Kept:
    """An empty store with its figures."""
    guard = Guard()
    figures = Figures(guard, now())
    store = Store(given.settings.caching, now, guard, figures)
    keys = Keys(given.name, given.identity.principal, hashed=given.settings.hash_keys)
    return Kept(keys, store, figures, guard)


def api_of(given: Given, kept: Kept, world: World, ports: Ports) -> Api:
    """The API, over the ports of one colour."""
    settings = given.settings
    fetcher = Fetcher(given.origin, given.path, given.identity.fixed, settings, ports, __version__)
    lookup = Lookup(kept.keys, settings, kept.store, kept.figures, world)
    if ports.breaker is not None:
        kept.guard.when_forked(ports.breaker.forget_count)
    return Api(given.name, given.ttl_s, settings, lookup, fetcher, ports.breaker)


def made_cache(cache: Any, method: str) -> Any:
    """The cache that several processes share, in one colour.

    Raises:
        ConfigError: ``cache=`` is none.
    """
    if cache is None:
        return None
    make = getattr(cache, method, None)
    if isinstance(cache, type) or not callable(make):
        raise ConfigError(
            f"cache must be a cache such as RedisCache(url), not {type(cache).__name__}."
        )
    return make()
