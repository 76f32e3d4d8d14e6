"""Values by key, of an API that takes many keys in one request: what loaders ask for.

Pure: nothing here waits or sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from servingclient.enrichment.api import Api
from servingclient.enrichment.arguments import (
    OnError,
    checked_count,
    checked_text,
    dumped,
    halts,
)
from servingclient.enrichment.asked import Asked
from servingclient.enrichment.forgetting import Forgotten
from servingclient.enrichment.request import Request
from servingclient.enrichment.several import Several, several
from servingclient.enrichment.sources import ManyAtOnce, listed
from servingclient.enrichment.templates import Template, query_of
from servingclient.errors import ConfigError

_KEY: Final = Template("/{key}")


@dataclass(frozen=True, slots=True)
class Keyed:
    """Values by key at one path of an API.

    Attributes:
        api: The API.
        source: Asks for many keys at once.
        place: What its values are kept under, up to the key.
        ttl_s: How long values stay fresh.
        tags: What they can be invalidated by, as they are kept.
    """

    api: Api
    source: ManyAtOnce
    place: tuple[str, tuple[str, ...]]
    ttl_s: float
    tags: tuple[str, ...]

    def asked(self, key: Any) -> Asked:
        """One key.

        Raises:
            ConfigError: It cannot be a key.
        """
        (text,) = _KEY.segments({"key": key})
        if self.source.joined and "," in text:
            raise ConfigError(
                "A key holds a comma, which would make two of it where keys are joined by commas. "
                "Give body= if the API takes the keys in a request's body."
            )
        template, before = self.place
        kept_as = self.api.keys.key("MANY", template, (*before, text), ())
        return Asked(kept_as, text, self.ttl_s, self.tags)

    def several(self, keys: Iterable[Any], timeout: float | None, on_error: OnError) -> Several:
        """Several keys.

        Raises:
            ConfigError: An argument is wrong, or one of them cannot be a key.
        """
        return several(
            self.source,
            keys,
            self.asked,
            what="keys",
            most=self.api.settings.max_calls,
            timeout_s=self.api.timeout_of(timeout),
            halts=halts(on_error),
        )

    def forgotten(self, key: Any) -> Forgotten:
        """What is to be forgotten of one key.

        Raises:
            ConfigError: It cannot be a key.
        """
        gone = self.asked(key).key
        return Forgotten(lambda kept, _: kept == gone, keys=(self.api.keys.shared(gone),))


def keyed(
    api: Api,
    template: str,
    values: Mapping[str, Any],
    *,
    param: str,
    body: Callable[[list[str]], Any] | None,
    key: Callable[[Any], Any],
    records: Callable[[Any], Iterable[Any]] | None,
    max_keys: int,
    label: str,
    ttl: float | None,
    tags: Sequence[str],
) -> Keyed:
    """What ``loader`` asks for.

    With places in the template the path's own tag is among the tags of its values, so that they
    are forgotten with the path.

    Raises:
        ConfigError: An argument is wrong, or another loader's values would be taken for these.
    """
    plan = api.template(template)
    segments = plan.segments(values)
    path = plan.path(segments)
    functions: dict[str, object] = {"key": key, "body": body, "records": records}
    for name, function in functions.items():
        if not callable(function) and (function is not None or name == "key"):
            raise ConfigError(f"{name} must be a function.")
    checked_text(param, "param")
    if not isinstance(label, str):
        raise ConfigError(f"label must be text, not {type(label).__name__}.")
    max_keys = checked_count(max_keys, "max_keys")

    def request(keys: list[str]) -> Request:
        if body is None:
            query = query_of(((param, ",".join(keys)),))
            return Request("GET", plan.text, path + query, absent=False)
        return Request("POST", plan.text, path, dumped(body(keys)), absent=False)

    method = "GET" if body is None else "POST"
    kind = (method, param if body is None else "", label)
    kept_tags = api.tags_of(tags)
    if segments:
        kept_tags = (*kept_tags, api.keys.resource(plan.text, segments))
    ttl_s = api.ttl_of(ttl)
    _check_alone(api, (plan.text, *kind), (key, body, records))
    source = ManyAtOnce(
        api.fetcher,
        api.settings,
        request,
        key,
        listed if records is None else records,
        max_keys,
        f"{method} {plan.text} of {api.fetcher.api}",
        joined=body is None,
    )
    return Keyed(api, source, (plan.text, (*kind, path)), ttl_s, kept_tags)


def _check_alone(api: Api, place: tuple[str, ...], functions: tuple[object, ...]) -> None:
    """Values are kept by path and key, and what functions make of a reply stands in neither."""
    codes = tuple(getattr(function, "__code__", function) for function in functions)
    if api.loaders.setdefault(place, codes) != codes:
        raise ConfigError(
            f"There is a loader for {place[0]!r} with other functions, and each would be given "
            "what the other keeps. Make a loader once and keep it, or give label=, a name of "
            "its own."
        )
