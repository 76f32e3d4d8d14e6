"""Columns against a signature: what is refused, what passes, and what is left out."""

from __future__ import annotations

import datetime as dt
import enum
import json
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient.errors import PayloadError, SchemaMismatch
from servingclient.payload.fit import fitted
from servingclient.payload.signature import Column, Signature
from servingclient.settings import Payload
from tests.payload.conftest import encoded

WHEN = dt.datetime(2024, 5, 1, 12)  # noqa: DTZ001 - a column of naive times
ZONED = WHEN.replace(tzinfo=dt.timezone.utc)
NAN = float("nan")


class Level(enum.Enum):
    LOW = 1


def signature(**kinds: Any) -> Signature:
    """Columns by kind; a name ending in ``_`` is optional."""
    return Signature(
        {name.rstrip("_"): Column(kind, not name.endswith("_")) for name, kind in kinds.items()}
    )


def checked(inputs: Any, known: Signature, **settings: Any) -> Any:
    return fitted(inputs, known, Payload(validate=True, **settings))


COLUMN_FORMS = {
    "records": lambda values: [{"c": value} for value in values],
    "columns": lambda values: {"c": values},
    "pandas objects": lambda values: pd.DataFrame({"c": pd.Series(values, dtype=object)}),
}

# kind: (values that arrive as they are, values that do not and a word of the reason)
VALUES = {
    "long": (
        [0, -(2**63), 2**63 - 1, True, 2.0, -0.0, np.int8(3), np.float32(4.0), np.bool_(1)],
        [
            (2.5, "fraction"),
            (2**63, "beyond"),
            (-(2**63) - 1, "beyond"),
            (1e300, "beyond"),
            (np.float32(0.5), "fraction"),
            (np.uint64(2**63), "beyond"),
            ("2", "text"),
            (WHEN, "a time"),
            ([1], "list"),
            (np.array([1]), "list"),
            (None, "missing"),
        ],
    ),
    "integer": (
        [0, -(2**31), 2**31 - 1, True, 7.0],
        [(2**31, "beyond"), (-(2**31) - 1.0, "beyond"), (0.5, "fraction"), ("1", "text")],
    ),
    "double": (
        [0, 2**63, 1.5, 1e308, True, None, np.float32(1.5)],
        [("1.5", "text"), (WHEN, "a time"), ({"a": 1}, "object")],
    ),
    "float": (
        [0, 1.5, 3.4028234663852886e38, -3.4028235e38, False, None],
        [(3.5e38, "infinite"), (-1e39, "infinite"), (10**39, "infinite"), ("x", "text")],
    ),
    "boolean": (
        [True, False, 0, 1, 1.0, np.bool_(0)],
        [(2, "0 and 1"), (0.5, "0 and 1"), ("false", "for True"), (None, "missing"), (WHEN, "ti")],
    ),
    "string": (
        ["", "a", None, WHEN, dt.date(2024, 5, 1), dt.time(12), uuid.UUID(int=1)],
        [(1, "a number"), (1.5, "a number"), (True, "True or"), (["a"], "list"), (Level.LOW, "nu")],
    ),
    "datetime": (
        [
            *(WHEN, ZONED, dt.date(2024, 5, 1), pd.Timestamp(WHEN), np.datetime64("2024-05-01")),
            *("2024-05-01", "2024-05-01T12:00:00.5", "2024-05-01 12:00", None),
        ],
        [
            (1714557600, "nanoseconds"),
            (1.5, "nanoseconds"),
            ("2024-05-01T10:00:00Z", "time zone"),
            ("2024-05-01T10:00:00+02:00", "time zone"),
            ("2024-05-01 10:00-0500", "time zone"),
            (True, "True or False"),
        ],
    ),
    "binary": (
        ["", "YWJj", "YWJj\n", "AA=="],
        [("abc", "base64"), ("YW Jj", "base64"), ("ä", "base64"), (1, "a number"), (None, "miss")],
    ),
}
GOOD = [(kind, value) for kind, (good, _) in VALUES.items() for value in good]
BAD = [(kind, *bad) for kind, (_, bads) in VALUES.items() for bad in bads]


@pytest.mark.parametrize(("kind", "value"), GOOD, ids=lambda part: repr(part)[:40])
@pytest.mark.parametrize("form", COLUMN_FORMS.values(), ids=COLUMN_FORMS.keys())
def test_what_arrives_as_it_is_passes(form, kind, value):
    inputs = form([value, value])
    assert checked(inputs, signature(c=kind)) is inputs


