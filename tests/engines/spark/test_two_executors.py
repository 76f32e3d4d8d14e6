"""Scoring on a cluster: two executors, processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servingclient.emulator import Emulator
from servingclient.integrations.spark import Progress, score
from tests.engines.spark.conftest import Engine
from tests.engines.spark.kit import (
    assert_each_once,
    killed_midway,
    most_at_once,
    processes_of_spark,
    python_workers,
    request_ids,
    sent,
)

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def spark(engine: Engine) -> Any:
    session = engine.running("local-cluster[2,1,1024]")
    session.range(0, 4, 1, 4).count()  # both executors are there
    return session


def test_every_row_within_the_budget(spark: Any, frame: Make, emu: Emulator, login: Any) -> None:
    emu.change_endpoint("model", slots=7, queue=0, service_time_s=0.03)
    progress = Progress(spark)
    scored = score(frame(20_000, 8), "model", **login, rows_per_request=250, progress=progress)
    assert_each_once(scored.collect(), 20_000)
    assert most_at_once(sent(emu)) <= 6  # two executors, 7 // 2 each
    assert {record.status for record in sent(emu)} == {200}
    assert (progress.rows, progress.requests, progress.errors) == (20_000, 80, 0)


def test_a_worker_killed_midway_loses_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", service_time_s=0.03)
    with killed_midway(emu, 8, python_workers):
        rows = score(frame(40_000, 4), "model", **login, concurrency=4).collect()
    assert_each_once(rows, 40_000)
    assert 2 in request_ids(emu).values()


def test_an_executor_killed_midway_loses_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", service_time_s=0.03)
    scored = score(frame(40_000, 4), "model", **login, concurrency=4)
    with killed_midway(emu, 8, lambda: processes_of_spark("CoarseGrainedExecutorBackend")):
        rows = scored.collect()
    assert_each_once(rows, 40_000)
    assert 2 in request_ids(emu).values()
    assert len(request_ids(emu)) == 40
