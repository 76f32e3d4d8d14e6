"""Tables of plain Python and arrays: a list of dicts, or a dict of columns."""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import Any

from servingclient.errors import PayloadError
from servingclient.payload import arrays, columnar, dtypes, frames
from servingclient.payload.body import is_column, rows_of
from servingclient.payload.refusals import column_names, refused, shown
from servingclient.payload.values import listed
from servingclient.settings import Payload

# ------------------------------------------------------------------------------- rows


def split_records(rows: list[Any], settings: Payload) -> dict[str, Any]:
    """Rows with names as the content of ``dataframe_split``; their values are not checked yet.

    Args:
        rows: Dicts or other mappings, at least one; every one with the keys of the first.
        settings: What to do about names that are no strings.

    Returns:
        Columns once, and the values of every row in their order.

    Raises:
        PayloadError: A row has other keys, or a name cannot be sent.
    """
    first = rows[0]
    keys = list(first)
    try:
        "".join(keys)  # the cheapest test that all are strings: 0.2 us for ten
        columns = keys
    except TypeError:
        columns = column_names(keys, settings)
    if not keys:
        raise refused("The first row has no columns: nothing to score.", row=0)
    if len(rows) == 1:
        return {"columns": columns, "data": [list(first.values())]}
    if set(map(type, rows)) != {dict}:
        if not all(isinstance(row, Mapping) for row in rows):
            raise _uneven(rows, keys)
        rows = list(map(dict, rows))  # a defaultdict would invent what is missing
    try:
        data: list[Any] = list(map(itemgetter(*keys), rows))
    except KeyError:
        raise _uneven(rows, keys) from None
    if set(map(len, rows)) != {len(keys)}:
        raise _uneven(rows, keys)
    return {"columns": columns, "data": data if len(keys) > 1 else [(value,) for value in data]}


def _uneven(rows: list[Any], keys: list[Any]) -> PayloadError:
    position, row = next(
        (position, row)
        for position, row in enumerate(rows)
        if not isinstance(row, Mapping) or row.keys() != rows[0].keys()
    )
    if not isinstance(row, Mapping):
        kind = type(row).__name__
        return refused(f"The row is a {kind} among dicts. Make all rows dicts.", row=position)
    absent = [key for key in keys if key not in row]
    added = [key for key in row if key not in rows[0]]
    return refused(
        f"The row {'lacks' if absent else 'has'} this column, which the first row "
        f"{'has' if absent else 'lacks'}. Every row needs the same keys; None stands for a value "
        "that is not known.",
        row=position,
        column=str((absent or added)[0]),
    )


# ------------------------------------------------------------------------------- columns


def body_of_columns(
    given: Mapping[Any, Any], settings: Payload
) -> tuple[dict[str, Any], int | None]:
    """A dict of columns or tensors as a body for :func:`~servingclient.payload.body.write_checked`.

    Args:
        given: Names and lists, arrays or series. With an array of two or more dimensions among
            them they are tensors and go as ``inputs``, otherwise as ``dataframe_split``.
        settings: What to do about missing values, decimals and names.

    Returns:
        The body, and its number of rows where all columns have the same.

    Raises:
        PayloadError: A column cannot be sent.
    """
    if not given:
        raise refused("The input is an empty dict: nothing to score.")
    names = column_names(list(given), settings)
    for name, value in zip(names, given.values(), strict=True):
        _require_column(name, value)
    values = list(given.values())
    lengths = list(map(len, values))
    if any(map(_is_tensor, values)):
        tensors = {
            name: arrays.tensor(value, settings, name=name)
            if _is_tensor(value)
            else _column(value, name, settings)
            for name, value in zip(names, values, strict=True)
        }
        return {"inputs": tensors}, lengths[0] if len(set(lengths)) == 1 else None
    _require_one_length(names, lengths)
    columns = [_column(value, name, settings) for name, value in zip(names, values, strict=True)]
    split = {"columns": names, "data": rows_of(columns)}
    return {"dataframe_split": split}, lengths[0]


def _require_column(name: str, value: Any) -> None:
    if dtypes.is_numpy(value) and value.ndim == 0:
        raise refused("The array has shape (): a single value. Reshape it to one row.", column=name)
    if not is_column(value):
        raise refused(
            f"The column is a single {type(value).__name__}, not a list. For one row pass a list "
            "with one dict: [{...}].",
            column=name,
        )


def _require_one_length(names: list[str], lengths: list[int]) -> None:
    for name, length in zip(names, lengths, strict=True):
        if length != lengths[0]:
            raise refused(
                f"The column has {length} values, column {shown(names[0])} has {lengths[0]}. Make "
                "all columns of one length.",
                column=name,
            )
    if not lengths[0]:
        raise refused("The columns have 0 rows: nothing to score. Skip the call.")


def _is_tensor(value: Any) -> bool:
    return dtypes.is_numpy(value) and value.ndim > 1


def _column(value: Any, name: str, settings: Payload) -> list[Any]:
    pd, pl, pa = frames.pandas(), columnar.polars(), columnar.pyarrow()
    if isinstance(value, (list, tuple)):
        return listed(value, name, settings, none_missing=False)
    if dtypes.is_numpy(value):
        return arrays.column(value, name, settings)
    if pd is not None and isinstance(value, pd.Series):
        return frames.column(value, name, settings)
    if pd is not None and isinstance(value, (pd.Index, pd.api.extensions.ExtensionArray)):
        return frames.column(pd.Series(value), name, settings)
    if pl is not None and isinstance(value, pl.Series):
        return columnar.polars_column(value, name, settings)
    if pa is not None and isinstance(value, (pa.Array, pa.ChunkedArray)):
        return columnar.arrow_column(value, name, settings)
    kind = type(value)
    raise refused(
        f"The column is a {kind.__module__}.{kind.__qualname__}. Pass a list or numpy array.",
        column=name,
    )
