"""Bodies of good replies (``payload/decode.py``), JSON and MessagePack."""

from __future__ import annotations

from typing import Any

import orjson

from servingclient.errors import ResponseFormatError, ServerError
from servingclient.payload.decode import predictions

_LONGEST_ERROR = 2_000
_SECRET = "hunter2-canary"
_PLAIN = {dict, list, str, int, float, bool, type(None)}


def check(data: bytes) -> None:
    for msgpack, label in ((False, "application/json"), (True, "application/msgpack")):
        for wrapped in (True, False):
            try:
                value = predictions(
                    data, label, wrapped=wrapped, secrets=(_SECRET,), msgpack=msgpack
                )
            except (ResponseFormatError, ServerError) as error:
                assert len(str(error)) <= _LONGEST_ERROR
                assert _SECRET not in str(error)
            else:
                assert _is_plain(value)
                if not wrapped and not msgpack:
                    _agree(data, value)


def _is_plain(value: Any) -> bool:
    """Whether it consists of what JSON has."""
    level = [value]
    while level:  # breadth first: a value may be a thousand deep
        if not all(type(one) in _PLAIN for one in level):
            return False
        lists = [one for one in level if type(one) is list]
        dicts = [one for one in level if type(one) is dict]
        assert all(type(key) is str for one in dicts for key in one)
        level = [inner for one in lists for inner in one]
        level += [inner for one in dicts for inner in one.values()]
    return True


def _agree(data: bytes, value: Any) -> None:
    """orjson has the last word on what is JSON, except for NaN and Infinity."""
    try:
        plain = orjson.loads(data)
    except orjson.JSONDecodeError:
        assert b"NaN" in data or b"Infinity" in data
    else:
        try:
            assert value == plain
        except RecursionError:
            pass  # read in C, a thousand deep; compared in Python it is too deep
