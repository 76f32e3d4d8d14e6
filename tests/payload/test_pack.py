"""Other forms of a body hold what the JSON holds, and only that is read back."""

from __future__ import annotations

import contextlib
import gzip
import json
import math

import msgpack
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from servingclient._types import Form, Origin, Target
from servingclient.errors import PayloadError
from servingclient.payload.pack import is_msgpack, pack, unpack
from servingclient.settings import Payload
from servingclient.transport.exchange import request_head
from tests.payload.conftest import encoded

MSGPACK = Payload(codec="msgpack")
INPUTS = {
    "frame": pd.DataFrame(
        {"f": [0.1, 2.5], "i": [2**53 + 1, -1], "s": ["ä", ""], "b": [True, False]}
    ),
    "narrow array": np.array([[0.1, 1 / 3]], np.float32),
    "unsigned": np.array([2**64 - 1], np.uint64),
    "times": {"t": np.array(["2024-05-01T12:00:00.5"], "M8[ms]")},
    "records": [{"a": None, "n": {"x": [1, 2.5]}}],
    "chat": {"messages": [{"role": "user", "content": "hello"}], "temperature": 0.5},
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS.keys())
def test_messagepack_holds_the_values_of_the_json_with_their_types(inputs):
    data = encoded(inputs).data
    packed = pack(data, MSGPACK, gzip=False)
    assert packed.form == Form("application/msgpack", None)
    value = msgpack.unpackb(packed.data)
    assert json.dumps(value) == json.dumps(json.loads(data))
    assert unpack(packed.data) == value


@pytest.mark.parametrize(
    "inputs",
    [
        {"c": np.array([1.0, np.nan])},
        {"c": np.array([1.0, np.inf], np.float32)},
        {"c": [1.0, float("nan")]},
        [{"c": 1.0}, {"c": float("nan")}],
        pd.DataFrame({"c": [1.0, np.nan]}),
    ],
)
def test_p1_missing_values_follow_the_same_setting(inputs):
    with pytest.raises(PayloadError) as caught:
        encoded(inputs, codec="msgpack")
    assert (caught.value.row, caught.value.column) == (1, "c")
    rules = {"codec": "msgpack", "nan": "null"}
    packed = pack(encoded(inputs, **rules).data, Payload(**rules), gzip=False)
    assert msgpack.unpackb(packed.data)["dataframe_split"]["data"] == [[1.0], [None]]


def test_compressed_bytes_are_the_same_each_time_and_read_back():
    data = encoded(INPUTS["frame"]).data
    packed = pack(data, Payload(), gzip=True)
    assert packed.form == Form("application/json", "gzip")
    assert gzip.decompress(packed.data) == data
    assert pack(data, Payload(), gzip=True) == packed
    hard = pack(data * 50, Payload(gzip_level=9), gzip=True)
    assert len(hard.data) < len(pack(data * 50, Payload(), gzip=True).data)


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/msgpack", True),
        ("Application/X-MsgPack; charset=binary", True),
        ("application/vnd.msgpack", True),
        ("application/json", False),
        ("text/plain; application/msgpack", False),
        ("", False),
        (None, False),
    ],
)
def test_what_calls_itself_messagepack(content_type, expected):
    assert is_msgpack(content_type) is expected


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_any_json_value_is_read_back(value):
    assert unpack(msgpack.packb(value)) == value


def test_nan_and_infinities_are_read_as_from_json():
    (nan, inf) = unpack(msgpack.packb([math.nan, math.inf]))
    assert math.isnan(nan)
    assert inf == math.inf


@given(st.binary(max_size=200))
@example(b"\xd7\xff" + b"\xff" * 8)
@example(b"\xc7\x0c\xff" + b"\xff" * 12)
@example(b"\xdf\xff\xff\xff\xff")
@example(b"\xdb\xff\xff\xff\xff")
@example(b"\x91" * 100_000)
def test_any_bytes_are_a_json_value_or_a_plain_error(data):
    value = None
    with contextlib.suppress(ValueError):
        value = unpack(data)
    json.dumps(value)


# -- the head of the request ----------------------------------------------------------------------

ORIGIN = Origin("https", "ws.cloud.databricks.com", 443)
HEADERS = (
    ("X-Content-Type", "application/json"),
    ("Accept", "application/json"),
    ("Content-Type", "application/json"),
    ("Authorization", "Bearer t"),
)


@pytest.mark.parametrize("content_type", ["application/json", "application/msgpack"])
@pytest.mark.parametrize("coding", [None, "gzip"])
def test_the_head_says_what_the_header_lines_say(content_type, coding):
    head = request_head("POST", ORIGIN, "/x/invocations", HEADERS)
    target = Target(ORIGIN, "POST", "/x/invocations", HEADERS, head)
    other = target.carrying(Form(content_type, coding))
    assert other.head == request_head("POST", ORIGIN, "/x/invocations", other.headers)
    lines = dict(other.headers)
    assert lines["Content-Type"] == content_type
    assert lines.get("Content-Encoding") == coding
    assert lines["X-Content-Type"] == "application/json"
    assert lines["Authorization"] == "Bearer t"
    assert "application/json" in lines["Accept"]
    assert target.headers == HEADERS


def test_an_accept_of_the_users_own_is_left_alone():
    headers = (("Content-Type", "application/json"), ("Accept", "text/plain"))
    head = request_head("POST", ORIGIN, "/x", headers)
    other = Target(ORIGIN, "POST", "/x", headers, head).carrying(Form("application/msgpack", None))
    assert dict(other.headers)["Accept"] == "text/plain"
