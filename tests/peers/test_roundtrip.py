"""Whatever a table holds, the real server's model sees it: values and types, row by row."""

from __future__ import annotations

import base64
import datetime as dt
import math
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.peers.server import MlflowServer
from tests.peers.test_payload import score

KINDS = {"d": "float", "i": "int", "s": "str", "t": "Timestamp", "y": "bytes", "b": "bool"}

rows = st.lists(
    st.fixed_dictionaries(
        {
            "d": st.floats(allow_nan=False, allow_infinity=False),
            "i": st.integers(-(2**63), 2**63 - 1),
            "s": st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=8),
            "t": st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001
            "y": st.binary(max_size=8),
            "b": st.booleans(),
        }
    ),
    min_size=1,
    max_size=40,
)


def as_seen(row: dict[str, Any]) -> list[str]:
    """What the model tells of the values, which is their text."""
    return [str(pd.Timestamp(row[name]) if name == "t" else row[name]) for name in KINDS]


@pytest.mark.timeout(120)
@settings(
    max_examples=15,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(table=rows)
def test_a_model_sees_what_the_caller_has(
    table: list[dict[str, Any]], mlflow_server: MlflowServer
) -> None:
    sent = [row | {"y": base64.b64encode(row["y"]).decode()} for row in table]
    for inputs in (sent, pd.DataFrame(sent)):
        seen = score(mlflow_server, "kinds", inputs)["predictions"]
        assert [one["types"] for one in seen] == [list(KINDS.values())] * len(table)
        for one, row in zip(seen, table, strict=True):
            told, wanted = one["values"], as_seen(row)
            assert math.copysign(1.0, float(told[0])) == math.copysign(1.0, row["d"])
            assert (float(told[0]), *told[1:]) == (row["d"], *wanted[1:])
