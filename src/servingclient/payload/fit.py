"""Inputs made to fit a model's signature, or refused before anything is sent.

The service refuses some values and changes others without a word: MLflow's server makes 2 of 2.5
for a whole number, 0 of 2**40 for 32 bits, True of ``"false"``, a time in 1970 of a number of
seconds. So a value fits when it arrives as what it is. Two things count as the same: a number for a
column of floats may be rounded to it, and a float without a fraction is a whole number.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from math import isfinite
from typing import Any, Final, Literal
from uuid import UUID

from servingclient.errors import SchemaMismatch
from servingclient.payload import dtypes
from servingclient.payload.named import Named, named, values
from servingclient.payload.refusals import refused, shown
from servingclient.payload.signature import Kind, Signature
from servingclient.payload.values import is_missing
from servingclient.settings import Payload


def fitted(inputs: Any, signature: Signature, settings: Payload) -> Any:
    """The inputs with their columns checked and unknown ones left out, as the settings say.

    Args:
        inputs: As given to ``predict``. What has no named columns, and a request body of one's
            own, passes as it is.
        signature: What the model takes.
        settings: ``validate`` and ``prune``; ``nan`` and ``decimal`` for what becomes of values.

    Returns:
        ``inputs``, or a copy with fewer columns.

    Raises:
        SchemaMismatch: A required column is missing, or a value does not fit.
    """
    table = named(inputs, settings)
    if table is None:
        return inputs
    if settings.validate:
        _validate(table, signature, settings)
    unknown = unknown_columns(table, signature) if settings.prune else ()
    return table.without(unknown) if unknown else inputs


def unknown_columns(table: Named, signature: Signature) -> list[str]:
    """Names of the columns the model does not know; none where it would know no column at all."""
    unknown = [name for name in table.names if name not in signature.columns]
    return unknown if len(unknown) < len(table.names) else []


def _validate(table: Named, signature: Signature, settings: Payload) -> None:
    absent = [name for name in signature.required if name not in table.names]
    if absent:
        listed = ", ".join(map(shown, absent[:10]))
        more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
        raise refused(
            f"The input lacks what the model needs: {listed}{more}. Add it, or see whether it goes "
            "by another name.",
            column=absent[0],
            kind=SchemaMismatch,
        )
    for name, column in zip(table.names, table.columns(), strict=True):
        known = signature.columns.get(name)
        if known is None or known.kind is None:
            continue
        for row, value in _doubtful(values(column), known.kind):
            problem = _problem(value, known.kind, settings)
            if problem is not None:
                raise refused(
                    f"The model takes {_TAKES[known.kind]} here, and the value is {problem}",
                    row=row,
                    column=name,
                    kind=SchemaMismatch,
                )


_TAKES: Final[Mapping[Kind, str]] = {
    "long": "whole numbers of 64 bits",
    "integer": "whole numbers of 32 bits",
    "double": "numbers",
    "float": "numbers of 32 bits",
    "boolean": "True and False",
    "string": "text",
    "datetime": "times",
    "binary": "bytes as base64 text",
}


# ------------------------------------------------------------------- which values to look at

_SURE: Final[Mapping[Kind, frozenset[type]]] = {
    "long": frozenset({bool}),  # an int may have any size
    "integer": frozenset({bool}),
    "double": frozenset({int, float, bool}),
    "float": frozenset({bool}),
    "boolean": frozenset({bool}),
    "string": frozenset({str}),
    "datetime": frozenset({datetime}),
    "binary": frozenset(),
}
"""Python types of which every value fits."""

_RANGES: Final[Mapping[Kind, tuple[int, int]]] = {
    "long": (-(2**63), 2**63 - 1),
    "integer": (-(2**31), 2**31 - 1),
}
_BEYOND_SINGLE: Final = 2.0**128 - 2.0**103
"""From here on a number becomes infinite in 32 bits."""


def _doubtful(cells: Any, kind: Kind) -> Iterable[tuple[int, Any]]:
    """Rows and values of a column that are not sure to fit, judged by type as a whole."""
    if dtypes.is_numpy(cells):
        if cells.dtype.kind in "biuf":
            rows = _unfit_numbers(cells, kind).nonzero()[0].tolist()
            return ((row, cells[row].item()) for row in rows)
        if cells.dtype.kind == "M":
            return () if kind in ("datetime", "string") else [(0, date.min)]
        cells = cells.tolist()
    types = set(map(type, cells))
    if types <= _SURE[kind]:
        return ()
    if types == {int} and kind in _RANGES and _in_range(min(cells), max(cells), kind):
        return ()
    return enumerate(cells)


def _in_range(least: float, most: float, kind: Kind) -> bool:
    return _RANGES[kind][0] <= least and most <= _RANGES[kind][1]


def _unfit_numbers(array: Any, kind: Kind) -> Any:
    """True where a number does not fit, and for some kinds where one is missing."""
    np = dtypes.numpy()
    integral = array.dtype.kind in "iu"
    none = np.zeros(array.shape, bool)
    if array.dtype.kind == "b":
        return none if kind not in ("string", "datetime", "binary") else ~none
    with np.errstate(all="ignore"):
        if kind == "double":
            return none
        if kind == "float":
            return none if integral else np.abs(array) >= _BEYOND_SINGLE
        if kind == "boolean":
            return (array != 0) & (array != 1)
        if kind in _RANGES:
            least, most = _RANGES[kind]
            if integral:
                return (array < least) | (array > most)
            return ~((array >= least) & (array < most + 1) & (array == np.floor(array)))
    return ~none


# ------------------------------------------------------------------------------- one value

Sort = Literal["missing", "truth", "whole", "float", "text", "time", "nested"]


def _problem(value: Any, kind: Kind, settings: Payload) -> str | None:
    """Why a value does not fit, as the end of "the value is ..."; None when it does."""
    sort = _sort(value, settings)
    if sort is None:
        return None  # it cannot be sent at all: encoding says why
    if sort == "missing":
        # by nan="raise" encoding refuses it; a caller's own None is sent
        null = settings.nan == "null" or value is None
        return _MISSING if null and kind in _NEVER_MISSING else None
    return _RULES[kind](value, sort)


def _sort(value: Any, settings: Payload) -> Sort | None:
    """What a value is once it is sent; None for what cannot be."""
    if value is None or is_missing(value):
        return "missing"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole"
    if isinstance(value, float):
        return "float" if isfinite(value) else "missing"
    if isinstance(value, Enum):
        return _sort(value.value, settings)
    if isinstance(value, (str, UUID, time)):
        return "text"
    if isinstance(value, date):
        return "time"
    if isinstance(value, Decimal):
        return {"str": "text", "float": "float"}.get(settings.decimal)  # type: ignore[return-value]
    if isinstance(value, (list, tuple, Mapping)):
        return "nested"
    return _sort_of_numpy(value, settings) if dtypes.is_numpy(value) else None


def _sort_of_numpy(value: Any, settings: Payload) -> Sort | None:
    if value.ndim:
        return "nested"
    return "time" if value.dtype.kind == "M" else _sort(value.item(), settings)


_NEVER_MISSING: Final = frozenset({"long", "integer", "boolean", "binary"})
_MISSING: Final = (
    "missing. Fill or drop it; only text, times and floats may be missing, so a column that lacks "
    "values needs a model logged with double."
)
_WRONG: Final[Mapping[Sort, str]] = {
    "truth": "True or False. Convert the column.",
    "whole": "a number. Convert the column.",
    "float": "a number. Convert the column.",
    "text": "text. Convert the column.",
    "time": "a time. Convert the column.",
    "nested": "a list or object. Give every part its own column.",
}


def _number(_value: Any, sort: Sort) -> str | None:
    return None if sort in ("truth", "whole", "float") else _WRONG[sort]


def _single(value: Any, sort: Sort) -> str | None:
    if sort in ("whole", "float") and abs(value) >= _BEYOND_SINGLE:
        return "beyond 3.4e38, where the service would make it infinite. Scale the column."
    return _number(value, sort)


def _whole(kind: Kind) -> Callable[[Any, Sort], str | None]:
    def rule(value: Any, sort: Sort) -> str | None:
        if sort == "float" and value != int(value):
            return (
                "no whole one: the service would cut its fraction off. Round the column, or log "
                "the model with double."
            )
        if sort in ("whole", "float") and not _in_range(value, value, kind):
            return "beyond them: the service would send another number to the model."
        return _number(value, sort)

    return rule


def _truth(value: Any, sort: Sort) -> str | None:
    if sort == "truth" or (sort in ("whole", "float") and value in (0, 1)):
        return None
    if sort == "text":
        return "text, which the service would take for True. Compare it: column == 'true'."
    return _WRONG[sort] if sort in ("time", "nested") else "a number other than 0 and 1."


def _text(_value: Any, sort: Sort) -> str | None:
    return None if sort in ("text", "time") else _WRONG[sort]


_OFFSET: Final = re.compile(r"\d{2}:\d{2}.*(?:Z|[+-]\d{2}:?(?:\d{2})?)", re.IGNORECASE)


def _moment(value: Any, sort: Sort) -> str | None:
    if sort in ("whole", "float"):
        return (
            "a number, which the service would read as nanoseconds since 1970. Send datetimes: "
            "pandas.to_datetime(column, unit='s')."
        )
    if sort == "text" and isinstance(value, str) and _OFFSET.search(value):
        return (
            "text with a time zone, which the service refuses. Send datetimes: "
            "pandas.to_datetime(column, utc=True)."
        )
    return None if sort in ("time", "text") else _WRONG[sort]


def _base64(value: Any, sort: Sort) -> str | None:
    if sort != "text":
        return _WRONG[sort]
    try:
        base64.b64decode(str(value).replace("\n", ""), validate=True)
    except ValueError:
        return (
            "text that is no base64, of which the service would make other bytes or none. Send "
            "base64.b64encode(...).decode()."
        )
    return None


_RULES: Final[Mapping[Kind, Callable[[Any, Sort], str | None]]] = {
    "long": _whole("long"),
    "integer": _whole("integer"),
    "double": _number,
    "float": _single,
    "boolean": _truth,
    "string": _text,
    "datetime": _moment,
    "binary": _base64,
}
