"""pandas frames by columns: every dtype is either sent exactly or refused by name.

The index is not sent. A frame of one plain number type goes as one two-dimensional array; any other
as lists by column, zipped to rows. ``to_dict`` would cost more than all the rest together.
"""

from __future__ import annotations

import sys
from typing import Any

from servingclient.payload import arrays, columnar, dtypes
from servingclient.payload.body import rows_of
from servingclient.payload.refusals import column_names, missing, refused
from servingclient.payload.values import listed
from servingclient.settings import Payload


def pandas() -> Any:
    """pandas, if someone loaded it; None otherwise."""
    return sys.modules.get("pandas")


def split(frame: Any, settings: Payload) -> dict[str, Any]:
    """A pandas frame as the content of ``dataframe_split``, for orjson with ``dtypes.NATIVE``.

    Args:
        frame: A ``pandas.DataFrame``.
        settings: What to do about missing values, decimals and column names.

    Returns:
        Columns and data.

    Raises:
        PayloadError: A column cannot be sent.
    """
    if getattr(frame.columns, "nlevels", 1) > 1:
        raise refused(
            "The frame has MultiIndex columns, which a request has no form for. Join the levels: "
            "frame.columns = ['_'.join(map(str, name)) for name in frame.columns]."
        )
    names = column_names(frame.columns.tolist(), settings) if len(frame.columns) else []
    if not names or not len(frame):
        raise refused(
            f"The frame has {len(frame)} rows and {len(names)} columns: nothing to score. Skip the "
            "call."
        )
    kinds = set(frame.dtypes.tolist())  # as a Series it takes half as long again
    if len(kinds) == 1 and _plain_number(next(iter(kinds))):
        data = arrays.tensor(frame.to_numpy(), settings, names=names)
        return {"columns": names, "data": data}
    columns = [
        column(series, name, settings)
        for name, (_, series) in zip(names, frame.items(), strict=True)
    ]
    return {"columns": names, "data": rows_of(columns)}


def _plain_number(dtype: Any) -> bool:
    return isinstance(dtype, dtypes.numpy().dtype) and dtype.kind in "biuf"


def column(series: Any, name: str, settings: Payload) -> list[Any]:
    """One pandas series as a list of values orjson writes with ``dtypes.NATIVE``.

    Args:
        series: A ``pandas.Series`` or ``pandas.Index``.
        name: Name of the column.
        settings: What to do about missing values and decimals.

    Returns:
        The values, exact; ``None`` where one is missing and may be.

    Raises:
        PayloadError: A value or the dtype cannot be sent.
    """
    dtype = series.dtype
    if isinstance(dtype, dtypes.numpy().dtype):
        plain = series.values
        return arrays.column(plain, name, settings, none_missing=True)
    kind = type(dtype).__name__
    if kind == "StringDtype":
        texts: list[Any] = series.tolist()
        if not series.array.isna().any():
            return texts
        return listed(texts, name, settings, none_missing=True)
    if kind in _REFUSED:
        raise refused(f"The dtype {dtype} has no JSON form. {_REFUSED[kind]}", column=name)
    if kind == "DatetimeTZDtype":
        return arrays.column(series.dt.tz_convert(None).to_numpy(), name, settings)
    if kind == "SparseDtype":
        return column(series.sparse.to_dense(), name, settings)
    if kind == "ArrowDtype":
        return columnar.arrow_column(series.array.__arrow_array__(), name, settings)
    gone = series.isna().to_numpy()
    if gone.any() and settings.nan == "raise":
        problem = str(missing(f"missing ({dtype} column)", settings))
        raise refused(problem, row=int(gone.argmax()), column=name)
    if kind == "CategoricalDtype":
        return _categories(series, name, settings)
    if hasattr(dtype, "numpy_dtype"):  # Int64, Float32, boolean: a plain array beside a mask
        filled = series.fillna(dtype.type(0)).to_numpy(dtype=dtype.numpy_dtype)
        values = arrays.column(filled, name, settings)
    else:
        values = listed(series.astype(object).tolist(), name, settings, none_missing=True)
    return [None if lost else value for value, lost in zip(values, gone.tolist(), strict=True)]


_REFUSED = {
    "PeriodDtype": "Send text with astype(str), or timestamps with dt.to_timestamp().",
    "IntervalDtype": "Send the bounds as two columns: array.left and array.right.",
}


def _categories(series: Any, name: str, settings: Payload) -> list[Any]:
    # by codes: pandas would turn integer categories into floats where a value is missing
    known = series.cat.categories
    values = column(known.to_series(), name, settings) if len(known) else []
    return [None if code < 0 else values[code] for code in series.cat.codes.tolist()]
