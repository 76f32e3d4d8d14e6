"""Rows of any input that has a length: how many, some of them in a row, some picked out. Pure.

Nothing is converted, and what can be sliced without a copy is not copied.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from servingclient.errors import PayloadError
from servingclient.payload import columnar, dtypes, frames
from servingclient.payload.body import is_body, is_column
from servingclient.payload.refusals import refused, shown

Rows = Any
"""A frame, table, array, list of rows or dict of columns."""


def is_frame(value: object) -> bool:
    """Whether ``value`` is several rows by its type: a frame, table, batch or array of arrays."""
    pd, pl, pa = frames.pandas(), columnar.polars(), columnar.pyarrow()
    return (
        (pd is not None and isinstance(value, pd.DataFrame))
        or (pl is not None and isinstance(value, pl.DataFrame))
        or (pa is not None and isinstance(value, (pa.Table, pa.RecordBatch)))
        or (dtypes.is_numpy(value) and getattr(value, "ndim", 0) > 1)
    )


def is_sliceable(value: object) -> bool:
    """Whether :func:`count`, :func:`cut` and :func:`pick` take ``value``."""
    return is_frame(value) or isinstance(value, (list, tuple, Mapping)) or dtypes.is_numpy(value)


def check(rows: Rows) -> None:
    """Refuse what has the type of rows and not their shape.

    Raises:
        PayloadError: It is a request body, a single value, or columns of different lengths.
    """
    if isinstance(rows, Mapping):
        _check_columns(rows)
    elif dtypes.is_numpy(rows) and rows.ndim == 0:
        raise refused("The array has shape (): a single value. Pass an array of rows.")


def _check_columns(columns: Mapping[Any, Any]) -> None:
    if is_body(columns):
        raise refused(
            "The input is a request body, which map does not take apart. Pass its rows: a frame, "
            "list, array or dict of columns."
        )
    for name, values in columns.items():
        if not is_column(values) or getattr(values, "ndim", 1) == 0:
            raise refused(
                f"The column is a single {type(values).__name__}, not a list. Give a list of "
                "values for each column.",
                column=str(name),
            )
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        first, *_ = lengths
        other = next(name for name in lengths if lengths[name] != lengths[first])
        raise _uneven(other, lengths[other], first, lengths[first])


def _uneven(name: object, length: int, first: object, first_length: int) -> PayloadError:
    return refused(
        f"The column has {length} values, column {shown(first)} has {first_length}. Make all "
        "columns of one length.",
        column=str(name),
    )


def count(rows: Rows) -> int:
    """How many there are."""
    if isinstance(rows, Mapping):
        return next((len(values) for values in rows.values()), 0)
    return len(rows)


def cut(rows: Rows, start: int, stop: int) -> Rows:
    """Those from ``start`` up to ``stop``; a view where the library has views."""
    if isinstance(rows, Mapping):
        return {name: cut(values, start, stop) for name, values in rows.items()}
    positional = getattr(rows, "iloc", None)
    return rows[start:stop] if positional is None else positional[start:stop]


def pick(rows: Rows, offsets: Sequence[int]) -> Rows:
    """Those at ``offsets``, in that order; a copy unless they follow one another."""
    if offsets and len(offsets) == offsets[-1] - offsets[0] + 1:  # they only ever ascend here
        return cut(rows, offsets[0], offsets[-1] + 1)
    if isinstance(rows, Mapping):
        return {name: pick(values, offsets) for name, values in rows.items()}
    if isinstance(rows, (list, tuple)):
        return [rows[offset] for offset in offsets]
    positional = getattr(rows, "iloc", None)
    if positional is not None:
        return positional[list(offsets)]
    if type(rows).__module__.startswith("pyarrow"):
        return rows.take(list(offsets))
    return rows[list(offsets)]
