"""A user's own function whose values are kept: what both colours share. Pure."""

from __future__ import annotations

import datetime as dt
import inspect
import itertools
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, Final, ParamSpec, Protocol, TypeVar
from uuid import UUID

from servingclient.enrichment.asked import Asked
from servingclient.enrichment.sources import OfFunction
from servingclient.errors import ConfigError

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_PLAIN: Final = frozenset(
    {
        str,
        int,
        float,
        bool,
        bytes,
        type(None),
        UUID,
        Decimal,
        dt.date,
        dt.datetime,
        dt.time,
        dt.timedelta,
    }
)
_numbers = itertools.count()


class CachedFunction(Protocol[P, R_co]):
    """A function whose values are kept."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co:
        """The value kept for these arguments, or the function's own."""

    def invalidate(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Forget one value.

        Args:
            *args: Given as in the calls to it.
            **kwargs: Likewise.
        """


class FunctionPlan:
    """How the values of one function are kept.

    Args:
        function: The user's.
        key: Makes a key of its arguments; None takes the arguments themselves.
        ttl_s: How long values stay fresh.
        now: The clock, in seconds.
        awaits: The client is the async one.

    Raises:
        ConfigError: It is no function, a generator, or one of the other colour.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        key: Callable[..., Any] | None,
        ttl_s: float,
        now: Callable[[], float],
        *,
        awaits: bool,
    ) -> None:
        _check(function, awaits=awaits)
        if key is not None and not callable(key):
            raise ConfigError("key must be a function of the arguments that makes a key of them.")
        self._key = key
        self._ttl_s = ttl_s
        name = getattr(function, "__qualname__", type(function).__name__)
        # two functions may have one name: lambdas, those made in a loop
        self.name: str = f"{name}#{next(_numbers)}"
        self.shown = name
        self.source: OfFunction = OfFunction(function, now, name)

    def key(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Under which the value for these arguments is kept.

        Raises:
            ConfigError: They cannot be a key.
        """
        if self._key is not None:
            return ("", "CALL", self.name, self._part(self._key(*args, **kwargs), "what key= made"))
        parts = tuple([self._part(value, "an argument") for value in args])
        if not kwargs:
            return ("", "CALL", self.name, parts)
        named = sorted(kwargs.items())
        return (
            "",
            "CALL",
            self.name,
            parts,
            tuple([(name, self._part(value, "an argument")) for name, value in named]),
        )

    def asked(self, key: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Asked:
        """What is asked for."""
        return Asked(key, (args, kwargs), self._ttl_s)

    def _part(self, value: Any, what: str) -> Any:
        """The value with its type: 1, 1.0 and True are equal, and not the same."""
        kind = type(value)
        if kind in _PLAIN:
            return (kind, value)
        if kind is tuple or kind is frozenset:
            return (kind, kind([self._part(one, what) for one in value]))
        raise ConfigError(
            f"{self.shown}: {what} is of type {kind.__name__}, which cannot be a key. Arguments "
            "must be plain values (text, numbers, dates, UUIDs, None, tuples of these); for "
            "others give cached(key=...), a function that makes a plain key of them."
        )


def _check(function: object, *, awaits: bool) -> None:
    if not callable(function) or isinstance(function, (type, staticmethod, classmethod)):
        raise ConfigError(
            f"cached() is for functions, not {type(function).__name__}; write @client.cached(...) "
            "directly above def."
        )
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ConfigError("cached() cannot keep what a generator yields; return a list instead.")
    if inspect.iscoroutinefunction(function) and not awaits:
        raise ConfigError(
            "cached() of EnrichmentClient is for plain functions; for async def use "
            "AsyncEnrichmentClient."
        )
    if not inspect.iscoroutinefunction(function) and awaits:
        raise ConfigError(
            "cached() of AsyncEnrichmentClient is for async functions; for plain ones use "
            "EnrichmentClient, or make it async def."
        )
