"""The functions a caller puts around predictions, checked when the client is made. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple, Protocol

from servingclient._stats import EnrichmentStats
from servingclient.errors import ConfigError

OnEnrichmentError = Literal["raise", "null"] | Callable[[Any, Exception], Any]
"""What is done when ``enrich`` raises."""


class Api(Protocol):
    """A client of an external API, as ``EnrichmentClient``."""

    def stats(self) -> EnrichmentStats:
        """What it has counted."""


class Stage(NamedTuple):
    """One function.

    Attributes:
        name: The argument it was given as.
        function: What to call.
        asynchronous: It is an ``async`` function.
    """

    name: str
    function: Callable[..., Any]
    asynchronous: bool


@dataclass(frozen=True, slots=True)
class Stages:
    """All that a client does around its calls; the doors say what each is."""

    preprocess: Stage | None = None
    enrich: Stage | None = None
    postprocess: Stage | None = None
    on_enrichment_error: Literal["raise", "null"] | Stage = "raise"
    apis: tuple[Api, ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything runs."""
        return not (self.preprocess is self.enrich is self.postprocess is None)


def stopped(stage: Stage) -> RuntimeError:
    """What stands for a ``StopIteration`` of a function, which no coroutine lets through; raise it
    from that one.
    """
    return RuntimeError(
        f"{stage.name} raised StopIteration, which cannot pass a coroutine; it is the cause of "
        "this. A next() of something empty raises it: give next() a default."
    )


def checked_stages(given: Mapping[str, object], before: Stages, *, asynchronous: bool) -> Stages:
    """The stages of a client.

    Args:
        given: Arguments by name; one that is absent stays as it was.
        before: How it was.
        asynchronous: The client is for asyncio, where functions may be ``async``.

    Raises:
        ConfigError: One of them cannot be used.
    """
    made = {name: getattr(before, name) for name in NAMES}
    for name in ("preprocess", "enrich", "postprocess"):
        if name in given:
            function = given[name]
            made[name] = None if function is None else _stage(name, function, asynchronous)
    if "on_enrichment_error" in given:
        made["on_enrichment_error"] = _fallback(given["on_enrichment_error"], asynchronous)
    if "apis" in given:
        made["apis"] = _apis(given["apis"])
    if made["enrich"] is None and given.get("on_enrichment_error", "raise") != "raise":
        raise ConfigError("on_enrichment_error is given without enrich: nothing could fail.")
    return Stages(**made)


def changed_stages(
    changes: dict[str, Any], before: Stages, *, asynchronous: bool
) -> tuple[Stages, dict[str, Any]]:
    """The stages of a copy, and the changes that are none of stages.

    Raises:
        ConfigError: One of them cannot be used.
    """
    given = {name: changes[name] for name in NAMES if name in changes}
    others = {name: value for name, value in changes.items() if name not in NAMES}
    return checked_stages(given, before, asynchronous=asynchronous), others


NAMES: Final = tuple(field.name for field in fields(Stages))


def _stage(name: str, function: object, asynchronous: bool) -> Stage:  # noqa: FBT001
    if not callable(function):
        raise ConfigError(f"{name} must be a function, not of type {type(function).__name__}.")
    if _is(inspect.isgeneratorfunction, function) or _is(inspect.isasyncgenfunction, function):
        raise ConfigError(f"{name} is a generator function; return the result instead of yielding.")
    is_async = _is(inspect.iscoroutinefunction, function)
    if is_async and not asynchronous:
        raise ConfigError(
            f"{name} is an async function, which ServingClient cannot await. Give a plain "
            "function, or use AsyncServingClient."
        )
    return Stage(name, function, is_async)


def _is(kind: Callable[[object], bool], function: object) -> bool:
    """Whether a function, or an object that is called like one, is of a kind."""
    return kind(function) or kind(getattr(function, "__call__", None))  # noqa: B004


def _fallback(given: object, asynchronous: bool) -> Literal["raise", "null"] | Stage:  # noqa: FBT001
    if given == "raise":
        return "raise"
    if given == "null":
        return "null"
    if callable(given):
        return _stage("on_enrichment_error", given, asynchronous)
    raise ConfigError(
        f"on_enrichment_error is {repr(given)[:40]}; choose 'raise', 'null' to go on without, or a "
        "function of the inputs and the error that returns inputs."
    )


def _apis(given: object) -> tuple[Api, ...]:
    if not isinstance(given, Iterable):
        raise ConfigError(f"apis must be a list of clients, not {type(given).__name__}.")
    apis = tuple(given)
    for api in apis:
        if isinstance(api, type) or not callable(getattr(api, "stats", None)):
            raise ConfigError(
                f"apis holds {type(api).__name__}, which has no method stats(); give "
                "EnrichmentClient objects."
            )
    return apis
