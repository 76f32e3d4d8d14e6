"""Real Spark, in this machine's cores and as a cluster of two executors, and the emulator."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from servingclient.emulator import Emulator

SCHEMA = {"a": "double", "b": "double"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "/engines/spark/" in item.path.as_posix() and "spark" in getattr(
            item, "fixturenames", ()
        ):
            # the first test of a module starts Spark too, some 15 s
            item.add_marker(pytest.mark.timeout(180))


@contextmanager
def running(master: str) -> Iterator[Any]:
    """A Spark session of its own."""
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, and there is no `java` on the path")
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = (
            SparkSession.builder.master(master)
            .appName("tests")
            .config("spark.ui.enabled", "false")
            .config("spark.ui.showConsoleProgress", "false")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "2")
            .config("spark.sql.execution.arrow.maxRecordsPerBatch", "700")
            .getOrCreate()
        )
        session.sparkContext.setLogLevel("OFF")
        try:
            yield session
        finally:
            session.stop()
            gc.collect()  # pyspark leaves its sockets to the collector


@pytest.fixture
def emu() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        emulator.add_endpoint("model", slots=64, schema=SCHEMA, outputs="double")
        yield emulator


@pytest.fixture
def login(emu: Emulator) -> dict[str, str]:
    return {"host": emu.host, "token": emu.token}


@pytest.fixture
def frame(spark: Any) -> Callable[..., Any]:
    """Rows numbered in ``id``; the model's answer to each is ``id + 0.5``."""

    def make(rows: int, partitions: int = 4) -> Any:
        numbered = spark.range(0, rows, 1, partitions)
        return numbered.selectExpr("id", "cast(id as double) AS a", "0.5D AS b")

    return make
