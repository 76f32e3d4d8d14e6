"""The door to an external API for asyncio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, NoReturn

from servingclient._open import not_pickled
from servingclient._stats import EnrichmentStats
from servingclient.enrichment.arguments import OnError
from servingclient.enrichment.auth import Auth
from servingclient.enrichment.cached import CachedFunction, P, R
from servingclient.enrichment.functions import kept_by_tasks
from servingclient.enrichment.keyed import keyed
from servingclient.enrichment.loader import AsyncLoader
from servingclient.enrichment.on_tasks import OnTasks
from servingclient.enrichment.opening import given
from servingclient.enrichment.ports import CacheSpec
from servingclient.enrichment.several import answers
from servingclient.enrichment.values import Enriched
from servingclient.settings import EnrichmentSettings

if TYPE_CHECKING:
    import httpx


class AsyncEnrichmentClient:
    """Asks one external API for values, and keeps them, for any number of tasks of one event loop.

    A value that is kept costs some microseconds, one that is not one request, however many tasks
    want it at once. The API is asked no faster than it says or you set, left alone for a while when
    it fails, and what is past its time is given out while a new value is fetched, or when there is
    none to be had. Make one per API and principal, and keep it.

    Args:
        base_url: ``https://<host>[:port][/path]``; ``http://`` and addresses that are not public
            only with ``EnrichmentSettings(allow_private_hosts=True)``.
        ttl: Seconds for which an answer is fresh. The API's own headers may shorten it.
        auth: A bearer token, or :class:`Bearer`, :class:`Basic`, :class:`ApiKey` or
            :class:`HeaderProvider`. Answers to one principal are never given to another.
        headers: Further header lines of every request.
        settings: See :class:`~servingclient.settings.EnrichmentSettings`.
        cache: A cache that processes share, such as ``RedisCache(url)``; None keeps values in this
            process only.
        transport: Any httpx transport to use instead of the own connections. It resolves names
            itself, so the addresses they lead to are not checked.

    Raises:
        ConfigError: An argument is wrong. Nothing was sent.

    Example:
        >>> local = EnrichmentSettings(allow_private_hosts=True)
        >>> api = emulator.external.base_url
        >>> async with AsyncEnrichmentClient(api, ttl=300, settings=local) as users:
        ...     found = await users.get_many("/users/{id}", [7, 8])
        ...     [one.source for one in found.values()]
        ['origin', 'origin']
    """

    def __init__(
        self,
        base_url: str,
        *,
        ttl: float,
        auth: str | Auth | None = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        settings: EnrichmentSettings | None = None,
        cache: CacheSpec | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._parts = OnTasks(given(base_url, ttl, auth, headers, settings), cache, transport)
        self._api = self._parts.api

    @property
    def settings(self) -> EnrichmentSettings:
        """The settings in force."""
        return self._api.settings

    async def get(
        self,
        template: str,
        /,
        *,
        params: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        ttl: float | None = None,
        timeout: float | None = None,
        **path_values: Any,
    ) -> Enriched:
        """The API's answer to ``GET``, kept or asked for.

        404 and 410 are answers too: ``found`` is then False. The value is shared with others who
        ask for it: do not change it.

        Args:
            template: Path below the base URL with places for values: ``"/users/{id}"``.
            params: Query parameters: text, numbers, truth values, or lists of these.
            tags: Names by which it can be invalidated. An answer that is kept has those it was
                fetched with.
            ttl: Seconds for which this answer is fresh, once it is fetched; one that is kept is
                given out for as long as who fetched it said. 0 keeps nothing as fresh.
            timeout: Seconds for the whole call: rate limit, queue, attempts, backoff.
            **path_values: The values, each text, a whole number or a UUID: ``id=7``. Each is one
                segment of the path, percent-encoded.

        Raises:
            ConfigError: The template, a value or another argument is wrong. Nothing was sent.
            CircuitOpen: The API failed too often lately, and nothing of use is kept.
            Throttled: The API, or the rate limit, wants slower calls than the timeout allows.
            DeadlineExceeded: Time ran out.
            ServingError: Any other failure; the root of all of these.
        """
        api = self._api
        if ttl is not None or timeout is not None:
            ttl, timeout = api.ttl_of(ttl), api.timeout_of(timeout)
        found = api.hit(template, path_values, params)
        if found is not None:
            return found
        source, asked = api.get(template, path_values, params, tags, ttl)
        return await api.lookup.one(source, asked, api.timeout_of(timeout))

    async def post(
        self,
        template: str,
        /,
        *,
        json: Any,
        cacheable: bool = False,
        params: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        ttl: float | None = None,
        timeout: float | None = None,
        **path_values: Any,
    ) -> Enriched:
        """The API's answer to ``POST``.

        Args:
            template: As for ``get``.
            json: The body: what JSON can hold.
            cacheable: It only looks something up: its answer may be kept, and it may be sent twice.
                Otherwise neither.
            params: As for ``get``.
            tags: As for ``get``.
            ttl: As for ``get``.
            timeout: As for ``get``.
            **path_values: As for ``get``.

        Raises:
            PayloadError: ``json`` cannot be sent.
            NotFound: 404 or 410 without ``cacheable``; with it they are answers, as for ``get``.
            ServingError: As for ``get``.
        """
        api = self._api
        timeout_s = api.timeout_of(timeout)
        source, asked = api.post(
            template, path_values, params, json, tags, ttl, cacheable=cacheable
        )
        if cacheable:
            return await api.lookup.one(source, asked, timeout_s)
        return await api.send(asked, timeout_s)

    async def get_many(
        self,
        template: str,
        /,
        ids: Iterable[Any],
        *,
        name: str | None = None,
        concurrency: int | None = None,
        on_error: OnError = "raise",
        params: Mapping[str, Any] | None = None,
        tags: Sequence[str] = (),
        ttl: float | None = None,
        timeout: float | None = None,
        **path_values: Any,
    ) -> dict[Any, Any]:
        """Answers for many ids: those that are kept at once, the others several at a time.

        Args:
            template: As for ``get``.
            ids: Values for one place; each is asked for once.
            name: That place; None where it is the only one left.
            concurrency: Requests at once; None takes ``settings.max_calls``, which is the most.
            on_error: ``"raise"`` ends with the first error; ``"return"`` gives each id that failed
                its error in place of an answer. An id that cannot be one, such as None, is never
                sent, and its error is a ``ConfigError``.
            params: As for ``get``, the same for all.
            tags: As for ``get``, the same for all.
            ttl: As for ``get``.
            timeout: Seconds for all of them.
            **path_values: Values for the other places.

        Returns:
            ``id -> Enriched`` (or its error), in the order of ``ids``.

        Raises:
            ServingError: As for ``get``.
        """
        api = self._api
        wanted = api.get_many(
            template,
            ids,
            path_values,
            name=name,
            params=params,
            tags=tags,
            ttl=ttl,
            timeout=timeout,
            concurrency=concurrency,
            on_error=on_error,
        )
        return await answers(wanted, api.lookup)

    def loader(
        self,
        template: str,
        /,
        *,
        key: Callable[[Any], Any],
        param: str = "ids",
        body: Callable[[list[str]], Any] | None = None,
        records: Callable[[Any], Iterable[Any]] | None = None,
        max_keys: int = 100,
        label: str = "",
        ttl: float | None = None,
        tags: Sequence[str] = (),
        **path_values: Any,
    ) -> AsyncLoader:
        """A loader for an API that takes many keys in one request. Make it once and keep it.

        Args:
            template: Path that takes the keys: ``"/users"``.
            key: Tells of a record which key it is for: ``lambda record: record["id"]``.
            param: Query parameter that takes the keys, joined by commas.
            body: Makes the body of a ``POST`` of a list of keys, instead.
            records: Takes the records out of a reply that is no list of them.
            max_keys: Keys in one request.
            label: Keeps its values apart from those of another loader for the same path.
            ttl: As for ``get``.
            tags: As for ``get``, the same for all.
            **path_values: As for ``get``.

        Raises:
            ConfigError: An argument is wrong, or there is a loader for this path that has other
                functions and the same ``label``.
        """
        wanted = keyed(
            self._api,
            template,
            path_values,
            param=param,
            body=body,
            key=key,
            records=records,
            max_keys=max_keys,
            label=label,
            ttl=ttl,
            tags=tags,
        )
        return AsyncLoader(wanted, self._parts.behind)

    def cached(
        self, *, ttl: float | None = None, key: Callable[..., Any] | None = None
    ) -> Callable[[Callable[P, Awaitable[R]]], CachedFunction[P, Coroutine[Any, Any, R]]]:
        """Keep the values of an async function of yours, by the same rules.

        They stay in this process. One task awaits it for all who want the same value; what it
        raises goes to the caller, unless a value past its time may be given out.

        Args:
            ttl: Seconds for which a value is fresh; None takes the client's.
            key: Makes a key of the arguments; None takes the arguments, which must be plain values
                then. ``f(1)`` and ``f(a=1)`` are kept apart.

        Raises:
            ConfigError: It is no async function, or an argument is wrong.
        """
        return kept_by_tasks(self._api, self._api.ttl_of(ttl), key)

    async def invalidate(
        self,
        template: str | None = None,
        /,
        *,
        prefix: str | None = None,
        tag: str | None = None,
        **path_values: Any,
    ) -> None:
        """Forget answers, here and in the shared cache; those on their way are not kept.

        Args:
            template: With its values, one path (with whatever parameters, and what loaders keep of
                it); without, all paths of the template.
            prefix: All templates that begin so; ``"/"`` is all.
            tag: All answers with this tag.
            **path_values: As for ``get``.

        Raises:
            ConfigError: Not exactly one of template, prefix and tag is given.
        """
        api = self._api
        what = api.forgotten(template, prefix, tag, path_values)
        await api.invalidate(what)

    def stats(self) -> EnrichmentStats:
        """What this client has counted and keeps now."""
        return self._api.stats()

    async def aclose(self) -> None:
        """Admit no more calls, wait ``close_timeout_s`` for those running, then end them.

        May be called again.
        """
        await self._parts.aclose()

    async def __aenter__(self) -> AsyncEnrichmentClient:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __reduce__(self) -> NoReturn:
        raise not_pickled("AsyncEnrichmentClient")

    def __repr__(self) -> str:
        return f"AsyncEnrichmentClient({self._api.name!r}, {self._parts!r})"
