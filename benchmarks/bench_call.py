"""What one call costs: CPU per ``predict()`` of one row, against the clients people use today.

    python benchmarks/bench_call.py [--only sync_1,async_16] [--quick]
                                    [--json PATH] [--markdown PATH]
    python benchmarks/bench_call.py --profile servingclient sync_1

``benchmarks/README.md`` says how to read the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import cProfile
import json
import pstats
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import answers
import callers
import contenders
import harness
import machine
import report
from callers import Loop
from contenders.place import Place, prepare_environment
from harness import Effort, RunCalls
from report import Figure, Part

OURS, RAW = "servingclient", "raw"
OURS_AS_SHIPPED = "servingclient_as_shipped"
OURS_AT_16, OURS_UNPOOLED = "servingclient_at_16", "servingclient_1024_connections"


@dataclass(frozen=True)
class Plan:
    """One cell: who takes part, with how many calls in flight each."""

    colour: str
    concurrency: int
    who: tuple[str, ...]
    slice_s: float = 0.1


SYNC = (OURS, RAW, "socket_loop", "httpx", "requests", "databricks_sdk", "mlflow")
ASYNC = (OURS, RAW, "asyncio_loop", "aiohttp", "httpx_aiohttp", "httpx")
PLANS = {
    "sync_1": Plan("sync", 1, SYNC),
    "sync_8": Plan("sync", 8, SYNC),
    "sync_32": Plan("sync", 32, (*SYNC, OURS_AS_SHIPPED)),
    "async_16": Plan("async", 16, ASYNC),
    "async_64": Plan("async", 64, (*ASYNC, OURS_AS_SHIPPED)),
    # tasks are made anew for each slice: a longer one, so that a thousand of them do not count
    "async_1024": Plan("async", 1024, (OURS, RAW, OURS_AT_16, OURS_UNPOOLED), slice_s=0.4),
}

LEAST_RATIOS = (  # cell, peer, its CPU as a multiple of ours
    ("sync_1", "databricks_sdk", 10.0),
    ("sync_8", "databricks_sdk", 15.0),
    ("sync_32", "databricks_sdk", 15.0),
    ("sync_8", "mlflow", 80.0),
    ("sync_1", "httpx", 7.0),
    ("sync_8", "httpx", 11.0),
    ("async_16", "httpx", 30.0),
    ("async_64", "httpx", 30.0),
    ("async_16", "aiohttp", 2.5),
    ("async_64", "aiohttp", 2.5),
)
OWN_PART_CELLS = ("sync_1", "sync_8", "async_16")
MOST_OWN_PART_US = 20.0
MOST_GROWTH = 1.3
"""CPU per call at 1,024 in flight against 16."""

PREFIX = "call_cpu_"
"""Of figures' names, for those who read them beside other parts'."""
ROUNDS, QUICK_ROUNDS = 10, 3


# ---------------------------------------------------------------- running


def part(cores: machine.Cores, *, quick: bool) -> Part:
    """All cells, as one part of the whole benchmark."""
    return measured(cores, list(PLANS), QUICK_ROUNDS if quick else ROUNDS)


def measured(cores: machine.Cores, names: list[str], rounds: int) -> Part:
    loop = asyncio.new_event_loop()  # one for all, as in a service
    with machine.server(cores.server) as server:
        prepare_environment(server.host, server.ca_file)
        cells = {name: run_cell(PLANS[name], server, rounds, loop) for name in names}
    loop.close()
    return Part(
        "One call",
        "CPU of the whole client process per `predict()` of one row over TLS; the server answers "
        "at once.",
        figures(cells),
        [report.cell_table(name, cell) for name, cell in cells.items()],
        tables_json(cells),
        [one for cell in cells.values() for one in cell.slices()],
    )


def run_cell(plan: Plan, server: machine.Server, rounds: int, loop: Loop) -> harness.Cell:
    with ExitStack() as stack:
        subjects = {}
        for label in plan.who:
            name = OURS if label.startswith(OURS) else label
            at = Place(
                server.host,
                server.ca_file,
                concurrency=16 if label == OURS_AT_16 else plan.concurrency,
                # A thousand calls on the pool as it ships; elsewhere each call has a connection.
                as_shipped=label == (OURS if plan.concurrency == 1024 else OURS_AS_SHIPPED),
            )
            try:
                subjects[label] = stack.enter_context(opened(plan.colour, name, at, loop))
            except ImportError as absent:
                print(f"  {label} left out: {absent}")
        return harness.measure(
            subjects,
            Effort(rounds, plan.slice_s),
            least_calls=2 * plan.concurrency,
            server_waited_s=server.waited_s,
        )


@contextmanager
def opened(colour: str, name: str, place: Place, loop: Loop) -> Iterator[RunCalls]:
    """The function that makes calls with one contender, which is closed at the end."""
    if colour == "sync":
        client = contenders.SYNC[name](place)
        check(name, client.call())
        with callers.by_threads(client, client.call, place.concurrency) as run:
            yield run
    else:
        aclient = loop.run_until_complete(callers.made(contenders.ASYNC[name], place))
        check(name, loop.run_until_complete(aclient.call()))
        with callers.by_tasks(aclient, aclient.call, place.concurrency, loop) as run:
            yield run


def check(name: str, answer: object) -> None:
    """A contender that does not deliver the predictions is not to be timed."""
    if isinstance(answer, bytes):
        answer = json.loads(answer)["predictions"]
    if answer != json.loads(answers.PREDICTIONS)["predictions"]:
        raise SystemExit(f"{name} returned {answer!r} instead of the server's predictions")


def profile(name: str, cell: str, cores: machine.Cores, seconds: float) -> None:
    """One contender alone, in this thread, under cProfile."""
    plan, loop = PLANS[cell], asyncio.new_event_loop()
    profiler = cProfile.Profile()
    with machine.server(cores.server) as server:
        prepare_environment(server.host, server.ca_file)
        at = Place(server.host, server.ca_file, plan.concurrency)
        if plan.colour == "sync":
            client = contenders.SYNC[name](at)
            client.call()
            ends = time.monotonic() + seconds
            profiler.enable()
            while time.monotonic() < ends:
                client.call()
            profiler.disable()
            client.close()
        else:
            with opened(plan.colour, name, at, loop) as run:
                run(4 * plan.concurrency)
                ends = time.monotonic() + seconds
                profiler.enable()
                while time.monotonic() < ends:
                    run(100 * plan.concurrency)
                profiler.disable()
    loop.close()
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


# ---------------------------------------------------------------- judging


def figures(cells: dict[str, harness.Cell]) -> list[Figure]:
    """The targets that what was measured lets one judge."""
    found = []
    for cell, peer, least in LEAST_RATIOS:
        if has(cells, cell, OURS, peer):
            times = cells[cell].ratios(peer, OURS)
            name = f"{PREFIX}{cell}_{peer}_over_servingclient"
            what = f"CPU a call, {cell}: {peer} / servingclient"
            found.append(Figure(name, what, times, least, False, "x"))
    for cell in OWN_PART_CELLS:
        if has(cells, cell, OURS, RAW):
            own = cells[cell].differences(OURS, RAW)
            name = f"{PREFIX}{cell}_own_part_us"
            what = f"CPU a call, {cell}: own part (servingclient less raw)"
            found.append(Figure(name, what, own, MOST_OWN_PART_US, True, "µs"))
    if has(cells, "async_1024", OURS, OURS_AT_16):
        growth = cells["async_1024"].ratios(OURS, OURS_AT_16)
        what = "CPU a call: 1,024 in flight / 16 in flight"
        name = f"{PREFIX}async_1024_over_16"
        found.append(Figure(name, what, growth, MOST_GROWTH, True, "x"))
    return found


def has(cells: dict[str, harness.Cell], cell: str, *who: str) -> bool:
    return cell in cells and all(name in cells[cell].series for name in who)


def tables_json(cells: dict[str, harness.Cell]) -> dict[str, Any]:
    """``ratios`` are medians of paired ratios, contender over servingclient; they are not the
    quotient of the two medians in ``cpu_us_per_call``. ``own_part_us`` is the largest of
    ``own_part_us_by_cell``.
    """
    own_part_us = {
        name: statistics.median(cells[name].differences(OURS, RAW))
        for name in OWN_PART_CELLS
        if has(cells, name, OURS, RAW)
    }
    return {
        "cpu_us_per_call": {
            name: {
                who: round(statistics.median(series.cpu_us), 1)
                for who, series in cell.series.items()
            }
            for name, cell in cells.items()
        },
        "own_part_us": round(max(own_part_us.values()), 1) if own_part_us else None,
        "own_part_us_by_cell": {name: round(us, 1) for name, us in own_part_us.items()},
        "ratios": {
            name: {
                who: round(statistics.median(cell.ratios(who, OURS)), 2)
                for who in cell.series
                if who != OURS
            }
            for name, cell in cells.items()
            if OURS in cell.series
        },
        "quartiles_us": {
            name: {
                who: [round(us, 1) for us in harness.quartiles(series.cpu_us)]
                for who, series in cell.series.items()
            }
            for name, cell in cells.items()
        },
    }


def as_json(done: Part, rounds: int) -> dict[str, Any]:
    """What ``make bench-call`` writes."""
    return {
        **done.measured,
        "targets": {
            figure.name.removeprefix(PREFIX): {
                "measured": round(figure.value, 2),
                "at_most" if figure.at_most else "at_least": figure.target,
                "met": figure.met,
            }
            for figure in done.figures
        },
        "rounds": rounds,
        "disturbed_share": round(report.disturbed_share(done.slices), 3),
        "fixed_job_ms": {
            "median": round(statistics.median(one.job_s for one in done.slices) * 1e3, 2),
            "scaled_to": harness.REFERENCE_JOB_S * 1e3,
        },
        "machine": report.machine(),
        "versions": report.versions(),
        "date": report.today(),
    }


# ---------------------------------------------------------------- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU per call, all contenders interleaved")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", help=f"cells, separated by commas: {','.join(PLANS)}")
    parser.add_argument("--quick", action="store_true", help="3 rounds: a look, no finding")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write all figures")
    parser.add_argument(
        "--markdown", type=Path, metavar="PATH", help="write the section 'One call'"
    )
    parser.add_argument("--profile", nargs=2, metavar=("CONTENDER", "CELL"))
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to profile")
    options = parser.parse_args()
    options.cells = options.only.split(",") if options.only else list(PLANS)
    if unknown := set(options.cells) - set(PLANS):
        parser.error(f"no such cell: {', '.join(sorted(unknown))}")
    return options


def main() -> None:
    options = arguments()
    cores = machine.pin()  # before anything starts a thread
    machine.allow_many_files()
    if options.profile:
        name, cell = options.profile
        profile(name, cell, cores, options.seconds)
        return
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    done = measured(cores, options.cells, rounds)
    report.print_part(done)
    if options.json:
        options.json.write_text(json.dumps(as_json(done, rounds), indent=2) + "\n")
    if options.markdown:
        report.put_section(options.markdown, report.as_markdown(done))


if __name__ == "__main__":
    main()
