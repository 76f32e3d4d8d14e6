"""What a second request brings when the first is late, and what it costs the endpoint.

Of a hundred requests three take 200 ms more than the others' 5 ms: the p99 of calls is that of the
slow ones, unless each gets a second chance.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import callers
import harness
import machine
import report
from callers import Loop
from contenders.ours import ServingClientAsync, ServingClientSync
from contenders.place import Place, prepare_environment
from harness import P99_MS, Cell, Effort, RunCalls
from report import Figure, Part, Table

from servingclient.settings import Hedge

MODEL = ("--answer", "echo", "--delay-ms", "5", "--slow-share", "0.03", "--slow-ms", "200")
HEDGED, ALONE = "servingclient hedged", "servingclient"
CALLERS = 8
MOST_P99_RATIO = 0.5
MOST_LOAD_RATIO = 1.05
"""What Hedge.max_share promises."""

FULL, QUICK = Effort(6, 1.0), Effort(1, 0.2, tries=1, warm=0)


@dataclass
class Load:
    """Calls made, and requests the server got for them."""

    calls: int = 0
    requests: int = 0

    @property
    def ratio(self) -> float:
        return self.requests / self.calls


@dataclass
class Colour:
    """What one client showed, with hedges and without."""

    cell: Cell
    loads: dict[str, Load] = field(default_factory=dict)


def part(cores: machine.Cores, *, quick: bool) -> Part:
    loop = asyncio.new_event_loop()
    effort = QUICK if quick else FULL
    with machine.server(cores.server, *MODEL) as server:
        prepare_environment(server.host, server.ca_file)
        colours = {name: run_colour(name, server, loop, effort) for name in ("async", "threads")}
    loop.close()
    return Part(
        "Hedging",
        f"{CALLERS} callers; a model that takes 5 ms, and 205 ms for 3 % of requests, chosen by a "
        "fixed seed. Load is what the server was asked for, as a multiple of the calls made.",
        [one for name, colour in colours.items() for one in figures(name, colour)],
        [table(name, colour) for name, colour in colours.items()],
        {name: summary(colour) for name, colour in colours.items()},
        [one for colour in colours.values() for one in colour.cell.slices()],
    )


# ---------------------------------------------------------------- running


def run_colour(colour: str, server: machine.Server, loop: Loop, effort: Effort) -> Colour:
    place = Place(server.host, server.ca_file, CALLERS, as_shipped=True)
    loads = {HEDGED: Load(), ALONE: Load()}
    with ExitStack() as stack:
        subjects = {}
        for name, changes in ((HEDGED, {"hedge": Hedge()}), (ALONE, {})):
            run = stack.enter_context(opened(colour, place, changes, loop))
            subjects[name] = counting(run, loads[name], server)
        cell = harness.measure(
            subjects,
            effort,
            least_calls=20 * CALLERS,  # enough to know the usual time
            server_waited_s=server.waited_s,
        )
    return Colour(cell, loads)


@contextmanager
def opened(colour: str, place: Place, changes: dict[str, Any], loop: Loop) -> Iterator[RunCalls]:
    if colour == "threads":
        client = ServingClientSync(place, **changes)
        with callers.by_threads(client, client.call, CALLERS) as run:
            yield run
    else:
        aclient = loop.run_until_complete(
            callers.made(lambda at: ServingClientAsync(at, **changes), place)
        )
        with callers.by_tasks(aclient, aclient.call, CALLERS, loop) as run:
            yield run


def counting(run: RunCalls, load: Load, server: machine.Server) -> RunCalls:
    def counted(calls: int) -> Any:
        before = server.invocations()
        seconds = run(calls)
        load.requests += server.invocations() - before
        load.calls += calls
        return seconds

    return counted


# ---------------------------------------------------------------- judging


def figures(name: str, colour: Colour) -> list[Figure]:
    return [
        Figure(
            f"hedged_p99_ratio_{name}",
            f"hedging, {name}: p99 hedged / not hedged",
            colour.cell.ratios(HEDGED, ALONE, P99_MS),
            MOST_P99_RATIO,
            at_most=True,
            unit="x",
        ),
        Figure(
            f"hedged_requests_per_call_{name}",
            f"hedging, {name}: requests a call",
            [colour.loads[HEDGED].ratio],
            MOST_LOAD_RATIO,
            at_most=True,
            unit="x",
        ),
    ]


def summary(colour: Colour) -> dict[str, dict[str, float]]:
    return {
        who: {
            "p50_ms": round(harness.quantile(series.seconds, 0.5) * 1e3, 2),
            "p99_ms": round(harness.quantile(series.seconds, 0.99) * 1e3, 2),
            "p999_ms": round(harness.quantile(series.seconds, 0.999) * 1e3, 2),
            "requests_per_call": round(colour.loads[who].ratio, 4),
            "cpu_us_per_call": round(statistics.median(series.cpu_us), 1),
        }
        for who, series in colour.cell.series.items()
    }


def table(name: str, colour: Colour) -> Table:
    rows = [
        (who, *(report.number(value) for value in found.values()))
        for who, found in summary(colour).items()
    ]
    columns = ("", "p50 ms", "p99 ms", "p99.9 ms", "requests a call", "µs CPU a call")
    return Table(f"{CALLERS} {'tasks' if name == 'async' else 'threads'}", columns, rows)
