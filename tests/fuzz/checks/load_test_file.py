"""Results of a load test as they were written (``loadtest/result.py``)."""

from __future__ import annotations

from servingclient.errors import ConfigError
from servingclient.loadtest.result import LoadTest


def check(data: bytes) -> None:
    try:
        LoadTest.from_json(data)
    except ConfigError:
        pass
