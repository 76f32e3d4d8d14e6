"""How everything here is measured: CPU per call, contenders interleaved, paired by round.

Absolute figures of two runs can not be compared on a shared machine; ratios within one round can.
So all contenders of a cell live in one process, each takes a slice of about 0.1 s in every round,
the order is shuffled, and what is reported are medians over rounds and medians of the ratios within
rounds.

Knows nothing of HTTP or of any contender: ``measure`` takes functions that make a given number of
calls.
"""

from __future__ import annotations

import gc
import itertools
import operator
import random
import resource
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

RunCalls = Callable[[int], Sequence[float]]
"""Makes that many calls and returns when the last is done: the seconds of each, or nothing."""

REFERENCE_JOB_S = 0.0028
"""Slices are scaled to the speed of a machine that does ``fixed_job`` in this time."""

DISTURBED = 0.05
"""Share from which on a slice counts as disturbed."""


class Effort(NamedTuple):
    """How long a cell is measured.

    Attributes:
        rounds: Turns of each contender.
        slice_s: Length of a turn.
        tries: How often a disturbed turn is taken, at most.
        warm: Turns before those that count, one more than this: caches fill, code specialises.
    """

    rounds: int
    slice_s: float = 0.1
    tries: int = 3
    warm: int = 3


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
        seconds: How long each call took, where that was noted.
    """

    cpu_us: float
    calls_per_s: float
    job_s: float
    disturbed: float
    seconds: Sequence[float] = ()

    @property
    def p50_ms(self) -> float:
        return quantile(self.seconds, 0.5) * 1e3

    @property
    def p99_ms(self) -> float:
        return quantile(self.seconds, 0.99) * 1e3


CPU_US = operator.attrgetter("cpu_us")
CALLS_PER_S = operator.attrgetter("calls_per_s")
P50_MS = operator.attrgetter("p50_ms")
P99_MS = operator.attrgetter("p99_ms")


@dataclass
class Series:
    """What one contender showed, one slice per round."""

    calls: int
    slices: list[Slice] = field(default_factory=list)

    @property
    def cpu_us(self) -> list[float]:
        return [one.cpu_us for one in self.slices]

    @property
    def calls_per_s(self) -> list[float]:
        return [one.calls_per_s for one in self.slices]

    @property
    def seconds(self) -> list[float]:
        return [second for one in self.slices for second in one.seconds]


@dataclass
class Cell:
    """All contenders of one cell, measured in the same rounds."""

    series: dict[str, Series]

    def slices(self) -> list[Slice]:
        return [one for series in self.series.values() for one in series.slices]

    def ratios(
        self, over: str, under: str, figure: Callable[[Slice], float] = CPU_US
    ) -> list[float]:
        """Per round: a figure of ``over`` as a multiple of that of ``under``."""
        pairs = zip(self.series[over].slices, self.series[under].slices, strict=True)
        return [figure(a) / figure(b) for a, b in pairs]

    def differences(self, whole: str, part: str) -> list[float]:
        """Per round: what ``whole`` takes beyond ``part``, in µs per call."""
        pairs = zip(self.series[whole].cpu_us, self.series[part].cpu_us, strict=True)
        return [a - b for a, b in pairs]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of all do not exceed."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def measure(
    subjects: Mapping[str, RunCalls],
    effort: Effort,
    *,
    least_calls: int = 1,
    server_waited_s: Callable[[], float] = lambda: 0.0,
    seed: int = 1,
) -> Cell:
    """Warm all up, size each slice from its subject's own speed, then run shuffled rounds."""
    chance = random.Random(seed)
    series = {name: Series(warm_up(run, effort, least_calls)) for name, run in subjects.items()}
    vain = 0
    gc.collect()
    gc.freeze()  # what lives now lives on: no collection should walk it within a slice
    try:
        for _ in range(effort.rounds):
            for name in chance.sample(sorted(subjects), len(subjects)):
                of = series[name]
                tries = effort.tries if vain < MOST_VAIN else 1
                taken = quiet_slice(subjects[name], of.calls, server_waited_s, tries)
                vain += taken.disturbed > DISTURBED
                of.slices.append(taken)
    finally:
        gc.unfreeze()
    return Cell(series)


MOST_VAIN = 5
"""Slices of a cell that no repetition made quiet: beyond that, the machine is busy for good."""


def warm_up(run: RunCalls, effort: Effort, least: int) -> int:
    """Warm up; calls that take about ``effort.slice_s``."""
    calls = least
    began = time.perf_counter()
    for trial in itertools.count():
        started = time.perf_counter()
        run(calls)
        took_s = time.perf_counter() - started
        calls = max(least, min(calls * 8, round(calls * effort.slice_s / took_s)))
        warm = trial >= effort.warm or time.perf_counter() - began > WARM_S
        if warm and took_s > effort.slice_s / 2:
            return calls
    raise AssertionError  # pragma: no cover  count() has no end


WARM_S = 1.5
"""Enough of it, where one slice takes long because the server makes it wait."""


def quiet_slice(
    run: RunCalls, calls: int, server_waited_s: Callable[[], float], tries: int
) -> Slice:
    """A slice nobody disturbed, or the least disturbed of a few.

    What counts as disturbed has nothing to do with the contender: with a server that gets no core,
    every reply is waited for, and fast clients look much dearer than they are.
    """
    tried = []
    for trial in range(tries):
        if trial:
            time.sleep(0.1)
        gc.collect(0)
        tried.append(one_slice(run, calls, server_waited_s))
        if tried[-1].disturbed <= DISTURBED:
            break
    return min(tried, key=lambda one: one.disturbed)


def one_slice(run: RunCalls, calls: int, server_waited_s: Callable[[], float]) -> Slice:
    job, job_wall = fixed_job()
    waited, wall, cpu = server_waited_s(), time.perf_counter(), cpu_s()
    seconds = run(calls)
    cpu, wall, waited = cpu_s() - cpu, time.perf_counter() - wall, server_waited_s() - waited
    after, after_wall = fixed_job()
    job, job_wall = (job + after) / 2, (job_wall + after_wall) / 2
    return Slice(
        cpu_us=cpu / calls * (REFERENCE_JOB_S / job) * 1e6,
        calls_per_s=calls / wall,
        job_s=job,
        disturbed=max(waited / wall, 1 - job / job_wall),
        seconds=seconds,
    )
