"""What the two doors have in common: checks of arguments, and which settings a copy may change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from servingclient._watching import Observer, Reader, Tracer, Watching
from servingclient.errors import ConfigError
from servingclient.settings import Priority, Settings, changed
from servingclient.settings.concurrency import check_priority

_OF_THE_POOL: Final = frozenset(
    {
        "batching",
        "close_timeout_s",
        "concurrency",
        "headers",
        "hedge",
        "pool",
        "proxy",
        "queue",
        "stage_threads",
        "tls",
        "token",
        "trusted_hosts",
    }
)


_LONGEST_S: Final = 1e6
"""Sockets take no time-out of more than 24 days: whoever asks for centuries gets eleven days."""


def checked_timeout(timeout: object) -> float:
    """A ``timeout=`` argument in seconds.

    Raises:
        ConfigError: It is no number above 0.
    """
    if isinstance(timeout, (int, float)) and not isinstance(timeout, bool) and timeout > 0:
        limit_s = min(timeout, _LONGEST_S)
        if timeout != math.inf:
            return float(limit_s)
    shown = repr(timeout)
    raise ConfigError(
        f"timeout is {shown[:40]}; give seconds above 0 as int or float, such as timeout=2.5."
    )


def checked_idempotent(idempotent: object) -> bool:
    """An ``idempotent=`` argument.

    Raises:
        ConfigError: It is neither True nor False: ``"no"`` would count as yes.
    """
    if isinstance(idempotent, bool):
        return idempotent
    raise ConfigError(
        f"idempotent must be True or False, not of type {_named(type(idempotent))}: it decides "
        "whether a call that may have run is sent again."
    )


_RANKS: Final[Mapping[object, int]] = {"critical": 0, "default": 1, "batch": 2}


def rank_of(priority: Priority) -> int:
    """A priority as the gate takes it: 0 goes first.

    Raises:
        ConfigError: There is no such priority.
    """
    try:
        return _RANKS[priority]
    except (KeyError, TypeError):
        check_priority(priority)
        raise


def _named(kind: type) -> str:
    """With its module: numpy's bool has the name of Python's."""
    where = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    return where + kind.__qualname__


def checked_observers(observers: Sequence[Observer | Tracer | Reader]) -> Watching:
    """An ``observers=`` argument, by what each wants to know.

    Raises:
        ConfigError: It is no list, one of them cannot be told, or two follow calls.
    """
    given: object = observers
    if not isinstance(given, Iterable):
        raise ConfigError(f"observers must be a list of objects, not {type(given).__name__}.")
    told: list[Any] = []
    tracers: list[Any] = []
    readers: list[Any] = []
    for one in tuple(observers):
        wants = 0
        for kind, methods in ((tracers, _OF_TRACERS), (readers, _OF_READERS)):
            if all(_has(one, name) for name in methods):
                kind.append(one)
                wants += 1
        if wants == 0 or _has(one, "call_ended"):
            for name in ("call_ended", "attempt_failed"):
                if not _has(one, name):
                    raise ConfigError(
                        f"observers holds {type(one).__name__}, which has no method {name}(event)."
                    )
            told.append(one)
    if len(tracers) > 1:
        names = " and ".join(type(one).__name__ for one in tracers)
        raise ConfigError(
            f"observers holds {names}, and only one can follow the calls of a client: give one, or "
            "have one tracer provider export to both places."
        )
    return Watching(tuple(told), tracers[0] if tracers else None, tuple(readers))


_OF_TRACERS: Final = ("call_begun",)
_OF_READERS: Final = ("client_opened", "client_closed")


def _has(one: object, name: str) -> bool:
    return not isinstance(one, type) and callable(getattr(one, name, None))


def checked_settings(settings: Settings | None) -> Settings:
    """A ``settings=`` argument, or the defaults with what the environment sets.

    Raises:
        ConfigError: It is something else.
    """
    if settings is None:
        return Settings.from_env()
    if not isinstance(settings, Settings):
        raise ConfigError(
            f"settings must be a servingclient.Settings, not {type(settings).__name__}."
        )
    return settings


def not_pickled(kind: str) -> TypeError:
    """The error of who would send a client to another process."""
    return TypeError(
        f"A {kind} holds connections, locks and tokens, which belong to this process, so it is not "
        "pickled. Send its settings, which pickle, and make a client where it is used: once for "
        "each worker process, not for each call."
    )


def changed_settings(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings of a copy that shares the pool.

    Raises:
        ConfigError: A change needs connections or credentials of its own, or is no setting.
    """
    fixed = _OF_THE_POOL & changes.keys()
    if "batching" in fixed and changes["batching"] is None:
        fixed -= {"batching"}  # a copy may keep to itself
    if fixed:
        raise ConfigError(
            f"with_options() shares connections and credentials, so it cannot change "
            f"{', '.join(sorted(fixed))}. Make a new client with these settings."
        )
    copy = changed(settings, changes)
    if copy.retry.quota_capacity != settings.retry.quota_capacity:
        raise ConfigError(
            "with_options() shares the retry quota, so it cannot change Retry.quota_capacity. Make "
            "a new client with it."
        )
    return copy
