"""Real Ray Data against the emulator: every row exactly once, in whatever form batches come."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from servingclient.emulator import Emulator
from servingclient.integrations.ray import Scorer
from servingclient.settings import Settings, Tls

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("ray.data", reason="ray is not installed: pip install ray[data]")
    ray: Any = importlib.import_module("ray")

# Ray's own: files and sockets of its processes, and what it calls of pandas and pyarrow
pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def emu() -> Iterator[Emulator]:
    with Emulator() as emulator:
        emulator.add_endpoint("echo", echo="id", poison=-1.0, service_time_s=0.005)
        yield emulator


@pytest.fixture(scope="module", autouse=True)
def cluster() -> Iterator[None]:
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield
    ray.shutdown()


def scored(emu: Emulator, data: Any, batch_format: str, **changes: Any) -> list[dict[str, Any]]:
    how: dict[str, Any] = {
        "host": emu.host,
        "token": emu.token,
        "settings": Settings(tls=Tls(ca_file=emu.ca_file)),
        "rows_per_request": 50,
        "concurrency": 2,
    }
    found = data.map_batches(
        Scorer,
        fn_constructor_args=("echo",),
        fn_constructor_kwargs=how | changes,
        batch_size=200,
        batch_format=batch_format,
        concurrency=2,
    )
    return sorted(found.take_all(), key=lambda row: row["id"])


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_every_row_has_its_own_prediction(emu: Emulator, batch_format: str) -> None:
    data = ray.data.from_items([{"id": float(i), "a": i % 7} for i in range(1000)])
    rows = scored(emu, data.repartition(5), batch_format)
    assert [row["id"] for row in rows] == list(range(1000))
    assert [row["prediction"] for row in rows] == [row["id"] for row in rows]
    assert {row["prediction_error"] for row in rows} == {None}
    assert [row["a"] for row in rows] == [i % 7 for i in range(1000)]


@pytest.mark.parametrize("batch_format", ["numpy", "pandas", "pyarrow"])
def test_a_poisonous_row_fails_alone(emu: Emulator, batch_format: str) -> None:
    data = ray.data.from_items(
        [{"id": float(i), "a": -1.0 if i in (3, 450) else 1.0} for i in range(600)]
    )
    rows = scored(emu, data.repartition(3), batch_format)
    failed = [row for row in rows if row["prediction_error"]]
    assert [row["id"] for row in failed] == [3.0, 450.0]
    assert all("BadRequest" in row["prediction_error"] for row in failed)
    assert all(row["prediction"] == row["id"] for row in rows if not row["prediction_error"])
    assert len(rows) == 600


def test_requests_at_once_keep_to_what_the_actors_have_together(emu: Emulator) -> None:
    emu.change_endpoint("echo", service_time_s=0.05)
    data = ray.data.from_items([{"id": float(i)} for i in range(2000)])
    before = len(emu.requests)
    scored(emu, data, "pyarrow")
    sent = [r for r in emu.requests[before:] if r.kind == "invocation"]
    assert len(sent) == 40
    ends = sorted([(r.received_at_s, 1) for r in sent] + [(r.decided_at_s, -1) for r in sent])
    under_way, most = 0, 0
    for _, change in ends:
        under_way += change
        most = max(most, under_way)
    assert 2 <= most <= 4


def test_columns_that_are_not_there_or_there_already_are_told(emu: Emulator) -> None:
    data = ray.data.from_items([{"id": 1.0, "prediction": 2.0}])
    with pytest.raises(Exception, match="no column b"):
        scored(emu, data, "pandas", columns=["b"])
    with pytest.raises(Exception, match="a column prediction already"):
        scored(emu, data, "pandas", columns=["id"])
    rows = scored(emu, data, "pandas", columns=["id"], prediction_column="p", error_column="e")
    assert rows == [{"id": 1.0, "prediction": 2.0, "p": 1.0, "e": None}]