@pytest.mark.parametrize(("kind", "value", "word"), BAD, ids=lambda part: repr(part)[:40])
@pytest.mark.parametrize("form", COLUMN_FORMS.values(), ids=COLUMN_FORMS.keys())
def test_what_would_be_refused_or_changed_is_named_by_row_and_column(form, kind, value, word):
    good = VALUES[kind][0][0]
    with pytest.raises(SchemaMismatch) as caught:
        checked(form([good, value, value]), signature(c=kind), nan="null")
    assert (caught.value.row, caught.value.column) == (1, "c")
    assert word in str(caught.value)
    if isinstance(value, (str, int)) and len(str(value)) > 4:
        assert str(value) not in str(caught.value)


# dtype of an array or frame: the kinds it fits as a whole
ARRAYS = {
    "int64": (np.array([1, 2]), {"long", "integer", "double", "float"}),
    "uint8": (np.array([1, 2], "u1"), {"long", "integer", "double", "float"}),
    "uint64 beyond": (np.array([1, 2**63], "u8"), {"double", "float"}),
    "int64 beyond 32": (np.array([1, 2**31]), {"long", "double", "float"}),
    "float64": (np.array([1.5, 2.5]), {"double", "float"}),
    "float64 whole": (np.array([1.0, 2.0]), {"double", "float", "long", "integer"}),
    "float64 beyond": (np.array([1.0, 1e300]), {"double"}),
    "float16": (np.array([0.5, 6e4], "f2"), {"double", "float"}),
    "bool": (np.array([True, False]), {"boolean", "long", "integer", "double", "float"}),
    "zeros and ones": (np.array([0, 1], "i1"), {"boolean", "long", "integer", "double", "float"}),
    "text": (np.array(["a", "b"]), {"string", "datetime"}),
    "times": (np.array([WHEN, WHEN], "M8[ns]"), {"datetime", "string"}),
    "times that begin late": (np.array(["NaT", WHEN], "M8[us]"), {"datetime", "string"}),
}


@pytest.mark.parametrize(("array", "fits"), ARRAYS.values(), ids=ARRAYS.keys())
@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("form", ["array", "pandas", "nullable", "polars", "arrow", "structured"])
def test_whole_columns_are_judged_alike_in_every_library(form, kind, array, fits):
    if form == "polars" and array.dtype == "f2":
        array = array.astype("f4")
    inputs = {
        "array": lambda: {"c": array},
        "pandas": lambda: pd.DataFrame({"c": array}),
        "nullable": lambda: pd.DataFrame({"c": pd.array(array)}),
        "polars": lambda: pl.DataFrame({"c": array}),
        "arrow": lambda: pa.table({"c": array}),
        "structured": lambda: np.array([(v,) for v in array], [("c", array.dtype)]),
    }[form]()
    if kind in fits:
        assert checked(inputs, signature(c=kind)) is inputs
    else:
        with pytest.raises(SchemaMismatch) as caught:
            checked(inputs, signature(c=kind))
        assert caught.value.column == "c"


def test_missing_values_follow_the_nan_setting_first():
    frame = pd.DataFrame({"c": [1.0, NAN, 2.5]})
    with pytest.raises(SchemaMismatch, match="missing") as caught:
        checked(frame, signature(c="long"), nan="null")
    assert caught.value.row == 1
    with pytest.raises(SchemaMismatch, match="fraction") as caught:
        checked(frame, signature(c="long"))  # NaN is for encoding to refuse
    assert caught.value.row == 2
    assert checked(frame, signature(c="double"), nan="null") is frame
    for values in (pd.array([1, None]), pd.Series([1, None], dtype="Int64")):
        with pytest.raises(SchemaMismatch, match="missing"):
            checked({"c": values}, signature(c="long"), nan="null")
    texts = pd.DataFrame({"c": ["a", None]})
    assert checked(texts, signature(c="string"), nan="null") is texts


def test_decimals_are_judged_by_what_they_are_sent_as():
    rows = [{"c": Decimal("1.5")}]
    assert checked(rows, signature(c="double"), decimal="float") is rows
    assert checked(rows, signature(c="string"), decimal="str") is rows
    assert checked(rows, signature(c="long")) is rows  # cannot be sent: encoding says so
    with pytest.raises(SchemaMismatch, match="fraction"):
        checked(rows, signature(c="long"), decimal="float")
    with pytest.raises(SchemaMismatch, match="text"):
        checked(rows, signature(c="double"), decimal="str")


# ------------------------------------------------------------------------------- columns

