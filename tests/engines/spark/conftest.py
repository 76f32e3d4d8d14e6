"""Real Spark, in this machine's cores and as a cluster of two executors, and the emulator."""

from __future__ import annotations

import gc
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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


@dataclass
class Engine:
    """The one Spark there can be in a process."""

    master: str | None = None
    session: Any = None

    def running(self, master: str) -> Any:
        """A session of this kind; one of another kind is stopped."""
        if self.master != master:
            self.stop()
            self.session, self.master = started(master), master
        return self.session

    def stop(self) -> None:
        if self.session is not None:
            self.session.stop()
            gc.collect()  # pyspark leaves its sockets to the collector
        self.session = self.master = None


def started(master: str) -> Any:
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java 17, and there is no `java` on the path")
    from pyspark.sql import SparkSession

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
    return session


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        made = Engine()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def spark(engine: Engine) -> Any:
    """Two tasks at once in one machine, each tried four times."""
    return engine.running("local[2,4]")


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
