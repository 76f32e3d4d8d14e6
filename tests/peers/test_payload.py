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

from servingclient import SchemaMismatch, ServingClient, Settings
from servingclient.payload.encode import encode
from servingclient.payload.fit import fitted
from servingclient.payload.signature import Column, Signature
from servingclient.settings import Payload
from tests.peers.front import Front
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


def post(server: MlflowServer, model: str, inputs: Any, **rules: Any) -> httpx.Response:
    body = encode(
        inputs,
        params=None,
        client_request_id=None,
        usage_context=None,
        settings=Payload(**rules),
    )
    headers = {"content-type": "application/json"}
    return httpx.post(
        server.url(model), content=body.data, headers=headers, timeout=15, trust_env=False
    )


def score(server: MlflowServer, model: str, inputs: Any, **rules: Any) -> Any:
    response = post(server, model, inputs, **rules)
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


# -- fewer digits ---------------------------------------------------------------------------------

DIGITS = [0.1, 1 / 3, -123456.789012, 16777217.0, 2.5e-30, 0.0]


@pytest.mark.parametrize("beside", [{}, {"s": list("uvwxyz")}], ids=["alone", "beside texts"])
def test_narrowed_floats_arrive_as_the_nearest_of_32_bits(
    beside: dict[str, Any], mlflow_server: MlflowServer
) -> None:
    frame = pd.DataFrame({"a": DIGITS, **beside})
    seen = score(mlflow_server, "echo", frame, floats="float32")["predictions"]
    arrived = [float(row["values"][0]) for row in seen]
    assert np.float32(arrived).tolist() == np.float32(DIGITS).tolist()


def test_rounded_floats_arrive_within_their_bound(mlflow_server: MlflowServer) -> None:
    for digits in (3, 6, 12):
        inputs = {"a": np.array(DIGITS)}
        seen = score(mlflow_server, "echo", inputs, significant_digits=digits)["predictions"]
        for sent, row in zip(DIGITS, seen, strict=True):
            assert abs(float(row["values"][0]) - sent) <= 0.51 * 10.0 ** (1 - digits) * abs(sent)


def test_a_model_of_floats_sees_the_same_in_half_the_bytes(mlflow_server: MlflowServer) -> None:
    # what the model computes with is a 32-bit float either way
    frame = pd.DataFrame({"f": [0.1, 1 / 3, 2 / 3], "n": [1, 2, 3]})
    exact = score(mlflow_server, "narrow", frame)
    assert score(mlflow_server, "narrow", frame, floats="float32") == exact


def test_a_pruned_frame_scores_the_same(mlflow_server: MlflowServer) -> None:
    frame = pd.DataFrame({"x": ["unknown"] * 2, "b": [1, 2], "y": [None, None], "a": [1.5, 2.5]})
    known = Signature({"a": Column("double", True), "b": Column("long", True)})
    rules = Payload(prune=True, validate=True, nan="null")
    pruned = fitted(frame, known, rules)
    assert list(pruned.columns) == ["b", "a"]
    whole = score(mlflow_server, "sum", frame, nan="null")
    assert score(mlflow_server, "sum", pruned) == whole == {"predictions": [2.5, 4.5]}


# -- validation -----------------------------------------------------------------------------------

# the model and column that takes each kind; good values with what the model sees; bad values
KINDS: dict[str, tuple[str, str, list[tuple[Any, str]], list[Any]]] = {
    "double": ("kinds", "d", [(1, "1.0"), (1.5, "1.5"), (True, "1.0")], ["x", WHEN, {"a": 1}]),
    "long": (
        "kinds",
        "i",
        [(2**63 - 1, str(2**63 - 1)), (-(2**63), str(-(2**63))), (2.0, "2"), (True, "1")],
        [2.5, 2**63, 1e300, None, "x", [1]],
    ),
    "integer": (
        "narrow",
        "n",
        [(2**31 - 1, str(2**31 - 1)), (-(2**31), str(-(2**31))), (7.0, "7")],
        [2**31, 2**40, 0.5, None],
    ),
    "float": ("narrow", "f", [(1.5, "1.5"), (2, "2.0")], [3.5e38, -1e300, "x"]),
    "boolean": ("kinds", "b", [(True, "True"), (0, "False"), (1.0, "True")], [2, 0.5, "no", None]),
    "string": ("kinds", "s", [("1.50", "1.50"), (WHEN, WHEN.isoformat())], [1, 1.5, True, ["a"]]),
    "datetime": (
        "kinds",
        "t",
        [(WHEN, str(WHEN)), ("2024-05-01", "2024-05-01 00:00:00")],
        [1714557600, 1.5, "2024-05-01T10:00:00Z", "2024-05-01T10:00:00+02:00", True],
    ),
    "binary": ("kinds", "y", [("YWJj", "b'abc'"), ("", "b''")], ["abc", "YW Jj", 1, None]),
}
BESIDE = {"kinds": COLUMNS, "narrow": {"f": [0.5], "n": [1]}}
GOOD = [(kind, *good) for kind, (_, _, goods, _) in KINDS.items() for good in goods]
BAD = [(kind, bad) for kind, (_, _, _, bads) in KINDS.items() for bad in bads]


def row_with(kind: str, value: Any) -> list[dict[str, Any]]:
    """A row of the model that takes the kind."""
    model, column, _, _ = KINDS[kind]
    return [{name: values[0] for name, values in BESIDE[model].items()} | {column: value}]


def judged(kind: str, value: Any) -> Any:
    """The same once it was checked; raises where validation refuses it."""
    known = Signature({KINDS[kind][1]: Column(kind, True)})  # type: ignore[arg-type]
    return fitted(row_with(kind, value), known, Payload(validate=True))


@pytest.mark.parametrize(("kind", "value", "expected"), GOOD, ids=lambda part: repr(part)[:30])
def test_what_validation_passes_arrives_as_it_is(
    kind: str, value: Any, expected: str, mlflow_server: MlflowServer
) -> None:
    model, column, _, _ = KINDS[kind]
    (seen,) = score(mlflow_server, model, judged(kind, value))["predictions"]
    at = list(BESIDE[model]).index(column)
    assert seen["values"][at] == expected


@pytest.mark.parametrize(("kind", "value"), BAD, ids=lambda part: repr(part)[:30])
def test_what_validation_refuses_the_server_refuses_or_changes(
    kind: str, value: Any, mlflow_server: MlflowServer
) -> None:
    with pytest.raises(SchemaMismatch):
        judged(kind, value)
    model, column, goods, _ = KINDS[kind]
    response = post(mlflow_server, model, row_with(kind, value))
    if response.status_code == 200:
        (seen,) = json.loads(response.text)["predictions"]
        at = list(BESIDE[model]).index(column)
        (usual,) = score(mlflow_server, model, row_with(kind, goods[0][0]))["predictions"]
        same_type = seen["types"][at] == usual["types"][at]
        assert not (same_type and seen["values"][at] == str(value))
    else:
        assert response.status_code == 400


# -- compression ----------------------------------------------------------------------------------


def test_p4_this_server_refuses_gzip_and_that_is_remembered(mlflow_front: Front) -> None:
    rows = [{"a": float(i), "b": i} for i in range(1000)]
    settings = Settings(payload=Payload(gzip="probe"))
    with ServingClient("sum", host=mlflow_front.host, token="t", settings=settings) as client:
        first = client.predict(rows)
        assert [attempt.status for attempt in first.attempts] == [400, 200]
        assert first.predictions == [2.0 * i for i in range(1000)]
        assert len(client.predict(rows).attempts) == 1
        assert client.explain(rows).gzip == "refused"
