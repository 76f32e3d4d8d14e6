"""polars frames and Arrow tables by columns, with the same rules as pandas frames."""

from __future__ import annotations

import sys
from typing import Any

from servingclient.payload import arrays, narrow
from servingclient.payload.body import rows_of
from servingclient.payload.refusals import column_names, missing, refused
from servingclient.payload.values import listed, times
from servingclient.settings import Payload


def polars() -> Any:
    """polars, if someone loaded it; None otherwise."""
    return sys.modules.get("polars")


def pyarrow() -> Any:
    """pyarrow, if someone loaded it; None otherwise."""
    return sys.modules.get("pyarrow")


def polars_split(frame: Any, settings: Payload) -> dict[str, Any]:
    """A polars frame as the content of ``dataframe_split``, for orjson with ``dtypes.NATIVE``.

    Args:
        frame: A ``polars.DataFrame``.
        settings: What to do about missing values and decimals.

    Returns:
        Columns and data.

    Raises:
        PayloadError: A column cannot be sent.
    """
    _filled(frame.height, frame.width)
    names = column_names(frame.columns, settings)
    columns = [
        polars_column(series, name, settings)
        for name, series in zip(names, frame.get_columns(), strict=True)
    ]
    return {"columns": names, "data": rows_of(columns)}


def arrow_split(table: Any, settings: Payload) -> dict[str, Any]:
    """An Arrow table or record batch likewise.

    Args:
        table: A ``pyarrow.Table`` or ``pyarrow.RecordBatch``.
        settings: What to do about missing values and decimals.

    Returns:
        Columns and data.

    Raises:
        PayloadError: A column cannot be sent.
    """
    _filled(table.num_rows, table.num_columns)
    names = column_names(table.schema.names, settings)
    columns = [
        arrow_column(values, name, settings)
        for name, values in zip(names, table.columns, strict=True)
    ]
    return {"columns": names, "data": rows_of(columns)}


def _filled(rows: int, columns: int) -> None:
    if not rows or not columns:
        raise refused(
            f"The table has {rows} rows and {columns} columns: nothing to score. Skip the call."
        )


# ------------------------------------------------------------------------------- polars


def polars_column(series: Any, name: str, settings: Payload) -> list[Any]:
    """One polars series as a list of values orjson writes with ``dtypes.NATIVE``.

    Args:
        series: A ``polars.Series``.
        name: Name of the column.
        settings: What to do about missing values and decimals.

    Returns:
        The values, exact; ``None`` where one is missing and may be.

    Raises:
        PayloadError: A value or the dtype cannot be sent.
    """
    kind = type(series.dtype).__name__
    if series.null_count() and settings.nan == "raise":
        row = series.is_null().arg_max()
        raise refused(str(missing("missing (null)", settings)), row=row, column=name)
    if kind in {"Float64", "Float32"}:
        return _polars_floats(series, kind, name, settings)
    if kind in _PLAIN:
        return list(series.to_list())
    if kind in _REFUSED:
        raise refused(f"The dtype {series.dtype} has no JSON form. {_REFUSED[kind]}", column=name)
    if kind in {"Datetime", "Date"}:
        return _polars_times(series, kind, name, settings)
    if kind in {"List", "Array", "Struct"}:
        _nested_times(str(series.dtype), name)
    return listed(series.to_list(), name, settings, none_missing=True)


_PLAIN = frozenset(
    [
        *("Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64"),
        *("Boolean", "String", "Categorical", "Enum"),
    ]
)
_REFUSED = {
    "Duration": "Send seconds: dt.total_seconds().",
    "Binary": "Send text: bin.encode('base64').",
}


def _polars_floats(series: Any, kind: str, name: str, settings: Payload) -> list[Any]:
    if settings.nan == "raise" and not series.is_finite().all():
        row = (~series.is_finite()).arg_max()
        value = "NaN" if series.is_nan()[row] else "infinite"
        raise refused(str(missing(value, settings)), row=row, column=name)
    if narrow.is_on(settings):
        return narrow.column(series.to_list(), name, settings)
    if kind == "Float32":
        # by way of text: the shortest form of a float32, without needing numpy
        types = sys.modules["polars"]
        series = series.cast(types.String).cast(types.Float64)
    return list(series.to_list())


