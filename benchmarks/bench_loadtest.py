"""The load generator: what a call costs it, and whether what it finds is so.

Locust's users run in the environment of ``make engines``; without it they are left out. All run one
after the other on the client's core, against the same server, in an order that changes by round.
"""

from __future__ import annotations

import itertools
import json
import math
import random
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import loadtest_peer
import machine
from loadtest_peer import ROW
from report import Figure, Part, Table, number, print_part, spread

from servingclient.emulator import Emulator
from servingclient.loadtest import (
    ClosedLoad,
    Goal,
    LoadGenerator,
    OpenLoad,
    Profile,
    Rules,
    Timetable,
    Trial,
    Trust,
)
from servingclient.settings import Settings, Tls

ENGINES = Path(__file__).parents[1] / ".venv-engines" / "bin" / "python"
OURS = "servingclient"
LEAST = {"FastHttpUser": 3.0, "HttpUser": 10.0}
MOST_OFF = 0.06
"""Share by which a figure of the guide may be missed."""
MOST_KNEE_OFF = 0.1
KS_BOUND = 1.63
"""Beyond it lies one in a hundred samples of a true Poisson process."""
BUSY = Trust(cpu_share=2.0, late_s=1.0)
"""On a machine that others use too; the knee and the guide ask for a hundredth of what it can."""


class Guide(NamedTuple):
    """A row of the service's guide: a model of 40 ms, and 10 ms of overhead."""

    clients: int
    slots: int
    qps: float
    median_ms: float


GUIDE = (
    Guide(1, 1, 20.0, 50.0),
    Guide(1, 2, 20.0, 50.0),
    Guide(2, 2, 40.0, 50.0),
    Guide(2, 1, 24.5, 81.5),
)
KNEES = ((2, 0.04), (4, 0.025), (8, 0.04))
"""Slots, and seconds that each call takes one."""


def part(cores: machine.Cores, *, quick: bool) -> Part:
    rounds, seconds = (1, 1.0) if quick else (7, 3.0)
    costs = cost(cores, rounds, seconds)
    figures = [
        Figure(
            f"{name}_over_ours",
            f"CPU of a request, {name} over ours",
            [theirs / mine for theirs, mine in zip(costs[name], costs[OURS], strict=True)],
            least,
            False,
            "x",
        )
        for name, least in LEAST.items()
        if name in costs
    ]
    tables = [cost_table(costs)]
    figures += arrivals(3.0 if quick else 10.0)
    figures += twice_the_rate(cores, 3 if quick else 8)
    for found in (guide(cores, 5 if quick else 12), knees(cores, 2 if quick else 8)):
        figures += found[0]
        tables.append(found[1])
    return Part(
        "Load generator",
        f"CPU: {loadtest_peer.CALLERS} callers, each process on the client's core, TLS, a server "
        "that answers at once. The guide and the knee: constant service times.",
        figures,
        tables,
        {name: {"cpu_us": values} for name, values in costs.items()},
    )


def cost(cores: machine.Cores, rounds: int, seconds: float) -> dict[str, list[float]]:
    """CPU microseconds of a request, by contender and round."""
    names = [name for name in loadtest_peer.CONTENDERS if name == OURS or ENGINES.exists()]
    if len(names) == 1:
        print("Locust is left out: make engines sets up its environment")
    python = ENGINES if ENGINES.exists() else Path(sys.executable)
    found: dict[str, list[float]] = {name: [] for name in names}
    order = random.Random(0)
    with machine.server(cores.server) as server:
        for _ in range(rounds):
            for name in order.sample(names, len(names)):
                command = [python, loadtest_peer.__file__, name, server.host, server.ca_file]
                done = subprocess.run(
                    [*map(str, command), str(seconds)], capture_output=True, text=True, check=True
                )
                told = json.loads(done.stdout.splitlines()[-1])
                found[name].append(told["cpu_s"] / told["requests"] * 1e6)
    return found


def cost_table(costs: dict[str, list[float]]) -> Table:
    rows = [
        (name, number(statistics.median(values)), spread(values)) for name, values in costs.items()
    ]
    return Table("What a request costs who sends it", ("", "µs CPU", "quartiles"), rows)


def generator(host: str, ca_file: str, rules: Rules, **changes: Any) -> LoadGenerator:
    settings = Settings(tls=Tls(ca_file=ca_file))
    login = {"token": "t"} | changes
    return LoadGenerator(
        "fraud-model", inputs=[ROW], rules=rules, host=host, settings=settings, **login
    )


