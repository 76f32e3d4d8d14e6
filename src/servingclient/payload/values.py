"""Which Python values JSON can hold, what stands in for others, what is wrong with the rest.

Three rules hold for every kind of input:

* A value is sent exactly or refused; nothing is rounded, wrapped or dropped on the way.
* NaN, infinities, ``NaT``, ``pandas.NA`` and masked values follow ``Payload.nan``. A plain ``None``
  in Python data is the caller's own null and is sent as ``null``; in a data frame it is a missing
  value like the others.
* Times are sent as ISO text without an offset, in UTC: the scoring server refuses ``Z`` and
  offsets. A naive time is taken to be UTC. The server also takes the format of a column's first
  time for all, so a column has fractions throughout or not at all; where values are written one by
  one, always.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from math import isfinite, isnan
from typing import Any
from uuid import UUID

import orjson

from servingclient.payload import dtypes, narrow
from servingclient.payload.refusals import UnfitError, encodable, missing, refused
from servingclient.settings import Payload

STRICT = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_DATACLASS
"""orjson alone would write an aware datetime with its offset, and a data class as an object."""

DEPTH = 250
"""Deepest nesting of one cell: orjson's 254 less the levels around it."""

TOO_DEEP = f"The value is nested more than {DEPTH} levels deep, or contains itself. Flatten it."


def stand_in(value: Any, *, decimal: str) -> object:
    """What is sent for a value that orjson does not write itself; ``None`` for a missing one.

    Args:
        value: Any object.
        decimal: ``Payload.decimal``.

    Returns:
        A value orjson writes, or hands to this function again.

    Raises:
        UnfitError: JSON has no form for it.
    """
    if is_missing(value):
        return None
    if isinstance(value, datetime):
        return _with_fraction(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, time):
        if value.tzinfo is not None:
            raise UnfitError("a time with a time zone. Send a datetime, or drop the zone.")
        return value.isoformat()
    if isinstance(value, Decimal):
        return _decimal(value, decimal)
    if dtypes.is_numpy(value):
        return _numpy_stand_in(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, UUID):
        return str(value)
    raise UnfitError(_no_form(value))


def naive_utc(moment: datetime) -> datetime:
    """``moment`` in UTC and without a zone; a naive one is taken to be UTC already."""
    if moment.tzinfo is None:
        return moment
    return moment.astimezone(timezone.utc).replace(tzinfo=None)


def _with_fraction(moment: datetime) -> str:
    # pandas' timestamps are datetimes that may hold nanoseconds beside
    unit = "nanoseconds" if getattr(moment, "nanosecond", 0) else "microseconds"
    return naive_utc(moment).isoformat(timespec=unit)


def is_missing(value: object) -> bool:
    """Whether ``value`` is a library's own mark for a missing value (NaN is a float)."""
    kind = type(value)
    return kind.__name__ in {"NaTType", "NAType", "MaskedConstant"} and kind.__module__.startswith(
        ("pandas.", "numpy.")
    )


def _decimal(value: Decimal, policy: str) -> object:
    if policy == "raise":
        raise UnfitError(
            "a Decimal. Choose Settings(payload=Payload(decimal='str')) to send text, or 'float' "
            "to send the nearest double."
        )
    if not value.is_finite():
        return None
    return str(value) if policy == "str" else float(value)


def _numpy_stand_in(value: Any) -> object:
    scalar = not hasattr(value, "__array_finalize__")
    if value.dtype.kind == "O":
        return value.tolist()
    array = value.reshape(1) if scalar else value
    problem = dtypes.unfit(array)
    if problem is not None:
        raise UnfitError(f"{'a scalar' if scalar else 'an array'} that {problem}")
    text = dtypes.dumped(array, dtypes.missing_mask(array))
    return orjson.Fragment(text[1:-1] if scalar else text)


_REMEDIES = {
    "set": "Pass list(...) of it.",
    "frozenset": "Pass list(...) of it.",
    "range": "Pass list(...) of it.",
    "deque": "Pass list(...) of it.",
    "generator": "Pass list(...) of it.",
    "timedelta": "Send its total_seconds().",
    "Timedelta": "Send its total_seconds().",
    "Period": "Send str(...) of it, or its start_time.",
    "Interval": "Send its bounds as two columns.",
    "complex": "Send its real and imaginary parts.",
    "Series": "Pass its to_list().",
    "DataFrame": "Pass the frame itself as the input.",
    "Table": "Pass the table itself as the input.",
    "Tensor": "Pass its numpy().",
}


