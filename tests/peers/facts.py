"""What a scoring server makes of a body: one row per fact, true of real MLflow and the emulator.

The emulator's own tests may claim anything; this table is what keeps them honest. A row that only
the real server can show (it depends on pandas' own conversions) says so.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class _Anything:
    """Stands for "the pattern decides"."""


ANYTHING = _Anything()


@dataclass(frozen=True, kw_only=True)
class Fact:
    """A request and what must come back.

    ``reply`` is the JSON value of the whole body. ``pattern`` is searched in its text instead, for
    error messages whose full text may change.
    """

    name: str
    model: str
    body: Any
    status: int = 200
    reply: Any = ANYTHING
    pattern: str | None = None
    sends: str | None = JSON
    gets: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    only_real: str = ""
    """Why the emulator does not claim this."""

    def content(self) -> bytes:
        """The body as bytes."""
        if isinstance(self.body, bytes):
            return self.body
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()


def split(columns: list[str], *rows: list[Any], **more: Any) -> dict[str, Any]:
    return {"dataframe_split": {"columns": columns, "data": list(rows)}, **more}


AB = ["a", "b"]
KINDS = ["d", "i", "s", "t", "y", "b"]
KINDS_SCHEMA = {
    "d": "double",
    "i": "long",
    "s": "string",
    "t": "datetime",
    "y": "binary",
    "b": "boolean",
}
CONVERTS = "the emulator checks types but hands values on as they came"


def kinds(**changes: Any) -> dict[str, Any]:
    row = {
        "d": 1.5,
        "i": 2,
        "s": "x",
        "t": "2024-05-01T10:00:00",
        "y": "YWJj",
        "b": True,
        **changes,
    }
    return split(KINDS, [row[name] for name in KINDS])


def seen_kinds(**changes: tuple[str, str]) -> dict[str, Any]:
    seen = {
        "d": ("1.5", "float"),
        "i": ("2", "int"),
        "s": ("x", "str"),
        "t": ("2024-05-01 10:00:00", "Timestamp"),
        "y": ("b'abc'", "bytes"),
        "b": ("True", "bool"),
        **changes,
    }
    values, types = zip(*(seen[name] for name in KINDS), strict=True)
    return {"predictions": [{"values": list(values), "types": list(types)}]}


def predictions(*rows: Any) -> dict[str, Any]:
    return {"predictions": list(rows)}


ONE = split(["a"], [1])

ACCEPTED = [
    Fact(
        name="dataframe_split",
        model="sum",
        body=split(AB, [1.5, 2], [3, 4]),
        reply=predictions(3.5, 7.0),
    ),
    Fact(
        name="dataframe_split with an index",
        model="sum",
        body={"dataframe_split": {"index": [7, 8], "columns": AB, "data": [[1.5, 2], [3, 4]]}},
        reply=predictions(3.5, 7.0),
    ),
    Fact(
        name="columns in another order go by name",
        model="frame",
        body=split(["b", "a"], [1, 2.5]),
        reply=predictions({"a": 2.5, "b": 1}),
    ),
    Fact(
        name="dataframe_records",
        model="sum",
        body={"dataframe_records": [{"b": 2, "a": 1.5}]},
        reply=predictions(3.5),
    ),
    Fact(
        name="inputs as columns",
        model="sum",
        body={"inputs": {"a": [1.5, 3], "b": [2, 4]}},
        reply=predictions(3.5, 7.0),
    ),
    Fact(
        name="instances as rows",
        model="sum",
        body={"instances": [{"a": 1.5, "b": 2}, {"a": 3, "b": 4}]},
        reply=predictions(3.5, 7.0),
    ),
    Fact(
        name="an extra column is accepted",
        model="sum",
        body=split(["a", "b", "c"], [1, 2, 3]),
        reply=predictions(3.0),
    ),
    Fact(
        name="client_request_id and usage_context are accepted",
        model="sum",
        body=split(AB, [1, 2], client_request_id="r-1", usage_context={"team": "x"}),
        reply=predictions(3.0),
    ),
    Fact(
        name="params reach the model",
        model="sum",
        body=split(AB, [1, 2], params={"factor": 2.0}),
        reply=predictions(6.0),
    ),
    Fact(
        name="unknown params are ignored",
        model="sum",
        body=split(AB, [1, 2], params={"other": 2.0}),
        reply=predictions(3.0),
    ),
    Fact(
        name="charset utf-8 is accepted",
        model="sum",
        body=split(AB, [1, 2]),
        sends="application/json; charset=utf-8",
        reply=predictions(3.0),
    ),
    Fact(name="no rows in a split", model="sum", body=split(AB), reply=predictions()),
    Fact(name="no instances", model="echo", body={"instances": []}, reply=predictions()),
    Fact(
        name="bare NaN in a request",
        model="frame",
        body='{"dataframe_split":{"columns":["a","b"],"data":[[NaN,1]]}}',
        pattern=r'^\{"predictions": ?\[\{"a": ?NaN, ?"b": ?1\}\]\}$',
    ),
    Fact(
        name="null in a double column is NaN",
        model="frame",
        body=split(AB, [None, 1]),
        pattern=r'^\{"predictions": ?\[\{"a": ?NaN, ?"b": ?1\}\]\}$',
    ),
    Fact(
        name="a fraction in a long column is cut off",
        model="frame",
        body=split(AB, [1, 2.5]),
        reply=predictions({"a": 1.0, "b": 2}),
    ),
    Fact(
        name="integers beyond 2**53 stay exact in a long column",
        model="frame",
        body=split(AB, [1, 2**53 + 1]),
        reply=predictions({"a": 1.0, "b": 2**53 + 1}),
    ),
]

ENCODINGS = [
    Fact(
        name="one value of each type",
        model="kinds",
        body=kinds(),
        reply=seen_kinds(),
        only_real=CONVERTS,
    ),
    Fact(
        name="nanoseconds survive",
        model="kinds",
        body=kinds(t="2024-05-01T10:00:00.123456789"),
        reply=seen_kinds(t=("2024-05-01 10:00:00.123456789", "Timestamp")),
        only_real=CONVERTS,
    ),
    Fact(
        name="an integer time is nanoseconds since the epoch",
        model="kinds",
        body=kinds(t=1714557600000000000),
        reply=seen_kinds(),
        only_real=CONVERTS,
    ),
    Fact(
        name="null time is NaT",
        model="kinds",
        body=kinds(t=None),
        reply=seen_kinds(t=("NaT", "NaTType")),
        only_real=CONVERTS,
    ),
    Fact(
        name="invalid base64 is silently empty",
        model="kinds",
        body=kinds(y="!!"),
        reply=seen_kinds(y=("b''", "bytes")),
        only_real=CONVERTS,
    ),
    Fact(
        name="a time with Z is refused",
        model="kinds",
        body=kinds(t="2024-05-01T10:00:00Z"),
        status=400,
        pattern="SCHEMA_ENFORCEMENT_FAILED",
    ),
    Fact(
        name="a time with an offset is refused",
        model="kinds",
        body=kinds(t="2024-05-01T10:00:00+02:00"),
        status=400,
        pattern="SCHEMA_ENFORCEMENT_FAILED",
    ),
    Fact(
        name="times of one column must be written alike",
        model="kinds",
        body=split(
            KINDS,
            *[
                kinds(t=t)["dataframe_split"]["data"][0]
                for t in ("2024-05-01T10:00:00.5", "2024-05-01T10:00:00")
            ],
        ),
        status=400,
        pattern="time data .*2024-05-01T10:00:00.* doesn.*t match format",
        only_real=CONVERTS,
    ),
    Fact(
        name="null in a binary column is refused",
        model="kinds",
        body=kinds(y=None),
        status=400,
        pattern="Failed to convert column y .*encoding without a string argument",
    ),
    Fact(
        name="null in a long column is refused",
        model="sum",
        body=split(AB, [1, None]),
        status=400,
        pattern="Failed to convert column b to type 'int64'",
    ),
    Fact(
        name="text in a double column is refused",
        model="sum",
        body=split(AB, ["x", 1]),
        status=400,
        pattern="Failed to convert column a to type 'float64'",
    ),
]

OUTPUTS = [
    Fact(
        name="a series becomes records of column 0",
        model="series",
        body=ONE,
        reply=predictions({"0": 3.5}, {"0": 7.0}),
    ),
    Fact(
        name="a dict stays an object",
        model="dict",
        body=ONE,
        reply={"predictions": {"mean": 3.5, "rows": [1, 2]}},
    ),
    Fact(name="a scalar stays a scalar", model="scalar", body=ONE, reply={"predictions": 4.25}),
    Fact(
        name="bytes become base64 with a line end",
        model="bytes",
        body=ONE,
        reply={"predictions": "YWJj\n"},
    ),
    Fact(
        name="an array becomes nested lists",
        model="array",
        body=ONE,
        reply=predictions([0.0, 1.0, 2.0], [3.0, 4.0, 5.0]),
    ),
    Fact(
        name="NaN and infinities leave as bare words",
        model="nan",
        body=ONE,
        pattern=r'^\{"predictions": ?\[NaN, ?Infinity, ?-Infinity, ?1\.0\]\}$',
    ),
    Fact(
        name="NaT leaves as text",
        model="nat",
        body=ONE,
        reply=predictions({"t": "2024-05-01T10:00:00"}, {"t": "NaT"}),
    ),
    Fact(
        name="a model that raises is a 400 with a stack trace",
        model="raises",
        body=ONE,
        status=400,
        pattern=r'"error_code": ?"BAD_REQUEST".*"stack_trace": ?".*no such feature',
    ),
]

REFUSED = [
    Fact(
        name="a missing column",
        model="sum",
        body=split(["a"], [1]),
        status=400,
        pattern=r"INVALID_PARAMETER_VALUE.*Model is missing inputs \['b'\]\..*KAM01.*"
        "SCHEMA_ENFORCEMENT_FAILED",
    ),
    Fact(
        name="no records",
        model="sum",
        body={"dataframe_records": []},
        status=400,
        pattern=r"Model is missing inputs \['a', 'b'\]",
    ),
    Fact(
        name="bare rows against named columns",
        model="sum",
        body={"instances": [[1.5, 2]]},
        status=400,
        pattern=r"Model is missing inputs \['a', 'b'\]",
    ),
    Fact(
        name="params of the wrong type",
        model="sum",
        body=split(AB, [1, 2], params={"factor": "x"}),
        status=400,
        pattern="Invalid parameters found",
        only_real="the emulator's models have no params schema",
    ),
    Fact(
        name="params that are no object",
        model="sum",
        body=split(AB, [1, 2], params=[1]),
        status=400,
        pattern="Parameters must be a dictionary",
    ),
    Fact(
        name="a list around the body",
        model="sum",
        body=[split(AB, [1, 2])],
        status=400,
        pattern=r"exactly one of the input fields.*Received a list\.",
    ),
    Fact(
        name="a list inside dataframe_split",
        model="sum",
        body={"dataframe_split": [{"columns": AB, "data": [[1, 2]]}]},
        status=400,
        pattern=r"Invalid input\. Dataframe split format must be a dictionary\. Got list\.",
    ),
    Fact(
        name="an object inside dataframe_records",
        model="sum",
        body={"dataframe_records": {"a": 1}},
        status=400,
        pattern=r"Dataframe records format must be a list of records\. Got dictionary\.",
    ),
    Fact(
        name="a split without data",
        model="sum",
        body={"dataframe_split": {"columns": AB}},
        status=400,
        pattern=r"must have 'data' field and optionally 'columns' and 'index' fields",
    ),
    Fact(
        name="a short row",
        model="echo",
        body=split(AB, [1]),
        status=400,
        pattern="2 columns passed, passed data had 1 columns",
    ),
    Fact(
        name="two input keys",
        model="sum",
        body=split(AB, [1, 2], inputs=[1]),
        status=400,
        pattern=r"Received dictionary with input fields: \['dataframe_split', 'inputs'\]",
    ),
    Fact(
        name="no input key",
        model="sum",
        body={},
        status=400,
        pattern=r"Received dictionary with input fields: \[\]",
    ),
    Fact(
        name="an empty body",
        model="sum",
        body="",
        status=400,
        pattern="Ensure that input is a valid JSON formatted string",
    ),
    Fact(
        name="half a JSON text, echoed",
        model="sum",
        body='{"inputs": [1',
        status=400,
        pattern=r"JSONDecodeError.*Input: .*inputs",
    ),
    Fact(
        name="gzip is not undone",
        model="sum",
        body=gzip.compress(json.dumps(split(AB, [1, 2])).encode(), mtime=0),
        headers={"content-encoding": "gzip"},
        status=400,
        pattern="UnicodeDecodeError",
    ),
    Fact(
        name="no content type",
        model="sum",
        body=split(AB, [1, 2]),
        sends=None,
        status=500,
        gets=TEXT,
        pattern="^Internal Server Error$",
    ),
    Fact(
        name="msgpack",
        model="sum",
        body=b"\x80",
        sends="application/msgpack",
        status=415,
        gets=TEXT,
        pattern="This predictor only supports the following content types",
    ),
    Fact(
        name="a charset that is not utf-8",
        model="sum",
        body=split(AB, [1, 2]),
        sends="application/json; charset=latin-1",
        status=415,
        gets=TEXT,
        pattern="^The scoring server only supports UTF-8$",
    ),
    Fact(
        name="an unknown content type parameter",
        model="sum",
        body=split(AB, [1, 2]),
        sends="application/json; version=1",
        status=415,
        gets=TEXT,
        pattern="^Unrecognized content type parameters: version",
    ),
]

FACTS = [*ACCEPTED, *ENCODINGS, *OUTPUTS, *REFUSED]


# The models of serve_models.py again, as the emulator takes them: a callable over the parsed input.


def _rows(data: Any) -> list[dict[str, Any]]:
    if isinstance(data, dict):
        return [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
    return list(data)


def _sum(data: Any, params: Mapping[str, Any] | None = None) -> list[float]:
    factor = (params or {}).get("factor", 1.0)
    return [float((row["a"] + row["b"]) * factor) for row in _rows(data)]


def _frame(data: Any) -> list[dict[str, Any]]:
    return [{"a": row["a"], "b": row["b"]} for row in _rows(data)]


def _echo(data: Any) -> list[dict[str, Any]]:
    return [
        {
            "values": [str(v) for v in row.values()],
            "types": [type(v).__name__ for v in row.values()],
        }
        for row in _rows(data)
    ]


def _tensor(data: Any) -> Any:
    return np.asarray(data, dtype=float)


def _raises(data: Any) -> None:
    raise KeyError("no such feature")


def _always(value: Any) -> Callable[[Any], Any]:
    return lambda data: value


NUMBERS_SCHEMA = {"a": "double", "b": "long"}

EMULATED: dict[str, tuple[Callable[..., Any], Mapping[str, str] | None]] = {
    "sum": (_sum, NUMBERS_SCHEMA),
    "frame": (_frame, NUMBERS_SCHEMA),
    "kinds": (_echo, KINDS_SCHEMA),
    "echo": (_echo, None),
    "tensor": (_tensor, None),
    "series": (_always(pd.Series([3.5, 7.0])), None),
    "dict": (_always({"mean": 3.5, "rows": [1, 2]}), None),
    "scalar": (_always(4.25), None),
    "bytes": (_always(b"abc"), None),
    "nan": (_always([float("nan"), float("inf"), float("-inf"), 1.0]), None),
    "nat": (_always(pd.DataFrame({"t": [pd.Timestamp("2024-05-01T10:00:00"), pd.NaT]})), None),
    "array": (_always(np.arange(6, dtype=np.float32).reshape(2, 3)), None),
    "raises": (_raises, None),
}
