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
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import contenders
import harness
import report
from contenders import Place
from harness import RunCalls
from report import Verdict

Loop = asyncio.AbstractEventLoop
OURS, RAW = "servingclient", "raw"
OURS_AT_16, OURS_UNPOOLED = "servingclient_at_16", "servingclient_1024_connections"


@dataclass(frozen=True)
class Plan:
    """One cell: who takes part, with how many calls in flight each."""

    colour: str
    concurrency: int
    who: tuple[str, ...]
    slice_s: float = 0.1


SYNC = (OURS, RAW, "httpx", "databricks_sdk", "mlflow")
ASYNC = (OURS, RAW, "aiohttp", "httpx")
PLANS = {
    "sync_1": Plan("sync", 1, SYNC),
    "sync_8": Plan("sync", 8, SYNC),
    "sync_32": Plan("sync", 32, SYNC),
    "async_16": Plan("async", 16, ASYNC),
    "async_64": Plan("async", 64, ASYNC),
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
MOST_DISTURBED = 0.1
"""Share of disturbed slices up to which a run is worth reading."""


# ---------------------------------------------------------------- running


def run_cell(plan: Plan, server: harness.Server, rounds: int, loop: Loop) -> harness.Cell:
    with ExitStack() as stack:
        subjects = {}
        for label in plan.who:
            name = OURS if label.startswith(OURS) else label
            at = Place(
                server.host,
                server.ca_file,
                concurrency=16 if label == OURS_AT_16 else plan.concurrency,
                # A thousand calls on the pool as it ships; elsewhere each call has a connection.
                default_pool=plan.concurrency == 1024 and label == OURS,
            )
            opening = opened(plan.colour, name, at, loop)
            try:
                subjects[label] = stack.enter_context(opening)
            except ImportError as absent:
                print(f"  {label} left out: {absent}")
        return harness.measure(
            subjects,
            rounds=rounds,
            slice_s=plan.slice_s,
            least_calls=2 * plan.concurrency,
            server_waited_s=server.waited_s,
        )


@contextmanager
def opened(colour: str, name: str, place: Place, loop: Loop) -> Iterator[RunCalls]:
    """The function that makes calls with one contender, which is closed at the end."""
    if colour == "sync":
        client = contenders.SYNC[name](place)
        check(name, client.call())
        threads = harness.Threads(place.concurrency)
        try:
            yield lambda calls: threads.run(client.call, calls)
        finally:
            threads.close()
            client.close()
    else:
        aclient = loop.run_until_complete(made(contenders.ASYNC[name], place))
        check(name, loop.run_until_complete(aclient.call()))
        try:
            yield lambda calls: loop.run_until_complete(
                harness.run_tasks(aclient.call, calls, place.concurrency)
            )
        finally:
            loop.run_until_complete(aclient.aclose())


async def made(kind: type[contenders.AsyncContender], place: Place) -> contenders.AsyncContender:
    return kind(place)


def check(name: str, answer: object) -> None:
    """A contender that does not deliver the predictions is not to be timed."""
    if isinstance(answer, bytes):
        answer = json.loads(answer)["predictions"]
    if answer != contenders.PREDICTIONS:
        raise SystemExit(f"{name} returned {answer!r} instead of the server's predictions")


def profile(name: str, cell: str, server: harness.Server, seconds: float, loop: Loop) -> None:
    """One contender alone, in this thread, under cProfile."""
    plan = PLANS[cell]
    profiler = cProfile.Profile()
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
    pstats.Stats(profiler).sort_stats("tottime").print_stats(30)


# ---------------------------------------------------------------- judging


def verdicts(cells: dict[str, harness.Cell]) -> list[Verdict]:
    """The targets that what was measured lets one judge."""
    found = []
    for cell, peer, least in LEAST_RATIOS:
        if has(cells, cell, OURS, peer):
            times = cells[cell].ratios(peer, OURS)
            name = f"{cell}_{peer}_over_servingclient"
            found.append(Verdict(name, f"{cell}: {peer} / servingclient", times, least, False, "x"))
    for cell in OWN_PART_CELLS:
        if has(cells, cell, OURS, RAW):
            own = cells[cell].differences(OURS, RAW)
            what = f"{cell}: own part (servingclient less raw)"
            found.append(Verdict(f"{cell}_own_part_us", what, own, MOST_OWN_PART_US, True, "µs"))
    if has(cells, "async_1024", OURS, OURS_AT_16):
        growth = cells["async_1024"].ratios(OURS, OURS_AT_16)
        what = "1,024 in flight / 16 in flight"
        found.append(Verdict("async_1024_over_16", what, growth, MOST_GROWTH, True, "x"))
    return found


def has(cells: dict[str, harness.Cell], cell: str, *who: str) -> bool:
    return cell in cells and all(name in cells[cell].series for name in who)


def own_parts(judged: list[Verdict]) -> dict[str, float]:
    end = "_own_part_us"
    return {v.name.removesuffix(end): v.measured for v in judged if v.name.endswith(end)}


# ---------------------------------------------------------------- the command


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="CPU per call, all contenders interleaved")
    parser.add_argument("--rounds", type=int, default=10)
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
    _, server_core = harness.pin()  # before anything starts a thread
    harness.allow_many_files()
    rounds = 3 if options.quick else options.rounds
    loop = asyncio.new_event_loop()  # one for all, as in a service
    with harness.server(server_core) as server:
        contenders.prepare_environment(server.host, server.ca_file)
        if options.profile:
            profile(*options.profile, server, options.seconds, loop)
            return
        if server_core is None:
            print(
                "Only one core, or a system that can not pin: client and server disturb each other."
            )
        cells = {}
        for name in options.cells:
            cells[name] = run_cell(PLANS[name], server, rounds, loop)
            table = report.text_table(report.CELL_COLUMNS, report.cell_rows(cells[name]))
            print(f"\n{name}\n{table}", flush=True)
    loop.close()
    judged = verdicts(cells)
    if judged:
        rows = [verdict.row() for verdict in judged]
        print(f"\n{report.text_table(report.VERDICT_COLUMNS, rows)}")
    print(f"\n{report.noise(cells.values())}")
    if report.disturbed_share(cells.values()) > MOST_DISTURBED:
        print("The machine was not quiet: take nothing from this run.")
    if options.json:
        figures = report.as_json(cells, judged, own_parts(judged))
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    if options.markdown:
        report.put_section(options.markdown, report.as_markdown("One call", cells, judged))


if __name__ == "__main__":
    main()
