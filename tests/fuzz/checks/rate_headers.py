"""Headers that tell of a rate limit (``policies/rate_headers.py``)."""

from __future__ import annotations

import math

from servingclient.policies.rate_headers import read
from tests.fuzz.checks.header_lines import lines

_WALL_S = 1.8e9


def check(data: bytes) -> None:
    told = read(lines(data), _WALL_S)
    assert (told.left is None) == (told.reset_s is None)
    for whole in (told.left, told.limit):
        assert whole is None or (type(whole) is int and whole >= 0)
    for seconds in (told.reset_s, told.window_s):
        assert seconds is None or 0.0 <= seconds < math.inf
