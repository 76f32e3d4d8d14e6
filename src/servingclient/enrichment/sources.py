"""Where values are had from: one request each, one for many, or a function. Pure."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson

from servingclient.enrichment.asked import Asked, Got
from servingclient.enrichment.cache_control import NOTHING_SAID, Said
from servingclient.enrichment.fetch import Fetcher
from servingclient.enrichment.freshness import Answer
from servingclient.enrichment.request import Fetched, Request
from servingclient.errors import ResponseFormatError, ServingError
from servingclient.settings import EnrichmentSettings


class OneEach:
    """Each value is the answer to a request of its own; ``Asked.what`` is that request.

    Args:
        fetcher: Asks.
        settings: Whether to heed what the API says about keeping.
        what: What messages call it.
    """

    shared = True

    def __init__(self, fetcher: Fetcher, settings: EnrichmentSettings, what: str) -> None:
        self._fetcher = fetcher
        self._heed = settings.caching.follow_cache_control
        self.what = what

    def parts(self, asked: Sequence[Asked]) -> list[Sequence[Asked]]:
        """See ``Source.parts``."""
        return [(one,) for one in asked]

    async def fetch(self, part: Sequence[Asked], deadline_s: float) -> list[Got]:
        """See ``Source.fetch``."""
        (asked,) = part
        request: Request = asked.what
        known = asked.known
        # to a POST a server answers 412 and not 304 (RFC 9110 section 13.1.2)
        if self._heed and known is not None and known.etag and request.method == "GET":
            request = request._replace(etag=known.etag)
        if asked.spare:
            request = request._replace(brief=True)
        fetched = await self._fetcher.fetch(request, deadline_s)
        said = fetched.said if self._heed else NOTHING_SAID
        if fetched.unchanged and known is not None:
            kept = said if said.etag is not None else said._replace(etag=known.etag)
            answer = Answer(known.value, known.size_bytes, negative=False, said=kept)
        else:
            answer = Answer(fetched.value, fetched.size_bytes, fetched.negative, said)
        return [Got(answer, fetched.took_s, said.share)]


class ManyAtOnce:
    """Many values are the answer to one request; ``Asked.what`` is a value's key as text.

    Args:
        fetcher: Asks.
        settings: Whether to heed what the API says about keeping.
        request: Makes the request for several keys.
        key: Tells of a record which key it is for.
        records: Takes the records out of a reply.
        max_keys: How many keys one request takes.
        what: What messages call it.
        joined: Whether the keys stand in one parameter.
    """

    shared = True

    def __init__(
        self,
        fetcher: Fetcher,
        settings: EnrichmentSettings,
        request: Callable[[list[str]], Request],
        key: Callable[[Any], Any],
        records: Callable[[Any], Iterable[Any]],
        max_keys: int,
        what: str,
        *,
        joined: bool,
    ) -> None:
        self._fetcher = fetcher
        self._heed = settings.caching.follow_cache_control
        self._request = request
        self._key = key
        self._records = records
        self._max_keys = max_keys
        self.what = what
        self.joined = joined

    def parts(self, asked: Sequence[Asked]) -> list[Sequence[Asked]]:
        """See ``Source.parts``."""
        most = self._max_keys
        return [asked[start : start + most] for start in range(0, len(asked), most)]

    async def fetch(self, part: Sequence[Asked], deadline_s: float) -> list[Got]:
        """See ``Source.fetch``."""
        request = self._request([one.what for one in part])
        if all(one.spare for one in part):
            request = request._replace(brief=True)
        fetched = await self._fetcher.fetch(request, deadline_s)
        said = fetched.said if self._heed else NOTHING_SAID
        said = said._replace(etag=None)  # it is of the whole reply, and that is not kept
        by_key = self._by_key(fetched)
        return [self._got(by_key, one.what, said, fetched.took_s) for one in part]

    def _by_key(self, fetched: Fetched) -> dict[str, Any]:
        try:
            return {str(self._key(record)): record for record in self._records(fetched.value)}
        except ServingError:
            raise
        except Exception as error:
            raise ResponseFormatError(
                f"{self.what}: the reply's records cannot be told apart: key= or records= raised "
                f"{type(error).__name__}. Give functions that fit what the API answers."
            ) from error

    def _got(self, by_key: Mapping[str, Any], key: str, said: Said, took_s: float) -> Got:
        if key not in by_key:
            return Got(Answer(None, 0, negative=True, said=said), took_s, said.share)
        record = by_key[key]
        size = len(orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS))
        return Got(Answer(record, size, negative=False, said=said), took_s, said.share)


def listed(value: Any) -> Iterable[Any]:
    """The records of a reply that is a list of them.

    Raises:
        ResponseFormatError: It is something else.
    """
    if isinstance(value, list):
        return value
    raise ResponseFormatError(
        f"The reply is no JSON list of records but of type {type(value).__name__}. Give records=, "
        "a function that takes the records out of it."
    )


class OfFunction:
    """Each value is what a user's function returns; ``Asked.what`` are its arguments.

    Its values stay in this process: they may be anything, and another version of the function may
    run elsewhere.

    Args:
        function: Called with the arguments.
        now: The clock, in seconds.
        what: What messages call it.
    """

    shared = False

    def __init__(self, function: Callable[..., Any], now: Callable[[], float], what: str) -> None:
        self._function = function
        self._now = now
        self._awaited = inspect.iscoroutinefunction(function)
        self.what = what

    def parts(self, asked: Sequence[Asked]) -> list[Sequence[Asked]]:
        """See ``Source.parts``."""
        return [(one,) for one in asked]

    async def fetch(self, part: Sequence[Asked], deadline_s: float) -> list[Got]:
        """See ``Source.fetch``."""
        (asked,) = part
        args, kwargs = asked.what
        began_s = self._now()
        value = self._function(*args, **kwargs)
        if self._awaited:
            value = await _awaitable(value)
        size = sys.getsizeof(value, 0)
        answer = Answer(value, size, negative=False, said=NOTHING_SAID)
        return [Got(answer, self._now() - began_s, shared=False)]


def _awaitable(value: Any) -> Awaitable[Any]:
    return value  # type: ignore[no-any-return]
