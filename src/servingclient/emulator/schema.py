"""A model signature's column types, enforced as the reference server does and in its words.

The rules were read off mlflow 3.17.2: every present column is converted first, and only then does
anybody notice that one is missing; extra columns are dropped; a fraction in a ``long`` column is
cut off without a word.
"""

from __future__ import annotations

import base64
import math
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from servingclient.emulator import scoring

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from servingclient.emulator.scoring import Parsed

_NUMPY_NAMES = {
    "double": "'float64'",
    "float": "'float32'",
    "long": "'int64'",
    "integer": "'int32'",
    "boolean": "'bool'",
    "binary": "'<class 'object'>'",
    "datetime": "'datetime64[ns]'",
    "string": "'<class 'object'>'",
}
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - the reference server knows naive times only
_ZONE_REFUSED = (
    "Please ensure that the input data of datetime column only contains timezone-naive datetime "
    "objects. Error: Cannot use .astype to convert from timezone-aware dtype to timezone-naive "
    "dtype. Use obj.tz_localize(None) or obj.tz_convert('UTC').tz_localize(None) instead."
)


class _ZoneError(Exception):
    """A time with a zone: refused later, and with another code, than a value of the wrong type."""


def enforce(schema: Mapping[str, str], parsed: Parsed, *, takes_params: bool) -> Parsed:
    """Return the input as rows of converted values, columns in the order of the schema.

    Raises:
        Refused: with the 400 of the reference server.
    """
    if parsed.form == "unified":
        return parsed
    types, required = split_names(schema)
    rows, columns = _as_rows(parsed)
    present = [name for name in types if name in columns]
    try:
        converted = [
            {name: _convert(name, types[name], row.get(name), parsed.form) for name in present}
            for row in rows
        ]
    except _ZoneError:
        raise _failure(schema, parsed, _ZONE_REFUSED) from None
    missing = [name for name in required if name not in columns]
    if missing:
        extra = [name for name in columns if name not in types]
        note = f" Note that there were extra inputs: {extra}." if extra else ""
        raise _failure(schema, parsed, f"Model is missing inputs {missing}.{note}")
    _check_params(parsed, takes_params=takes_params)
    return replace(parsed, data=converted, rows=len(converted))


def split_names(schema: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return the types by plain name, and the names that are required."""
    types = {name.removesuffix("?"): kind for name, kind in schema.items()}
    return types, [name for name in schema if not name.endswith("?")]


def check_type(kind: str) -> None:
    """Check that a type of a schema is known.

    Raises:
        ValueError: when it is not.
    """
    if kind not in _NUMPY_NAMES:
        raise ValueError(f"unknown column type {kind!r}; known are {', '.join(_NUMPY_NAMES)}")


def _as_rows(parsed: Parsed) -> tuple[list[dict[Any, Any]], list[Any]]:
    """Return the rows, and the columns they have even when there are none."""
    data = parsed.data
    if isinstance(data, dict):
        columns = {k: v if isinstance(v, list) else [v] for k, v in data.items()}
        rows = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=False)
        ]
        return rows, list(columns)
    if not isinstance(data, list):
        data = [data]
    rows = [_as_row(row) for row in data]
    return rows, list(parsed.columns if parsed.columns is not None else rows[0] if rows else ())


def _as_row(row: Any) -> dict[Any, Any]:
    if isinstance(row, dict):
        return row
    return dict(enumerate(row)) if isinstance(row, list) else {0: row}


def _convert(name: str, kind: str, value: Any, form: str) -> Any:
    try:
        return _CONVERTERS[kind](value)
    except _ZoneError:
        raise
    except Exception as wrong:  # noqa: BLE001 - whatever a conversion raises is reported
        if not form.startswith("dataframe"):
            raise scoring.invalid(str(wrong)) from None
        raise scoring.invalid(
            "Data is not compatible with model signature. "
            f"Failed to convert column {name} to type {_NUMPY_NAMES[kind]}. Error: '{wrong!r}'"
        ) from None


def _failure(schema: Mapping[str, str], parsed: Parsed, why: str) -> scoring.Refused:
    listed = ", ".join(
        f"'{name.removesuffix('?')}': {kind} ({'optional' if name.endswith('?') else 'required'})"
        for name, kind in schema.items()
    )
    data = parsed.data
    return scoring.schema_failure(
        f"Failed to predict data '{data}'. \nError: Failed to enforce schema of data '{data}' "
        f"with schema '[{listed}]'. Error: {why}"
    )


def _check_params(parsed: Parsed, *, takes_params: bool) -> None:
    if takes_params and parsed.params is not None and not isinstance(parsed.params, dict):
        raise scoring.invalid_params(
            f"Failed to predict data '{parsed.data}'. \nError: Parameters must be a dictionary. "
            f"Got type '{type(parsed.params).__name__}'."
        )


def _number(value: Any) -> float:
    if isinstance(value, list):
        raise ValueError("setting an array element with a sequence.")  # noqa: TRY004 - numpy's own
    return math.nan if value is None else float(value)


def _whole(value: Any) -> int:
    return int(value)


def _binary(value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError("encoding without a string argument")
    return base64.decodebytes(value.encode())


def _time(value: Any) -> datetime | None:
    """Read a naive ISO text, or nanoseconds since the epoch, to the microsecond."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise TypeError("dtype bool cannot be converted to datetime64[ns]")
    if isinstance(value, (int, float)):
        return _EPOCH + timedelta(microseconds=int(value) // 1000)
    if not isinstance(value, str):
        raise TypeError(f"{type(value)} is not convertible to datetime")
    date, _, fraction = value.partition(".")
    try:
        read = datetime.fromisoformat(date.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(f"Unknown datetime string format, unable to parse: {value}") from None
    if read.tzinfo is not None or fraction.strip("0123456789"):
        raise _ZoneError
    return read.replace(microsecond=int(fraction[:6].ljust(6, "0"))) if fraction else read


def _as_it_is(value: Any) -> Any:
    return value


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "double": _number,
    "float": _number,
    "long": _whole,
    "integer": _whole,
    "boolean": bool,
    "binary": _binary,
    "datetime": _time,
    "string": _as_it_is,
}
