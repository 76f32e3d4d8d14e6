"""Each dtype of each library is sent exactly, or refused by column; nothing changes in silence."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient.errors import PayloadError

NOON = "2024-05-01T12:00:00"
FINE = "2024-05-01T12:00:00.123456"
NANO = "2024-05-01T12:00:00.123456789"
UTC = dt.timezone.utc
PARIS = dt.timezone(dt.timedelta(hours=2))
WHEN = dt.datetime(2024, 5, 1, 12, 0, 0, 123456)  # noqa: DTZ001 - columns of naive times

INT_RANGES = {f"int{n}": (-(2 ** (n - 1)), 2 ** (n - 1) - 1) for n in (8, 16, 32, 64)}
INT_RANGES |= {f"uint{n}": (0, 2**n - 1) for n in (8, 16, 32, 64)}

DOUBLES = [0.1, -1.7976931348623157e308, 5e-324, 123456789.123456789, -0.0, 1e22]
SINGLES = [0.1, 3.4028234663852886e38, 1e-45, 16777216.0, -2.5]
HALVES = [0.1, 65504.0, 6e-08, -2.5]


# name: (numpy array, what must be read back)
NUMPY = {name: (np.array(ends, name), list(ends)) for name, ends in INT_RANGES.items()}
NUMPY |= {
    "bool": (np.array([True, False]), [True, False]),
    "float64": (np.array(DOUBLES), DOUBLES),
    "big-endian float64": (np.array(DOUBLES, ">f8"), DOUBLES),
    "big-endian int64": (np.array([2**62 + 1, -5], ">i8"), [2**62 + 1, -5]),
    "strided": (np.arange(10.0)[::3], [0.0, 3.0, 6.0, 9.0]),
    "reversed": (np.arange(3)[::-1], [2, 1, 0]),
    "read-only": (np.broadcast_to(np.int64(4), 3), [4, 4, 4]),
    "unicode": (np.array(["a", "Grüße 🎈", "null"]), ["a", "Grüße 🎈", "null"]),
    "datetime64[ns]": (np.array([NOON, NANO], "M8[ns]"), [NOON + ".000000000", NANO]),
    "datetime64[ns] of microseconds": (np.array([FINE], "M8[ns]"), [FINE]),
    "datetime64[us]": (np.array([FINE], "M8[us]"), [FINE]),
    "datetime64[ms]": (np.array([NOON], "M8[ms]"), [NOON]),
    "datetime64[s]": (np.array([NOON], "M8[s]"), [NOON]),
    "datetime64[D]": (np.array(["2024-05-01"], "M8[D]"), ["2024-05-01T00:00:00"]),
    "datetime64[M]": (np.array(["2024-05"], "M8[M]"), ["2024-05-01T00:00:00"]),
    "object": (np.array([1, "a", None, 0.5], object), [1, "a", None, 0.5]),
    "masked, nothing masked": (np.ma.array([1.5, 2.5], mask=False), [1.5, 2.5]),
}


@pytest.mark.parametrize(("array", "expected"), NUMPY.values(), ids=NUMPY.keys())
def test_numpy_column(array, expected, sent):
    read = sent({"c": array})["dataframe_split"]["data"]
    assert [row[0] for row in read] == expected
    assert list(map(type, (row[0] for row in read))) == list(map(type, expected))


@pytest.mark.parametrize(("array", "expected"), NUMPY.values(), ids=NUMPY.keys())
def test_numpy_array(array, expected, sent):
    assert sent(array) == {"inputs": expected}
    assert sent(array.reshape(1, -1)) == {"inputs": [expected]}


@pytest.mark.parametrize(("dtype", "values"), [("f4", SINGLES), ("f2", HALVES)])
@pytest.mark.parametrize("form", ["array", "columns", "frame", "mixed frame", "cells", "scalars"])
def test_narrow_floats_print_short_and_read_back_the_same(dtype, values, form, sent):
    array = np.array(values, dtype)
    inputs = {
        "array": array,
        "columns": {"c": array},
        "frame": pd.DataFrame({"c": array}),
        "mixed frame": pd.DataFrame({"c": array, "d": "x"}),
        "cells": [{"c": array}],
        "scalars": [{"c": value} for value in array],
    }[form]
    read = sent(inputs)
    read = read["inputs"] if "inputs" in read else [r[0] for r in read["dataframe_split"]["data"]]
    read = read[0] if form == "cells" else read
    assert np.array_equal(np.array(read, dtype), array)
    assert all(len(repr(value)) <= 16 for value in read)


NUMPY_REFUSED = {
    "longdouble": (np.array([1], np.longdouble), "float128|longdouble"),
    "complex64": (np.array([1j], "c8"), "complex64"),
    "complex128": (np.array([1j]), "complex128"),
    "timedelta64": (np.array([1], "m8[s]"), "timedelta64"),
    "bytes": (np.array([b"ab"]), "is bytes"),
    "void": (np.array([b"ab"], "V2"), "raw memory"),
    "year 20000": (np.array(["20000-01-01"], "M8[D]"), "years 1 to 9999"),
    "year -5": (np.array([-1975], "M8[Y]"), "years 1 to 9999"),
    "year 20000 in microseconds": (np.array([569_000_000_000_000_000], "M8[us]"), "1 to 9999"),
    "year 2000000": (np.array([2_000_000], "M8[Y]"), "1 to 9999"),
    "object of bytes": (np.array([b"x", "a"], object), "base64"),
    "object of sets": (np.array([{1}, "a"], object), "builtins.set"),
}


@pytest.mark.parametrize(("array", "words"), NUMPY_REFUSED.values(), ids=NUMPY_REFUSED.keys())
@pytest.mark.parametrize("nan", ["raise", "null"])
def test_numpy_refused(array, words, nan, enc):
    with pytest.raises(PayloadError, match=words) as caught:
        enc({"good": [1] * len(array), "bad": array}, nan=nan)
    assert caught.value.column == "bad"
    with pytest.raises(PayloadError, match=words):
        enc(array, nan=nan)


# ------------------------------------------------------------------------------- pandas

PANDAS = {name: (pd.Series(ends, dtype=name), list(ends)) for name, ends in INT_RANGES.items()}
PANDAS |= {
    name.replace("int", "Int").replace("uI", "UI"): (
        pd.Series(ends, dtype=name.replace("int", "Int").replace("uI", "UI")),
        list(ends),
    )
    for name, ends in INT_RANGES.items()
}
PANDAS |= {
    "float64": (pd.Series(DOUBLES), DOUBLES),
    "Float64": (pd.Series(DOUBLES, dtype="Float64"), DOUBLES),
    "Float32": (pd.Series([0.1, 2.5], dtype="Float32"), [0.1, 2.5]),
    "bool": (pd.Series([True, False]), [True, False]),
    "boolean": (pd.Series([True, False], dtype="boolean"), [True, False]),
    "str": (pd.Series(["a", "null", "ß"]), ["a", "null", "ß"]),
    "string[python]": (pd.Series(["a", "b"], dtype="string[python]"), ["a", "b"]),
    "string[pyarrow]": (pd.Series(["a", "b"], dtype="string[pyarrow]"), ["a", "b"]),
    "object": (pd.Series(["a", 1, 2.5, True], dtype=object), ["a", 1, 2.5, True]),
    "object of dates": (pd.Series([dt.date(2024, 5, 1)], dtype=object), ["2024-05-01"]),
    "object of naive times": (pd.Series([WHEN], dtype=object), [FINE]),
    "object of aware times": (
        pd.Series([WHEN.replace(tzinfo=PARIS)], dtype=object),
        ["2024-05-01T10:00:00.123456"],
    ),
    "object of timestamps": (pd.Series([pd.Timestamp(NANO)], dtype=object), [NANO]),
    "object of clock times": (pd.Series([dt.time(1, 2, 3)], dtype=object), ["01:02:03"]),
    "object of lists": (pd.Series([[1, 2], [3]]), [[1, 2], [3]]),
    "object of arrays": (pd.Series([np.array([0.5], "f4")]), [[0.5]]),
    "object of dicts": (pd.Series([{"k": None}]), [{"k": None}]),
    "object of uuids": (pd.Series([uuid.UUID(int=5)]), [str(uuid.UUID(int=5))]),
    "datetime64[ns]": (pd.Series(np.array([NANO], "M8[ns]")), [NANO]),
    "datetime64[us]": (pd.Series(np.array([FINE], "M8[us]")), [FINE]),
    "datetime64[s]": (pd.Series(np.array([NOON], "M8[s]")), [NOON]),
    "datetime64[ns, Europe/Paris]": (
        pd.Series(np.array([NOON], "M8[ns]")).dt.tz_localize("Europe/Paris"),
        ["2024-05-01T10:00:00"],
    ),
    "datetime64[us, UTC]": (pd.Series(np.array([FINE], "M8[us]")).dt.tz_localize("UTC"), [FINE]),
    "category of text": (pd.Series(["u", "v", "u"], dtype="category"), ["u", "v", "u"]),
    "category of integers": (pd.Series([2**53 + 1, 7], dtype="category"), [2**53 + 1, 7]),
    "category of times": (pd.Series(pd.to_datetime([NOON])).astype("category"), [NOON]),
    "sparse": (pd.Series([0.0, 1.5], dtype=pd.SparseDtype("float64", 0.0)), [0.0, 1.5]),
    "arrow int64": (pd.Series([2**53 + 1], dtype="int64[pyarrow]"), [2**53 + 1]),
    "arrow float": (pd.Series([0.1], dtype="float[pyarrow]"), [0.1]),
    "arrow string": (pd.Series(["a"], dtype=pd.ArrowDtype(pa.string())), ["a"]),
    "arrow list": (pd.Series([[1, 2]], dtype=pd.ArrowDtype(pa.list_(pa.int64()))), [[1, 2]]),
    "arrow timestamp": (pd.Series([WHEN], dtype=pd.ArrowDtype(pa.timestamp("us"))), [FINE]),
}


@pytest.mark.parametrize(("series", "expected"), PANDAS.values(), ids=PANDAS.keys())
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside text"])
def test_pandas(series, expected, beside, sent):
    frame = pd.DataFrame({"c": series, "d": "x"}) if beside else series.to_frame("c")
    read = [row[0] for row in sent(frame)["dataframe_split"]["data"]]
    assert read == expected
    assert list(map(type, read)) == list(map(type, expected))


PANDAS_REFUSED = {
    "timedelta64": (pd.Series(pd.to_timedelta([1], unit="s")), "timedelta64"),
    "period": (pd.Series(pd.period_range("2024", periods=1)), "period"),
    "interval": (pd.Series(pd.interval_range(0, 1)), "interval"),
    "complex": (pd.Series([1j]), "complex128"),
    "category of intervals": (pd.Series(pd.interval_range(0, 1)).astype("category"), "interval"),
    "object of bytes": (pd.Series([b"x"]), "base64"),
    "object of decimals": (pd.Series([Decimal(1)]), "Decimal"),
    "object of large integers": (pd.Series([2**64], dtype=object), "int64 and uint64"),
    "object of periods": (pd.Series([pd.Period("2024")], dtype=object), "Period"),
    "object of intervals": (pd.Series([pd.Interval(0, 1)], dtype=object), "Interval"),
    "object of timedeltas": (pd.Series([pd.Timedelta(1)], dtype=object), "total_seconds"),
    "object of complex": (pd.Series([1j, "a"], dtype=object), "complex"),
    "object of surrogates": (pd.Series(["\ud800"], dtype=object), "UTF-8"),
    "arrow binary": (pd.Series([b"x"], dtype=pd.ArrowDtype(pa.binary())), "bytes"),
    "arrow decimal": (
        pd.Series([Decimal(1)], dtype=pd.ArrowDtype(pa.decimal128(5, 2))),
        "Decimal",
    ),
}


@pytest.mark.parametrize(("series", "words"), PANDAS_REFUSED.values(), ids=PANDAS_REFUSED.keys())
@pytest.mark.parametrize("nan", ["raise", "null"])
def test_pandas_refused(series, words, nan, enc):
    frame = pd.DataFrame({"good": range(len(series)), "bad": series})
    with pytest.raises(PayloadError, match=words) as caught:
        enc(frame, nan=nan)
    assert caught.value.column == "bad"


PANDAS_MISSING = {
    "float64": (pd.Series([1.5, np.nan]), [1.5, None], "NaN"),
    "infinite": (pd.Series([1.5, -np.inf]), [1.5, None], "infinite"),
    "float32": (pd.Series([1.5, np.nan], dtype="f4"), [1.5, None], "NaN"),
    "Int64": (pd.Series([2**53 + 1, pd.NA], dtype="Int64"), [2**53 + 1, None], "Int64"),
    "UInt64": (pd.Series([2**64 - 1, pd.NA], dtype="UInt64"), [2**64 - 1, None], "UInt64"),
    "Float32": (pd.Series([0.1, pd.NA], dtype="Float32"), [0.1, None], "Float32"),
    "boolean": (pd.Series([True, pd.NA], dtype="boolean"), [True, None], "boolean"),
    "str": (pd.Series(["a", None], dtype="str"), ["a", None], "NaN|missing|None"),
    "string": (pd.Series(["a", None], dtype="string[python]"), ["a", None], "NAType"),
    "object None": (pd.Series(["a", None], dtype=object), ["a", None], "None"),
    "object NaN": (pd.Series(["a", np.nan], dtype=object), ["a", None], "NaN"),
    "object NA": (pd.Series(["a", pd.NA], dtype=object), ["a", None], "NAType"),
    "object NaT": (pd.Series(["a", pd.NaT], dtype=object), ["a", None], "NaTType"),
    "datetime64": (pd.Series(np.array([NOON, "NaT"], "M8[ns]")), [NOON, None], "NaT"),
    "nanoseconds": (pd.Series(np.array([NANO, "NaT"], "M8[ns]")), [NANO, None], "NaT"),
    "aware": (
        pd.Series(np.array([NOON, "NaT"], "M8[ns]")).dt.tz_localize("UTC"),
        [NOON, None],
        "NaT",
    ),
    "category": (pd.Series([5, None], dtype=pd.CategoricalDtype([5])), [5, None], "category"),
    "arrow int64": (pd.Series([7, None], dtype="int64[pyarrow]"), [7, None], "null"),
    "arrow string": (pd.Series(["a", None], dtype=pd.ArrowDtype(pa.string())), ["a", None], "null"),
    "sparse": (pd.Series([1.5, np.nan], dtype=pd.SparseDtype("float64")), [1.5, None], "NaN"),
    "array in a cell": (pd.Series([[0.5], np.array([np.nan])]), [[0.5], [None]], "NaN"),
    "NaN in a list in a cell": (pd.Series([[0.5], [np.nan]]), [[0.5], [None]], "NaN"),
}


@pytest.mark.parametrize(
    ("series", "expected", "words"), PANDAS_MISSING.values(), ids=PANDAS_MISSING.keys()
)
@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside text"])
def test_pandas_missing(series, expected, words, beside, enc, sent):
    frame = pd.DataFrame({"c": series, "d": "x"}) if beside else series.to_frame("c")
    with pytest.raises(PayloadError, match=words) as caught:
        enc(frame)
    assert (caught.value.row, caught.value.column) == (1, "c")
    read = [row[0] for row in sent(frame, nan="null")["dataframe_split"]["data"]]
    assert read == expected


class OwnDtype(pd.api.extensions.ExtensionDtype):
    name = "own"
    type = object
    na_value = None


class OwnArray(pd.api.extensions.ExtensionArray):
    """The least an extension array of someone else's needs."""

    dtype = OwnDtype()

    def __init__(self, values):
        self.values = values

    def __getitem__(self, at):
        return self.values[at] if isinstance(at, (int, np.integer)) else OwnArray(self.values[at])

    def __len__(self):
        return len(self.values)

    def isna(self):
        return np.array([value is None for value in self.values])

    def copy(self):
        return OwnArray(list(self.values))


