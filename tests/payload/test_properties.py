"""Properties over generated data: sent exactly or refused, and never anything but a typed error."""

from __future__ import annotations

import json
import math

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from servingclient.errors import PayloadError, ResponseFormatError, ServerError, StreamError
from servingclient.payload.body import is_body
from servingclient.payload.decode import predictions
from servingclient.payload.encode import encode
from servingclient.payload.errors_body import error_detail
from servingclient.payload.sse import SseParser, event_value
from servingclient.settings import Payload

QUICK = settings(max_examples=50, deadline=None)

texts = st.text(st.characters(codec="utf-8"), max_size=8)
names = st.lists(texts, min_size=1, max_size=4, unique=True)
wholes = st.integers(-(2**63), 2**64 - 1)
floats = st.floats(allow_nan=False, allow_infinity=False)
leaves = st.none() | st.booleans() | wholes | floats | texts
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def read(inputs, **changes):
    body = encode(
        inputs,
        params=None,
        client_request_id=None,
        usage_context=None,
        settings=Payload(**changes),
    )
    return json.loads(body.data), body


def same(one, other):
    """Equal in value and type, and -0.0 is not 0.0."""
    return json.dumps(one) == json.dumps(other)


@st.composite
def tables(draw, cells=values):
    columns = draw(names)
    count = draw(st.integers(1, 4))
    return columns, [[draw(cells) for _ in columns] for _ in range(count)]


@QUICK
@given(tables())
def test_records_columns_and_rows_say_the_same(table):
    columns, rows = table
    expected = {"dataframe_split": {"columns": columns, "data": rows}}
    sent, body = read([dict(zip(columns, row, strict=True)) for row in rows])
    assert same(sent, expected)
    assert body.rows == len(rows)
    by_column = {name: [row[i] for row in rows] for i, name in enumerate(columns)}
    if not is_body(by_column):
        assert same(read(by_column)[0], expected)
    assert same(read(rows)[0], {"inputs": rows})
    assert same(read(expected)[0], expected)


@QUICK
@given(tables(), st.data())
def test_one_missing_value_anywhere_is_found_where_it_is(table, data):
    columns, rows = table
    row = data.draw(st.integers(0, len(rows) - 1))
    at = data.draw(st.integers(0, len(columns) - 1))
    bad = data.draw(st.sampled_from([math.nan, -math.inf, pd.NA, pd.NaT, np.float32("nan")]))
    wrap = data.draw(st.sampled_from([lambda x: x, lambda x: [x], lambda x: {"k": [x]}]))
    rows[row][at] = wrap(bad)
    records = [dict(zip(columns, cells, strict=True)) for cells in rows]
    for inputs in (records, {"dataframe_records": records}):
        with pytest.raises(PayloadError) as caught:
            read(inputs)
        assert (caught.value.row, caught.value.column) == (row, columns[at])
    rows[row][at] = wrap(None)
    assert same(read(records, nan="null")[0]["dataframe_split"]["data"], rows)


numbers = st.sampled_from(["i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "?"])
orders = st.sampled_from("<>")


@QUICK
@given(st.data())
def test_arrays_read_back_bit_by_bit(data):
    dtype = np.dtype(data.draw(numbers)).newbyteorder(data.draw(orders))
    shape = data.draw(npst.array_shapes(max_dims=3, max_side=4))
    array = data.draw(npst.arrays(dtype, shape))
    view = data.draw(st.sampled_from([array, array.T, array[::-1], array.copy("F")]))
    finite = dtype.kind != "f" or np.isfinite(view).all()
    if not finite:
        with pytest.raises(PayloadError) as caught:
            read(view)
        assert not np.isfinite(view[caught.value.row]).all()
    again = np.array(read(view, nan="null")[0]["inputs"], dtype=object)
    for sent, held in zip(again.flat, view.flat, strict=True):
        if sent is None:
            assert not np.isfinite(held)
        else:
            assert dtype.type(sent).tobytes() == dtype.newbyteorder("=").type(held).tobytes()


frames = st.fixed_dictionaries(
    {
        "i": st.lists(st.integers(-(2**63), 2**63 - 1), min_size=3, max_size=3),
        "f": st.lists(floats, min_size=3, max_size=3),
        "s": st.lists(texts, min_size=3, max_size=3),
        "b": st.lists(st.booleans(), min_size=3, max_size=3),
        "t": st.lists(
            st.datetimes(pd.Timestamp(1700, 1, 1), pd.Timestamp(2200, 1, 1)), min_size=3, max_size=3
        ),
        "l": st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=2), min_size=3, max_size=3),
    }
)


