"""Every accepted form of input, and what it becomes on the wire."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import OrderedDict
from types import MappingProxyType

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient.errors import PayloadError, PayloadTooLarge
from servingclient.payload.encode import Body, check_size, encode
from servingclient.settings import Payload

ROWS = [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]
SPLIT = {"dataframe_split": {"columns": ["a", "b"], "data": [[1, "x"], [2, "y"]]}}
COLUMNS = {"a": [1, 2], "b": ["x", "y"]}

TABLES = {
    "list of dicts": ROWS,
    "tuple of dicts": tuple(ROWS),
    "list of ordered dicts": [OrderedDict(row) for row in ROWS],
    "list of other mappings": [MappingProxyType(row) for row in ROWS],
    "keys in another order": [ROWS[0], {"b": "y", "a": 2}],
    "pandas frame": pd.DataFrame(COLUMNS),
    "pandas frame, any index": pd.DataFrame(COLUMNS, index=["p", "q"]),
    "pandas slice": pd.DataFrame({"a": [0, 1, 9, 2], "b": list("wxvy")}).iloc[1::2],
    "polars frame": pl.DataFrame(COLUMNS),
    "arrow table": pa.table(COLUMNS),
    "arrow table in chunks": pa.concat_tables(
        [pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [2], "b": ["y"]})]
    ),
    "arrow batch": pa.RecordBatch.from_pydict(COLUMNS),
    "dict of lists": COLUMNS,
    "dict of tuples": {"a": (1, 2), "b": ("x", "y")},
    "dict of arrays": {"a": np.array([1, 2]), "b": np.array(["x", "y"])},
    "dict of pandas series": dict(pd.DataFrame(COLUMNS).items()),
    "dict of polars series": {"a": pl.Series([1, 2]), "b": pl.Series(["x", "y"])},
    "dict of arrow arrays": {"a": pa.array([1, 2]), "b": pa.chunked_array([["x"], ["y"]])},
    "a mapping of columns": MappingProxyType(COLUMNS),
    "dict of pandas arrays": {"a": pd.array([1, 2]), "b": pd.Categorical(["x", "y"])},
    "dict of pandas indexes": {"a": pd.Index([1, 2]), "b": pd.Index(["x", "y"])},
    "structured array": np.array([(1, "x"), (2, "y")], dtype=[("a", "i4"), ("b", "U1")]),
    "record array": np.rec.array([(1, "x"), (2, "y")], dtype=[("a", "i4"), ("b", "U1")]),
}


@pytest.mark.parametrize("inputs", TABLES.values(), ids=TABLES.keys())
def test_a_table_goes_as_dataframe_split_with_its_columns_once(inputs, enc):
    body = enc(inputs)
    assert json.loads(body.data) == SPLIT
    assert (body.rows, body.wrapped) == (2, True)


class OwnArray(np.ndarray):
    pass


TENSORS = {
    "vector": (np.array([1.5, 2.5]), [1.5, 2.5], 2),
    "matrix": (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]], 2),
    "three dimensions": (np.zeros((2, 1, 2)), [[[0.0, 0.0]], [[0.0, 0.0]]], 2),
    "list of rows": ([[1, 2], [3, 4]], [[1, 2], [3, 4]], 2),
    "list of tuples": ([(1, "a"), (3, "b")], [[1, "a"], [3, "b"]], 2),
    "ragged rows": ([[1], [2, 3]], [[1], [2, 3]], 2),
    "tuple of lists": (([1, 2], [3, 4]), [[1, 2], [3, 4]], 2),
    "list of texts": (["a", "b", "c"], ["a", "b", "c"], 3),
    "list of numbers": ([1.5, 2.5], [1.5, 2.5], 2),
    "list of arrays": ([np.array([1, 2]), np.array([3, 4])], [[1, 2], [3, 4]], 2),
    "named tensors": (
        {"image": np.ones((2, 2)), "size": np.array([3, 4]), "tag": ["a", "b"]},
        {"image": [[1.0, 1.0], [1.0, 1.0]], "size": [3, 4], "tag": ["a", "b"]},
        2,
    ),
    "named tensors, uneven": (
        {"image": np.ones((1, 2)), "size": [3, 4]},
        {"image": [[1.0, 1.0]], "size": [3, 4]},
        None,
    ),
    "a class of one's own": (np.array([[1, 2]]).view(OwnArray), [[1, 2]], 1),
    "objects": (np.array([[1, "a"], [None, 2.5]], dtype=object), [[1, "a"], [None, 2.5]], 2),
    "texts": (np.array([["a"], ["b"]]), [["a"], ["b"]], 2),
    "times": (
        np.array([["2024-01-02", "2024-01-03"]], "M8[D]"),
        [["2024-01-02T00:00:00", "2024-01-03T00:00:00"]],
        1,
    ),
}


@pytest.mark.parametrize(("inputs", "content", "rows"), TENSORS.values(), ids=TENSORS.keys())
def test_arrays_and_rows_go_as_inputs(inputs, content, rows, enc):
    body = enc(inputs)
    assert json.loads(body.data) == {"inputs": content}
    assert body.rows == rows
    assert body.wrapped


BODIES = {
    "dataframe_split": ({"dataframe_split": {"columns": ["a"], "data": [[1], [2]]}}, 2, True),
    "numbers as columns": ({"dataframe_split": {"columns": [0, 1], "data": [[5, 6]]}}, 1, True),
    "lists as columns": ({"dataframe_split": {"columns": [["a"]], "data": [[5]]}}, 1, True),
    "without columns": ({"dataframe_split": {"data": [[1]]}}, 1, True),
    "with an index": ({"dataframe_split": pd.DataFrame({"a": [1, 2]}).to_dict("split")}, 2, True),
    "dataframe_records": ({"dataframe_records": [{"a": 1}]}, 1, True),
    "instances": ({"instances": [[1], [2]]}, 2, True),
    "inputs, rows": ({"inputs": [[1], [2]]}, 2, True),
    "inputs, columns": ({"inputs": {"a": [1, 2], "b": [3, 4]}}, 2, True),
    "inputs, one value": ({"inputs": "text"}, None, True),
    "inputs, a word": ({"inputs": "null"}, None, True),
    "inputs, named words": ({"inputs": {"a": "null", "b": ["null"]}}, None, True),
    "inputs, uneven": ({"inputs": {"a": [1, 2], "b": [3]}}, None, True),
    "inputs, scalars": ({"inputs": {"a": 1, "b": 2}}, None, True),
    "with params": ({"inputs": [1], "params": {"k": 1}}, 1, True),
    "messages": ({"messages": [{"role": "user", "content": "hi"}]}, None, False),
    "messages, options": ({"messages": [], "temperature": 0.1, "stop": ["x"]}, None, False),
    "messages, tools": ({"messages": [{"role": "user"}], "tools": [{"type": "f"}]}, None, False),
    "messages, own field": ({"messages": [], "custom_inputs": {"a": 1}}, None, False),
    "prompt": ({"prompt": "hi", "n": 2}, None, False),
    "prompts": ({"prompt": ["a", "b"]}, None, False),
    "input": ({"input": ["a", "b"], "dimensions": 8}, None, False),
}


@pytest.mark.parametrize(("given", "rows", "wrapped"), BODIES.values(), ids=BODIES.keys())
def test_an_explicit_body_goes_as_it_is(given, rows, wrapped, enc):
    body = enc(given)
    assert json.loads(body.data) == given
    assert (body.rows, body.wrapped) == (rows, wrapped)


@pytest.mark.parametrize(
    "columns",
    [
        {"prompt": ["a", "b"], "length": [1, 2]},
        {"input": ["a", "b"], "prompt": ["c", "d"]},
        {"inputs": [1, 2], "label": [0, 1]},
        {"messages": pd.Series(["a"]), "kind": pd.Series(["b"])},
    ],
    ids="+".join,
)
def test_columns_that_are_named_like_body_keys_stay_columns(columns, sent):
    assert sent(columns)["dataframe_split"]["columns"] == list(columns)


def test_an_array_inside_an_explicit_body_is_sent_in_its_own_type(sent):
    given = {"inputs": {"x": np.array([[0.1, 0.2]], "f4")[:, ::-1]}}
    assert sent(given) == {"inputs": {"x": [[0.2, 0.1]]}}


# ------------------------------------------------------------------------------- beside the rows


def _with_extras(inputs, **changes):
    extras = {"params": None, "client_request_id": None, "usage_context": None} | changes
    return json.loads(encode(inputs, **extras, settings=Payload()).data)


@pytest.mark.parametrize(
    "inputs",
    [ROWS, pd.DataFrame(COLUMNS), COLUMNS, np.ones((2, 2)), [[1], [2]], {"inputs": [1]}],
    ids=["records", "frame", "columns", "array", "rows", "body"],
)
def test_params_ids_and_labels_become_top_level_keys(inputs):
    alone = _with_extras(inputs)
    full = _with_extras(
        inputs,
        params={"k": np.int64(3)},
        client_request_id="id-1",
        usage_context={"team": "x"},
        stream=True,
    )
    assert full == alone | {
        "params": {"k": 3},
        "client_request_id": "id-1",
        "usage_context": {"team": "x"},
        "stream": True,
    }


def test_a_body_that_asks_for_a_stream_itself_is_no_conflict():
    given = {"messages": [], "stream": True}
    assert _with_extras(given, stream=True) == given


@pytest.mark.parametrize("key", ["params", "client_request_id", "usage_context"])
def test_an_extra_given_twice_is_refused(key):
    value = "id" if key == "client_request_id" else {}
    with pytest.raises(PayloadError, match=f"{key} is given twice"):
        _with_extras({"inputs": [1], key: value}, **{key: value})


@pytest.mark.parametrize(
    ("extras", "words"),
    [
        ({"params": [1]}, "params must be a dict, not list"),
        ({"client_request_id": 7}, "client_request_id must be text, not int"),
        ({"usage_context": "x"}, "usage_context must be a dict, not str"),
        ({"params": {"x": float("nan")}}, "In params: The value is NaN"),
        ({"params": {"x": {1}}}, "In params: The value is of type builtins.set"),
    ],
)
@pytest.mark.parametrize("inputs", [ROWS, np.ones(2)], ids=["records", "array"])
def test_extras_that_cannot_be_sent_are_named(inputs, extras, words):
    with pytest.raises(PayloadError, match=words):
        _with_extras(inputs, **extras)


# ------------------------------------------------------------------------------- size


def test_a_body_within_the_limit_passes():
    check_size(Body(b"x" * 100, 1, True), 100)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (10, "About 5 of its 10 rows would fit"),
        (1, "make the row smaller"),
        (None, "make the row smaller"),
    ],
)
def test_a_body_over_the_limit_says_how_much_would_fit(rows, words):
    with pytest.raises(PayloadTooLarge, match=words) as caught:
        check_size(Body(b"x" * 2000, rows, True), 1000)
    assert (caught.value.size_bytes, caught.value.limit_bytes) == (2000, 1000)
    assert "2,000 bytes" in str(caught.value)


def test_a_body_of_rows_that_are_too_large_each_says_so():
    with pytest.raises(PayloadTooLarge, match="Not even one"):
        check_size(Body(b"x" * 9000, 2, True), 1000)


# ------------------------------------------------------------------------------- imports


def test_no_data_library_is_imported_by_the_encoder():
    code = (
        "import sys\n"
        "from servingclient.payload import decode, encode, sse\n"
        "from servingclient.settings import Payload\n"
        "import servingclient._prediction\n"
        "encode.encode([{'a': 1.5}, {'a': None}], params=None, client_request_id=None,\n"
        "              usage_context=None, settings=Payload())\n"
        "encode.encode({'a': [1.5]}, params={'x': 1}, client_request_id=None,\n"
        "              usage_context=None, settings=Payload())\n"
        "print({'numpy', 'pandas', 'polars', 'pyarrow'} & set(sys.modules))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
