"""One parser under atheris, in a process of its own; started by ``run.py``.

Goes on after a finding: each kind is kept once, with its shortest input. What ends the process
itself (a hang, the memory limit) leaves its input in the same folder and a status other than 0.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(include=["servingclient"]):
    from tests.fuzz.parsers import PARSERS

from tests.fuzz.mutations import damaged

_HANGS_AFTER_S = 20
_MOST_MB = 1_024
_SLOWEST_KEPT = 3
_REPORT_EVERY_S = 2.0
_OURS_OF = 4  # of so many mutations one is ours


class Worker:
    """Counts, keeps what was found, and writes both down now and then."""

    def __init__(self, name: str, runs: int, seconds: float, folder: Path) -> None:
        self._parser = PARSERS[name]
        self._kept = list(self._parser.corpus().values())
        self._runs, self._seconds, self._folder = runs, seconds, folder
        self._started_s = self._reported_s = time.monotonic()
        self._count = 0
        self._early_mb = 0.0
        self._found: dict[str, tuple[bytes, str]] = {}
        self._slow: list[tuple[float, bytes]] = []

    def one(self, data: bytes) -> None:
        """Check one input."""
        self._count += 1
        started_s = time.process_time()
        try:
            self._parser.check(data)
        except Exception as error:  # noqa: BLE001 - each is a finding
            self._keep(error, data)
        took_s = time.process_time() - started_s
        if len(self._slow) < _SLOWEST_KEPT or took_s > self._slow[-1][0]:
            self._slow = sorted([*self._slow, (took_s, data)], reverse=True)[:_SLOWEST_KEPT]
        self._perhaps_report()

    def mutate(self, data: bytes, most: int, seed: int) -> bytes:
        """libFuzzer's way with bytes, and now and then ours with values and lines."""
        if seed % _OURS_OF:
            return bytes(atheris.Mutate(data, most))
        return next(damaged([data, *self._kept], 1, seed))[:most]

    def _keep(self, error: Exception, data: bytes) -> None:
        frames = traceback.extract_tb(error.__traceback__)
        place = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-3:]))
        kind = f"{type(error).__name__} at {place}"
        if kind not in self._found or len(data) < len(self._found[kind][0]):
            self._found[kind] = data, str(error)[:300]

    def _perhaps_report(self) -> None:
        now_s = time.monotonic()
        ended = self._count >= self._runs or now_s - self._started_s >= self._seconds
        if not self._early_mb and self._count >= self._runs // 10:
            self._early_mb = _resident_mb()
        if ended or now_s - self._reported_s >= _REPORT_EVERY_S:
            self._reported_s = now_s
            self._report(now_s - self._started_s)
        if ended:
            sys.stdout.flush()
            os._exit(0)

    def _report(self, lasted_s: float) -> None:
        for number, (data, _) in enumerate(self._found.values()):
            (self._folder / f"finding-{number}").write_bytes(data)
        for number, (_, data) in enumerate(self._slow):
            (self._folder / f"slow-{number}").write_bytes(data)
        now_mb = _resident_mb()
        values: dict[str, Any] = {
            "inputs": self._count,
            "seconds": lasted_s,
            "resident_mb": now_mb,
            "growth_mb": now_mb - (self._early_mb or now_mb),
            "findings": [f"{kind}: {words}" for kind, (_, words) in self._found.items()],
        }
        (self._folder / "report.json").write_text(json.dumps(values))


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("name")
    asked.add_argument("--runs", type=int, required=True)
    asked.add_argument("--seconds", type=float, required=True)
    asked.add_argument("--seed", type=int, required=True)
    asked.add_argument("--folder", type=Path, required=True)
    given = asked.parse_args()
    grown = given.folder / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    worker = Worker(given.name, given.runs, given.seconds, given.folder)
    options = {
        "seed": given.seed,
        "max_len": 4_096,
        "timeout": _HANGS_AFTER_S,
        "rss_limit_mb": _MOST_MB,
        "artifact_prefix": f"{given.folder}/",
        "print_final_stats": 0,
        "verbosity": 0,
    }
    kept = Path(__file__).with_name("corpus") / given.name
    arguments = [f"-{option}={value}" for option, value in options.items()]
    atheris.Setup(
        [sys.argv[0], *arguments, str(grown), str(kept)],
        worker.one,
        custom_mutator=worker.mutate,
        internal_libfuzzer=True,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
