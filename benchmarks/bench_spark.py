"""Rows a second of a Spark job: ``score`` against the functions people write with ``requests``.

    make bench-spark [ARGS=--quick]

Runs in the environment of `make engines`, since it needs Spark. Everybody scores the same frame of
ten float columns on ``local[2]``, against one server that takes 20 ms a request, eight at a time.
Each row's answer is its number, and their sum is checked.
"""

from __future__ import annotations

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
MODEL = ("--plain", "--answer", "count", "--slots", str(SLOTS), "--delay-ms", "20")
ENDPOINT, TOKEN = "fraud-model", "benchmark-token"
SPEEDUP = 3.0
FULL, QUICK = (200_000, 3), (10_000, 1)
"""Rows of the frame, and rounds."""

OURS = "score"
PEER = "requests.post per 100 rows"
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


CONTENDERS: dict[str, Score] = {
    OURS: ours,
    PEER: posting(100),
    "requests.post per 1,000 rows": posting(1000),
    "requests.post per batch of Spark (10,000 rows)": posting(None),
}


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
    frame = spark.range(0, rows, 1, 8).selectExpr("cast(id AS double) AS number", *others).cache()
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
    rates: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    with machine.server(None, *MODEL) as server, session() as spark:
        frame = numbered(spark, rows)
        for number in range(-1, rounds):  # the first starts the workers
            for name, contender in CONTENDERS.items():
                taken_s = seconds(contender(frame, server.host), rows)
                if number >= 0:
                    rates[name].append(rows / taken_s)
    speedups = ratios(rates, PEER)
    return Part(
        "Spark",
        f"A cached frame of {rows:,} rows and ten float columns, `local[2]`, against a server that "
        f"takes 20 ms a request, {SLOTS} at a time; plain http on loopback. `score` sends 1,000 "
        f"rows a request, {SLOTS // 2} at once from each of the two workers. All run in turn, "
        f"{rounds} times.",
        [
            Figure(
                "spark_rows_per_s_ratio_over_requests_post_per_batch",
                f"score of {rows:,} rows: rows/s against {PEER}",
                speedups,
                SPEEDUP,
                at_most=False,
                unit="x",
            )
        ],
        [table(rates)],
        {"rows_per_s": {name: round(statistics.median(found)) for name, found in rates.items()}},
    )


def ratios(rates: dict[str, list[float]], other: str) -> list[float]:
    return [mine / theirs for mine, theirs in zip(rates[OURS], rates[other], strict=True)]


def table(rates: dict[str, list[float]]) -> Table:
    rows = [
        (
            name,
            f"{statistics.median(found):,.0f}",
            report.spread(found),
            report.number(statistics.median(ratios(rates, name))),
        )
        for name, found in rates.items()
    ]
    return Table("Rows a second", ("", "rows/s", "quartiles", "score is × faster"), rows)


def main() -> None:
    report.print_part(part(quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
