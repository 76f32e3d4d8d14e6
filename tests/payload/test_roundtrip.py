"""A frame that is encoded and read back as pandas reads it is the same frame."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from servingclient.payload.encode import encode
from servingclient.settings import Payload

ROWS = 4
DTYPES = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
DTYPES += ["float32", "float64", "bool", "str", "datetime64[ns]", "Int64", "Float64", "boolean"]
NULLABLE = {"Int64", "Float64", "boolean", "str"}

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=6)


def cells(dtype: str) -> st.SearchStrategy[object]:
    """Values that the type holds."""
    if dtype in {"float32", "float64", "Float64"}:
        width = 32 if dtype == "float32" else 64
        return st.floats(allow_nan=False, allow_infinity=False, width=width)
    if dtype in {"bool", "boolean"}:
        return st.booleans()
    if dtype == "str":
        return texts
    if dtype == "datetime64[ns]":
        # what fits into 64 bits of nanoseconds
        return st.integers(-(2**62), 2**62).map(pd.Timestamp)
    info = np.iinfo(dtype.lower())
    return st.integers(int(info.min), int(info.max))


@st.composite
def columns(draw: st.DrawFn) -> pd.Series:
    dtype = draw(st.sampled_from(DTYPES))
    values = cells(dtype)
    if dtype in NULLABLE:
        values = st.none() | values
    drawn = draw(st.lists(values, min_size=ROWS, max_size=ROWS))
    return pd.Series(drawn, dtype=object if dtype == "str" else dtype)


names = st.lists(texts, min_size=1, max_size=4, unique=True)
frames = names.flatmap(
    lambda given: st.lists(columns(), min_size=len(given), max_size=len(given)).map(
        lambda drawn: pd.DataFrame(dict(zip(given, drawn, strict=True)))
    )
)


def read_back(frame: pd.DataFrame) -> pd.DataFrame:
    """As a scoring server does: the body's columns and rows, then the types of the signature."""
    body = encode(frame, None, None, None, Payload(nan="null"))
    split = json.loads(body.data)["dataframe_split"]
    read = pd.DataFrame(split["data"], columns=split["columns"], dtype=object)
    for name in frame.columns:
        wanted = frame[name].dtype
        if wanted.kind == "M":
            read[name] = pd.to_datetime(read[name], format="ISO8601").astype(wanted)
        else:
            read[name] = read[name].astype(wanted)
    return read


@settings(max_examples=120, deadline=None)
@given(frames)
def test_a_frame_comes_back_as_it_was(frame: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(read_back(frame), frame, check_exact=True)


@settings(max_examples=40, deadline=None)
@given(frames, st.integers(0, ROWS), st.permutations(range(ROWS)))
def test_so_does_a_part_of_it_in_another_order(
    frame: pd.DataFrame, count: int, order: list[int]
) -> None:
    part = frame.iloc[order[: max(1, count)]]
    again = read_back(part)
    pd.testing.assert_frame_equal(again, part.reset_index(drop=True), check_exact=True)
