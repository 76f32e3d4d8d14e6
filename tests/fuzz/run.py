"""Fuzz the parsers one after the other and tell what came of it: ``make fuzz``.

::

    make fuzz                                            each with 100,000 inputs, some minutes
    make fuzz ARGS="--runs 1000000 --only sse reply"     these two with a million
    make fuzz ARGS="--runs 1000000 --seconds 60"         a minute of each under atheris

Each parser runs under atheris, guided by the branches of the client it reaches, and goes on from
what earlier runs reached (``build/fuzz``; ``--anew`` forgets it). When its time is over, the rest
of the inputs is made of that corpus without guidance, ten times as fast, and inputs with a slice
repeated up to 64 KB are timed. Findings are left in ``build/fuzz/<parser>/``: mend the client, and
keep the input in ``corpus/<parser>/`` under a name that says what it was.

The status is 1 when anything was found: an error that is none of the typed ones, an answer that
must not be, more than 100 ms, a hang, or memory that grows.
"""

from __future__ import annotations

import argparse
import faulthandler
import itertools
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.mutations import damaged, pumped
from tests.fuzz.parsers import PARSERS, SLOWEST_S, Parser, took_s

_PUMPED_OF = 500  # of so many inputs one is long
_MOST_GROWTH_MB = 64.0
"""Of the process after a tenth of its inputs, with all that libFuzzer keeps for itself."""
_HANGS_AFTER_S = 300.0
_WATCH_OF = 1_000  # inputs, which end together within that time


class Came(NamedTuple):
    """What came of one parser."""

    name: str
    guided: int
    inputs: int
    seconds: float
    slowest_s: float
    resident_mb: float
    growth_mb: float
    findings: Sequence[str]


def fuzzed(parser: Parser, runs: int, seconds: float, seed: int, folder: Path) -> Came:
    """Fuzz one parser.

    Args:
        parser: Which.
        runs: Inputs.
        seconds: Ends it earlier.
        seed: Of all chance.
        folder: Where the grown corpus and the findings lie.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for old in (*folder.glob("finding-*"), *folder.glob("slow-*"), *folder.glob("*.json")):
        old.unlink()
    began_s = time.monotonic()
    with (folder / "log").open("wb") as log:
        ended = subprocess.run(
            [
                *(sys.executable, "-m", "tests.fuzz.worker", parser.name, "--runs", str(runs)),
                *("--seconds", str(seconds), "--seed", str(seed), "--folder", str(folder)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            check=False,
        )
    report = folder / "report.json"
    said: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    findings = list(said.get("findings", ()))
    if ended.returncode:
        findings.append(f"ended with status {ended.returncode}: see {folder.name}/log")
    growth_mb = said.get("growth_mb", 0.0)
    if growth_mb > _MOST_GROWTH_MB:
        findings.append(f"memory grew by {growth_mb:.0f} MB")
    guided = said.get("inputs", 0)
    count, slowest_s, more = _unguided(parser, runs, guided, seed, folder)
    return Came(
        parser.name,
        guided,
        guided + count,
        time.monotonic() - began_s,
        slowest_s,
        said.get("resident_mb", 0.0),
        growth_mb,
        [*findings, *more],
    )


def _unguided(
    parser: Parser, runs: int, guided: int, seed: int, folder: Path
) -> tuple[int, float, list[str]]:
    """Time what was slow under atheris, the inputs that are left to make, and long ones.

    Returns:
        How many they were, the seconds of the slowest, and what was found.
    """
    slow = [file.read_bytes() for file in folder.glob("slow-*")]
    grown = [file.read_bytes() for file in sorted((folder / "corpus").glob("*"))]
    corpus = [*parser.corpus().values(), *grown]
    slowest_s, findings, made = 0.0, {}, 0
    for data in itertools.chain(
        slow,
        damaged(corpus, max(0, runs - guided), seed),
        pumped(corpus, runs // _PUMPED_OF, parser.longest, seed),
    ):
        if made % _WATCH_OF == 0:
            faulthandler.dump_traceback_later(_HANGS_AFTER_S, exit=True)
        made += 1
        try:
            one_s = took_s(parser, data)
        except Exception as error:  # noqa: BLE001 - each is a finding
            findings[f"{type(error).__name__}, not under atheris"] = data
        else:
            slowest_s = max(slowest_s, one_s)
            if one_s > SLOWEST_S:
                findings["too slow"] = data
    faulthandler.cancel_dump_traceback_later()
    for number, data in enumerate(findings.values()):
        (folder / f"finding-unguided-{number}").write_bytes(data)
    return made, slowest_s, list(findings)


def main() -> int:
    asked = argparse.ArgumentParser(prog="make fuzz", description="Fuzz the client's parsers.")
    asked.add_argument("--runs", type=int, default=100_000, help="inputs for each parser")
    asked.add_argument("--seconds", type=float, default=3_600.0, help="most, under atheris, each")
    asked.add_argument("--only", nargs="+", choices=sorted(PARSERS), default=list(PARSERS))
    asked.add_argument("--seed", type=int, default=1, help="of all chance")
    asked.add_argument("--folder", type=Path, default=Path("build/fuzz"), help="grown corpus")
    asked.add_argument("--anew", action="store_true", help="forget what earlier runs reached")
    given = asked.parse_args()
    if given.anew:
        shutil.rmtree(given.folder, ignore_errors=True)
    print("parser              inputs    guided      s  slowest ms  RSS MB  grown  findings")
    found = 0
    for name in given.only:
        folder = given.folder.resolve() / name
        came = fuzzed(PARSERS[name], given.runs, given.seconds, given.seed, folder)
        found += len(came.findings)
        print(
            f"{name:16}{came.inputs:>10,}{came.guided:>10,}{came.seconds:>7.0f}"
            f"{came.slowest_s * 1e3:>12.1f}{came.resident_mb:>8.0f}{came.growth_mb:>7.1f}"
            f"  {len(came.findings)}",
            flush=True,
        )
        for finding in came.findings:
            print(f"    {finding}", flush=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