def _no_form(value: object) -> str:
    kind = type(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return f"{kind.__name__}. Send text: for a binary column base64.b64encode(...).decode()."
    if isinstance(value, tuple):
        return f"a named tuple ({kind.__name__}). Pass its _asdict(), or tuple(...) of it."
    if hasattr(kind, "__dataclass_fields__"):
        return f"a data class ({kind.__name__}). Pass dataclasses.asdict(...) of it."
    remedy = _REMEDIES.get(kind.__name__, "Convert it to a number, text, list or dict first.")
    return f"of type {kind.__module__}.{kind.__qualname__}, which JSON has no form for. {remedy}"


# ------------------------------------------------------------------------------- one column


def listed(
    values: Sequence[Any], column: str, settings: Payload, *, none_missing: bool
) -> list[Any]:
    """One column of Python values, each checked, for orjson to write with ``dtypes.NATIVE``.

    Args:
        values: The cells.
        column: Its name, for messages.
        settings: What to do about missing values and decimals.
        none_missing: Whether ``None`` counts as missing (frames) or is the caller's own null.

    Returns:
        The cells as orjson writes them.

    Raises:
        PayloadError: A cell cannot be sent.
    """
    if narrow.is_on(settings):
        values = narrow.column(list(values), column, settings)
    kinds = set(map(type, values))
    if kinds <= _UNCHECKED or (kinds == {float} and all(map(isfinite, values))):
        return values if isinstance(values, list) else list(values)
    if kinds == {datetime}:
        return times(values)
    return [
        value
        if type(value) in _UNCHECKED
        else _cell(value, row, column, settings, none_missing=none_missing)
        for row, value in enumerate(values)
    ]


def times(moments: Sequence[datetime | None]) -> list[Any]:
    """One column of times as orjson writes them: all with a fraction, or none."""
    naive = [
        moment if moment is None or moment.tzinfo is None else naive_utc(moment)
        for moment in moments
    ]
    fractions = {moment.microsecond > 0 for moment in naive if moment is not None}
    if len(fractions) < 2:
        return naive
    return [None if moment is None else _with_fraction(moment) for moment in naive]


_UNCHECKED = {str, int, bool}
"""Surrogates and integers out of range are left for orjson to find."""


def _cell(value: Any, row: int, column: str, settings: Payload, *, none_missing: bool) -> object:
    problem = fault(value, settings, none_missing=none_missing)
    if problem is not None:
        raise refused(problem, row=row, column=column)
    if value is None or type(value) is float:
        return value
    return orjson.Fragment(orjson.dumps(value, partial(stand_in, decimal=settings.decimal), STRICT))


# ------------------------------------------------------------------------------- one bad value


def fault(
    value: Any, settings: Payload, *, none_missing: bool = False, depth: int = 0
) -> str | None:
    """What is wrong with ``value``, in full sentences; None when it can be sent.

    Args:
        value: Any object, nested ones included.
        settings: What to do about missing values and decimals.
        none_missing: Whether ``None`` counts as missing.
        depth: How many containers are around it.

    Returns:
        The class of the value and the remedy, or None.
    """
    if value is None:
        return missing("missing (None)", settings) if none_missing else None
    if isinstance(value, str):
        return None if encodable(value) else _SURROGATE
    if isinstance(value, int):
        return None if -(2**63) <= value < 2**64 else _RANGE
    if isinstance(value, float):
        return None if isfinite(value) else missing("NaN" if isnan(value) else "infinite", settings)
    if isinstance(value, (dict, list)) or type(value) is tuple:
        return TOO_DEEP if depth >= DEPTH else _inner_fault(value, settings, depth + 1)
    if type(value) is orjson.Fragment:
        return None
    if is_missing(value):
        return missing(f"missing ({type(value).__name__})", settings)
    try:
        sent = stand_in(value, decimal=settings.decimal)
    except UnfitError as error:
        return f"The value is {error}"
    if sent is None:
        return missing(f"no finite {type(value).__name__}", settings)
    if type(sent) is orjson.Fragment:
        return _numpy_fault(value, settings)
    return fault(sent, settings, depth=depth)


def _numpy_fault(value: Any, settings: Payload) -> str | None:
    array = value.reshape(1) if value.ndim == 0 else value
    gone = dtypes.missing_mask(array)
    if gone is None:
        return None
    first = tuple(int(axis[0]) for axis in gone.nonzero())
    return missing(dtypes.missing_class(array, first), settings)


_SURROGATE = (
    "The text is no valid UTF-8 (a lone surrogate). Decode it with the right encoding, or clean "
    "it with value.encode('utf-8', 'replace').decode()."
)
_RANGE = (
    "The integer lies outside int64 and uint64. Send it as text, or as a float if the model takes "
    "one."
)


def _inner_fault(value: Any, settings: Payload, depth: int) -> str | None:
    inner = value
    if isinstance(value, dict):
        for key in value:
            if type(key) is not str:
                kind = type(key).__name__
                return f"A nested object has a key of type {kind}. Make its keys plain strings."
            if not encodable(key):
                return _SURROGATE
        inner = value.values()
    for item in inner:
        problem = fault(item, settings, depth=depth)
        if problem is not None:
            return problem
    return None
