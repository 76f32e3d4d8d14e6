"""A body divided around its rows: put together again it is what it was, and rows join only rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servingclient.payload.body import Body
from servingclient.payload.divide import Divided, divide, joined
from servingclient.payload.encode import encode
from servingclient.settings import Payload

RULES = Payload(nan="null")

# text that looks like what the cut is made by
TRAPS = [
    '],"data":[',
    '"],"data":["',
    ']},"params":{',
    "]}}",
    "],",
    '"',
    "\\",
    '\\"],"data":[',
    "[",
    "{",
]
texts = st.sampled_from(TRAPS) | st.text(st.characters(codec="utf-8"), max_size=6)
leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e9, 1e9) | texts
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(texts | st.sampled_from(["params", "data", "columns"]), inner, max_size=3)
    ),
    max_leaves=6,
)
parameters = st.none() | st.dictionaries(texts | st.just("params"), values, max_size=3)


def divided(inputs: Any, params: Any = None, **changes: Any) -> tuple[Body, Divided | None]:
    rules = Payload(nan="null", **changes)
    body = encode(inputs, params=params, client_request_id=None, usage_context=None, settings=rules)
    return body, divide(body, inputs, params, rules)


def whole(parts: Divided) -> bytes:
    head, rows, tail = parts
    return joined(head, [rows], tail)


DIVISIBLE: dict[str, Any] = {
    "pandas": pd.DataFrame({"a": [1.5, 2.5], "b": [1, 2]}),
    "pandas mixed": pd.DataFrame({"a": [1.5, None], "b": ["x", "y"]}),
    "pandas float32": pd.DataFrame({"a": np.array([0.1, 0.2], dtype="f4")}),
    "polars": pl.DataFrame({"a": [1.5], "b": ["x"]}),
    "arrow": pa.table({"a": [1.5], "b": ["x"]}),
    "records": [{"a": 1.5, "b": None}, {"a": 2.5, "b": "x"}],
    "columns": {"a": [1.5, 2.5], "b": [1, 2]},
    "matrix": np.eye(2),
    "vector": np.array([1, 2, 3]),
    "tensor": np.zeros((2, 3, 4), dtype="f4"),
    "structured": np.array([(1, 2.5)], dtype=[("a", "i4"), ("b", "f8")]),
    "rows": [[1, 2], [3, 4]],
    "scalars": [1, 2.5],
    "texts": ["a", '],"data":['],
    "split": {"dataframe_split": {"columns": ["a", "],"], "data": [[1, 2]]}},
    "split of an array": {"dataframe_split": {"columns": ["a"], "data": np.ones((2, 1))}},
    "inputs": {"inputs": [[1, 2]]},
    "instances": {"instances": [1, 2]},
    "instances of an array": {"instances": np.eye(2)},
    "with params": {"inputs": [1], "params": {"k": 1}},
}


@pytest.mark.parametrize("name", DIVISIBLE)
def test_what_is_divided_is_put_together_again(name: str) -> None:
    body, parts = divided(DIVISIBLE[name])
    assert parts is not None
    assert whole(parts) == body.data
    rows = json.loads(b"[" + parts[1] + b"]")
    assert len(rows) == body.rows


@pytest.mark.parametrize("name", [name for name in DIVISIBLE if name != "with params"])
def test_parameters_are_in_the_tail(name: str) -> None:
    body, parts = divided(DIVISIBLE[name], {"data": [], "params": {"x": "]}}"}, "k": np.int64(3)})
    assert parts is not None
    assert whole(parts) == body.data
    assert parts[2].endswith(b'"params":{"data":[],"params":{"x":"]}}"},"k":3}}')


APART: dict[str, Any] = {
    "chat": {"messages": []},
    "prompt": {"prompt": "x"},
    "tensors by name": {"x": np.eye(2), "y": np.eye(2)},
    "inputs by name": {"inputs": {"x": [1]}},
    "one input": {"inputs": "text"},
    "records": {"dataframe_records": [{"a": 1}]},
    "objects": {"instances": [{"a": 1}]},
    "objects as inputs": {"inputs": [{"a": 1}]},
    "index": {"dataframe_split": {"index": [0], "columns": ["a"], "data": [[1]]}},
    "index last": {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [0]}},
    "data first": {"dataframe_split": {"data": [[1]], "columns": ["a"]}},
    "no columns": {"dataframe_split": {"data": [[1]]}},
    "levels": {"dataframe_split": {"columns": [["a", "b"]], "data": [[1]]}},
    "names that are no text": {"dataframe_split": {"columns": [1, 2], "data": [[1, 2]]}},
    "params first": {"params": {"k": 1}, "inputs": [1]},
    "more beside": {"inputs": [1], "databricks_options": {"return_trace": True}},
    "more beside params": {"inputs": [1], "params": {}, "client_request_id": "x"},
    "params that are none": {"inputs": [1], "params": None},
    "params that are no object": {"inputs": [1], "params": 5},
}


@pytest.mark.parametrize("name", APART)
def test_what_means_more_than_its_rows_is_not_divided(name: str) -> None:
    _, parts = divided(APART[name])
    assert parts is None


def test_a_body_somebody_changed_meanwhile_is_not_divided() -> None:
    given_ = {"inputs": [1], "params": {"k": 1}}
    body = encode(given_, params=None, client_request_id=None, usage_context=None, settings=RULES)
    given_["params"] = {"k": 2}
    assert divide(body, given_, None, RULES) is None


@given(
    st.lists(texts, min_size=1, max_size=4, unique=True),
    st.data(),
    parameters,
)
@settings(max_examples=150, deadline=None)
def test_rows_of_several_join_as_if_sent_alone(
    names: list[str], data: st.DataObject, params: Any
) -> None:
    row = st.tuples(*[values for _ in names])
    tables = data.draw(st.lists(st.lists(row, min_size=1, max_size=3), min_size=1, max_size=4))
    alone = []
    parts = []
    for table in tables:
        records = [dict(zip(names, cells, strict=True)) for cells in table]
        body, one = divided(records, params)
        assert one is not None
        assert whole(one) == body.data
        alone.append(json.loads(body.data))
        parts.append(one)
    assert len({(head, tail) for head, _, tail in parts}) == 1
    together = json.loads(joined(parts[0][0], [rows for _, rows, _ in parts], parts[0][2]))
    rows = [row for one in alone for row in one["dataframe_split"]["data"]]
    expected = {**alone[0], "dataframe_split": {**alone[0]["dataframe_split"], "data": rows}}
    assert json.dumps(together) == json.dumps(expected), "value by value, and in type"


@given(st.lists(st.lists(values, min_size=1, max_size=3), min_size=1, max_size=4), parameters)
@settings(max_examples=100, deadline=None)
def test_lists_join_too_unless_they_are_objects(lists: list[list[Any]], params: Any) -> None:
    parts = []
    for one in lists:
        if any(isinstance(row, dict) for row in one):
            return
        _, part = divided({"inputs": one}, params)
        assert part is not None
        parts.append(part)
    together = json.loads(joined(parts[0][0], [rows for _, rows, _ in parts], parts[0][2]))
    assert json.dumps(together["inputs"]) == json.dumps([row for one in lists for row in one])


@given(st.lists(texts, min_size=1, max_size=3, unique=True), st.permutations(range(3)))
@settings(max_examples=50, deadline=None)
def test_other_columns_or_another_order_have_another_head(
    names: list[str], order: list[int]
) -> None:
    shuffled = [names[at] for at in order if at < len(names)]
    _, one = divided([dict.fromkeys(names, 1)])
    _, other = divided([dict.fromkeys(shuffled, 1)])
    assert one is not None
    assert other is not None
    assert (one[0] == other[0]) == (names == shuffled)
