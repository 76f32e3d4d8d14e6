"""Many schedules, one a seed: how many, worth how much time, and which broke a promise.

python -m tests.story.explore --count 10000
python -m tests.story.explore --seed 4711      # one of them again
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections import Counter
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass

from tests.overload.virtual import VirtualLoop
from tests.story.schedule import Schedule
from tests.story.verdict import verdict

CHUNK = 250


@dataclass
class Report:
    """What came of one schedule.

    Attributes:
        seed: Which.
        hours: Its length in virtual time.
        calls: How they ended, and how many.
        requests: That the endpoint saw.
        wrong: What must never be, in words; empty when all is well.
    """

    seed: int
    hours: float
    calls: Counter[str]
    requests: int
    wrong: list[str]


def explore(seeds: Iterable[int]) -> list[Report]:
    """Play the schedules of ``seeds``, each from the instant 0 on."""
    loop = VirtualLoop()
    try:
        return [_report(loop, seed) for seed in seeds]
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _report(loop: VirtualLoop, seed: int) -> Report:
    loop.now_s = 0.0
    schedule = Schedule(seed)
    loop.run_until_complete(schedule.play())
    calls = Counter(told.ending for told in schedule.told)
    requests = len(schedule.remote.books.requests)
    return Report(seed, loop.now_s / 3600.0, calls, requests, verdict(schedule))


def _quietly(seeds: range) -> list[Report]:
    logging.disable(logging.WARNING)  # failed logins are part of the picture
    try:
        return explore(seeds)
    finally:
        logging.disable(logging.NOTSET)


def main(given: list[str] | None = None) -> int:
    """Play what is asked for; 1 where a promise was broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10_000, help="how many schedules")
    parser.add_argument("--first", type=int, default=0, help="seed of the first")
    parser.add_argument("--seed", type=int, help="only this one")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes at once")
    asked = parser.parse_args(given)
    first, count = (asked.first, asked.count) if asked.seed is None else (asked.seed, 1)
    chunks = [
        range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)
    ]
    began_s = time.perf_counter()
    jobs = min(asked.jobs, len(chunks))
    if jobs > 1:
        with ProcessPoolExecutor(jobs) as pool:
            parts = list(pool.map(_quietly, chunks))
    else:
        parts = [_quietly(chunk) for chunk in chunks]
    reports = [one for part in parts for one in part]
    _tell(reports, time.perf_counter() - began_s)
    return 1 if any(one.wrong for one in reports) else 0


def _tell(reports: list[Report], took_s: float) -> None:
    calls: Counter[str] = Counter()
    for one in reports:
        calls.update(one.calls)
    for name, count in calls.most_common():
        print(f"{count:9,} {name}")
    print(
        f"{len(reports):,} schedules, {sum(calls.values()):,} calls, "
        f"{sum(one.requests for one in reports):,} requests, "
        f"{sum(one.hours for one in reports):,.0f} simulated hours in {took_s:.1f} s"
    )
    wrong = [one for one in reports if one.wrong]
    for one in wrong[:20]:
        print(f"--seed {one.seed}")
        for text in one.wrong[:10]:
            print(f"    {text}")
    print(f"{len(wrong)} broke a promise")


if __name__ == "__main__":
    sys.exit(main())
