"""How a request comes to its size: every step is made, every error measured, no value shown."""

from __future__ import annotations

import gzip
import json
import pickle
from typing import Any

import msgpack
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.errors import PayloadError
from servingclient.payload.encode import encode
from servingclient.payload.explain import Subject, explained
from servingclient.payload.report import Explanation
from servingclient.payload.signature import Column, Schema, Signature
from servingclient.settings import Bulk, Payload

MIB = 1024 * 1024
ROWS: list[dict[str, Any]] = [
    {"amount": 123.456789012 + i, "count": i, "city": "Hamburg", "extra": 0.1} for i in range(50)
]
FRAME = pd.DataFrame(ROWS)
KNOWN = Schema(
    {None: Signature({n: Column("double", n != "city") for n in ("amount", "count", "city")})},
    None,
)


def explain(
    inputs: Any,
    *,
    schema: Schema | None = None,
    limit_bytes: int | None = 16 * MIB,
    compression: str = "unknown",
    params: dict[str, Any] | None = None,
    **rules: Any,
) -> Explanation:
    settings = Payload(**rules)
    extras = {"params": params, "client_request_id": None, "usage_context": None}
    kept = inputs
    if schema is not None and settings.prune and isinstance(inputs, pd.DataFrame):
        kept = inputs[[name for name in inputs if name in schema.of(None).columns]]
    body = encode(kept, settings=settings, **extras)
    subject = Subject(
        "fraud",
        inputs,
        params,
        None,
        None,
        None,
        body,
        0.0025,
        schema,
        limit_bytes,
        Bulk(),
        compression,
    )
    return explained(subject, settings)


def sizes(report: Explanation) -> dict[str, int]:
    return {step.name: step.size_bytes for step in report.steps}


def test_each_step_is_the_size_it_says():
    report = explain(FRAME)
    split = {"columns": list(FRAME), "data": [list(row.values()) for row in ROWS]}
    assert sizes(report) == {
        "json.dumps of records": len(json.dumps({"dataframe_records": ROWS})),
        "columns once": len(json.dumps({"dataframe_split": split})),
        "without blanks": len(json.dumps({"dataframe_split": split}, separators=(",", ":"))),
    }
    assert (report.rows, report.columns) == (50, 4)
    assert report.sent_bytes == report.size_bytes == sizes(report)["without blanks"]
    assert (report.relative_error, report.absolute_error, report.dropped) == (0.0, 0.0, ())


def test_steps_add_up_to_what_is_sent():
    rules = {"floats": "float32", "significant_digits": 4, "prune": True}
    report = explain(FRAME, schema=KNOWN, codec="msgpack", gzip="probe", gzip_min_bytes=1, **rules)
    names = list(sizes(report))
    assert names[2:] == [
        "without blanks",
        "without 1 unknown column",
        "floats of 32 bits",
        "4 significant digits",
        "MessagePack",
        "gzip, if the endpoint takes it",
    ]
    json_steps = [step.size_bytes for step in report.steps[:6]]
    assert json_steps == sorted(json_steps, reverse=True)
    assert report.dropped == ("extra",)
    assert report.columns == 3
    sent = encode(
        FRAME[["amount", "count", "city"]],
        params=None,
        client_request_id=None,
        usage_context=None,
        settings=Payload(floats="float32", significant_digits=4),
    ).data
    packed = msgpack.packb(json.loads(sent))
    assert report.size_bytes == len(sent) == sizes(report)["4 significant digits"]
    assert sizes(report)["MessagePack"] == len(packed)
    assert report.sent_bytes == len(gzip.compress(packed, 1, mtime=0))


@pytest.mark.parametrize(
    ("inputs", "first"),
    [
        (pl.DataFrame(ROWS), "json.dumps of records"),
        (pa.Table.from_pylist(ROWS), "json.dumps of records"),
        (ROWS, "json.dumps of records"),
        ({"a": [1.5, 2.5], "b": np.array([1, 2])}, "json.dumps of records"),
        (np.zeros((3, 4), np.float32), "json.dumps of tolist()"),
        ([[1.5, 2.5], [3.5, 4.5]], "json.dumps"),
        ({"x": np.zeros((2, 2)), "y": [1, 2]}, "json.dumps"),
        ({"messages": [{"role": "user", "content": "hello"}]}, "json.dumps"),
        ({"dataframe_split": {"columns": ["a", "b"], "data": [[1], 2]}}, "json.dumps"),
        ({"inputs": [1, 2]}, "json.dumps"),
        (np.array([(1, "x")], [("a", "i4"), ("b", "U1")]), "json.dumps of records"),
    ],
    ids=str,
)
def test_every_input_begins_as_one_would_write_it_by_hand(inputs, first):
    report = explain(inputs, params={"t": 0.5})
    assert report.steps[0].name == first
    assert report.steps[-1].size_bytes == report.size_bytes
    assert first in str(report)


def test_a_narrow_array_is_compared_with_what_tolist_makes_of_it():
    array = np.full((10, 10), 0.1, np.float32)
    report = explain(array)
    assert report.steps[0].size_bytes == len(json.dumps({"inputs": array.tolist()}))
    assert report.size_bytes < report.steps[0].size_bytes / 3


