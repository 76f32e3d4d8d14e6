"""How everything here is measured: CPU per call, contenders interleaved, paired by round.

Absolute figures of two runs can not be compared on a shared machine; ratios within one round can.
So all contenders of a cell live in one process, each takes a slice of about 0.1 s in every round,
the order is shuffled, and what is reported are medians over rounds and medians of the ratios within
rounds.

Knows nothing of HTTP or of any contender: ``measure`` takes functions that make a given number of
calls.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import Any

RunCalls = Callable[[int], None]
"""Makes that many calls and returns when the last is done."""

REFERENCE_JOB_S = 0.0028
"""Slices are scaled to the speed of a machine that does ``fixed_job`` in this time."""


# ---------------------------------------------------------------- the machine


def pin() -> tuple[int | None, int | None]:
    """Keep this process on one core; returns it and one left for the server.

    None for both where the system can not pin, or has one core. Call it before any thread exists:
    threads inherit it.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        return None, None
    os.sched_setaffinity(0, {allowed[-1]})
    return allowed[-1], allowed[0]


def allow_many_files() -> None:
    """A thousand connections per contender outgrow the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def server(core: int | None, *options: str) -> Iterator[dict[str, str]]:
    """The server in a process of its own; yields its ``host`` and ``ca_file``."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), "--until-stdin-ends"]
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)


# ---------------------------------------------------------------- callers


class Threads:
    """Threads that stay alive over all slices, as a service's do; they share one client."""

    def __init__(self, count: int) -> None:
        self._orders: SimpleQueue[tuple[Callable[[], Any], Iterator[int]] | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def run(self, call: Callable[[], Any], calls: int) -> None:
        budget = iter(range(calls))  # shared: all threads stay busy until it is used up
        for _ in self._threads:
            self._orders.put((call, budget))
        errors = [self._done.get() for _ in self._threads]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            call, budget = order
            try:
                for _ in budget:
                    call()
            except BaseException as error:  # noqa: BLE001  raised again by run
                self._done.put(error)
            else:
                self._done.put(None)


async def run_tasks(call: Callable[[], Awaitable[Any]], calls: int, concurrency: int) -> None:
    """``calls`` calls, ``concurrency`` of them open at any time."""
    budget = iter(range(calls))

    async def caller() -> None:
        for _ in budget:
            await call()

    await asyncio.gather(*(caller() for _ in range(concurrency)))


# ---------------------------------------------------------------- measuring


def fixed_job() -> float:
    """CPU seconds of a fixed piece of pure Python: how fast the machine is at this moment."""
    started = time.thread_time()
    words: dict[int, str] = {}
    for i in range(JOB_STEPS):
        words[(i * 7919) % 4001] = str(i)
    " ".join(sorted(words.values()))
    return time.thread_time() - started


JOB_STEPS = 32_000


def cpu_s() -> float:
    """User and system time of the whole process, native threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass
class Series:
    """What one contender showed, one entry per round."""

    calls: int
    cpu_us: list[float] = field(default_factory=list)
    calls_per_s: list[float] = field(default_factory=list)

    @property
    def median_us(self) -> float:
        return statistics.median(self.cpu_us)

    @property
    def quartiles_us(self) -> tuple[float, float]:
        return quartiles(self.cpu_us)


@dataclass
class Cell:
    """All contenders of one cell, measured in the same rounds."""

    series: dict[str, Series]
    job_s: list[float]
    """How long the fixed job took through the cell: its spread is the machine's noise."""

    def ratios(self, over: str, under: str) -> list[float]:
        """Per round: CPU of ``over`` as a multiple of that of ``under``."""
        pairs = zip(self.series[over].cpu_us, self.series[under].cpu_us, strict=True)
        return [a / b for a, b in pairs]

    def differences(self, whole: str, part: str) -> list[float]:
        """Per round: what ``whole`` takes beyond ``part``, in µs per call."""
        pairs = zip(self.series[whole].cpu_us, self.series[part].cpu_us, strict=True)
        return [a - b for a, b in pairs]


def quartiles(values: list[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def measure(
    subjects: Mapping[str, RunCalls],
    *,
    rounds: int,
    slice_s: float = 0.1,
    least_calls: Mapping[str, int] | int = 1,
    seed: int = 1,
) -> Cell:
    """Warm all up, size each slice from its subject's own speed, then run shuffled rounds."""
    chance = random.Random(seed)
    series = {}
    for name, run in subjects.items():
        least = least_calls if isinstance(least_calls, int) else least_calls[name]
        series[name] = Series(calls=warm_up(run, slice_s, least))
    job_s: list[float] = []
    gc.collect()
    gc.freeze()  # what lives now lives on: no collection should walk it within a slice
    try:
        for _ in range(rounds):
            for name in chance.sample(sorted(subjects), len(subjects)):
                gc.collect(0)
                job_s += one_slice(subjects[name], series[name])
    finally:
        gc.unfreeze()
    return Cell(series, job_s)


def warm_up(run: RunCalls, slice_s: float, least: int) -> int:
    """Calls that take about ``slice_s``. Runs three slices or so: caches fill, code specialises."""
    calls = least
    for trial in itertools.count():
        started = time.perf_counter()
        run(calls)
        took_s = time.perf_counter() - started
        calls = max(least, min(calls * 8, round(calls * slice_s / took_s)))
        if trial >= 3 and took_s > slice_s / 2:
            return calls
    raise AssertionError  # pragma: no cover  count() has no end


def one_slice(run: RunCalls, series: Series) -> tuple[float, float]:
    before_s = fixed_job()
    wall, cpu = time.perf_counter(), cpu_s()
    run(series.calls)
    cpu, wall = cpu_s() - cpu, time.perf_counter() - wall
    after_s = fixed_job()
    speed = REFERENCE_JOB_S / ((before_s + after_s) / 2)
    series.cpu_us.append(cpu / series.calls * speed * 1e6)
    series.calls_per_s.append(series.calls / wall)
    return before_s, after_s
