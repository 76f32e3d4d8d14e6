"""Files of service times for a plan (``capacity/records.py``): JSON of several shapes, or CSV."""

from __future__ import annotations

import math

from servingclient.capacity.records import recorded
from servingclient.errors import ConfigError
from tests.fuzz.checks.files import written


def check(data: bytes) -> None:
    try:
        found = recorded(written(data))
    except ConfigError as error:
        assert len(str(error)) < 2_000
        return
    for seconds, count in found.items():
        assert 0.0 <= seconds < math.inf
        assert type(count) is int
        assert count > 0
