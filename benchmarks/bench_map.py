"""What a large input costs: rows a second and memory of ``client.map``, against a plain loop.

The model takes 5 ms a request and 0.005 ms a row, four requests at a time: 10 ms for 1,000 rows.
A loop has one request under way and encodes while the endpoint waits; ``map`` overlaps both.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import callers
import harness
import machine
import map_job
import pandas as pd
import report
from contenders.databricks import DatabricksSdk
from contenders.ours import ServingClientAsync, ServingClientSync
from contenders.place import ENDPOINT, Place, prepare_environment
from contenders.plain import HttpxSync, Requests
from harness import CALLS_PER_S, Cell, Effort, RunCalls
from report import Figure, Part, Table

MODEL = ("--answer", "count", "--slots", "4", "--delay-ms", "5", "--row-ms", "0.005")
CHUNK = 1000
"""Rows in a request of the loops. One `call` of the measurement is that many rows."""
MOST_MEMORY_MB = 150.0
CONNECTIONS = 32


class Scale(NamedTuple):
    """How much is done.

    Attributes:
        effort: How long rows a second are measured.
        chunks: Of a job, at least: a job begins with small requests, and a short one ends there.
        job_rows: Rows of the job whose memory is looked at.
        who: Who is measured; None for all.
    """

    effort: Effort
    chunks: int
    job_rows: int
    who: tuple[str, ...] | None = None


OURS = "servingclient map"
OURS_ASYNC = "servingclient map, async"
FULL = Scale(Effort(6, 0.5), 20, 1_000_000)
QUICK = Scale(Effort(1, 0.05, tries=1, warm=0), 4, 20_000, (OURS, OURS_ASYNC, "httpx, loop"))
Score = Callable[[pd.DataFrame], Any]


def part(cores: machine.Cores, *, quick: bool) -> Part:
    scale = QUICK if quick else FULL
    rows = scale.job_rows
    with machine.server(cores.server, *MODEL) as server:
        prepare_environment(server.host, server.ca_file)
        cell = run_cell(server, scale)
        plain, traced = job(server, rows), job(server, rows, "--trace")
    return Part(
        "Map",
        "A DataFrame of ten float columns, rows numbered and answers checked; a model with 4 slots "
        "that takes 5 ms a request and 0.005 ms a row, over TLS. The loops send 1,000 rows at a "
        f"time. Memory is that of a fresh process which maps {rows:,} rows and keeps no answer: "
        f"resident {megabytes(plain['peak_resident_bytes_above_input']):.0f} MB above what it held "
        f"with the input (in {plain['seconds']:.1f} s), traced by `tracemalloc` "
        f"{megabytes(traced['peak_traced_bytes']):.0f} MB.",
        figures(rows, plain, traced),
        [table(cell)],
        {
            "memory_job_rows": rows,
            "memory_job": plain,
            "memory_job_traced": traced,
            "rows_per_s": {who: round(rows_per_s(cell, who)) for who in cell.series},
            "cpu_us_per_row": {who: round(cpu_us_per_row(cell, who), 2) for who in cell.series},
        },
        cell.slices(),
    )


# ---------------------------------------------------------------- rows a second


def run_cell(server: machine.Server, scale: Scale) -> Cell:
    place = Place(server.host, server.ca_file, CONNECTIONS, as_shipped=True)
    frame = map_job.numbered_frame(1000 * CHUNK)
    with ExitStack() as stack:
        subjects: dict[str, RunCalls] = {}
        for name in scale.who or OPENINGS:
            try:
                subjects[name] = stack.enter_context(OPENINGS[name](place, frame))
            except ImportError as absent:
                print(f"  {name} left out: {absent}")
        return harness.measure(
            subjects,
            scale.effort,
            least_calls=scale.chunks,
            server_waited_s=server.waited_s,
        )


@contextmanager
def ours(place: Place, frame: pd.DataFrame) -> Iterator[RunCalls]:
    contender = ServingClientSync(place)

    def run(calls: int) -> tuple[()]:
        check(list(contender.client.map(frame.iloc[: calls * CHUNK])), calls)
        return ()

    try:
        yield run
    finally:
        contender.close()


@contextmanager
def ours_async(place: Place, frame: pd.DataFrame) -> Iterator[RunCalls]:
    loop = asyncio.new_event_loop()
    contender = loop.run_until_complete(callers.made(ServingClientAsync, place))

    async def mapped(rows: int) -> list[Any]:
        return [one async for one in contender.client.map(frame.iloc[:rows])]

    def run(calls: int) -> tuple[()]:
        check(loop.run_until_complete(mapped(calls * CHUNK)), calls)
        return ()

    try:
        yield run
    finally:
        loop.run_until_complete(contender.aclose())
        loop.close()


@contextmanager
def httpx_loop(place: Place, frame: pd.DataFrame) -> Iterator[RunCalls]:
    plain = HttpxSync(place)

    def score(chunk: pd.DataFrame) -> Any:
        body = {"dataframe_split": chunk.to_dict("split")}
        return plain.client.post(plain.url, json=body).json()["predictions"]

    yield looping(score, frame)
    plain.close()


@contextmanager
def requests_loop(place: Place, frame: pd.DataFrame) -> Iterator[RunCalls]:
    plain = Requests(place)

    def score(chunk: pd.DataFrame) -> Any:
        body = {"dataframe_split": chunk.to_dict("split")}
        return plain.session.post(plain.url, json=body).json()["predictions"]

    yield looping(score, frame)
    plain.close()


@contextmanager
def databricks_loop(place: Place, frame: pd.DataFrame) -> Iterator[RunCalls]:
    from databricks.sdk.service.serving import DataframeSplitInput

    sdk = DatabricksSdk(place)

    def score(chunk: pd.DataFrame) -> Any:
        split = DataframeSplitInput.from_dict(chunk.to_dict("split"))
        return sdk.query(name=ENDPOINT, dataframe_split=split).predictions

    yield looping(score, frame)
    sdk.close()


@contextmanager
def mlflow_loop(place: Place, frame: pd.DataFrame) -> Iterator[RunCalls]:
    from mlflow.deployments import get_deploy_client

    del place  # host and credentials come from the environment
    client = get_deploy_client("databricks")

    def score(chunk: pd.DataFrame) -> Any:
        body = {"dataframe_split": chunk.to_dict("split")}
        return client.predict(endpoint=ENDPOINT, inputs=body)["predictions"]

    yield looping(score, frame)


OPENINGS: dict[str, Callable[[Place, pd.DataFrame], Any]] = {
    OURS: ours,
    OURS_ASYNC: ours_async,
    "httpx, loop": httpx_loop,
    "requests, loop": requests_loop,
    "databricks_sdk, loop": databricks_loop,
    "mlflow, loop": mlflow_loop,
}


def looping(score: Score, frame: pd.DataFrame) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        found: list[Any] = []
        for start in range(0, calls * CHUNK, CHUNK):
            found += score(frame.iloc[start : start + CHUNK])
        check(found, calls)
        return ()

    return run


def check(predictions: list[Any], calls: int) -> None:
    if predictions != list(range(calls * CHUNK)):
        raise SystemExit("some row did not get its own answer")


# ---------------------------------------------------------------- memory


def job(server: machine.Server, rows: int, *options: str) -> dict[str, Any]:
    """One job in a fresh process."""
    script = str(Path(__file__).with_name("map_job.py"))
    command = [sys.executable, script, "--host", server.host, "--ca-file", server.ca_file]
    done = subprocess.run(
        [*command, "--rows", str(rows), *options], stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def megabytes(count: float) -> float:
    return count / 1e6


# ---------------------------------------------------------------- judging


def figures(rows: int, plain: dict[str, Any], traced: dict[str, Any]) -> list[Figure]:
    return [
        Figure(
            "map_peak_memory_above_input_mb",
            f"map of {rows:,} rows x 10: peak resident memory above the input",
            [megabytes(plain["peak_resident_bytes_above_input"])],
            MOST_MEMORY_MB,
            at_most=True,
            unit="MB",
        ),
        Figure(
            "map_peak_traced_memory_above_input_mb",
            f"map of {rows:,} rows x 10: peak traced memory above the input",
            [megabytes(traced["peak_traced_bytes"])],
            MOST_MEMORY_MB,
            at_most=True,
            unit="MB",
        ),
    ]


def rows_per_s(cell: Cell, who: str) -> float:
    return CHUNK * statistics.median(cell.series[who].calls_per_s)


def cpu_us_per_row(cell: Cell, who: str) -> float:
    return statistics.median(cell.series[who].cpu_us) / CHUNK


def table(cell: Cell) -> Table:
    rows = [
        (
            who,
            f"{rows_per_s(cell, who):,.0f}",
            report.number(statistics.median(cell.ratios(OURS, who, CALLS_PER_S))),
            report.number(cpu_us_per_row(cell, who)),
            report.number(statistics.median(cell.ratios(who, OURS))),
        )
        for who in cell.series
    ]
    columns = ("", "rows/s", "map is × faster", "µs CPU a row", f"× {OURS}")
    return Table("Rows a second", columns, rows)
