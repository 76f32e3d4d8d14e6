"""Checks that the groups of settings share: a wrong name or value is one clear ``ConfigError``."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from servingclient.errors import ConfigError

_T = TypeVar("_T")


def names_checked(kind: type[_T]) -> type[_T]:
    """Make a wrong name in a call of the dataclass ``kind`` the same error as everywhere else."""
    made = kind.__init__

    @functools.wraps(made)
    def init(self: _T, **given: Any) -> None:
        check_names(kind, given)
        made(self, **given)

    kind.__init__ = init  # type: ignore[method-assign, assignment]
    return kind


def check_names(kind: type, given: Iterable[str]) -> None:
    """Refuse a name that is no field of the dataclass ``kind``; the message gives the nearest."""
    known = {f.name for f in fields(kind)}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else f" Known: {', '.join(sorted(known))}."
            raise ConfigError(f"{kind.__name__} has no option {name!r}.{hint}")


def switch(owner: object, *names: str) -> None:
    """Refuse what is neither True nor False: ``"no"`` would count as yes."""
    for name in names:
        value = getattr(owner, name)
        if not isinstance(value, bool):
            shown = f"{type(owner).__name__}.{name}"
            raise ConfigError(f"{shown} must be True or False, not {type(value).__name__}.")


def text(owner: object, *names: str) -> None:
    """Refuse what is neither text nor None."""
    for name in names:
        value = getattr(owner, name)
        if value is not None and not isinstance(value, str):
            shown = f"{type(owner).__name__}.{name}"
            raise ConfigError(f"{shown} must be text or None, not {type(value).__name__}.")


def number(owner: object, *names: str, least: float = 0.0, above: bool = False) -> None:
    """Refuse what is no finite number, or lies below (with ``above``: at or below) ``least``."""
    optional = {f.name for f in fields(owner) if f.default is None}  # type: ignore[arg-type]
    for name in names:
        value = getattr(owner, name)
        if value is None and name in optional:
            continue
        shown = f"{type(owner).__name__}.{name}"
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ConfigError(f"{shown} must be a number, not {type(value).__name__}.")
        if not math.isfinite(value) or value < least or (above and value == least):
            bound = f"above {least:g}" if above else f"at least {least:g}"
            raise ConfigError(f"{shown} is {value}; it must be finite and {bound}.")


def whole(owner: object, *names: str, least: int = 1) -> None:
    """Refuse what is no whole number, or lies below ``least``."""
    number(owner, *names, least=least)
    for name in names:
        value = getattr(owner, name)
        if value is not None and not isinstance(value, int):
            shown = f"{type(owner).__name__}.{name}"
            raise ConfigError(f"{shown} must be a whole number, not {value!r}.")


def changed(settings: _T, changes: Mapping[str, Any]) -> _T:
    """A copy of the dataclass ``settings`` with ``changes`` applied.

    Raises:
        ConfigError: A name is no field; the message gives the nearest one.
    """
    check_names(type(settings), changes)
    return replace(settings, **changes)  # type: ignore[type-var]
