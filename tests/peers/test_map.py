"""Bulk jobs on the real MLflow server and on the emulator: the same rows, the same outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servingclient import AsyncServingClient, BadRequest, ServingClient, ServingError
from tests.peers.places import Place


@pytest.fixture(params=["sync", "async"])
def results(request: pytest.FixtureRequest, place: Place) -> Callable[..., list[Any]]:
    """``results(endpoint, inputs, **arguments)`` of ``map`` through either door."""

    def sync(endpoint: str, inputs: Any, **more: Any) -> list[Any]:
        with ServingClient(endpoint, host=place.host, token=place.token) as client:
            return client.map(inputs, **more).to_list()

    async def asynchronous(endpoint: str, inputs: Any, **more: Any) -> list[Any]:
        async with AsyncServingClient(endpoint, host=place.host, token=place.token) as client:
            return await client.map(inputs, **more).to_list()

    if request.param == "sync":
        return sync
    return lambda *args, **more: asyncio.run(asynchronous(*args, **more))


N = 200
FRAME = pd.DataFrame({"a": np.arange(N) + 0.5, "b": np.arange(N)})


def test_rows_come_back_in_order(results: Callable[..., list[Any]]) -> None:
    wanted = (FRAME["a"] + FRAME["b"]).tolist()
    assert results("sum", FRAME) == wanted
    assert results("sum", iter(FRAME.to_dict("records")), rows_per_request=30) == wanted
    assert results("sum", FRAME, params={"factor": 2.0}) == [2 * value for value in wanted]


def test_a_row_the_model_refuses_fails_alone(
    results: Callable[..., list[Any]], place: Place
) -> None:
    rows: list[dict[str, Any]] = FRAME[:16].to_dict("records")
    rows[11]["a"] = "eleven"
    before = place.received()
    found = results("sum", rows, rows_per_request=16, on_error="return")
    assert [row for row, value in enumerate(found) if isinstance(value, ServingError)] == [11]
    assert isinstance(found[11], BadRequest)
    assert found[11].row == 11
    assert found[10] == 20.5
    assert place.received() - before <= 9 + 1, "and the endpoint's description"


def test_columns_of_every_kind_arrive_as_with_predict(
    results: Callable[..., list[Any]], place: Place
) -> None:
    frame = pd.DataFrame(
        {
            "d": np.arange(N) / 4,
            "i": np.arange(N),
            "s": [f"text {n}" for n in range(N)],
            "t": pd.date_range("2024-05-01T10:00:00", periods=N, freq="h"),
            "b": np.arange(N) % 3 == 0,
        }
    )
    with ServingClient("echo", host=place.host, token=place.token) as client:
        whole = client.predict(frame).predictions
    assert results("echo", frame, rows_per_request=70) == whole
