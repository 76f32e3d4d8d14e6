"""Rows a second of a Spark job: ``score`` against the functions people write with ``requests``.

    make bench-spark [ARGS=--quick]

Runs in the environment of `make engines`, since it needs Spark. Everybody scores the same frame of
ten float columns on ``local[2]``, against one server that takes eight requests at a time: 20 ms
each, and in a second series 0.05 ms more for each row, as models take that have something to work
out. Each row's answer is its number, and their sum is checked.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import machine
import pandas as pd
import report
from report import Figure, Part, Table

from servingclient.integrations.spark import score

COLUMNS = 10
SLOTS = 8
SERVER = ("--plain", "--answer", "count", "--slots", str(SLOTS), "--delay-ms", "20")
FLAT, BY_ROW = "20 ms a request", "20 ms a request and 0.05 ms a row"
MODELS = {FLAT: SERVER, BY_ROW: (*SERVER, "--row-ms", "0.05")}
ENDPOINT, TOKEN = "fraud-model", "benchmark-token"
FULL, QUICK = (200_000, 3), (10_000, 1)
"""Rows of the frame, and rounds."""

OURS = "score"
PEERS = {
    "requests.post per 100 rows": 100,
    "requests.post per 1,000 rows": 1000,
    "requests.post per batch of Spark (10,000 rows)": None,
}
SPEEDUP = 3.0
TARGETS = {
    "flat_over_100_rows": (FLAT, "requests.post per 100 rows"),
    "by_row_over_100_rows": (BY_ROW, "requests.post per 100 rows"),
    "by_row_over_1000_rows": (BY_ROW, "requests.post per 1,000 rows"),
    "by_row_over_whole_batches": (BY_ROW, "requests.post per batch of Spark (10,000 rows)"),
}
Score = Callable[[Any, str], Any]


def ours(frame: Any, host: str) -> Any:
    return score(frame, ENDPOINT, host=host, token=TOKEN, result_type="double")


def posting(rows: int | None) -> Score:
    """A ``pandas_udf`` that posts so many rows at a time; None: each of Spark's batches whole."""

    def scored(frame: Any, host: str) -> Any:
        from pyspark.sql.functions import pandas_udf

        url = f"{host}/serving-endpoints/{ENDPOINT}/invocations"
        names = frame.columns

        def predict(*columns: pd.Series) -> pd.Series:
            import requests

            batch = pd.concat(columns, axis=1, keys=names)
            found: list[float] = []
            step = rows or len(batch)
            for start in range(0, len(batch), step):
                body = {"dataframe_split": batch.iloc[start : start + step].to_dict("split")}
                headers = {"Authorization": f"Bearer {TOKEN}"}
                reply = requests.post(url, json=body, headers=headers, timeout=60)
                reply.raise_for_status()
                found += reply.json()["predictions"]
            return pd.Series(found, dtype=float)

        predict.__annotations__ = {"columns": pd.Series, "return": pd.Series}
        function = pandas_udf(predict, returnType="double")
        return frame.withColumn("prediction", function(*names))

    return scored


CONTENDERS: dict[str, Score] = {OURS: ours, **{name: posting(rows) for name, rows in PEERS.items()}}


@contextmanager
def session() -> Iterator[Any]:
    from pyspark.sql import SparkSession

    os.environ["PYSPARK_PYTHON"] = sys.executable
    made = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .getOrCreate()
    )
    made.sparkContext.setLogLevel("OFF")
    yield made
    made.stop()


def numbered(spark: Any, rows: int) -> Any:
    """The number of each row, and nine floats of it; in memory, so that nobody waits for it."""
    others = [f"sin(id * {number}) AS feature_{number}" for number in range(1, COLUMNS)]
    frame = spark.range(0, rows).selectExpr("cast(id AS double) AS number", *others).cache()
    frame.count()
    return frame


def seconds(scored: Any, rows: int) -> float:
    """How long it takes to score all rows."""
    began_s = time.perf_counter()
    (total,) = scored.agg({"prediction": "sum"}).collect()[0]
    took_s = time.perf_counter() - began_s
    if total != rows * (rows - 1) / 2:
        raise SystemExit("some row did not get its own answer")
    return took_s


def part(*, quick: bool) -> Part:
    rows, rounds = QUICK if quick else FULL
    found = {}
    with session() as spark:
        frame = numbered(spark, rows)
        for model, options in MODELS.items():
            with machine.server(None, *options) as server:
                found[model] = rates(frame, server.host, rows, rounds)
    return Part(
        "Spark",
        f"A cached frame of {rows:,} rows and ten float columns, `local[2]`, against a server that "
        f"works on {SLOTS} requests at a time; plain http on loopback. `score` sends 1,000 rows a "
        f"request, {SLOTS // 2} at once from each of the two workers. All run in turn, {rounds} "
        "times.",
        [
            Figure(
                f"spark_rows_per_s_ratio_{name}",
                f"{model}: rows/s against {peer}",
                ratios(found[model], peer),
                SPEEDUP,
                at_most=False,
                unit="x",
            )
            for name, (model, peer) in TARGETS.items()
        ],
        [table(model, found[model]) for model in MODELS],
        {model: medians(one) for model, one in found.items()},
    )


def rates(frame: Any, host: str, rows: int, rounds: int) -> dict[str, list[float]]:
    """Rows a second, by contender and round."""
    found: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for number in range(-1, rounds):  # the first starts the workers
        for name, contender in CONTENDERS.items():
            taken_s = seconds(contender(frame, host), rows)
            if number >= 0:
                found[name].append(rows / taken_s)
    return found


def medians(found: dict[str, list[float]]) -> dict[str, int]:
    return {name: round(statistics.median(values)) for name, values in found.items()}


def ratios(rates: dict[str, list[float]], other: str) -> list[float]:
    return [mine / theirs for mine, theirs in zip(rates[OURS], rates[other], strict=True)]


def table(model: str, found: dict[str, list[float]]) -> Table:
    rows = [
        (
            name,
            f"{statistics.median(values):,.0f}",
            report.spread(values),
            report.number(statistics.median(ratios(found, name))),
        )
        for name, values in found.items()
    ]
    return Table(f"Rows a second, {model}", ("", "rows/s", "quartiles", "score is × faster"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="10,000 rows, one round")
    report.print_part(part(quick=parser.parse_args().quick))


if __name__ == "__main__":
    main()
