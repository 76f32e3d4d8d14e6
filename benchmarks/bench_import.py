"""What it costs to import the library, against what else a program would import for the job.

Each import is a fresh interpreter; the bare interpreter's CPU is taken off. Bytecode is there
already, as after the first start on a machine.
"""

from __future__ import annotations

import importlib.util
import re
import resource
import statistics
import subprocess
import sys

import machine
from harness import quantile
from report import Figure, Part, Table, print_part

OURS = "servingclient"
MOST_MS = 150.0
"""As ``python -X importtime`` counts, which itself costs about a fifth."""
STATEMENTS = {
    OURS: "import servingclient",
    "httpx": "import httpx",
    "aiohttp": "import aiohttp",
    "databricks-sdk": "from databricks.sdk import WorkspaceClient",
    "mlflow.deployments": "import mlflow.deployments",
    "openai": "import openai",
}
"""What a program writes that calls an endpoint by each."""
ROUNDS, QUICK_ROUNDS = 15, 1


def part(cores: machine.Cores, *, quick: bool) -> Part:
    del cores  # children inherit the one this process is pinned to
    there = {
        name: statement
        for name, statement in STATEMENTS.items()
        if importlib.util.find_spec(statement.split()[1].partition(".")[0])
    }
    spent: dict[str, list[float]] = {name: [] for name in there}
    told: list[float] = []
    for statement in there.values():  # bytecode and file cache
        cpu_ms(statement)
    for _ in range(QUICK_ROUNDS if quick else ROUNDS):
        bare = cpu_ms("pass")
        for name, statement in there.items():
            spent[name].append(cpu_ms(statement) - bare)
        told.append(importtime_ms(OURS))
    best = {name: min(values) for name, values in spent.items()}
    return Part(
        "Import",
        "A fresh interpreter each, contenders in turn; CPU of the process less that of "
        "`python -c pass`. What is not installed is left out.",
        [
            Figure(
                "import_ms",
                "python -X importtime -c 'import servingclient'",
                told,
                MOST_MS,
                True,
                "ms",
            )
        ],
        [table(spent)],
        {name: {"cpu_ms_best": round(value, 1)} for name, value in best.items()},
    )


def cpu_ms(statement: str) -> float:
    """CPU of a fresh interpreter that runs ``statement``: its own and the kernel's for it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-I", "-c", statement], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1e3 * spent_s


def importtime_ms(name: str) -> float:
    """What the interpreter itself says an import takes, everything below it included."""
    command = [sys.executable, "-I", "-X", "importtime", "-c", f"import {name}"]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    found = re.search(rf"(\d+) \| {name}$", said, re.MULTILINE)
    assert found is not None, said[-200:]
    return int(found[1]) / 1e3


def table(spent: dict[str, list[float]]) -> Table:
    rows: list[tuple[str, ...]] = []
    ours = min(spent[OURS])
    for name, values in spent.items():
        rows.append(
            (
                name,
                f"{min(values):.0f} ms",
                f"{statistics.median(values):.0f} ms",
                f"{quantile(values, 0.75):.0f} ms",
                f"{min(values) / ours:.2f} x",
            )
        )
    header = ("import", "CPU, best", "median", "3rd quartile", "over ours (best)")
    return Table("CPU of an import", header, rows)


def main() -> None:
    print_part(part(machine.pin(), quick="--quick" in sys.argv))


if __name__ == "__main__":
    main()
