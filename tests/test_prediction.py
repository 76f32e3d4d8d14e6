"""The result of a call: cheap to make, read only, readable, and convertible without surprises."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servingclient._prediction import Prediction, request_id
from servingclient._types import Attempt, Timing

HEADERS = [
    (b"Content-Type", b"application/json"),
    (b"Served-Model-Name", b"fraud-3"),
    (b"X-Databricks-Request-Id", b"id-1"),
]
ATTEMPTS = (Attempt(429, 0.0, "throttled", 0.1, "id-0"), Attempt(200, 0.5, None, 0.2, None))
TIMING = (0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.5, 0.521)


def made(predictions=(1.5, 2.5), headers=HEADERS, attempts=ATTEMPTS, timing=TIMING, status=200):
    values = list(predictions) if isinstance(predictions, tuple) else predictions
    return Prediction(values, headers, attempts, timing, status)


class Broken:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError("cannot be compared")

    __hash__ = None


@pytest.mark.parametrize(
    "value",
    [
        np.array([1.0, 2.0]),
        pd.DataFrame({"a": [1, 2]}),
        pd.Series([1, 2]),
        [np.array([1, 2])],
        {"a": pd.DataFrame({"a": [1]})},
        Broken(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_postprocess_made_of_it_is_compared_without_an_error(value):
    one, same, other = made(value), made(value), made(copy.deepcopy(value))
    assert one == same
    assert one != other
    assert one != made([1.5, 2.5])
    assert one != made(value, status=201)
    assert made(1) == made(1)
    assert made(1) != made(2)


def test_everything_known_about_the_call_is_at_hand():
    prediction = made()
    assert prediction.predictions == [1.5, 2.5]
    assert prediction.status == 200
    assert prediction.request_id == "id-1"
    assert prediction.served_model == "fraud-3"
    assert prediction.timing == Timing(*TIMING)
    assert prediction.timing.total_s == 0.521


def test_the_last_attempt_carries_the_reply_s_id():
    assert [attempt.request_id for attempt in made().attempts] == ["id-0", "id-1"]
    assert made(headers=[]).attempts == ATTEMPTS
    assert made(attempts=()).attempts == ()


def test_a_prediction_without_headers_knows_no_ids():
    bare = Prediction([1], [])
    assert (bare.request_id, bare.served_model, bare.attempts, bare.status) == (None, None, (), 200)
    assert bare.timing.total_s == 0.0


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([], None),
        ([(b"request-id", b"d")], "d"),
        ([(b"request-id", b"d"), (b"x-request-id", b"c")], "c"),
        ([(b"x-request-id", b"c"), (b"databricks-request-id", b"b")], "b"),
        ([(b"databricks-request-id", b"b"), (b"x-databricks-request-id", b"a")], "a"),
        ([(b"X-REQUEST-ID", b"c")], "c"),
        ([(b"x-databricks-request-id", b""), (b"x-request-id", b"c")], "c"),
        ([(b"x-request-id", b"1"), (b"x-request-id", b"2")], "1"),
        ([(b"x-request-id", b"\xe9")], "é"),
    ],
)
def test_the_request_id_is_read_under_all_its_names(headers, expected):
    assert request_id(headers) == expected


@pytest.mark.parametrize(
    "name", ["predictions", "status", "request_id", "served_model", "attempts", "timing", "new"]
)
def test_it_is_read_only(name):
    with pytest.raises(AttributeError):
        setattr(made(), name, 1)


def test_equal_when_all_parts_are_and_never_hashable():
    assert made() == made()
    assert made() != made(predictions=(9,))
    assert made() != made(status=201)
    assert made() != [1.5, 2.5]
    with pytest.raises(TypeError):
        hash(made())


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_it_pickles_and_copies(protocol):
    prediction = made()
    for again in (
        pickle.loads(pickle.dumps(prediction, protocol)),
        copy.copy(prediction),
        copy.deepcopy(prediction),
    ):
        assert again == prediction
        assert repr(again) == repr(prediction)


# ------------------------------------------------------------------------------- shown


def test_repr_is_one_readable_line():
    assert repr(made()) == (
        "Prediction([1.5, 2.5], rows=2, served_model='fraud-3', request_id='id-1', attempts=2, "
        "total_s=0.5210)"
    )
    assert repr(Prediction(3, [])) == "Prediction(3, attempts=0, total_s=0.0000)"


HUGE = {
    "many rows": [0.123456789] * 1_000_000,
    "wide rows": [{f"column_{i}": "x" * 1000 for i in range(1000)}] * 1000,
    "long text": "y" * 5_000_000,
    "deep": [[[[[[[[[[1] * 100] * 100] * 10]]]]]]],
    "line breaks": ["a\nb\x1b[31m"] * 5,
    "markup": ["<script>alert(1)</script>"],
}


@pytest.mark.parametrize("predictions", HUGE.values(), ids=HUGE.keys())
def test_repr_is_short_and_the_card_is_escaped(predictions):
    headers = [(b"served-model-name", b"<b>" + b"m" * 5000), (b"x-request-id", b"\x1b[31m")]
    prediction = Prediction(predictions, headers)
    assert len(repr(prediction)) < 500
    assert repr(prediction).isprintable()
    card = prediction._repr_html_()
    assert len(card) < 2000
    assert "<script>" not in card
    assert "<b>" not in card


# ------------------------------------------------------------------------------- pandas

FRAMES = {
    "scalars": ([1.5, 2.5], pd.DataFrame({"prediction": [1.5, 2.5]})),
    "texts": (["a", "b"], pd.DataFrame({"prediction": ["a", "b"]})),
    "scalar": (3, pd.DataFrame({"prediction": [3]})),
    "text": ("abc", pd.DataFrame({"prediction": ["abc"]})),
    "nothing": (None, pd.DataFrame({"prediction": [None]})),
    "no rows": ([], pd.DataFrame({"prediction": []})),
    "a Series": ([{"0": 1.5}, {"0": 2.5}], pd.DataFrame({"prediction": [1.5, 2.5]})),
    "records": (
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}],
        pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}),
    ),
    "records of several": ([{"0": 1, "1": 2}], pd.DataFrame({"0": [1], "1": [2]})),
    "rows": ([[1, 2], [3, 4]], pd.DataFrame([[1, 2], [3, 4]])),
    "columns": ({"a": [1, 2], "b": [3, 4]}, pd.DataFrame({"a": [1, 2], "b": [3, 4]})),
    "dict of scalars": ({"a": 1, "b": "x"}, pd.DataFrame({"a": [1], "b": ["x"]})),
    "with nulls": ([1.5, None], pd.DataFrame({"prediction": [1.5, None]})),
}


@pytest.mark.parametrize(("predictions", "frame"), FRAMES.values(), ids=FRAMES.keys())
def test_to_pandas(predictions, frame):
    pd.testing.assert_frame_equal(made(predictions).to_pandas(), frame)


@pytest.mark.parametrize(
    "predictions",
    [[[1], [2, 3]], [1, [2]], [{"a": 1}, 2], {"a": [1], "b": [2, 3]}, {"a": [1], "b": 2}],
)
def test_to_pandas_refuses_what_is_no_table(predictions):
    with pytest.raises(ValueError, match="do not fit"):
        made(predictions).to_pandas()


def test_conversions_leave_the_predictions_alone():
    prediction = made([{"0": 1.5}])
    prediction.to_pandas()
    prediction.to_numpy()
    assert prediction.predictions == [{"0": 1.5}]


# ------------------------------------------------------------------------------- numpy

ARRAYS = {
    "floats": ([1.5, 2.5], np.array([1.5, 2.5])),
    "integers": ([1, 2], np.array([1, 2])),
    "large integers": ([2**64 - 1], np.array([2**64 - 1], "u8")),
    "integers of both ends": ([2**64 - 1, -1], np.array([2**64 - 1, -1], object)),
    "integers and floats": ([1, 2.5], np.array([1.0, 2.5])),
    "booleans": ([True, False], np.array([True, False])),
    "texts": (["a", "bc"], np.array(["a", "bc"])),
    "rows": ([[1, 2], [3, 4]], np.array([[1, 2], [3, 4]])),
    "three deep": ([[[1.5]]], np.array([[[1.5]]])),
    "no rows": ([], np.array([])),
    "a Series": ([{"0": 1.5}, {"0": 2.5}], np.array([1.5, 2.5])),
    "scalar": (3, np.array(3)),
    "with null": ([1.5, None], np.array([1.5, None], object)),
    "mixed": ([1, "a", True], np.array([1, "a", True], object)),
    "true among numbers": ([True, 2], np.array([True, 2], object)),
}


@pytest.mark.parametrize(("predictions", "array"), ARRAYS.values(), ids=ARRAYS.keys())
def test_to_numpy(predictions, array):
    found = made(predictions).to_numpy()
    assert found.dtype == array.dtype
    assert found.shape == array.shape
    assert found.tolist() == array.tolist()


def test_to_numpy_keeps_what_is_not_finite():
    found = made([1.0, math.nan, math.inf]).to_numpy()
    assert np.array_equal(found, np.array([1.0, np.nan, np.inf]), equal_nan=True)


@pytest.mark.parametrize(
    "predictions",
    [[[1], [2, 3]], [1, [2]], [[1, [2]], [3, 4]], [{"a": 1}], {"a": [1]}, [[{"a": 1}]]],
)
def test_to_numpy_refuses_what_is_no_array(predictions):
    with pytest.raises(ValueError, match="do not fit"):
        made(predictions).to_numpy()


# -- what a postprocess may have made of them ------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "columns", "values"),
    [
        (pd.DataFrame({"risk": [0.5, 1.5]}), ["risk"], [[0.5], [1.5]]),
        (pd.Series([0.5, 1.5], name="risk"), ["prediction"], [[0.5], [1.5]]),
        (np.array([0.5, 1.5]), ["prediction"], [[0.5], [1.5]]),
        (np.array([[0.5, 1.0], [1.5, 2.0]]), [0, 1], [[0.5, 1.0], [1.5, 2.0]]),
        ((0.5, 1.5), ["prediction"], [[0.5], [1.5]]),
        (np.float64(0.5), ["prediction"], [[0.5]]),
    ],
)
def test_what_postprocess_made_becomes_a_frame(made: Any, columns: Any, values: Any) -> None:
    frame = Prediction(made, ()).to_pandas()
    assert list(frame.columns) == columns
    assert frame.to_numpy().tolist() == values


@pytest.mark.parametrize(
    ("made", "values"),
    [
        (pd.DataFrame({"risk": [0.5, 1.5]}), [[0.5], [1.5]]),
        (pd.Series([0.5, 1.5]), [0.5, 1.5]),
        (np.array([0.5, 1.5]), [0.5, 1.5]),
        ((0.5, 1.5), [0.5, 1.5]),
        (np.float64(0.5), 0.5),
    ],
)
def test_what_postprocess_made_becomes_an_array(made: Any, values: Any) -> None:
    array = Prediction(made, ()).to_numpy()
    assert isinstance(array, np.ndarray)
    assert array.tolist() == values
    assert array.dtype.kind == "f"
