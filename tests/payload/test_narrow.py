"""Fewer digits only where asked for, within the promised bound, and the same in each form."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servingclient import ConfigError
from servingclient.errors import PayloadError
from servingclient.payload import narrow
from servingclient.settings import Payload
from tests.payload.conftest import encoded

FLOATS = [0.1, -1 / 3, 123456.789012, 0.0, -2.5e-30, 6.02214076e23]
SINGLE = [0.1, -0.33333334, 123456.79, 0.0, -2.5e-30, 6.0221406e23]
THREE = [0.1, -0.333, 123000.0, 0.0, -2.5e-30, 6.02e23]

FORMS = {
    "pandas": lambda c: pd.DataFrame({"c": c}),
    "pandas beside texts": lambda c: pd.DataFrame({"c": c, "s": "x"}),
    "pandas nullable": lambda c: pd.DataFrame({"c": pd.array(c, dtype="Float64")}),
    "pandas objects": lambda c: pd.DataFrame({"c": pd.Series(c, dtype=object)}),
    "polars": lambda c: pl.DataFrame({"c": c}),
    "arrow": lambda c: pa.table({"c": c}),
    "columns": lambda c: {"c": c},
    "columns as tuples": lambda c: {"c": tuple(c)},
    "arrays": lambda c: {"c": np.array(c)},
    "records": lambda c: [{"c": v} for v in c],
    "records of scalars": lambda c: [{"c": np.float64(v)} for v in c],
}
TENSORS = {
    "matrix": lambda c: np.array([c, c]),
    "objects": lambda c: np.array([c, c], dtype=object),
    "rows": lambda c: [list(c), tuple(c)],
    "rows of arrays": lambda c: [np.array(c), np.array(c)],
}


def column(inputs, **settings):
    return [
        row[0] for row in json.loads(encoded(inputs, **settings).data)["dataframe_split"]["data"]
    ]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS.keys())
def test_each_table_loses_the_same_digits_and_only_when_asked(form):
    assert column(form(FLOATS)) == FLOATS
    assert column(form(FLOATS), floats="float32") == SINGLE
    assert column(form(FLOATS), significant_digits=3) == THREE
    assert column(form(FLOATS), floats="float32", significant_digits=3) == THREE


@pytest.mark.parametrize("form", TENSORS.values(), ids=TENSORS.keys())
def test_each_tensor_too(form):
    def rows(**settings):
        return json.loads(encoded(form(FLOATS), **settings).data)["inputs"]

    assert rows() == [FLOATS, FLOATS]
    assert rows(floats="float32") == [SINGLE, SINGLE]
    assert rows(significant_digits=3) == [THREE, THREE]


def test_nested_floats_lose_digits_and_nothing_else_does():
    cell = {"f": [0.123456, (1.23456, 7)], "i": 123456789, "s": "0.123456", "b": True, "n": None}
    less = {"f": [0.123, [1.23, 7]], "i": 123456789, "s": "0.123456", "b": True, "n": None}
    before = json.dumps(cell)
    for inputs in ([{"c": cell}], {"c": [cell]}, pd.DataFrame({"c": [cell]})):
        assert column(inputs, significant_digits=3) == [less]
    assert json.dumps(cell) == before  # the caller's own data is left alone


def test_whole_numbers_texts_and_times_stay(sent):
    frame = pd.DataFrame({"i": [2**53 + 1], "s": ["1.23456"], "b": [True], "f": [1.23456]})
    frame["t"] = pd.Timestamp("2024-05-01 10:00:00.123456")
    read = sent(frame, floats="float32", significant_digits=2)["dataframe_split"]["data"]
    assert read == [[2**53 + 1, "1.23456", True, 1.2, "2024-05-01T10:00:00.123456"]]
    uints = np.array([[2**64 - 1, 1]], np.uint64)
    assert sent(uints, floats="float32") == {"inputs": [[2**64 - 1, 1]]}


def test_a_body_of_ones_own_and_params_are_sent_as_they_are(sent):
    body = {"dataframe_split": {"columns": ["c"], "data": [[0.123456]]}, "params": {"t": 0.123456}}
    assert sent(body, significant_digits=2) == body


def test_missing_values_follow_their_own_setting(sent):
    for values in ([1.23456, float("nan")], np.array([1.23456, np.nan])):
        with pytest.raises(PayloadError, match="NaN") as caught:
            encoded({"c": values}, significant_digits=2)
        assert (caught.value.row, caught.value.column) == (1, "c")
        read = sent({"c": values}, significant_digits=2, nan="null")
        assert read["dataframe_split"]["data"] == [[1.2], [None]]
    masked = np.ma.array([1.23456, 2.0], mask=[False, True])
    read = sent({"c": masked}, significant_digits=2, nan="null")
    assert read["dataframe_split"]["data"] == [[1.2], [None]]


@pytest.mark.parametrize(
    ("inputs", "row", "named"),
    [
        (pd.DataFrame({"c": [1.0, 1e39]}), None, None),
        (pd.DataFrame({"c": [1.0, 1e39], "s": "x"}), None, "c"),
        (pl.DataFrame({"c": [1.0, -1e39]}), None, "c"),
        ({"c": [1.0, 1e39]}, None, "c"),
        ([{"c": 1.0}, {"c": 1e39}], 1, None),
        ([[1.0], [-1e39]], 1, None),
    ],
)
def test_what_32_bits_cannot_hold_is_refused(inputs, row, named):
    with pytest.raises(PayloadError, match=r"beyond 3\.4e38") as caught:
        encoded(inputs, floats="float32")
    assert (caught.value.row, caught.value.column) == (row, named)
    assert "1e39" not in str(caught.value)
    assert "1e+39" not in str(caught.value)


def test_decimals_sent_as_floats_are_doubles_still(sent):
    read = sent([{"c": Decimal("0.123456")}], decimal="float", significant_digits=2)
    assert read["dataframe_split"]["data"] == [[0.123456]]


finite = st.floats(allow_nan=False, allow_infinity=False)
singles = st.floats(-3.3e38, 3.3e38)


@given(finite, st.integers(1, 15))
@example(5e-324, 3)
@example(1.7976931348623157e308, 15)
@example(999.9999999999999, 3)
@example(1e22, 5)
@example(-1e23, 5)
def test_rounding_keeps_to_its_bound_and_prints_no_more_digits(number, digits):
    settings = Payload(significant_digits=digits)
    alone = narrow.value(number, settings)
    among = float(narrow.array(np.array([number, 1.0]), settings)[0])
    for rounded in (alone, among):
        assert abs(rounded - number) <= 0.5000001 * 10.0 ** (1 - digits) * abs(number) + 5e-324
        mantissa = f"{rounded!r}".lower().partition("e")[0].replace(".", "").strip("-0")
        assert len(mantissa) <= digits or not 2.3e-308 < abs(number) < 1.7e308


@given(singles)
@example(1.401298464324817e-45)
@example(3.4028234663852886e38)
def test_a_narrowed_float_is_the_nearest_of_32_bits_in_its_short_form(number):
    settings = Payload(floats="float32")
    short = narrow.value(number, settings)
    assert np.float32(short) == np.float32(number)
    assert narrow.array(np.array([number]), settings)[0] == np.float32(number)
    assert narrow.value(short, settings) == short
    assert len(repr(short).lower().partition("e")[0].replace(".", "").strip("-0")) <= 9


def test_rounding_never_makes_a_short_float_longer(sent):
    array = np.array([0.1, 1 / 3], np.float32)
    for digits in (9, 12, 15):
        assert encoded(array, significant_digits=digits).data == encoded(array).data


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("floats", "float16"),
        ("significant_digits", 0),
        ("significant_digits", 16),
        ("gzip_level", 10),
    ],
)
def test_settings_that_cannot_work_are_refused(name, value):
    with pytest.raises(ConfigError, match=name):
        Payload(**{name: value})
