"""What goes in comes out the same, or nothing does."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.enrichment.codec import SCHEMA, Codec, Stored
from servingclient.enrichment.entry import Entry

NOW_S, WALL_S = 1000.0, 1.7e9
PLAIN = Codec(None, 10_000)
SIGNED = Codec(b"0123456789abcdef", 10_000)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)
spans = st.floats(0, 1e9)
entries = st.builds(
    Entry,
    value=values,
    stored_s=st.just(NOW_S - 7),
    fresh_s=spans,
    revalidate_s=spans,
    on_error_s=spans,
    took_s=spans,
    size_bytes=st.integers(0, 2**40),
    negative=st.just(False),
    etag=st.sampled_from([None, '"e1"', 'W/"e1"', '""']),
    tags=st.lists(texts, max_size=3).map(tuple),
) | st.just(Entry(None, NOW_S - 7, 1.0, 0.0, 0.0, 0.1, 0, negative=True))


def packed(codec: Codec, entry: Entry, age_s: float = 7.0) -> bytes | None:
    tokens = [b"token"] * len(entry.tags)
    return codec.pack("name", entry, b"epoch", tokens, age_s, WALL_S)


def some(**changes: Any) -> Entry:
    return dataclasses.replace(Entry(1, NOW_S, 1.0, 2.0, 3.0, 0.5, 10), **changes)


@given(entries, st.sampled_from([PLAIN, SIGNED]))
def test_what_goes_in_comes_out(entry: Entry, codec: Codec) -> None:
    data = packed(codec, entry)
    assert data is not None
    got = codec.unpack(data, "name", NOW_S + 3, WALL_S + 3)
    assert got == Stored(entry, b"epoch", (b"token",) * len(entry.tags))
    assert repr(got.entry.value) == repr(entry.value), "1 is no True, and no 1.0"


@given(entries, st.data())
def test_one_bit_changed_in_a_signed_value_is_a_miss(entry: Entry, data: st.DataObject) -> None:
    whole = packed(SIGNED, entry)
    assert whole is not None
    place = data.draw(st.integers(0, len(whole) * 8 - 1))
    bent = bytearray(whole)
    bent[place // 8] ^= 1 << place % 8
    assert SIGNED.unpack(bytes(bent), "name", NOW_S, WALL_S) is None


@given(st.binary() | values.map(msgpack.packb), st.sampled_from([PLAIN, SIGNED]))
def test_bytes_of_others_are_a_miss(data: bytes, codec: Codec) -> None:
    assert codec.unpack(data, "name", NOW_S, WALL_S) is None


@given(st.integers(0, 13), values)
def test_a_field_of_another_kind_is_a_miss_or_good(place: int, value: Any) -> None:
    row = [SCHEMA, "name", b"epoch", [], WALL_S, 1.0, 2.0, 3.0, 0.5, 10, False, None, [], 1]
    assert PLAIN.unpack(msgpack.packb(row), "name", NOW_S, WALL_S) is not None
    row[place] = value
    got = PLAIN.unpack(msgpack.packb(row), "name", NOW_S, WALL_S)
    if got is not None:
        assert packed(PLAIN, got.entry) is not None, "what is taken could have been written"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (9, -1000),
        (10, True),
        (11, ""),
        (11, '"e1"\r\nX-Evil: 1'),
        (11, "e1"),
        (13, b"bytes"),
        (13, [b""]),
        (13, {1: 2}),
        (13, {b"a": 1}),
        (13, {"a": [{None: 1}]}),
    ],
)
def test_what_no_api_could_have_answered_is_a_miss(place: int, value: Any) -> None:
    row = [SCHEMA, "name", b"epoch", [], WALL_S, 1.0, 2.0, 3.0, 0.5, 10, False, None, [], 1]
    row[place] = value
    assert PLAIN.unpack(msgpack.packb(row), "name", NOW_S, WALL_S) is None


class Text(str):
    __slots__ = ()


endless: list[Any] = []
endless.append(endless)


@pytest.mark.parametrize(
    "value",
    [
        (1, 2),
        {1, 2},
        [(1,)],
        {(1, 2): 3},
        {1: 2},
        b"bytes",
        Text("x"),
        np.float64(1.0),
        np.arange(3),
        object(),
        2**64,
        "\ud800",
        endless,
        "x" * 10_000,
    ],
)
def test_what_would_not_come_back_the_same_is_not_written(value: Any) -> None:
    assert packed(PLAIN, some(value=value)) is None


def test_a_value_of_the_largest_size_is_taken_and_one_more_byte_is_not() -> None:
    data = packed(PLAIN, some(value="x" * 5000))
    assert data is not None
    assert packed(Codec(None, len(data)), some(value="x" * 5000)) == data
    assert packed(Codec(None, len(data) - 1), some(value="x" * 5000)) is None
    assert Codec(None, len(data)).unpack(data, "name", NOW_S, WALL_S) is not None
    assert Codec(None, len(data) - 1).unpack(data, "name", NOW_S, WALL_S) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x91" * 5000,
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x01",
        b"\x81\x80\x01",
    ],
    ids=["deep", "long array", "long bytes", "long map", "long extension", "map as a key"],
)
def test_declared_monsters_are_a_miss(data: bytes) -> None:
    assert PLAIN.unpack(data, "name", NOW_S, WALL_S) is None


@pytest.mark.parametrize(("age_s", "seen_s"), [(0, 0), (50, 50), (-50, 0), (float("nan"), 0)])
def test_age_crosses_clocks(age_s: float, seen_s: float) -> None:
    data = packed(PLAIN, some(), age_s)
    assert data is not None
    got = PLAIN.unpack(data, "name", NOW_S, WALL_S)
    assert got is not None
    assert got.entry.stored_s == NOW_S - seen_s


UNDER_AUDIT = """
import pickle, sys
import msgpack
from servingclient.enrichment.codec import Codec

class Evil:
    def __reduce__(self):
        return print, ("ran",)

seen = []
sys.addaudithook(lambda event, args: seen.append(event))
codec = Codec(None, 10**6)
evil = pickle.dumps(Evil())
row = [1, "n", b"e", [], 0.0, 1.0, 1.0, 1.0, 1.0, 1, False, None, [], 1]
for value in (evil, msgpack.ExtType(1, evil), msgpack.ExtType(127, b""), msgpack.Timestamp(1)):
    row[13] = value
    codec.unpack(msgpack.packb(row), "n", 0.0, 0.0)
codec.unpack(evil, "n", 0.0, 0.0)
bad = [e for e in seen if e.startswith(("pickle", "exec", "import", "compile", "os", "subprocess"))]
print(bad)
"""


def test_nothing_is_unpickled_imported_or_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", UNDER_AUDIT], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"