TABLES = {
    "records": [{"a": 1, "x": 9, "b": "t"}, {"b": "u", "x": 9, "a": 2}],
    "columns": {"a": [1, 2], "x": [9, 9], "b": ["t", "u"]},
    "arrays": {"a": np.array([1, 2]), "x": np.array([9, 9]), "b": np.array(["t", "u"])},
    "pandas": pd.DataFrame({"a": [1, 2], "x": [9, 9], "b": ["t", "u"]}, index=[5, 6]),
    "polars": pl.DataFrame({"a": [1, 2], "x": [9, 9], "b": ["t", "u"]}),
    "arrow": pa.table({"a": [1, 2], "x": [9, 9], "b": ["t", "u"]}),
    "arrow batch": pa.RecordBatch.from_pydict({"a": [1, 2], "x": [9, 9], "b": ["t", "u"]}),
    "structured": np.array([(1, 9, "t"), (2, 9, "u")], [("a", "i8"), ("x", "i8"), ("b", "U1")]),
}
KNOWN = signature(b="string", a="long", z_="double")


def sent(inputs: Any, known: Signature, **settings: Any) -> Any:
    return json.loads(encoded(fitted(inputs, known, Payload(**settings)), **settings).data)


@pytest.mark.parametrize("inputs", TABLES.values(), ids=TABLES.keys())
def test_unknown_columns_are_left_out_only_when_asked(inputs):
    whole = {"columns": ["a", "x", "b"], "data": [[1, 9, "t"], [2, 9, "u"]]}
    assert sent(inputs, KNOWN) == {"dataframe_split": whole}
    assert sent(inputs, KNOWN, validate=True) == {"dataframe_split": whole}
    pruned = {"columns": ["a", "b"], "data": [[1, "t"], [2, "u"]]}
    assert sent(inputs, KNOWN, prune=True) == {"dataframe_split": pruned}


@pytest.mark.parametrize("inputs", TABLES.values(), ids=TABLES.keys())
def test_a_required_column_that_is_missing_is_named(inputs):
    known = signature(a="long", **{"q'": "double"}, r="string", s_="string")
    with pytest.raises(SchemaMismatch, match="'r'") as caught:
        sent(inputs, known, validate=True)
    assert caught.value.column == "q'"
    assert "'s'" not in str(caught.value)
    assert sent(inputs, known, prune=True)["dataframe_split"]["columns"] == ["a"]


def test_of_many_missing_columns_some_are_named():
    known = signature(**{f"c{i}": "long" for i in range(12)})
    with pytest.raises(SchemaMismatch, match="and 2 more"):
        checked([{"a": 1}], known)


def test_an_input_the_model_knows_nothing_of_is_sent_whole():
    assert sent([{"p": 1, "q": 2}], KNOWN, prune=True) == {
        "dataframe_split": {"columns": ["p", "q"], "data": [[1, 2]]}
    }


def test_columns_of_unknown_type_or_unknown_to_the_model_are_not_checked():
    rows = [{"o": object, "u": object}]
    assert checked(rows, signature(o=None)) is rows


@pytest.mark.parametrize(
    "inputs",
    [
        {"dataframe_split": {"columns": ["x"], "data": [["text"]]}},
        {"messages": [{"role": "user", "content": "x"}]},
        [[1.5, 2.5]],
        np.zeros((2, 2)),
        {"c": np.zeros((2, 2)), "d": [1, 2]},
    ],
)
def test_bodies_rows_and_tensors_pass_as_they_are(inputs):
    assert fitted(inputs, KNOWN, Payload(validate=True, prune=True)) is inputs


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ([{"a": 1, "b": "x"}, {"a": 1}], "lacks"),
        ([{"a": 1, "b": "x"}, 3], "int"),
        ({"a": 1, "b": "x"}, "single int"),
        (pd.DataFrame({("a", "b"): [1]}), "MultiIndex"),
        ({"a": object(), "b": ["x"]}, "single object"),
        (3, "of type"),
        ([], "0 rows"),
    ],
)
def test_malformed_inputs_are_refused_as_without_a_signature(inputs, words):
    with pytest.raises(PayloadError, match=words):
        sent(inputs, KNOWN, validate=True, prune=True)


def test_names_that_become_strings_are_known_by_their_strings():
    frame = pd.DataFrame([[1, 2]], columns=[7, 8])
    read = sent(frame, signature(**{"7": "long"}), prune=True, stringify_columns=True)
    assert read["dataframe_split"] == {"columns": ["7"], "data": [[1]]}


def test_checks_cost_less_than_encoding_does():
    # judged by dtype: no value of a column of floats is looked at
    looked: list[Any] = []

    class Looked(np.ndarray):
        def tolist(self):
            looked.append(1)
            return super().tolist()

    column = np.arange(10.0).view(Looked)
    checked({"c": column}, signature(c="double"))
    assert not looked