def _polars_times(series: Any, kind: str, name: str, settings: Payload) -> list[Any]:
    # asked first: some versions of polars panic when Python cannot hold a date
    years = series.dt.year().drop_nulls()
    if len(years) and not 1 <= years.min() <= years.max() <= 9999:
        raise _out_of_range(name)
    if kind == "Date":
        return listed(series.to_list(), name, settings, none_missing=True)
    if series.dtype.time_zone is not None:
        series = series.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    if series.dtype.time_unit == "ns" and (series.dt.nanosecond() % 1000 != 0).any():
        return list(series.dt.to_string("%Y-%m-%dT%H:%M:%S%.9f").to_list())
    return times(series.to_list())


def _out_of_range(name: str) -> Exception:
    return refused(
        "A date lies outside the years 1 to 9999. Correct it, or send a number.", column=name
    )


def _nested_times(dtype: str, name: str) -> None:
    """Refuse nested nanoseconds: as Python values they would lose their last three digits."""
    if "Datetime(time_unit='ns'" in dtype or "timestamp[ns" in dtype or "time64[ns" in dtype:
        raise refused(
            "The column nests nanosecond times, which Python has no type for. Cast them to "
            "microseconds.",
            column=name,
        )


# ------------------------------------------------------------------------------- Arrow


def arrow_column(values: Any, name: str, settings: Payload) -> list[Any]:
    """One Arrow array as a list of values orjson writes with ``dtypes.NATIVE``.

    Args:
        values: A ``pyarrow.Array`` or ``pyarrow.ChunkedArray``.
        name: Name of the column.
        settings: What to do about missing values and decimals.

    Returns:
        The values, exact; ``None`` where one is missing and may be.

    Raises:
        PayloadError: A value or the type cannot be sent.
    """
    arrow = sys.modules["pyarrow"]
    types, kind = arrow.types, values.type
    if values.null_count and settings.nan == "raise":
        row = values.is_null().to_pylist().index(True)
        raise refused(str(missing("missing (null)", settings)), row=row, column=name)
    if types.is_dictionary(kind):
        return arrow_column(values.cast(kind.value_type), name, settings)
    if types.is_timestamp(kind) and kind.tz is not None:
        return arrow_column(values.cast(arrow.timestamp(kind.unit)), name, settings)
    if types.is_timestamp(kind):
        return arrays.column(_numpy(values), name, settings)
    if types.is_floating(kind) or types.is_integer(kind):
        return _arrow_numbers(values, name, settings)
    if types.is_duration(kind) or types.is_interval(kind):
        raise refused(f"The type {kind} has no JSON form. Send seconds.", column=name)
    if str(kind) in {"binary", "large_binary", "binary_view"} or types.is_fixed_size_binary(kind):
        raise refused(f"The type {kind} is bytes. Base64-encode it as text.", column=name)
    if types.is_nested(kind) or types.is_time64(kind):
        _nested_times(str(kind), name)
    try:
        found = values.to_pylist(**({"maps_as_pydicts": "strict"} if "map<" in str(kind) else {}))
    except KeyError:  # its text would quote the key
        raise refused("A map holds a key twice. Keep one of each.", column=name) from None
    except (ValueError, OverflowError):
        raise _out_of_range(name) from None
    return listed(found, name, settings, none_missing=True)


def _arrow_numbers(values: Any, name: str, settings: Payload) -> list[Any]:
    if not values.null_count:
        return arrays.column(_numpy(values), name, settings)
    # arrow would turn integers with nulls into floats
    gone = values.is_null().to_pylist()
    filled = arrays.column(_numpy(values.fill_null(0)), name, settings)
    return [None if lost else value for value, lost in zip(filled, gone, strict=True)]


def _numpy(values: Any) -> Any:
    chunked = hasattr(values, "chunks")
    return values.to_numpy() if chunked else values.to_numpy(zero_copy_only=False)