@QUICK
@given(frames)
def test_every_library_sends_the_same_frame_alike(columns):
    rows = [list(row) for row in zip(*columns.values(), strict=True)]
    when = list(columns).index("t")
    exact = "microseconds" if any(row[when].microsecond for row in rows) else "seconds"
    for row in rows:
        row[when] = row[when].isoformat(timespec=exact)
    expected = {"dataframe_split": {"columns": list(columns), "data": rows}}
    assert same(read(pd.DataFrame(columns))[0], expected)
    assert same(read(pl.DataFrame(columns))[0], expected)
    assert same(read(pa.table(columns))[0], expected)
    assert same(read(columns)[0], expected)


# ------------------------------------------------------------------------------- what arrives

json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["predictions", "outputs", "error_code", "message", "error", "x"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
bodies = st.binary(max_size=60) | json_like.map(lambda value: json.dumps(value).encode())


@st.composite
def damaged(draw):
    body = draw(bodies)
    at = draw(st.integers(0, len(body)))
    return (
        body[:at] + draw(st.sampled_from([b"", b"NaN", b"\xff", b'"', b"]", b"1e999"])) + body[at:]
    )


@settings(max_examples=200, deadline=None)
@given(damaged(), st.booleans(), st.sampled_from([None, "application/json", "text/html"]))
def test_a_reply_gives_a_value_or_a_typed_error(body, wrapped, content_type):
    text = ""
    try:
        predictions(body, content_type, wrapped=wrapped)
    except (ResponseFormatError, ServerError) as error:
        text = str(error)
    assert text.isprintable()
    assert len(text) < 2000


@settings(max_examples=200, deadline=None)
@given(json_like)
def test_a_reply_is_read_as_the_standard_library_reads_it(value):
    body = json.dumps({"predictions": value}).encode()
    try:
        found = predictions(body, None, wrapped=True)
    except ResponseFormatError:  # lone surrogates, numbers of over 308 digits
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(body.replace(b"NaN", b"0").replace(b"Infinity", b"0"))
        return
    narrowed = json.loads(
        json.dumps(value),
        parse_int=lambda digits: int(digits) if -(2**63) <= int(digits) < 2**64 else float(digits),
    )
    assert same(found, narrowed)


@settings(max_examples=200, deadline=None)
@given(damaged(), st.sampled_from([None, "application/json", "text/html"]))
def test_an_error_body_always_gives_a_short_printable_detail(body, content_type):
    detail = error_detail(body, content_type, ("tok-1",))
    assert len(detail.message.encode()) <= 1024
    assert detail.message.isprintable()
    assert "tok-1" not in detail.message
    assert detail.code is None or detail.code
    assert detail.retry_after_s is None or detail.retry_after_s >= 0


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.binary(max_size=6)
        | st.sampled_from(
            [b"data: ", b"\n", b"\r", b"\n\n", b"id", b":", b"[DONE]", b'{"error":1}']
        ),
        max_size=14,
    )
)
def test_a_stream_reads_alike_however_it_is_cut(pieces):
    def outcome(chunks):
        parser = SseParser()
        events = []
        try:
            for chunk in chunks:
                events += parser.feed(chunk)
            parser.finish()
        except StreamError:
            return events, "broken"
        return events, "done"

    whole = outcome([b"".join(pieces)])
    by_byte = outcome([bytes([byte]) for byte in b"".join(pieces)])
    assert by_byte == whole
    for event in whole[0]:
        text = ""
        try:
            event_value(event)
        except StreamError as error:
            text = str(error)
        assert text.isprintable()
