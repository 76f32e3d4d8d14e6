"""Checks of what callers of enrichment hand in. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, Literal

import orjson

from servingclient.errors import ConfigError, PayloadError

OnError = Literal["raise", "return"]

_DUMPED: Final = orjson.OPT_SORT_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS


def dumped(json: Any) -> bytes:
    """The body of a request.

    Raises:
        PayloadError: It is nothing that JSON can hold.
    """
    try:
        body = orjson.dumps(json, option=_DUMPED)
    except (TypeError, RecursionError) as error:
        raise PayloadError(
            f"json cannot be sent: {error}. Give dicts, lists, text, numbers, dates and None."
        ) from None
    lost = _lost(json, "json") if b"null" in body else None  # what orjson makes of NaN
    if lost is not None:
        raise PayloadError(
            f"{lost} is NaN or infinite, which JSON cannot hold. Leave it out, or put None there "
            "if the API takes that for missing."
        )
    return body


def _lost(value: Any, where: str) -> str | None:
    """Where a number would be sent as null, first to last."""
    if isinstance(value, float):
        return None if math.isfinite(value) else where
    if isinstance(value, (str, bytes, int)) or value is None:
        return None
    if hasattr(value, "tolist"):  # numpy's
        return _lost(value.tolist(), where)
    if isinstance(value, Mapping):
        parts = [(f"{where}[{_named(key)}]", one) for key, one in value.items()]
        if any(isinstance(key, float) and not math.isfinite(key) for key in value):
            return f"a key of {where}"
    elif isinstance(value, (list, tuple)):
        parts = [(f"{where}[{number}]", one) for number, one in enumerate(value)]
    elif is_dataclass(value) and not isinstance(value, type):
        parts = [(f"{where}.{one.name}", getattr(value, one.name, 0)) for one in fields(value)]
    elif isinstance(value, Enum):
        parts = [(where, value.value)]
    else:
        return None
    return next(filter(None, (_lost(one, place) for place, one in parts)), None)


def _named(key: object) -> str:
    """A field by its name; what is no name may be of a person."""
    return repr(key) if isinstance(key, str) and key.isidentifier() else "..."


def at_position(what: str, number: int, value: object, error: ConfigError) -> ConfigError:
    """The error of one of many values, said with its place; the value itself is not shown."""
    return ConfigError(f"{what}[{number}] (of type {type(value).__name__}): {error}")


def ids_of(ids: Iterable[Any]) -> list[Any]:
    """An ``ids=`` argument as a list.

    Raises:
        ConfigError: It is one text, or nothing that can be gone through.
    """
    if isinstance(ids, (str, bytes, Mapping)) or not isinstance(ids, Iterable):
        raise ConfigError(f"ids must be a list of values, not {type(ids).__name__}.")
    return list(ids)


def checked_ttl(ttl: object) -> float:
    """Seconds to live.

    Raises:
        ConfigError: It is no number of at least 0.
    """
    if isinstance(ttl, (int, float)) and not isinstance(ttl, bool) and 0.0 <= ttl < float("inf"):
        return float(ttl)
    raise ConfigError(
        f"ttl must be seconds as a finite number of at least 0, not {repr(ttl)[:40]}; 0 keeps "
        "nothing as fresh."
    )


def checked_count(value: object, name: str = "concurrency") -> int:
    """A count of at least 1.

    Raises:
        ConfigError: It is something else.
    """
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise ConfigError(f"{name} must be a whole number of at least 1, not {repr(value)[:40]}.")


def halts(on_error: object) -> bool:
    """Whether the first failure ends it.

    Raises:
        ConfigError: There is no such way.
    """
    if on_error in ("raise", "return") and isinstance(on_error, str):
        return on_error == "raise"
    raise ConfigError(f"on_error must be 'raise' or 'return', not {repr(on_error)[:40]}.")


def checked_text(value: object, name: str) -> str:
    """Text.

    Raises:
        ConfigError: It is something else, or empty.
    """
    if isinstance(value, str) and value:
        return value
    raise ConfigError(f"{name} must be text that is not empty, not {type(value).__name__}.")
