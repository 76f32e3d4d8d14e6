"""What it brings when callers share requests: many callers of one row each, a model with few slots.

The model takes 5 ms a request and 0.05 ms a row, four requests at a time: single rows reach 792 a
second at best, whatever calls it, so a client can only win by sending several rows at once.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import callers
import contenders
import harness
import machine
import report
from callers import AsyncCall, Call, Loop
from contenders.lingering import LingeringHttpx, LingeringHttpxOrjson
from contenders.ours import ServingClientAsync, ServingClientSync
from contenders.place import ROW, Place, prepare_environment
from harness import CALLS_PER_S, P50_MS, Cell, Effort, RunCalls
from report import Figure, Part, Table

from servingclient.settings import Batching

MODEL = ("--answer", "echo", "--slots", "4", "--delay-ms", "5", "--row-ms", "0.05")
BATCHED, ALONE = "servingclient batched", "servingclient"
LINGER, LINGER_FAST = "httpx, 2 ms linger", "httpx, 2 ms linger, orjson"
PLAIN_SYNC = ("requests", "httpx", "databricks_sdk", "mlflow")
PLAIN_ASYNC = ("asyncio_loop", "aiohttp", "httpx_aiohttp", "httpx")


@dataclass(frozen=True)
class Plan:
    """One cell: who takes part, by how many callers."""

    colour: str
    callers: int
    who: tuple[str, ...]
    effort: Effort


PLANS = {
    "async_256": Plan(
        "async", 256, (BATCHED, ALONE, LINGER, LINGER_FAST, *PLAIN_ASYNC), Effort(5, 0.3)
    ),
    "threads_256": Plan("sync", 256, (BATCHED, ALONE, *PLAIN_SYNC), Effort(4, 0.3)),
    "async_1": Plan("async", 1, (BATCHED, ALONE), Effort(20, 0.3)),
    "threads_1": Plan("sync", 1, (BATCHED, ALONE), Effort(20, 0.3)),
    "async_64": Plan("async", 64, (BATCHED, ALONE, LINGER), Effort(4, 0.3)),
    "async_512": Plan("async", 512, (BATCHED, ALONE, LINGER), Effort(4, 0.3)),
}
QUICK = Effort(1, 0.05, tries=1, warm=0)
QUICK_PLANS = {  # those that the figures need, and no more
    "async_256": Plan("async", 256, (BATCHED, ALONE, LINGER), QUICK),
    "threads_256": Plan("sync", 256, (BATCHED, ALONE), QUICK),
    "async_1": Plan("async", 1, (BATCHED, ALONE), QUICK),
    "threads_1": Plan("sync", 1, (BATCHED, ALONE), QUICK),
}


def part(cores: machine.Cores, *, quick: bool) -> Part:
    loop = asyncio.new_event_loop()
    with machine.server(cores.server, *MODEL) as server:
        prepare_environment(server.host, server.ca_file)
        plans = QUICK_PLANS if quick else PLANS
        cells = {name: run_cell(plan, server, loop) for name, plan in plans.items()}
    loop.close()
    return Part(
        "Batching",
        "Callers of one row each, each waiting for its answer before it calls again; a model with "
        "4 slots that takes 5 ms a request and 0.05 ms a row, over TLS. All but the two rows that "
        "say so send every row alone.",
        figures(cells),
        [table(TITLES[name], cell) for name, cell in cells.items()],
        {name: {who: summary(cell, who) for who in cell.series} for name, cell in cells.items()},
        [one for cell in cells.values() for one in cell.slices()],
    )


TITLES = {
    "async_256": "256 tasks",
    "threads_256": "256 threads",
    "async_1": "One task",
    "threads_1": "One thread",
    "async_64": "64 tasks",
    "async_512": "512 tasks",
}


# ---------------------------------------------------------------- running


def run_cell(plan: Plan, server: machine.Server, loop: Loop) -> Cell:
    with ExitStack() as stack:
        subjects = {}
        for name in plan.who:
            connections = min(plan.callers, FEWER_CONNECTIONS.get(name, plan.callers))
            place = Place(server.host, server.ca_file, connections, as_shipped=True)
            try:
                subjects[name] = stack.enter_context(opened(name, plan, place, loop))
            except ImportError as absent:
                print(f"  {name} left out: {absent}")
        return harness.measure(
            subjects,
            plan.effort,
            least_calls=2 * plan.callers,
            server_waited_s=server.waited_s,
        )


FEWER_CONNECTIONS = {"httpx": 32}
"""With one for each of 256 callers httpx takes 65 ms of CPU a call, to walk its pool; this suits it
best. The others lose nothing by having one each."""


@contextmanager
def opened(name: str, plan: Plan, place: Place, loop: Loop) -> Iterator[RunCalls]:
    """The function that makes calls with one contender, which is closed at the end."""
    if plan.colour == "sync":
        client = (SYNC.get(name) or contenders.SYNC[name])(place)
        call = numbered(client.predict) if hasattr(client, "predict") else checked(client.call)
        with callers.by_threads(client, call, plan.callers) as run:
            yield run
    else:
        kind = ASYNC.get(name) or contenders.ASYNC[name]
        client = loop.run_until_complete(callers.made(kind, place))
        acall = (
            numbered_async(client.predict)
            if hasattr(client, "predict")
            else checked_async(client.call)
        )
        with callers.by_tasks(client, acall, plan.callers, loop) as run:
            yield run


SYNC: dict[str, Any] = {BATCHED: partial(ServingClientSync, batching=Batching())}
ASYNC: dict[str, Any] = {
    BATCHED: partial(ServingClientAsync, batching=Batching()),
    LINGER: LingeringHttpx,
    LINGER_FAST: LingeringHttpxOrjson,
}


# ---------------------------------------------------------------- calls that check their answer


class MisroutedError(Exception):
    """A caller got what belongs to another: nothing here is worth timing."""


def numbered(predict: Callable[[list[dict[str, Any]]], Any]) -> Call:
    """Each call sends a number of its own and wants it back."""
    numbers = itertools.count()

    def call() -> None:
        number = float(next(numbers))
        answer = predict([{**ROW, "amount": number}]).predictions
        if answer != [[number]]:
            raise MisroutedError(f"sent {number}, got {answer!r}")

    return call


def numbered_async(predict: Callable[[list[dict[str, Any]]], Any]) -> AsyncCall:
    numbers = itertools.count()

    async def call() -> None:
        number = float(next(numbers))
        answer = (await predict([{**ROW, "amount": number}])).predictions
        if answer != [[number]]:
            raise MisroutedError(f"sent {number}, got {answer!r}")

    return call


def checked(made: Call) -> Call:
    def call() -> None:
        if (answer := made()) != SAME:
            raise MisroutedError(f"got {answer!r}")

    return call


def checked_async(made: AsyncCall) -> AsyncCall:
    async def call() -> None:
        if (answer := await made()) != SAME:
            raise MisroutedError(f"got {answer!r}")

    return call


SAME = [[ROW["amount"]]]


# ---------------------------------------------------------------- judging


def figures(cells: dict[str, Cell]) -> list[Figure]:
    at_256, threads, one, one_thread = (cells[name] for name in QUICK_PLANS)
    return [
        Figure(
            "batched_rows_per_s_ratio_async_256_callers",
            "batching, 256 tasks: rows/s batched / not batched",
            at_256.ratios(BATCHED, ALONE, CALLS_PER_S),
            15.0,
            at_most=False,
            unit="x",
        ),
        Figure(
            "batched_rows_per_s_ratio_threads_256_callers",
            "batching, 256 threads: rows/s batched / not batched",
            threads.ratios(BATCHED, ALONE, CALLS_PER_S),
            8.0,
            at_most=False,
            unit="x",
        ),
        Figure(
            "batched_p50_ratio_async_1_caller",
            "batching, one task: p50 batched / not batched",
            one.ratios(BATCHED, ALONE, P50_MS),
            1.05,
            at_most=True,
            unit="x",
        ),
        Figure(
            "batched_p50_ratio_threads_1_caller",
            "batching, one thread: p50 batched / not batched",
            one_thread.ratios(BATCHED, ALONE, P50_MS),
            1.05,
            at_most=True,
            unit="x",
        ),
        Figure(
            "batched_cpu_per_row_ratio_over_httpx_2ms_32_row_linger_async_256_callers",
            "batching, 256 tasks: CPU a row batched / httpx with a 2 ms, 32-row linger",
            at_256.ratios(BATCHED, LINGER),
            0.2,
            at_most=True,
            unit="x",
        ),
    ]


def summary(cell: Cell, who: str) -> dict[str, float]:
    series = cell.series[who]
    return {
        "rows_per_s": round(statistics.median(series.calls_per_s), 1),
        "cpu_us_per_row": round(statistics.median(series.cpu_us), 1),
        "p50_ms": round(harness.quantile(series.seconds, 0.5) * 1e3, 2),
        "p99_ms": round(harness.quantile(series.seconds, 0.99) * 1e3, 2),
    }


def table(title: str, cell: Cell) -> Table:
    rows = []
    for who in cell.series:
        found = summary(cell, who)
        rows.append(
            (
                who,
                f"{found['rows_per_s']:,.0f}",
                report.number(statistics.median(cell.ratios(who, ALONE, CALLS_PER_S))),
                report.number(found["cpu_us_per_row"]),
                report.number(found["p50_ms"]),
                report.number(found["p99_ms"]),
            )
        )
    columns = ("", "rows/s", f"× {ALONE}", "µs CPU a row", "p50 ms", "p99 ms")
    return Table(title, columns, rows)
