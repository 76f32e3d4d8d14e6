"""What the caller has is what the real model sees, whatever library it is held in."""

from __future__ import annotations

import base64
import datetime as dt
import json
from typing import Any

import httpx
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient.payload.encode import encode
from servingclient.settings import Payload
from tests.peers.server import MlflowServer

WHEN = dt.datetime(2024, 5, 1, 10, 0, 0, 123456)  # noqa: DTZ001 - a column of naive times
LATER = dt.datetime(2024, 5, 1, 12, 30, 0, 5)  # noqa: DTZ001
COLUMNS: dict[str, list[Any]] = {
    "d": [1.5, -2.25e15],
    "i": [2**53 + 1, -7],
    "s": ["x", 'Grüße, "quoted"\n'],
    "t": [WHEN, LATER],
    "y": [base64.b64encode(b"abc").decode(), base64.b64encode(bytes(range(256))).decode()],
    "b": [True, False],
}
SEEN = {
    "predictions": [
        {
            "values": [
                "1.5",
                str(2**53 + 1),
                "x",
                "2024-05-01 10:00:00.123456",
                "b'abc'",
                "True",
            ],
            "types": ["float", "int", "str", "Timestamp", "bytes", "bool"],
        },
        {
            "values": [
                "-2250000000000000.0",
                "-7",
                'Grüße, "quoted"\n',
                "2024-05-01 12:30:00.000005",
                str(bytes(range(256))),
                "False",
            ],
            "types": ["float", "int", "str", "Timestamp", "bytes", "bool"],
        },
    ]
}


def rows_of(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def zoned() -> pd.DataFrame:
    """The same instants, told in another time zone."""
    frame = pd.DataFrame(COLUMNS)
    frame["t"] = frame["t"].dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo")
    return frame


FORMS = {
    "pandas": pd.DataFrame(COLUMNS),
    "pandas with an index": pd.DataFrame(COLUMNS, index=[7, 9]),
    "pandas with a time zone": zoned(),
    "pandas on arrow": pd.DataFrame(COLUMNS).convert_dtypes(dtype_backend="pyarrow"),
    "pandas nullable": pd.DataFrame(COLUMNS).convert_dtypes(),
    "polars": pl.DataFrame(COLUMNS),
    "arrow table": pa.table(COLUMNS),
    "arrow batch": pa.RecordBatch.from_pydict(COLUMNS),
    "records": rows_of(COLUMNS),
    "columns": COLUMNS,
    "columns as arrays": {name: np.array(values) for name, values in COLUMNS.items()},
    "columns as series": {name: pd.Series(values) for name, values in COLUMNS.items()},
}


def score(server: MlflowServer, model: str, inputs: Any, nan: Any = "raise") -> Any:
    body = encode(
        inputs,
        params=None,
        client_request_id=None,
        usage_context=None,
        settings=Payload(nan=nan),
    )
    headers = {"content-type": "application/json"}
    response = httpx.post(
        server.url(model), content=body.data, headers=headers, timeout=15, trust_env=False
    )
    assert response.status_code == 200, response.text
    return json.loads(response.text)


@pytest.mark.parametrize("form", FORMS)
def test_values_arrive_as_they_are(form: str, mlflow_server: MlflowServer) -> None:
    assert score(mlflow_server, "kinds", FORMS[form]) == SEEN


def test_nanoseconds_arrive(mlflow_server: MlflowServer) -> None:
    frame = pd.DataFrame(COLUMNS)
    frame["t"] = pd.to_datetime(["2024-05-01T10:00:00.123456789", "2024-05-01T00:00:00.000000001"])
    seen = [row["values"][3] for row in score(mlflow_server, "kinds", frame)["predictions"]]
    assert seen == ["2024-05-01 10:00:00.123456789", "2024-05-01 00:00:00.000000001"]


def test_missing_values_arrive_as_missing(mlflow_server: MlflowServer) -> None:
    frame = pd.DataFrame({"a": [1.5, np.nan], "b": [1, 2]})
    first, second = score(mlflow_server, "frame", frame, nan="null")["predictions"]
    assert first == {"a": 1.5, "b": 1}
    assert second["b"] == 2
    assert np.isnan(second["a"])


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint32", "float32", "float64", "bool"])
def test_arrays_arrive_value_for_value(dtype: str, mlflow_server: MlflowServer) -> None:
    array = np.array([[1, 0, 1], [0, 1, 1]], dtype=dtype)
    seen = score(mlflow_server, "echo", array)["predictions"]
    assert [
        [float(v == "True") if dtype == "bool" else float(v) for v in row["values"]] for row in seen
    ] == (array.astype(float).tolist())


def test_float32_arrives_at_its_own_precision(mlflow_server: MlflowServer) -> None:
    column = np.array([0.1, 1 / 3, 16777217, 1e-30], dtype=np.float32)
    frame = pd.DataFrame({"a": column, "b": range(4)})
    seen = [row["a"] for row in score(mlflow_server, "frame", frame)["predictions"]]
    assert np.array(seen, dtype=np.float32).tolist() == column.tolist()


@pytest.mark.parametrize("form", ["pandas", "polars", "arrow table", "records", "columns"])
def test_times_with_and_without_a_fraction_share_a_column(
    form: str, mlflow_server: MlflowServer
) -> None:
    # pandas takes the format of a column's first time for all: some with a fraction and some
    # without are refused, so they must be written alike
    columns = {**COLUMNS, "t": [WHEN, WHEN.replace(microsecond=0)]}
    inputs = {
        "pandas": pd.DataFrame,
        "polars": pl.DataFrame,
        "arrow table": pa.table,
        "records": rows_of,
        "columns": dict,
    }[form](columns)
    seen = [row["values"][3] for row in score(mlflow_server, "kinds", inputs)["predictions"]]
    assert seen == ["2024-05-01 10:00:00.123456", "2024-05-01 10:00:00"]