def test_an_extension_dtype_of_someone_else_goes_by_its_values(enc, sent):
    frame = pd.DataFrame({"c": OwnArray([(1, 2), "a"])})
    assert sent(frame)["dataframe_split"]["data"] == [[[1, 2]], ["a"]]
    with pytest.raises(PayloadError, match="base64") as caught:
        enc(pd.DataFrame({"c": OwnArray(["a", b"x"])}))
    assert (caught.value.row, caught.value.column) == (1, "c")
    missing = pd.DataFrame({"c": OwnArray(["a", None])})
    with pytest.raises(PayloadError, match="own column"):
        enc(missing)
    assert sent(missing, nan="null")["dataframe_split"]["data"] == [["a"], [None]]


# ------------------------------------------------------------------------------- polars

POLARS_INTEGERS = (pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64)
POLARS = {
    str(kind): (
        pl.Series(INT_RANGES[str(kind).lower()], dtype=kind),
        list(INT_RANGES[str(kind).lower()]),
    )
    for kind in POLARS_INTEGERS
}
POLARS |= {
    "Float64": (pl.Series(DOUBLES), DOUBLES),
    "Float32": (
        pl.Series([0.1, 1e-45, 3.4028234663852886e38], dtype=pl.Float32),
        [0.1, 1e-45, 3.4028235e38],
    ),
    "Boolean": (pl.Series([True, False]), [True, False]),
    "String": (pl.Series(["a", "null"]), ["a", "null"]),
    "Categorical": (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    "Enum": (pl.Series(["a"], dtype=pl.Enum(["a", "b"])), ["a"]),
    "Date": (pl.Series([dt.date(2024, 5, 1)]), ["2024-05-01"]),
    "Time": (pl.Series([dt.time(1, 2, 3, 4)]), ["01:02:03.000004"]),
    "Datetime": (pl.Series([WHEN]), [FINE]),
    "Datetime ms": (pl.Series([WHEN.replace(microsecond=0)], dtype=pl.Datetime("ms")), [NOON]),
    "Datetime ns": (pl.Series(np.array([NANO], "M8[ns]")), [NANO]),
    "Datetime zoned": (
        pl.Series([WHEN.replace(tzinfo=UTC)], dtype=pl.Datetime("us", "Europe/Paris")),
        [FINE],
    ),
    "List": (pl.Series([[1, 2], []]), [[1, 2], []]),
    "Array": (pl.Series([[1.5, 2.5]], dtype=pl.Array(pl.Float64, 2)), [[1.5, 2.5]]),
    "Struct": (pl.Series([{"a": 1, "b": "x"}]), [{"a": 1, "b": "x"}]),
    "Struct of times": (pl.Series([{"t": WHEN.replace(tzinfo=UTC)}]), [{"t": FINE}]),
    "Object": (pl.Series([uuid.UUID(int=5)], dtype=pl.Object), [str(uuid.UUID(int=5))]),
    "Int128": (pl.Series([2**62], dtype=pl.Int128), [2**62]),
}


@pytest.mark.parametrize(("series", "expected"), POLARS.values(), ids=POLARS.keys())
def test_polars(series, expected, sent):
    read = sent(pl.DataFrame({"c": series}))["dataframe_split"]["data"]
    assert [row[0] for row in read] == expected


POLARS_REFUSED = {
    "Duration": (pl.Series([dt.timedelta(1)]), "total_seconds"),
    "Binary": (pl.Series([b"x"]), "bin.encode"),
    "Decimal": (pl.Series([Decimal("1.5")]), "Decimal"),
    "Int128": (pl.Series([2**70], dtype=pl.Int128), "int64 and uint64"),
    "Object": (pl.Series([{1}], dtype=pl.Object), "builtins.set"),
    "List of nanoseconds": (pl.Series([[WHEN]], dtype=pl.List(pl.Datetime("ns"))), "nanosecond"),
    "date of the year 20000": (
        pl.Series([6_600_000], dtype=pl.Int32).cast(pl.Date),
        "years 1 to 9999",
    ),
    "year 20000": (
        pl.Series([569_000_000_000_000], dtype=pl.Int64).cast(pl.Datetime("ms")),
        "years 1 to 9999",
    ),
}


@pytest.mark.parametrize(("series", "words"), POLARS_REFUSED.values(), ids=POLARS_REFUSED.keys())
@pytest.mark.parametrize("nan", ["raise", "null"])
def test_polars_refused(series, words, nan, enc):
    with pytest.raises(PayloadError, match=words) as caught:
        enc(pl.DataFrame({"good": [1], "bad": series}), nan=nan)
    assert caught.value.column == "bad"


POLARS_MISSING = {
    "Float64 NaN": (pl.Series([0.5, float("nan")]), [0.5, None], "NaN"),
    "Float32 infinite": (pl.Series([0.5, float("inf")], dtype=pl.Float32), [0.5, None], "infinite"),
    "Int64": (pl.Series([2**53 + 1, None]), [2**53 + 1, None], "null"),
    "Float32": (pl.Series([0.1, None], dtype=pl.Float32), [0.1, None], "null"),
    "String": (pl.Series(["a", None]), ["a", None], "null"),
    "Datetime": (pl.Series([WHEN, None]), [FINE, None], "null"),
    "Datetime ns": (pl.Series(np.array([NANO, "NaT"], "M8[ns]")), [NANO, None], "null"),
    "Struct": (pl.Series([{"a": 1.5}, {"a": float("nan")}]), [{"a": 1.5}, {"a": None}], "NaN"),
    "Object": (pl.Series(["a", None], dtype=pl.Object), ["a", None], "null|None"),
}


@pytest.mark.parametrize(
    ("series", "expected", "words"), POLARS_MISSING.values(), ids=POLARS_MISSING.keys()
)
def test_polars_missing(series, expected, words, enc, sent):
    frame = pl.DataFrame({"c": series})
    with pytest.raises(PayloadError, match=words) as caught:
        enc(frame)
    assert (caught.value.row, caught.value.column) == (1, "c")
    read = sent(frame, nan="null")["dataframe_split"]["data"]
    assert [row[0] for row in read] == expected


def test_polars_null_column(enc, sent):
    frame = pl.DataFrame({"c": [None, None]})
    with pytest.raises(PayloadError, match="null"):
        enc(frame)
    assert sent(frame, nan="null")["dataframe_split"]["data"] == [[None], [None]]


# ------------------------------------------------------------------------------- Arrow

ARROW = {
    name: (pa.array(ends, pa.type_for_alias(name)), list(ends)) for name, ends in INT_RANGES.items()
}
ARROW |= {
    "float64": (pa.array(DOUBLES), DOUBLES),
    "float32": (pa.array([0.1, 2.5], pa.float32()), [0.1, 2.5]),
    "float16": (pa.array([np.float16(0.5)], pa.float16()), [0.5]),
    "bool": (pa.array([True, False]), [True, False]),
    "string": (pa.array(["a"]), ["a"]),
    "large_string": (pa.array(["a"], pa.large_string()), ["a"]),
    "dictionary": (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    "date32": (pa.array([dt.date(2024, 5, 1)]), ["2024-05-01"]),
    "date64": (pa.array([dt.date(2024, 5, 1)], pa.date64()), ["2024-05-01"]),
    "time32": (pa.array([dt.time(1, 2, 3)], pa.time32("s")), ["01:02:03"]),
    "time64[us]": (pa.array([dt.time(1, 2, 3, 4)], pa.time64("us")), ["01:02:03.000004"]),
    "timestamp[us]": (pa.array([WHEN]), [FINE]),
    "timestamp[s]": (pa.array([WHEN.replace(microsecond=0)], pa.timestamp("s")), [NOON]),
    "timestamp[ns]": (pa.array(np.array([NANO], "M8[ns]")), [NANO]),
    "timestamp zoned": (
        pa.array([WHEN.replace(tzinfo=UTC)], pa.timestamp("us", "Europe/Paris")),
        [FINE],
    ),
    "list": (pa.array([[1, 2], []]), [[1, 2], []]),
    "fixed list": (pa.array([[1.5, 2.5]], pa.list_(pa.float64(), 2)), [[1.5, 2.5]]),
    "struct": (pa.array([{"a": 1, "b": None}]), [{"a": 1, "b": None}]),
    "map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), [{"a": 1}]),
    "run ends": (pa.RunEndEncodedArray.from_arrays([2], pa.array(["a"])), ["a", "a"]),
}


@pytest.mark.parametrize(("values", "expected"), ARROW.values(), ids=ARROW.keys())
@pytest.mark.parametrize("chunked", [False, True])
def test_arrow(values, expected, chunked, sent):
    column = pa.chunked_array([values]) if chunked else values
    table = pa.table({"c": column}) if chunked else pa.RecordBatch.from_arrays([column], ["c"])
    read = sent(table)["dataframe_split"]["data"]
    assert [row[0] for row in read] == expected


ARROW_REFUSED = {
    "binary": (pa.array([b"x"]), "bytes"),
    "fixed binary": (pa.array([b"x"], pa.binary(1)), "bytes"),
    "duration": (pa.array([dt.timedelta(1)]), "duration"),
    "interval": (pa.array([pa.MonthDayNano([1, 1, 1])]), "interval"),
    "decimal": (pa.array([Decimal("1.5")]), "Decimal"),
    "date of the year 20000": (pa.array([6_600_000], pa.int32()).cast(pa.date32()), "1 to 9999"),
    "year 20000": (pa.array([569_000_000_000], pa.timestamp("s")), "1 to 9999"),
    "year 20000 in a list": (pa.array([[569_000_000_000]], pa.list_(pa.timestamp("s"))), "1 to"),
    "map with a key twice": (
        pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
        "key twice",
    ),
    "time64[ns]": (pa.array([1], pa.int64()).cast(pa.time64("ns")), "nanosecond"),
    "list of nanoseconds": (pa.array([[1]], pa.list_(pa.timestamp("ns"))), "nanosecond"),
    "list of binary": (pa.array([[b"x"]]), "base64"),
}


@pytest.mark.parametrize(("values", "words"), ARROW_REFUSED.values(), ids=ARROW_REFUSED.keys())
@pytest.mark.parametrize("nan", ["raise", "null"])
def test_arrow_refused(values, words, nan, enc):
    with pytest.raises(PayloadError, match=words) as caught:
        enc(pa.table({"good": [1], "bad": values}), nan=nan)
    assert caught.value.column == "bad"


ARROW_MISSING = {
    "int64": (pa.array([2**53 + 1, None]), [2**53 + 1, None]),
    "float32": (pa.array([0.1, None], pa.float32()), [0.1, None]),
    "float64 NaN": (pa.array([0.1, float("nan")]), [0.1, None]),
    "float64 NaN and null": (pa.array([None, float("nan")]), [None, None]),
    "bool": (pa.array([True, None]), [True, None]),
    "string": (pa.array(["a", None]), ["a", None]),
    "timestamp": (pa.array([WHEN, None]), [FINE, None]),
    "dictionary": (pa.array(["a", None]).dictionary_encode(), ["a", None]),
    "list": (pa.array([[1], None]), [[1], None]),
    "null": (pa.nulls(2), [None, None]),
}


@pytest.mark.parametrize(("values", "expected"), ARROW_MISSING.values(), ids=ARROW_MISSING.keys())
def test_arrow_missing(values, expected, enc, sent):
    table = pa.table({"c": values})
    with pytest.raises(PayloadError) as caught:
        enc(table)
    assert caught.value.column == "c"
    assert caught.value.row == expected.index(None)
    read = sent(table, nan="null")["dataframe_split"]["data"]
    assert [row[0] for row in read] == expected


# ------------------------------------------------------------------------------- times

WHOLE = WHEN.replace(microsecond=0)
ZERO = f"{NOON}.000000"


def timed(moments):
    zoned = [moment.replace(tzinfo=UTC) for moment in moments]
    return {
        "numpy": {"c": np.array(moments, "M8[us]")},
        "numpy, nanoseconds": {"c": np.array(moments, "M8[ns]")},
        "pandas": pd.DataFrame({"c": moments}),
        "pandas, zoned": pd.DataFrame({"c": zoned}),
        "polars": pl.DataFrame({"c": moments}),
        "polars, zoned": pl.DataFrame({"c": zoned}),
        "arrow": pa.table({"c": moments}),
        "arrow, zoned": pa.table({"c": zoned}),
        "list": {"c": moments},
        "list, zoned": {"c": zoned},
    }


@pytest.mark.parametrize("form", timed([WHOLE]))
@pytest.mark.parametrize(
    ("moments", "expected"),
    [([WHOLE, WHOLE], [NOON, NOON]), ([WHOLE, WHEN], [ZERO, FINE]), ([WHEN, WHEN], [FINE, FINE])],
    ids=["whole", "some", "all"],
)
def test_a_column_of_times_has_fractions_throughout_or_not_at_all(form, moments, expected, sent):
    read = sent(timed(moments)[form])["dataframe_split"]["data"]
    assert [row[0] for row in read] == expected


def test_missing_times_do_not_count(sent):
    moments = [WHEN, None, WHOLE]
    for inputs in (
        pd.DataFrame({"c": np.array(moments, "M8[us]")}),
        pl.DataFrame({"c": moments}),
        pa.table({"c": moments}),
        {"c": moments},
    ):
        read = sent(inputs, nan="null")["dataframe_split"]["data"]
        assert [row[0] for row in read] == [FINE, None, ZERO]
    frame = pd.DataFrame({"c": np.array([WHOLE, None], "M8[us]")})
    assert sent(frame, nan="null")["dataframe_split"]["data"] == [[NOON], [None]]


def test_what_a_mask_hides_is_not_sent(sent):
    times = np.ma.array([WHOLE, WHOLE], "M8[us]", mask=[False, True])
    numbers = np.ma.array([1, 2], mask=[False, True])
    read = sent({"t": times, "n": numbers}, nan="null")["dataframe_split"]["data"]
    assert read == [[NOON, 1], [None, None]]
    assert sent(times.reshape(1, 2), nan="null") == {"inputs": [[NOON, None]]}


@pytest.mark.parametrize(
    "value",
    [
        WHOLE,
        WHOLE.replace(tzinfo=UTC),
        pd.Timestamp(WHOLE),
        np.datetime64(WHOLE, "s"),
        np.datetime64(WHOLE, "ns"),
    ],
    ids=repr,
)
def test_a_time_written_on_its_own_always_has_a_fraction(value, sent):
    # two such rows may meet in one batch
    assert sent([{"c": value}])["dataframe_split"]["data"] == [[ZERO]]
    assert sent([[value]]) == {"inputs": [[ZERO]]}
    assert sent({"c": [[value], [1]]})["dataframe_split"]["data"] == [[[ZERO]], [[1]]]


# ------------------------------------------------------------------------------- decimals

DECIMALS = {
    "records": [{"c": Decimal("1.10")}, {"c": Decimal("-0.1")}],
    "columns": {"c": [Decimal("1.10"), Decimal("-0.1")]},
    "pandas": pd.DataFrame({"c": [Decimal("1.10"), Decimal("-0.1")]}),
    "polars": pl.DataFrame({"c": [Decimal("1.10"), Decimal("-0.10")]}),
    "arrow": pa.table({"c": pa.array([Decimal("1.10"), Decimal("-0.10")])}),
    "body": {"dataframe_split": {"columns": ["c"], "data": [[Decimal("1.10")], [Decimal("-0.1")]]}},
}


@pytest.mark.parametrize("inputs", DECIMALS.values(), ids=DECIMALS.keys())
def test_decimals_follow_the_setting(inputs, enc, sent):
    with pytest.raises(PayloadError, match="Decimal") as caught:
        enc(inputs)
    assert (caught.value.row, caught.value.column) == (0, "c")
    assert sent(inputs, decimal="str")["dataframe_split"]["data"][0] == ["1.10"]
    assert sent(inputs, decimal="float")["dataframe_split"]["data"] == [[1.1], [-0.1]]


@pytest.mark.parametrize("text", ["NaN", "sNaN", "Infinity"])
def test_a_decimal_that_is_no_number_follows_the_nan_setting(text, enc, sent):
    rows = [{"c": Decimal(text)}]
    with pytest.raises(PayloadError, match="no finite Decimal"):
        enc(rows, decimal="float")
    assert sent(rows, decimal="str", nan="null")["dataframe_split"]["data"] == [[None]]
