"""Bad inputs 1 to 23: one PayloadError each, which names row, column, class and remedy.

The numbers in the test ids are those of the project's table of bad inputs.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import pickle
import time
from collections import defaultdict, namedtuple
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient.errors import PayloadError, PayloadTooLarge, ServingError
from servingclient.payload.body import write_checked
from servingclient.payload.encode import check_size
from servingclient.settings import Payload

NAN = float("nan")
INF = float("inf")
CANARY = "customer-4711"


def nested(depth, value=1):
    for _ in range(depth):
        value = [value]
    return value


def circle_dict():
    made = {}
    made["self"] = made
    return made


def circle_list():
    made = []
    made += [made, made]
    return made


Point = namedtuple("Point", "x y")  # noqa: PYI024


class Tensor:
    dtype = "float32"

    def __len__(self):
        return 1


@dataclasses.dataclass
class Record:
    a: int = 1


MANY = [{"ok": CANARY, "c": 1.0}, {"ok": CANARY, "c": 1.0}]


def rows(bad):
    """Two good rows, then one with a bad value in column c."""
    return [*MANY, {"ok": CANARY, "c": bad}]


# id: (input, words of the message, row, column)
BAD = {
    "01 nan in records": (rows(NAN), "NaN.*Fill or drop it.*nan='null'", 2, "c"),
    "01 nan in one record": ([{"a": 1, "c": NAN}], "NaN", 0, "c"),
    "01 nan in a float column": ({"c": [1.0, NAN]}, "NaN", 1, "c"),
    "01 nan in a mixed column": ({"c": ["x", NAN]}, "NaN", 1, "c"),
    "01 nan in rows": ([[1.0, 2.0], [1.0, NAN]], "NaN", 1, "1"),
    "01 nan in a list of numbers": ([1.0, NAN], "NaN", 1, None),
    "01 nan in nested list": ([{"c": [[1.0], [NAN]]}], "NaN", 0, "c"),
    "01 nan in nested dict": ([{"c": {"k": NAN}}], "NaN", 0, "c"),
    "01 nan in a body, split": (
        {"dataframe_split": {"columns": ["a", "c"], "data": [[1, 1], [1, NAN]]}},
        "NaN",
        1,
        "c",
    ),
    "01 nan in a body, records": ({"dataframe_records": [{"c": 1}, {"c": NAN}]}, "NaN", 1, "c"),
    "01 nan in a body, columns": ({"inputs": {"c": [1.0, NAN]}}, "NaN", 1, "c"),
    "01 nan in a body, rows": ({"instances": [[1.0], [NAN]]}, "NaN", 1, "0"),
    "01 nan in a body, array": ({"inputs": np.array([[1.0], [NAN]])}, "NaN", 1, "0"),
    "01 nan in a body, named array": ({"inputs": {"c": np.array([1.0, NAN])}}, "NaN", 1, "c"),
    "01 nan beside allowed nulls": ([{"c": None, "d": "null"}, {"c": 1, "d": NAN}], "NaN", 1, "d"),
    "02 inf in f4 array": (np.array([[1, 2], [3, INF]], "f4"), "infinite", 1, "1"),
    "02 -inf in f8 array": (np.array([1, -INF]), "infinite", 1, None),
    "02 nan in f2 array": (np.array([[[1, NAN]]], "f2"), "NaN", 0, "0,1"),
    "02 inf in a named tensor": ({"x": np.array([[1, INF]])}, "infinite", 0, r"x[1]"),
    "02 inf in a frame of floats": (pd.DataFrame({"a": [1.0], "c": [INF]}), "infinite", 0, "c"),
    "02 inf in records": (rows(-INF), "infinite", 2, "c"),
    "02 masked": (np.ma.array([1.0, 2.0], mask=[False, True]), "masked", 1, None),
    "02 masked constant": (rows(np.ma.masked), "MaskedConstant", 2, "c"),
    "03 NA in Int64": (pd.DataFrame({"c": pd.array([1, pd.NA], "Int64")}), "missing", 1, "c"),
    "03 NA in records": (rows(pd.NA), "NAType", 2, "c"),
    "03 None in a frame": (
        pd.DataFrame({"c": pd.Series(["a", None], dtype=object)}),
        "None",
        1,
        "c",
    ),
    "03 null in polars": (pl.DataFrame({"c": [1, None]}), "null", 1, "c"),
    "03 null in arrow": (pa.table({"c": [1, None]}), "null", 1, "c"),
    "04 NaT in a frame": (pd.DataFrame({"c": pd.to_datetime(["2024-01-01", None])}), "NaT", 1, "c"),
    "04 NaT in records": (rows(pd.NaT), "NaTType", 2, "c"),
    "04 NaT of numpy in records": (rows(np.datetime64("NaT", "ns")), "NaT", 2, "c"),
    "04 NaT in an array": (np.array(["2024-01-01", "NaT"], "M8[ns]"), "NaT", 1, None),
    "04 NaT in a body": (
        {"inputs": np.array([["2024-01-01", "NaT"]], "M8[ns]")},
        "NaT",
        None,
        None,
    ),
    "05 2^64 in records": (rows(2**64), "int64 and uint64", 2, "c"),
    "05 2^64 in a column": ({"c": [1, 2**64]}, "int64 and uint64", 1, "c"),
    "05 2^64 in rows": ([[1], [2**64]], "int64 and uint64", 1, "0"),
    "05 2^64 nested": (rows({"k": [2**64]}), "int64 and uint64", 2, "c"),
    "05 2^64 in an object column": (pd.DataFrame({"c": [1, 2**64]}), "int64 and uint64", 1, "c"),
    "06 -2^63-1": (rows(-(2**63) - 1), "int64 and uint64", 2, "c"),
    "07 duplicate columns, pandas": (
        pd.DataFrame([[1, 2]], columns=["a", "a"]),
        "Duplicate columns: 'a'",
        None,
        "a",
    ),
    "07 duplicate columns, arrow": (
        pa.table([[1], [2]], names=["a", "a"]),
        "Duplicate columns: 'a'",
        None,
        "a",
    ),
    "07 duplicate columns, body": (
        {"dataframe_split": {"columns": ["a", "a"], "data": [[1, 2]]}},
        "Duplicate columns: 'a'",
        None,
        "a",
    ),
    "08 integer column names": (pd.DataFrame([[1, 2]]), "int, not a string.*stringify", None, "0"),
    "08 tuple column name": ([{("a", 1): 1}], "tuple, not a string", None, "('a', 1)"),
    "08 None as column name": ({None: [1]}, "NoneType, not a string", None, "None"),
    "08 integer key in a nested dict": (rows({1: 2}), "key of type int", 2, "c"),
    "08 integer key in a body": ({"inputs": {1: [2]}}, "key of type int", None, "1"),
    "08 integer key in records of a body": (
        {"dataframe_records": [{1: 2}]},
        "key of type int",
        0,
        "1",
    ),
    "09 MultiIndex columns": (
        pd.DataFrame([[1]], columns=pd.MultiIndex.from_tuples([("a", "b")])),
        "MultiIndex.*Join the levels",
        None,
        None,
    ),
    "12 0-d array": (np.array(1.0), r"shape \(\)", None, None),
    "12 0-d array as a column": ({"c": np.array(1.0)}, r"shape \(\)", None, "c"),
    "12 0-d array in a record": (rows(np.array(1.0)), r"shape \(\)", 2, "c"),
    "13 complex array": (np.array([1j]), "dtype complex128", None, None),
    "13 longdouble array": (np.array([1], np.longdouble), "astype", None, None),
    "13 complex in records": (rows(1j), "complex.*real and imaginary", 2, "c"),
    "13 complex scalar of numpy": (rows(np.complex64(1)), "complex64", 2, "c"),
    "13 longdouble scalar": (rows(np.longdouble(1)), "float128|longdouble", 2, "c"),
    "13 timedelta scalar": (rows(np.timedelta64(1, "s")), "timedelta64", 2, "c"),
    "13 object array": (np.array([1, {2}], object), "builtins.set", 1, None),
    "14 Decimal": (rows(Decimal(1)), r"Decimal.*decimal='str'", 2, "c"),
    "15 bytes": (rows(b"x"), "base64", 2, "c"),
    "15 bytearray": (rows(bytearray(b"x")), "base64", 2, "c"),
    "15 bytes of numpy": (rows(np.bytes_(b"x")), "bytes", 2, "c"),
    "15 bytes as the input": (b"abc", "one bytes", None, None),
    "16 lone surrogate": (rows("\ud800"), "UTF-8", 2, "c"),
    "16 lone surrogate nested": (rows(["\ud800"]), "UTF-8", 2, "c"),
    "16 lone surrogate in a key": (rows({"\ud800": 1}), "UTF-8", 2, "c"),
    "16 lone surrogate in a column name": ([{"\udfff": 1}], "UTF-8", None, "\udfff"),
    "16 lone surrogate in a frame": (
        pd.DataFrame({"c": pd.Series(["\ud800"], dtype=object)}),
        "UTF-8",
        0,
        "c",
    ),
    "16 lone surrogate in an array": (np.array(["a", "\ud800"]), "UTF-8", 1, None),
    "17 nested 300 deep": (rows(nested(300)), "nested more than 250", 2, "c"),
    "17 nested 100,000 deep": (rows(nested(100_000)), "nested more than 250", 2, "c"),
    "17 nested 300 deep in a body": ({"inputs": nested(300)}, "nested more than 250", 0, "0"),
    "17 nested 300 deep, nan inside": (rows(nested(300, NAN)), "nested more than 250", 2, "c"),
    "17 nested 300 deep in a frame": (pd.DataFrame({"c": [nested(300)]}), "nested more", 0, "c"),
    "18 a dict that contains itself": (rows(circle_dict()), "contains itself", 2, "c"),
    "18 a list that contains itself": (rows(circle_list()), "contains itself", 2, "c"),
    "18 a row that contains itself": ([circle_list()], "contains itself", 0, "0"),
    "18 in a column": ({"c": [circle_list()]}, "contains itself", 0, "c"),
    "19 empty list": ([], "0 rows: nothing to score", None, None),
    "19 empty tuple": ((), "0 rows", None, None),
    "19 empty dict": ({}, "nothing to score", None, None),
    "19 empty row": ([{}], "no columns", 0, None),
    "19 empty frame": (pd.DataFrame({"a": []}), "0 rows and 1 columns", None, None),
    "19 frame without columns": (pd.DataFrame(index=[1]), "1 rows and 0 columns", None, None),
    "19 no frame at all": (pd.DataFrame(), "0 rows", None, None),
    "19 empty polars": (pl.DataFrame(), "0 rows", None, None),
    "19 empty arrow": (pa.table({"a": []}), "0 rows", None, None),
    "19 empty columns": ({"a": [], "b": []}, "0 rows", None, None),
    "19 empty array": (np.zeros((0, 3)), "0 rows", None, None),
    "19 array without values": (np.zeros((2, 0)), "no values", None, None),
    "19 empty array column": ({"a": np.zeros(0)}, "0 rows", None, None),
    "19 empty split": ({"dataframe_split": {"columns": ["a"], "data": []}}, "0 rows", None, None),
    "19 empty records": ({"dataframe_records": []}, "0 rows", None, None),
    "19 empty inputs": ({"inputs": []}, "0 rows", None, None),
    "21 two tabular keys": ({"inputs": [1], "dataframe_split": {}}, "exactly one", None, None),
    "21 two tabular lists": ({"inputs": [1], "instances": [1]}, "exactly one", None, None),
    "21 tabular and unified": ({"inputs": {"a": [1]}, "messages": []}, "exactly one", None, None),
    "23 generator": ((row for row in MANY), r"read only once.*list\(", None, None),
    "23 iterator": (iter(MANY), r"read only once.*list\(", None, None),
    "23 generator as a column": ({"c": (x for x in [1])}, "single generator", None, "c"),
    "23 generator in a record": (rows(x for x in [1]), r"generator.*list\(", 2, "c"),
    # beyond the table: what people pass by mistake
    "shape: list around dataframe_split": (
        {"dataframe_split": [{"columns": [], "data": []}]},
        "must be an object",
        None,
        None,
    ),
    "shape: split without data": (
        {"dataframe_split": {"columns": ["a"]}},
        "without data",
        None,
        None,
    ),
    "shape: records as dict": ({"dataframe_records": {"a": [1]}}, "list of objects", None, None),
    "shape: one record": ({"a": 1, "b": 2}, r"single int.*\[\{\.\.\.\}\]", None, "a"),
    "shape: text column": ({"a": "xyz"}, "single str", None, "a"),
    "shape: uneven columns": ({"a": [1, 2], "b": [1]}, "1 values, column 'a' has 2", None, "b"),
    "shape: missing key": ([{"a": 1, "b": 2}, {"a": 1}], "lacks this column", 1, "b"),
    "shape: added key": ([{"a": 1}, {"a": 1, "b": 2}], "has this column", 1, "b"),
    "shape: other key": ([{"a": 1}, {"b": 1}], "lacks this column", 1, "a"),
    "shape: no dict among dicts": ([{"a": 1}, [1]], "is a list among dicts", 1, None),
    "shape: dict among rows": ([[1], {"a": 1}], "dict among other rows", 1, None),
    "shape: a text": ("hello", "one str", None, None),
    "shape: a number": (7, "builtins.int", None, None),
    "shape: None": (None, "builtins.NoneType", None, None),
    "shape: pandas series": (pd.Series([1]), "to_frame", None, None),
    "shape: polars series": (pl.Series([1]), "to_frame", None, None),
    "shape: polars lazy frame": (pl.LazyFrame({"a": [1]}), "collect", None, None),
    "shape: arrow array": (pa.array([1]), "pyarrow", None, None),
    "shape: frame in a body": ({"inputs": pd.DataFrame({"a": [1]})}, "frame itself", None, None),
    "shape: series in a record": (rows(pd.Series([1])), "to_list", 2, "c"),
    "shape: default dicts": (
        [{"a": 1, "b": 2}, defaultdict(int, a=1)],
        "lacks this column",
        1,
        "b",
    ),
    "shape: tensor of another library": ({"c": Tensor()}, "Tensor.*numpy array", None, "c"),
    "shape: column in a body": ({"inputs": {"c": {1}}}, "builtins.set", None, "c"),
    "shape: index in a body": (
        {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [{1}]}},
        "builtins.set",
        None,
        "index",
    ),
    "shape: number as a body key": ({"inputs": [1], 7: "x"}, "key of type int", None, "7"),
    "class: structured scalar": (
        rows(np.array([(1,)], dtype=[("a", "i4")])[0]),
        "structured dtype",
        2,
        "c",
    ),
    "class: structured array in a cell": (
        rows(np.array([(1,)], dtype=[("a", "i4")])),
        "structured dtype",
        2,
        "c",
    ),
    "class: objects of numpy": (rows(np.array([1, {2}], object)), "builtins.set", 2, "c"),
    "class: surrogate beside lists": (
        pd.DataFrame({"l": [[1], [2]], "c": pd.Series(["a", "\ud800"], dtype=object)}),
        "UTF-8",
        1,
        "c",
    ),
    "class: set": (rows({1}), r"builtins.set.*list\(", 2, "c"),
    "class: range": (rows(range(3)), r"range.*list\(", 2, "c"),
    "class: data class": (rows(Record()), "dataclasses.asdict", 2, "c"),
    "class: data class as a row": ([Record()], "dataclasses.asdict", 0, None),
    "class: named tuple": (rows(Point(1, 2)), "_asdict", 2, "c"),
    "class: named tuple as a row": ([Point(1, 2)], "_asdict", 0, None),
    "class: timedelta": (rows(dt.timedelta(1)), "total_seconds", 2, "c"),
    "class: zoned clock time": (rows(dt.time(1, tzinfo=dt.timezone.utc)), "time zone", 2, "c"),
    "class: function": (rows(len), "JSON has no form for", 2, "c"),
}


@pytest.mark.parametrize(("inputs", "words", "row", "column"), BAD.values(), ids=BAD.keys())
def test_a_bad_input_is_refused_by_place_class_and_remedy(inputs, words, row, column, enc):
    started = time.perf_counter()
    with pytest.raises(PayloadError, match=words) as caught:
        enc(inputs)
    took_s = time.perf_counter() - started
    error = caught.value
    assert type(error) is PayloadError
    assert isinstance(error, ServingError)
    assert (error.row, error.column) == (row, column)
    assert CANARY not in str(error)
    assert len(str(error)) < 500
    str(error).encode()  # a message can be printed whatever the names hold
    assert error.__cause__ is None
    assert took_s < 1  # 10 ms on a quiet machine; here only that nothing explodes
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.row, again.column) == (str(error), row, column)
    enc(MANY)  # and the next call works


GOOD_AS_NULL = ["01", "02", "03", "04"]


@pytest.mark.parametrize(
    "name", [name for name in BAD if name[:2] in GOOD_AS_NULL], ids=lambda name: name
)
def test_missing_values_become_null_when_asked(name, sent):
    assert "null" in json.dumps(sent(BAD[name][0], nan="null"))


@pytest.mark.parametrize(
    "name", [name for name in BAD if name[:2] not in GOOD_AS_NULL], ids=lambda name: name
)
def test_everything_else_is_refused_also_then(name, enc):
    inputs, words, row, column = BAD[name]
    if "nan inside" not in name and not name.startswith("23 "):
        with pytest.raises(PayloadError, match=words) as caught:
            enc(inputs, nan="null", decimal="raise")
        assert (caught.value.row, caught.value.column) == (row, column)


def test_08_names_become_strings_when_asked(sent):
    expected = {"columns": ["0", "1"], "data": [[5, 6]]}
    for inputs in (pd.DataFrame([[5, 6]]), [{0: 5, 1: 6}], {0: [5], 1: [6]}):
        assert sent(inputs, stringify_columns=True) == {"dataframe_split": expected}


def test_08_names_that_become_equal_are_refused(enc):
    with pytest.raises(PayloadError, match="Duplicate columns: '1'"):
        enc([{1: 5, "1": 6}], stringify_columns=True)


def test_10_big_endian_is_converted(sent):
    assert sent(np.array([[1.5, -2.0]], ">f8")) == {"inputs": [[1.5, -2.0]]}


@pytest.mark.parametrize(
    "array", [np.arange(6).reshape(2, 3).T, np.arange(12).reshape(3, 4)[:, ::2]]
)
def test_11_strided_is_converted(array, sent):
    assert sent(array) == {"inputs": array.tolist()}
    assert sent({"inputs": array}) == {"inputs": array.tolist()}


def test_20_one_row_of_17_mb_is_too_large(enc):
    body = enc([{"text": "x" * 17_000_000}])
    with pytest.raises(PayloadTooLarge, match=r"17,000,0.. bytes; the endpoint accepts 16,777,216"):
        check_size(body, 16 * 1024 * 1024)


def test_22_what_changes_after_encoding_is_not_sent(enc):
    record, array = {"a": [1]}, np.array([1.0])
    bodies = [enc([record]), enc(array), enc({"inputs": record})]
    before = [body.data for body in bodies]
    record["a"].append(2)
    array[0] = 9
    assert [body.data for body in bodies] == before
    assert all(isinstance(data, bytes) for data in before)


# ------------------------------------------------------------------------------- what is allowed


def test_none_in_python_data_is_the_callers_own_null(sent):
    expected = {"columns": ["a", "b"], "data": [[None, 1], ["x", None]]}
    assert sent([{"a": None, "b": 1}, {"a": "x", "b": None}]) == {"dataframe_split": expected}
    assert sent({"a": [None, "x"], "b": [1, None]}) == {"dataframe_split": expected}
    assert sent([[None, 1]]) == {"inputs": [[None, 1]]}
    assert sent({"inputs": [None]}) == {"inputs": [None]}


class OwnFloat(float):
    pass


class Changing(Mapping):
    """Bad when it is written, good when it is looked for."""

    def __init__(self):
        self.bad = True

    def __getitem__(self, key):
        return {1}

    def __len__(self):
        return int(self.bad)

    def __iter__(self):
        bad, self.bad = self.bad, False
        return iter(["k"] if bad else [])


def test_a_value_that_changes_under_way_is_still_a_payload_error(enc):
    with pytest.raises(PayloadError, match="no JSON form"):
        enc([{"c": Changing()}])


def test_what_orjson_refuses_and_the_rules_do_not_is_a_payload_error_too():
    body = {"inputs": [np.datetime64("NaT", "us")]}
    with pytest.raises(PayloadError, match="no JSON form"):
        write_checked(body, Payload(nan="null"))


class Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.1), 0.1),
        (np.float32(0.1), 0.1),
        (np.int64(-(2**63)), -(2**63)),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.int8(3), 3),
        (np.bool_(True), True),
        (np.str_("x"), "x"),
        (np.datetime64("2024-05-01T12:00:00.123456789"), "2024-05-01T12:00:00.123456789"),
        (pd.Timestamp("2024-05-01 12:00:00.5", tz="Europe/Paris"), "2024-05-01T10:00:00.500000"),
        (dt.datetime(2024, 5, 1, 12, 0, 0, 5), "2024-05-01T12:00:00.000005"),  # noqa: DTZ001
        (dt.date(2024, 5, 1), "2024-05-01"),
        (dt.time(1, 2, 3), "01:02:03"),
        (Colour.RED, "red"),
        (OwnFloat(1.5), 1.5),
        (MappingProxyType({"k": 1}), {"k": 1}),
        (np.array([1, "a"], object), [1, "a"]),
        (True, True),
        ([np.float32(0.5), {"k": np.array([1, 2])}], [0.5, {"k": [1, 2]}]),
        (nested(250, "x"), nested(250, "x")),
        ("null", "null"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("form", ["record", "records", "column", "row", "frame"])
def test_values_of_the_libraries_are_sent_exactly(value, expected, form, sent):
    inputs = {
        "record": [{"c": value}],
        "records": [{"c": value}, {"c": None}],
        "column": {"c": [value]},
        "row": [[value]],
        "frame": pd.DataFrame({"c": pd.Series([value], dtype=object)}),
    }[form]
    read = sent(inputs)
    read = read.get("inputs") or read["dataframe_split"]["data"]
    assert read[0][0] == expected
    assert type(read[0][0]) is type(expected)


def test_a_deep_stack_of_the_caller_still_gets_a_payload_error(enc):
    def deeper(left):
        return enc(rows(nested(240, NAN))) if not left else deeper(left - 1)

    with pytest.raises(PayloadError):
        deeper(700)
