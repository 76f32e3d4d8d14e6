"""Rows of every kind of input, cut and picked without a change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient import PayloadError
from servingclient.bulk.rows import check, count, cut, is_frame, is_sliceable, pick
from servingclient.payload.encode import encode
from servingclient.settings import Payload

N = 10
A = [float(n) for n in range(N)]
B = [f"t{n}" for n in range(N)]

FORMS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pd.DataFrame({"a": A, "b": B}, index=range(100, 100 + N)),
    "polars": lambda: pl.DataFrame({"a": A, "b": B}),
    "table": lambda: pa.table({"a": A, "b": B}),
    "chunked": lambda: pa.concat_tables([pa.table({"a": A[:3]}), pa.table({"a": A[3:]})]),
    "batch": lambda: pa.RecordBatch.from_pydict({"a": A, "b": B}),
    "array": lambda: np.arange(3.0 * N).reshape(N, 3),
    "vector": lambda: np.arange(float(N)),
    "structured": lambda: np.array(list(zip(A, A, strict=True)), dtype=[("a", "f8"), ("b", "f8")]),
    "records": lambda: [{"a": a, "b": b} for a, b in zip(A, B, strict=True)],
    "rows": lambda: [[a, b] for a, b in zip(A, B, strict=True)],
    "tuple": lambda: tuple([a] for a in A),
    "columns": lambda: {"a": A, "b": tuple(B)},
    "series": lambda: {"a": pd.Series(A, index=range(5, 5 + N)), "b": np.array(B)},
    "more": lambda: {"a": pl.Series(A), "b": pa.array(B), "c": pa.chunked_array([A[:4], A[4:]])},
    "index": lambda: {"a": pd.Index(A), "b": pd.array(B, dtype="string")},
    "tensors": lambda: {"x": np.arange(4.0 * N).reshape(N, 4), "y": np.arange(float(N))},
}


def rows_of(value: Any) -> list[Any]:
    """What would be sent, row by row."""
    import orjson

    if count(value) == 0:
        return []
    made = encode(
        value, params=None, client_request_id=None, usage_context=None, settings=Payload()
    )
    body = orjson.loads(made.data)
    content = body.get("inputs", body.get("dataframe_split", {}).get("data"))
    if isinstance(content, dict):
        return [list(row) for row in zip(*content.values(), strict=True)]
    return list(content)


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_counted_cut_and_picked(form: str) -> None:
    whole = FORMS[form]()
    assert is_sliceable(whole)
    check(whole)
    every = rows_of(whole)
    assert count(whole) == len(every) == N
    assert rows_of(cut(whole, 2, 5)) == every[2:5]
    assert rows_of(cut(cut(whole, 2, 9), 1, 3)) == every[3:5]
    assert rows_of(pick(whole, [1, 4, 8])) == [every[1], every[4], every[8]]
    assert rows_of(pick(whole, range(3, 6))) == every[3:6]
    assert rows_of(pick(cut(whole, 2, 9), [0, 6])) == [every[2], every[8]]


def test_cutting_does_not_copy() -> None:
    array = np.zeros((N, 3))
    assert cut(array, 2, 4).base is array
    frame = pd.DataFrame(array)
    assert np.shares_memory(cut(frame, 2, 4).to_numpy(), frame.to_numpy())
    column = pa.array(A)
    part = cut(pa.table({"a": column}), 2, 4)["a"].chunk(0)
    assert part.buffers()[1].address == column.buffers()[1].address


def test_frames_are_told_from_rows() -> None:
    frames = {"pandas", "polars", "table", "chunked", "batch", "array"}
    assert {form for form, make in FORMS.items() if is_frame(make())} == frames
    assert not is_frame(np.float64(1.5))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataframe_split": {"columns": ["a"], "data": [[1]]}}, "request body"),
        ({"inputs": [[1.0]]}, "request body"),
        ({"a": 1.5}, "single float"),
        ({"a": np.float64(1.5)}, "single float64"),
        ({"a": np.array(1.5)}, "single ndarray"),
        ({"a": [1, 2], "b": [1]}, "1 values, column 'a' has 2"),
        (np.array(1.5), "shape \\(\\)"),
    ],
)
def test_what_has_no_rows_is_refused(given: Any, words: str) -> None:
    with pytest.raises(PayloadError, match=words):
        check(given)