def arrivals(seconds: float) -> list[Figure]:
    """Instants at which a server received calls, against the process they are to be."""
    qps = 100.0
    rules = Rules(times=Timetable(warmup_s=0, window_s=60), trust=BUSY)
    with Emulator() as emu:
        emu.add_endpoint("fraud-model")
        assert emu.ca_file is not None
        with generator(emu.host, str(emu.ca_file), rules, token=emu.token) as generating:
            generating.run(OpenLoad(Profile.constant(qps, 1.0), "constant"))  # opens connections
            before = len(emu.requests)
            generating.run(OpenLoad(Profile.constant(qps, seconds)))
        calls = [one for one in emu.requests[before:] if one.kind == "invocation"]
    at_s = sorted(one.received_at_s for one in calls)
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(at_s))
    shares = [1.0 - math.exp(-qps * gap) for gap in gaps]
    count = len(gaps)
    off = max(max(abs((i + 1) / count - p), abs(i / count - p)) for i, p in enumerate(shares))
    what = f"arrivals at {qps:g} calls/s: Kolmogorov-Smirnov, distance times root of {count}"
    return [Figure("arrivals_ks", what, [off * math.sqrt(count)], KS_BOUND, True, "")]


def twice_the_rate(cores: machine.Cores, seconds: float) -> list[Figure]:
    """Asked for twice what it can send: it says so, and calls stay due when they were."""
    rules = Rules(times=Timetable(warmup_s=0, window_s=60))
    with (
        machine.server(cores.server) as server,
        generator(server.host, server.ca_file, rules) as generating,
    ):
        (most,) = generating.run(ClosedLoad(loadtest_peer.CALLERS, seconds)).trials
        asked = 2.0 * most.answered_qps
        load = OpenLoad(Profile.constant(asked, seconds), "constant")
        (trial,) = generating.run(load).trials
    return [
        Figure(
            "twice_the_rate_doubts",
            f"reasons to call it INVALID at {asked:,.0f} calls/s, twice what it can send",
            [float(len(trial.doubts))],
            1.0,
            False,
            "",
        )
    ]


def guide(cores: machine.Cores, seconds: float) -> tuple[list[Figure], Table]:
    figures, rows = [], []
    rules = Rules(times=Timetable(warmup_s=1, window_s=60), trust=BUSY)
    for row in GUIDE:
        server_options = ("--answer", "echo", "--delay-ms", "40", "--overhead-ms", "10")
        with (
            machine.server(cores.server, *server_options, "--slots", str(row.slots)) as server,
            generator(server.host, server.ca_file, rules) as generating,
        ):
            (trial,) = generating.run(ClosedLoad(row.clients, seconds)).trials
        rows.append(guide_row(row, trial))
        median_ms = (trial.latency.p50_s or 0.0) * 1e3
        off = max(abs(trial.answered_qps / row.qps - 1), abs(median_ms / row.median_ms - 1))
        what = f"the guide, {row.clients} clients at {row.slots} slots: furthest off"
        name = f"guide_{row.clients}_{row.slots}_off"
        figures.append(Figure(name, what, [off], MOST_OFF, True, ""))
    header = ("clients", "slots", "guide QPS", "QPS", "guide median ms", "median ms")
    return figures, Table("The guide's rows: 40 ms of model, 10 ms of overhead", header, rows)


def guide_row(row: Guide, trial: Trial) -> tuple[str, ...]:
    measured = (trial.answered_qps, row.median_ms, (trial.latency.p50_s or 0.0) * 1e3)
    return (str(row.clients), str(row.slots), number(row.qps), *map(number, measured))


def knees(cores: machine.Cores, seconds: float) -> tuple[list[Figure], Table]:
    figures, rows = [], []
    times = Timetable(warmup_s=1, window_s=1)
    rules = Rules(goal=Goal(latency_s=1.0), times=times, trust=BUSY)
    for slots, takes_s in KNEES:
        capacity = slots / takes_s
        spec = {"name": "fraud-model", "slots": slots, "service_time_s": takes_s}
        with (
            emulator(cores.server, spec) as at,
            generator(at["host"], at["ca_file"], rules, token=at["token"]) as generating,
        ):
            test = generating.find_knee(
                capacity / 3, capacity * 3, seconds=seconds, arrivals="constant"
            )
        assert test.knee is not None
        off = abs(test.knee.qps / capacity - 1.0)
        what = f"knee of {slots} slots of {takes_s * 1e3:g} ms: off"
        figures.append(Figure(f"knee_{slots}_off", what, [off], MOST_KNEE_OFF, True, ""))
        trials = str(test.knee.trials)
        rows.append(
            (str(slots), f"{takes_s * 1e3:g}", number(capacity), number(test.knee.qps), trials)
        )
    return figures, Table(
        "Knee of an emulator of known capacity, calls/s",
        ("slots", "ms a call", "capacity", "knee", "trials"),
        rows,
    )


@contextmanager
def emulator(core: int | None, spec: dict[str, Any]) -> Iterator[dict[str, str]]:
    """One in a process of its own."""
    command: Sequence[str] = ["-m", "servingclient.emulator", "--json", "--endpoint"]
    if core is not None:
        command = ["-c", PINNED.format(core=core), *command[2:]]
    process = subprocess.Popen(
        [sys.executable, *command, json.dumps(spec)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.terminate()
        process.stdout.close()
        process.wait(10)


PINNED = (
    "import os, runpy; os.sched_setaffinity(0, {{{core}}}); "
    "runpy.run_module('servingclient.emulator', run_name='__main__')"
)


def main() -> None:
    cores = machine.pin()
    machine.allow_many_files()
    print_part(part(cores, quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
