"""How many rows the next request of a bulk job carries. Pure: it is told what came of the others.

Nobody knows beforehand how many bytes a row has, how many its prediction, or how long the model
needs for one. So the first requests are small, and each answer allows larger ones, up to the aims
of the settings: a model of seconds a row never gets a request it cannot answer in time.
"""

from __future__ import annotations

import math
from typing import Any

from servingclient.settings import Bulk

FIRST_ROWS = 32
"""Rows of the first requests: at half a second a row their answer still comes within the default
time-out."""
_GROWTH = 4
"""A request may carry so many times the rows of one that was answered: 32 rows become 5,000 in
four answers."""
_LEAST_SHARE_ROWS = 100
"""The last rows are not cut into smaller parts than this just to keep all connections busy."""


class Splitter:
    """Sizes of the requests of one job.

    Args:
        bulk: What a request should be at most.
        aim_s: Seconds the endpoint should need for one.
        fixed_rows: Rows of every request, where the caller decided.
    """

    def __init__(self, bulk: Bulk, aim_s: float, fixed_rows: int | None) -> None:
        self._bulk = bulk
        self._aim_s = aim_s
        self._fixed_rows = fixed_rows
        self._allowed_rows = FIRST_ROWS
        self._row_bytes = 0.0
        self._reply_row_bytes = 0.0
        self._row_s = 0.0

    def rows(self, left_rows: int | None, in_flight: int) -> int:
        """Rows of the next request, at least 1.

        Args:
            left_rows: Rows that are left, where that is known.
            in_flight: Requests there may be at once: the last rows are shared among them.
        """
        if self._fixed_rows is not None:
            return self._fixed_rows
        bulk = self._bulk
        most = float(min(bulk.max_request_rows, self._allowed_rows))
        for aim, cost in (
            (bulk.aim_request_bytes, self._row_bytes),
            (bulk.aim_request_bytes, self._reply_row_bytes),
            (self._aim_s, self._row_s),
        ):
            if cost > 0.0:
                most = min(most, aim / cost)
        if left_rows is not None:
            most = min(most, max(_LEAST_SHARE_ROWS, math.ceil(left_rows / in_flight)))
        return max(1, int(most))

    def encoded(self, rows: int, size_bytes: int) -> None:
        """A request of so many rows became so many bytes."""
        self._row_bytes = _blend(self._row_bytes, size_bytes / rows)

    def answered(self, rows: int, values: list[Any], took_s: float) -> None:
        """A request was answered with these predictions after so many seconds."""
        self._allowed_rows = max(self._allowed_rows, rows * _GROWTH)
        self._reply_row_bytes = _blend(self._reply_row_bytes, sample_bytes(values))
        self._row_s = _blend(self._row_s, took_s / rows)

    def too_long(self, rows: int) -> None:
        """A request of so many rows was not answered in time."""
        self._allowed_rows = max(1, rows // _GROWTH)


def fitting(rows: int, size_bytes: int, limit_bytes: int) -> int:
    """How many of ``rows`` rows that took too many bytes to try next: at least 1, at most half."""
    return max(1, min(rows // 2, rows * limit_bytes // size_bytes))


def _blend(known: float, new: float) -> float:
    """Follows what the rows are like now, without forgetting at once."""
    return new if known == 0.0 else (known + new) / 2


_NUMBER_BYTES = 18.0  # of a float64 as JSON, with its comma


def sample_bytes(values: list[Any]) -> float:
    """About how many bytes of JSON a prediction takes, by three of them."""
    chosen = {0, len(values) // 2, len(values) - 1}
    return sum(_json_bytes(values[index]) for index in chosen) / len(chosen)


def _json_bytes(value: Any) -> float:
    if isinstance(value, str):
        return len(value) + 3.0
    if isinstance(value, dict):
        return sum(len(name) + 4.0 + _json_bytes(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_json_bytes, value)) + 2.0
    return _NUMBER_BYTES
