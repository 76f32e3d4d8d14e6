"""Tasks that run again, and jobs that end early."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from servingclient import Settings
from servingclient.emulator import Emulator
from servingclient.integrations.spark import score
from servingclient.integrations.spark.scoring import Login, Scoring, Work, _workers
from tests.engines.spark.kit import (
    assert_each_once,
    killed_midway,
    python_workers,
    request_ids,
    rows_sent,
    sent,
)

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

Make = Callable[..., Any]


def test_it_reads_no_further_than_it_needs(emu: Emulator, login: Any) -> None:
    from pyspark.sql.types import DoubleType

    read = answered = furthest = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read, furthest
        for _ in range(100):
            read += 200
            furthest = max(furthest, read - answered)
            yield pa.RecordBatch.from_pydict({"a": [1.0] * 200, "b": [2.0] * 200})

    work = Work("model", Login(**login), Settings.batch(), DoubleType(), 100, 3, None, "run", None)
    for batch in Scoring(work, ["a", "b"], ["a", "b"], ["b"], "p", "e")(batches()):
        assert batch.to_pydict() == {"b": [2.0] * 100, "p": [3.0] * 100, "e": [None] * 100}
        answered += batch.num_rows
    assert answered == 20_000
    assert furthest <= 100 * (2 * 3 + 1) + 200 + 200  # the job's window, and a batch at each end
    _workers.popitem()[1].client.close()


def test_each_action_scores_anew_unless_cached(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    scored = score(frame(1000), "model", **login)
    for _ in range(2):
        assert scored.collect()
    assert rows_sent(emu) == 2000
    assert set(request_ids(emu).values()) == {2}
    kept = score(frame(1000), "model", **login).cache()
    for _ in range(2):
        assert kept.collect()
    assert rows_sent(emu) == 3000


def test_a_limit_scores_little_more(spark: Any, frame: Make, emu: Emulator, login: Any) -> None:
    emu.change_endpoint("model", service_time_s=0.02)
    scored = score(frame(50_000, 1), "model", **login, concurrency=4, rows_per_request=100)
    assert len(scored.limit(5).collect()) == 5
    assert rows_sent(emu) < 25_000
    before = score(frame(50_000, 1).limit(5), "model", **login, client_request_id="before")
    assert len(before.collect()) == 5
    # the worker of the first job may still be at it: Spark tells it nothing
    ours = [r.rows for r in sent(emu) if (r.client_request_id or "").startswith("before")]
    assert ours == [5]


def test_a_task_that_fails_midway_loses_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    def breaks(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        context = TaskContext.get()
        for number, batch in enumerate(batches):
            if number == 4 and context.attemptNumber() == 0 and context.partitionId() == 1:
                raise RuntimeError("midway")
            yield batch

    scored = score(frame(10_000, 2), "model", **login, client_request_id="r")
    assert_each_once(scored.mapInArrow(breaks, scored.schema).collect(), 10_000)
    twice = {name for name, times in request_ids(emu).items() if times == 2}
    assert {"r-1-0", "r-1-1000"} <= twice
    assert all(str(name).startswith("r-1-") for name in twice)
    assert len(request_ids(emu)) == 10


def test_a_worker_killed_midway_loses_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", service_time_s=0.03)
    with killed_midway(emu, 8, python_workers):
        rows = score(frame(40_000, 4), "model", **login, concurrency=4).collect()
    assert_each_once(rows, 40_000)
    assert 2 in request_ids(emu).values()


def test_short_tokens_are_renewed_by_the_workers(spark: Any, frame: Make, emu: Emulator) -> None:
    emu.add_endpoint(
        "fast", route_optimized=True, schema={"a": "double"}, outputs="double", service_time_s=0.05
    )
    emu.token_ttl_s = 1.0
    principal = {"client_id": emu.client_id, "client_secret": emu.client_secret}
    scored = score(
        frame(12_000, 2), "fast", host=emu.host, **principal, rows_per_request=100, concurrency=2
    )
    rows = scored.collect()
    assert [row for row in rows if row.prediction != row.a] == []
    assert len(rows) == 12_000
    assert emu.token_requests > 4


def test_credentials_are_found_on_the_workers(
    spark: Any, frame: Make, emu: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", emu.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emu.token)
    scored = score(frame(10), "model")
    # the workers have the environment in which Spark was started, so so far there is no login
    with pytest.raises(Exception, match="databricks-sdk found no usable credentials"):
        scored.collect()
    assert sent(emu) == []
    profile = Path.home() / "no-databrickscfg"
    profile.write_text(f"[DEFAULT]\nhost = {emu.host}\ntoken = {emu.token}\n")
    try:
        assert_each_once(scored.collect(), 10)
    finally:
        profile.unlink()
