"""Values of a shared cache (``enrichment/codec.py``): an entry in every respect, or none."""

from __future__ import annotations

import math

import msgpack
import orjson

from servingclient.enrichment.codec import SCHEMA, Codec, Stored

_LARGEST = 64 * 1024
_PLAIN = Codec(None, _LARGEST)
_KEYED = Codec(b"secret", _LARGEST)
_NAME = "name"
_NOW_S, _WALL_S = 1_000.0, 1.8e9


def check(data: bytes) -> None:
    _check(_PLAIN.unpack(data, _NAME, _NOW_S, _WALL_S))
    for signed in (data, bytes(32) + data):
        found = _KEYED.unpack(signed, _NAME, _NOW_S, _WALL_S)
        assert found is None, "nobody without the key can sign"
    # as the value of an entry that is good otherwise, so that what comes last is reached too
    head = msgpack.packb(
        [SCHEMA, _NAME, b"e", [], _WALL_S - 5.0, 10.0, 0.0, 0.0, 0.1, 3, False, None, []]
    )
    row = bytes([0x9E]) + head[1:] + data
    _check(_PLAIN.unpack(row, _NAME, _NOW_S, _WALL_S))


def _check(stored: Stored | None) -> None:
    if stored is None:
        return
    entry = stored.entry
    orjson.dumps(entry.value)
    assert not (entry.negative and entry.value is not None)
    for seconds in (entry.fresh_s, entry.revalidate_s, entry.on_error_s, entry.took_s):
        assert 0.0 <= seconds < math.inf
    age_s = _NOW_S - entry.stored_s
    assert age_s >= 0.0
    again = _PLAIN.pack(_NAME, entry, stored.epoch, stored.tag_tokens, age_s, _WALL_S)
    assert again is not None
    second = _PLAIN.unpack(again, _NAME, _NOW_S, _WALL_S)
    assert second is not None
    assert repr(second.entry.value) == repr(entry.value)  # NaN is not equal to itself
