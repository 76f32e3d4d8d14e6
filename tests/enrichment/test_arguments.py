"""What callers hand in as JSON."""

from __future__ import annotations

import datetime as dt
import enum
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import PayloadError
from servingclient.enrichment.arguments import dumped

NAN = math.nan


@dataclass
class Row:
    score: float


class Odd(enum.Enum):
    NAN = math.nan


@pytest.mark.parametrize(
    ("json", "where"),
    [
        (NAN, "json"),
        ({"ids": [NAN]}, "json['ids'][0]"),
        ({"a": None, "b": {"c": (1, 2.0, math.inf)}}, "json['b']['c'][2]"),
        ([1, None, [-math.inf]], "json[2][0]"),
        ({"a": np.array([[1.0, 2.0], [3.0, NAN]])}, "json['a'][1][1]"),
        ({"a": np.float32("nan")}, "json['a']"),
        ([np.float64("inf")], "json[0]"),
        ({"anna@example.com": NAN}, "json[...]"),
        ([Row(1.0), Row(NAN)], "json[1].score"),
        ([Odd.NAN], "json[0]"),
        ({NAN: 1, "a": None}, "a key of json"),
    ],
)
def test_what_would_become_null_is_refused(json: Any, where: str) -> None:
    with pytest.raises(PayloadError) as caught:
        dumped(json)
    assert str(caught.value).startswith(f"{where} is NaN or infinite")


@pytest.mark.parametrize(
    ("json", "body"),
    [
        (None, b"null"),
        ({"b": None, "a": [1.5, None]}, b'{"a":[1.5,null],"b":null}'),
        ("null", b'"null"'),
        ({"null": np.array([1.0])}, b'{"null":[1.0]}'),
        ([None, dt.date(2026, 1, 2), Row(0.5)], b'[null,"2026-01-02",{"score":0.5}]'),
    ],
)
def test_a_null_that_is_meant_is_sent(json: Any, body: bytes) -> None:
    assert dumped(json) == body


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.integers(-9, 9),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=2), part, max_size=3)
    ),
)


@given(values)
def test_what_is_sent_comes_back_the_same(json: Any) -> None:
    try:
        body = dumped(json)
    except PayloadError:
        assert not math.isfinite(sum(_numbers(json), 0.0))
        return
    assert orjson.loads(body) == json


def _numbers(json: Any) -> list[float]:
    if isinstance(json, dict):
        json = list(json.values())
    if isinstance(json, list):
        # inf and -inf together, too, must not be finite
        return [abs(one) for part in json for one in _numbers(part)]
    return [abs(json) / 2**64] if isinstance(json, float) else []