@given(
    st.lists(st.floats(-1e30, 1e30), min_size=1, max_size=20),
    st.sampled_from(["exact", "float32"]),
    st.none() | st.integers(1, 12),
)
def test_the_error_is_that_of_the_values_which_arrive(numbers, floats, digits):
    rules = {"floats": floats, "significant_digits": digits}
    report = explain({"c": numbers}, **rules)
    body = encode(
        {"c": numbers},
        params=None,
        client_request_id=None,
        usage_context=None,
        settings=Payload(**rules),
    )
    arrived = [row[0] for row in json.loads(body.data)["dataframe_split"]["data"]]
    errors = [abs(b - a) for a, b in zip(numbers, arrived, strict=True)]
    assert report.absolute_error == max(errors)
    shares = [e / abs(a) for a, e in zip(numbers, errors, strict=True) if e]
    assert report.relative_error == max(shares, default=0.0)


def test_missing_values_and_other_types_make_no_error():
    frame = FRAME.assign(gone=float("nan"), when=pd.Timestamp("2024-05-01"), flag=True)
    report = explain(frame, nan="null", significant_digits=15)
    assert report.relative_error == pytest.approx(0.0, abs=1e-14)


def test_what_other_settings_would_save_is_told_too():
    report = explain(FRAME, gzip_min_bytes=1)
    options = {step.name: step.size_bytes for step in report.options}
    assert set(options) == {"floats='float32'", "significant_digits=6", "gzip='probe'"}
    assert all(size < report.size_bytes for size in options.values())
    assert explain(FRAME, floats="float32", gzip="probe").options == ()
    assert explain([{"a": 1}]).options == ()
    assert [o.name for o in explain([{"a": 1e39 + 1e25}]).options] == ["significant_digits=6"]


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        (16 * MIB, "of the limit of 16,777,216 B"),
        (1000, "map() makes at least"),
        (None, "could not"),
    ],
)
def test_the_share_of_the_limit(limit, words):
    report = explain(FRAME, limit_bytes=limit)
    assert words in str(report)
    assert report.share_of_limit == (None if limit is None else report.size_bytes / limit)


@pytest.mark.parametrize(
    ("inputs", "limit", "requests"),
    [
        (ROWS, None, 1),
        (ROWS, 1000, 2),
        (ROWS[:2], 10, 2),
        ({"t": ["x" * 1000] * 2000}, 16 * MIB, 3),
        ({"i": [1] * 12_000}, 16 * MIB, 3),
        ({"messages": [{"role": "user", "content": "hello"}]}, 10, None),
    ],
)
def test_how_many_requests_a_bulk_job_makes_of_it(inputs, limit, requests):
    report = explain(inputs, limit_bytes=limit)
    assert report.requests == requests
    if requests is None:
        assert "no rows to split" in str(report)


def test_large_requests_are_not_logged_by_the_service():
    assert explain(FRAME).logged
    large = explain({"text": ["x" * 1000] * 1000})
    assert not large.logged
    assert "not logged" in str(large)


@pytest.mark.parametrize(
    ("compression", "name"),
    [("unknown", "gzip, if the endpoint takes it"), ("taken", "gzip"), ("refused", None)],
)
def test_compression_goes_by_what_is_known(compression, name):
    report = explain(FRAME, gzip="probe", gzip_min_bytes=1, compression=compression)
    assert report.gzip == compression
    assert report.steps[-1].name == (name or "without blanks")
    assert ("refused" in str(report)) is (compression == "refused")
    assert explain(FRAME, gzip="probe", gzip_min_bytes=MIB).steps[-1].name == "without blanks"
    assert explain(FRAME, compression=compression).gzip == "off"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (None, "not asked for"),
        (Schema({}, "the workspace answered 403 Forbidden"), "403 Forbidden"),
        (Schema({"other": Signature({})}, None), "none for this served model"),
        (KNOWN, "3 columns, 2 of them required"),
    ],
)
def test_what_is_known_of_the_signature(schema, words):
    assert words in explain(FRAME, schema=schema).signature


def test_many_dropped_columns_are_named_in_part():
    frame = pd.DataFrame({f"c{i}": [1] for i in range(12)} | {"amount": [1.5]})
    report = explain(frame, schema=KNOWN, prune=True)
    assert len(report.dropped) == 12
    assert "and 2 more" in str(report)


def test_it_shows_no_value_and_escapes_names():
    frame = pd.DataFrame({"<b>'name'": ["canary-7391"], "amount": [7391.7391]})
    report = explain(frame, schema=KNOWN, prune=True, significant_digits=2)
    page = report._repr_html_()
    for text in (str(report), repr(report), page):
        assert "canary" not in text
        assert "7391" not in text
    assert "<b>" not in page
    assert "&lt;b&gt;" in page


def test_as_a_table_in_a_terminal():
    lines = str(explain(FRAME, significant_digits=3)).splitlines()
    assert lines[0] == "50 rows × 4 columns for 'fraud'; nothing was scored"
    table = [line for line in lines if line.endswith("%") and " B " in line]
    assert len({line.rindex(" B ") for line in table}) == 1
    assert table[0].endswith("100.0%")
    assert any("of its value" in line for line in lines)
    assert explain(ROWS[:1]).rows == 1
    assert str(explain([{"a": 1}])).startswith("1 row × 1 column ")
    assert str(explain({"messages": [{"role": "user"}]})).startswith("one body ")


def test_it_pickles_and_compares():
    report = explain(FRAME)
    assert pickle.loads(pickle.dumps(report)) == report


def test_what_cannot_be_sent_cannot_be_explained():
    with pytest.raises(PayloadError, match="NaN"):
        explain({"c": [float("nan")]})
