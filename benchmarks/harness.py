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


@dataclass(frozen=True)
class Server:
    """The process that answers.

    Attributes:
        host: Scheme, address and port.
        ca_file: The authority that signed its certificate.
        pid: Its process.
    """

    host: str
    ca_file: str
    pid: int

    def waited_s(self) -> float:
        """Seconds it was ready to run while something else held its core; 0.0 where unknown."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0


@contextmanager
def server(core: int | None, *options: str) -> Iterator[Server]:
    """The server in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), "--until-stdin-ends"]
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(**json.loads(process.stdout.readline()), pid=process.pid)
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


def fixed_job() -> tuple[float, float]:
    """CPU and wall seconds of a fixed piece of pure Python: how fast the machine is just now."""
    wall, cpu = time.perf_counter(), time.thread_time()
    words: dict[int, str] = {}
    for i in range(JOB_STEPS):
        words[(i * 7919) % 4001] = str(i)
    " ".join(sorted(words.values()))
    return time.thread_time() - cpu, time.perf_counter() - wall


JOB_STEPS = 32_000


def cpu_s() -> float:
    """User and system time of the whole process, native threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@dataclass(frozen=True)
class Slice:
    """One turn of one contender.

    Attributes:
        cpu_us: CPU per call, scaled by the fixed job.
        calls_per_s: Calls per second of wall time.
        job_s: CPU seconds of the fixed job beside it.
        disturbed: Share of the time in which another process held a core that was needed here.
    """

    cpu_us: float
    calls_per_s: float
    job_s: float
    disturbed: float


@dataclass
class Series:
    """What one contender showed, one slice per round."""

    calls: int
    slices: list[Slice] = field(default_factory=list)

    @property
    def cpu_us(self) -> list[float]:
        return [one.cpu_us for one in self.slices]

    @property
    def best_calls_per_s(self) -> float:
        return max(one.calls_per_s for one in self.slices)


@dataclass
class Cell:
    """All contenders of one cell, measured in the same rounds."""

    series: dict[str, Series]

    def slices(self) -> list[Slice]:
        return [one for series in self.series.values() for one in series.slices]

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
    least_calls: int = 1,
    server_waited_s: Callable[[], float] = lambda: 0.0,
    seed: int = 1,
) -> Cell:
    """Warm all up, size each slice from its subject's own speed, then run shuffled rounds."""
    chance = random.Random(seed)
    series = {name: Series(warm_up(run, slice_s, least_calls)) for name, run in subjects.items()}
    gc.collect()
    gc.freeze()  # what lives now lives on: no collection should walk it within a slice
    try:
        for _ in range(rounds):
            for name in chance.sample(sorted(subjects), len(subjects)):
                of = series[name]
                of.slices.append(quiet_slice(subjects[name], of.calls, server_waited_s))
    finally:
        gc.unfreeze()
    return Cell(series)


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


def quiet_slice(run: RunCalls, calls: int, server_waited_s: Callable[[], float]) -> Slice:
    """A slice nobody disturbed, or the least disturbed of a few.

    What counts as disturbed has nothing to do with the contender: with a server that gets no core,
    every reply is waited for, and fast clients look much dearer than they are.
    """
    tried = []
    for _ in range(SLICE_TRIES):
        gc.collect(0)
        tried.append(one_slice(run, calls, server_waited_s))
        if tried[-1].disturbed <= DISTURBED:
            return tried[-1]
        time.sleep(0.1)
    return min(tried, key=lambda one: one.disturbed)


SLICE_TRIES = 3
DISTURBED = 0.05
"""Share from which on a slice counts as disturbed."""


def one_slice(run: RunCalls, calls: int, server_waited_s: Callable[[], float]) -> Slice:
    job, job_wall = fixed_job()
    waited, wall, cpu = server_waited_s(), time.perf_counter(), cpu_s()
    run(calls)
    cpu, wall, waited = cpu_s() - cpu, time.perf_counter() - wall, server_waited_s() - waited
    after, after_wall = fixed_job()
    job, job_wall = (job + after) / 2, (job_wall + after_wall) / 2
    return Slice(
        cpu_us=cpu / calls * (REFERENCE_JOB_S / job) * 1e6,
        calls_per_s=calls / wall,
        job_s=job,
        disturbed=max(waited / wall, 1 - job / job_wall),
    )
