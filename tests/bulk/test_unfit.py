"""Which rows are to blame, found without sending any."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.bulk.piece import at_row, placed
from servingclient.bulk.rows import Rows
from servingclient.bulk.unfit import columns_of, unfit
from servingclient.errors import BadRequest, PayloadError
from servingclient.payload.encode import encode
from servingclient.settings import Payload


class Encoder:
    def __init__(self) -> None:
        self.rows = 0

    def __call__(self, rows: Rows) -> object:
        self.rows += len(rows)
        return encode(
            rows, params=None, client_request_id=None, usage_context=None, settings=Payload()
        )


@given(size=st.integers(1, 300), bad=st.sets(st.integers(0, 299), max_size=20))
def test_exactly_the_bad_rows_are_found(size: int, bad: set[int]) -> None:
    bad = {row for row in bad if row < size}
    values = [math.nan if row in bad else 1.0 for row in range(size)]
    records = [{"a": value, "b": 1} for value in values]
    for rows in (pd.DataFrame({"a": values, "b": 1}), records):
        encoder = Encoder()
        found = unfit(rows, columns_of(rows), encoder)
        assert set(found) == bad
        assert encoder.rows <= size + 2 * (len(bad) + 1) * size


def test_one_bad_row_costs_few_encodings() -> None:
    encoder = Encoder()
    rows = [{"a": math.nan if n == 777 else 1.0} for n in range(4096)]
    assert list(unfit(rows, columns_of(rows), encoder)) == [777]
    assert encoder.rows <= 3 * 4096


def test_what_is_wrong_with_no_row_is_no_rows_fault() -> None:
    frame = pd.DataFrame([[1.0, 2.0]] * 100, columns=["a", "a"])
    encoder = Encoder()
    assert unfit(frame, None, encoder) == {}
    assert encoder.rows == 100, "it is not looked for in halves"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"a": 1}, "column 'b': The row lacks this column"),
        ({"a": 1, "b": 2, "c": 3}, "column 'c': The row has this column"),
        ([1, 2], "The row is a list among dicts"),
        (None, "The row is a NoneType among dicts"),
    ],
)
def test_rows_of_another_form_are_to_blame(row: Any, words: str) -> None:
    good = {"b": 1, "a": 2}
    found = unfit([good, row, good], frozenset("ab"), Encoder())
    assert list(found) == [1]
    assert str(found[1]).startswith(f"Row 1, {words}") or str(found[1]).startswith(
        f"Row 1: {words}"
    )


def test_dicts_among_other_rows_are_to_blame() -> None:
    found = unfit([[1.0], {"a": 1}, [2.0]], None, Encoder())
    assert list(found) == [1]
    assert "among rows that are no dicts" in str(found[1])


def test_an_error_says_which_rows_of_the_job_it_is_about() -> None:
    known = PayloadError("Row 0, column 'a': The value is NaN.")
    known.row, known.column = 0, "a"
    told = placed(known, 1700, 1700)
    assert str(told) == "Row 1700, column 'a': The value is NaN."
    assert isinstance(told, PayloadError)
    assert (told.row, told.column, known.row) == (1700, "a", 0)
    cause = ValueError("why")
    try:
        raise BadRequest("'m' refused the request (400).") from cause
    except BadRequest as error:
        one, many = placed(error, 5, 5), placed(error, 5, 9)
    assert str(one) == "Row 5: 'm' refused the request (400)."
    assert str(many) == "Rows 5 to 9: 'm' refused the request (400)."
    assert one.__cause__ is cause
    assert one.__traceback__ is None
    ninth = at_row(many, 9)
    assert (ninth.row, many.row) == (9, 5)
    assert ninth.args[0] is many.args[0], "of thousands of rows, the text is there once"
