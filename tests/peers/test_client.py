"""The client on the real MLflow server and on the emulator: the same calls, the same answers."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient import AsyncServingClient, BadRequest, Prediction, ServingClient, Settings
from servingclient.settings import Payload
from tests.peers.places import Place


@pytest.fixture(params=["sync", "async"])
def predict(request: pytest.FixtureRequest, place: Place) -> Callable[..., Prediction]:
    """``predict(endpoint, inputs, settings=…, **arguments)`` through either door."""

    def sync(
        endpoint: str, inputs: Any, settings: Settings | None = None, **more: Any
    ) -> Prediction:
        with ServingClient(
            endpoint, host=place.host, token=place.token, settings=settings
        ) as client:
            return client.predict(inputs, **more)

    async def asynchronous(
        endpoint: str, inputs: Any, settings: Settings | None = None, **more: Any
    ) -> Prediction:
        async with AsyncServingClient(
            endpoint, host=place.host, token=place.token, settings=settings
        ) as client:
            return await client.predict(inputs, **more)

    if request.param == "sync":
        return sync
    return lambda *args, **more: asyncio.run(asynchronous(*args, **more))


A, B = [1.5, 3.0], [2, 4]


@pytest.mark.parametrize(
    "inputs",
    [
        pytest.param(pd.DataFrame({"a": A, "b": B}), id="pandas"),
        pytest.param(pd.DataFrame({"b": B, "a": A, "more": ["x", "y"]}), id="pandas-reordered"),
        pytest.param(pl.DataFrame({"a": A, "b": B}), id="polars"),
        pytest.param(pa.table({"a": A, "b": B}), id="arrow"),
        pytest.param([{"a": 1.5, "b": 2}, {"a": 3.0, "b": 4}], id="records"),
        pytest.param({"a": A, "b": B}, id="columns"),
        pytest.param({"a": np.array(A), "b": np.array(B)}, id="arrays"),
        pytest.param(
            {"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, 2], [3, 4]]}}, id="split"
        ),
        pytest.param(
            {"dataframe_records": [{"a": 1.5, "b": 2}, {"a": 3, "b": 4}]}, id="body-records"
        ),
        pytest.param({"inputs": {"a": A, "b": B}}, id="body-inputs"),
        pytest.param({"instances": [{"a": 1.5, "b": 2}, {"a": 3, "b": 4}]}, id="body-instances"),
    ],
)
def test_inputs_of_every_form_score_alike(predict: Any, inputs: Any) -> None:
    prediction = predict("sum", inputs)
    assert prediction.predictions == [3.5, 7.0]
    assert [attempt.status for attempt in prediction.attempts] == [200]


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint8"])
def test_arrays_go_as_tensors(predict: Any, dtype: str) -> None:
    array = np.array([[1, 0, 7], [0, 1, 100]], dtype=dtype)
    assert predict("tensor", array).predictions == array.astype(float).tolist()


def test_params_and_labels_are_sent(predict: Any) -> None:
    prediction = predict(
        "sum",
        {"a": A, "b": B},
        params={"factor": 2.0},
        client_request_id="mine",
        usage_context={"team": "risk"},
    )
    assert prediction.predictions == [7.0, 14.0]


def test_a_served_model_can_be_chosen(predict: Any) -> None:
    assert predict("sum", {"a": A, "b": B}, served_model="sum-1").predictions == [3.5, 7.0]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("series", [{"0": 3.5}, {"0": 7.0}]),
        ("dict", {"mean": 3.5, "rows": [1, 2]}),
        ("scalar", 4.25),
        ("bytes", "YWJj\n"),
        ("array", [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]),
        ("nat", [{"t": "2024-05-01T10:00:00"}, {"t": "NaT"}]),
    ],
)
def test_outputs_of_every_shape_are_read(predict: Any, model: str, expected: Any) -> None:
    assert predict(model, [{"a": 1}]).predictions == expected


def test_bare_nan_and_infinity_are_read(predict: Any) -> None:
    nan, *others = predict("nan", [{"a": 1}]).predictions
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, 1.0]


def test_missing_values_are_sent_when_asked(predict: Any) -> None:
    frame = pd.DataFrame({"a": [np.nan], "b": [1]})
    settings = Settings(payload=Payload(nan="null"))
    (row,) = predict("frame", frame, settings=settings).predictions
    assert math.isnan(row["a"])
    assert row["b"] == 1


def test_times_are_accepted(predict: Any) -> None:
    moment = dt.datetime(2024, 5, 1, 12, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    row = {"d": 1.5, "i": 2, "s": "x", "t": moment, "y": "YWJj", "b": True}
    (seen,) = predict("kinds", [row]).predictions
    # in UTC, since the model's schema knows no zones
    assert seen["values"][3].replace("T", " ") == "2024-05-01 10:00:00"


@pytest.mark.parametrize(
    ("model", "inputs", "says"),
    [
        ("sum", [{"a": 1.5}], r"missing inputs \['b'\]"),
        ("sum", [{"a": "x", "b": 1}], "column a"),
        ("raises", [{"a": 1}], "unexpected error while evaluating the model"),
    ],
)
def test_a_refused_input_is_one_error(
    predict: Any, place: Place, model: str, inputs: Any, says: str
) -> None:
    before = place.received()
    with pytest.raises(BadRequest, match=says) as caught:
        predict(model, inputs)
    error = caught.value
    assert error.status_code == 400
    assert error.endpoint == model
    assert error.retryable is False
    assert [attempt.status for attempt in error.attempts] == [400]
    # the description, where it is asked for, and the call: never a second try
    assert place.received() - before <= 2
    assert "Traceback" not in str(error)


def test_many_callers_share_a_client(place: Place) -> None:
    async def scenario() -> list[Prediction]:
        async with AsyncServingClient("sum", host=place.host, token=place.token) as client:
            return await asyncio.gather(
                *(client.predict([{"a": float(n), "b": n}]) for n in range(64))
            )

    predictions = asyncio.run(scenario())
    assert [p.predictions for p in predictions] == [[2.0 * n] for n in range(64)]


def test_a_frame_of_many_rows(predict: Any) -> None:
    frame = pd.DataFrame({"a": np.arange(20_000) / 7, "b": np.arange(20_000)})
    seen = predict("sum", frame).predictions
    assert seen == (frame["a"] + frame["b"]).tolist()


@pytest.mark.peer
@pytest.mark.timeout(120)
def test_iris(mlflow_front: Any) -> None:
    columns = [f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")]
    frame = pd.DataFrame([[5.1, 3.5, 1.4, 0.2], [7.7, 2.6, 6.9, 2.3]], columns=columns)
    with ServingClient("iris", host=mlflow_front.host, token="any-token") as client:
        prediction = client.predict(frame)
    assert prediction.predictions == [0, 2]
    assert prediction.to_numpy().tolist() == [0, 2]
