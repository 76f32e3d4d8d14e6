"""What it costs that every call is recorded, and what it costs to ask for the figures.

Recording is measured by itself, as the story does it, and as the difference it makes to whole calls
over a wire that answers at once. Others record one duration, ours thirteen values; they are there
for scale.
"""

from __future__ import annotations

import importlib
import itertools
import math
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import harness
import machine
import report
from harness import Cell, Effort, RunCalls
from report import Figure, Part

from servingclient import _step
from servingclient._call import Story
from servingclient._ports import Grant, World
from servingclient._stats import ConcurrencyStats
from servingclient._types import Origin, Reply, Target
from servingclient.auth.headers import make_target
from servingclient.policies.quota import Quota
from servingclient.settings import Settings
from servingclient.telemetry.recorder import SETTLE_AT, Answered, Recorder
from servingclient.telemetry.snapshot import Stats

OURS, NOTHING = "servingclient", "the loop alone"
RECORDED, SILENT = "recorded", "not recorded"
MOST_RECORD_US = 3.0
MOST_READ_US = 1000.0
SERIES, HISTOGRAMS = 100, 15
"""Series of the client that is asked: its histograms, and classes of errors for the rest."""
FULL, QUICK = Effort(12), Effort(2, 0.02, tries=1, warm=0)


def part(cores: machine.Cores, *, quick: bool) -> Part:
    del cores  # nothing is sent
    effort = QUICK if quick else FULL
    record = harness.measure(dict(recorders()), effort)
    call = harness.measure(
        {RECORDED: calling(Recorder(time.monotonic, threading.RLock)), SILENT: calling(Silent())},
        effort,
    )
    read = harness.measure(dict(readers()), effort)
    return Part(
        "Telemetry",
        "CPU in one thread. Recording: each call has durations of its own, from a fixed seed, and "
        "all that is counted later is counted within the slice. Reading: five minutes of 1,000 "
        f"calls a second lie behind, {SERIES} series: histograms, and classes of errors.",
        [
            Figure(
                "telemetry_record_cpu_us",
                "CPU to record a call, by itself",
                record.differences(OURS, NOTHING),
                MOST_RECORD_US,
                True,
                "µs",
            ),
            Figure(
                "telemetry_stats_cpu_us",
                f"CPU of stats() with {SERIES} series",
                read.series["stats()"].cpu_us,
                MOST_READ_US,
                True,
                "µs",
            ),
        ],
        [
            report.cell_table("Recording one call", record, NOTHING),
            report.cell_table("One call over a wire that answers at once", call, SILENT),
            report.cell_table("Asking for the figures", read, "stats()", per="time"),
        ],
        {"record": medians(record), "call": medians(call), "read": medians(read)},
        [*record.slices(), *call.slices(), *read.slices()],
    )


def medians(cell: Cell) -> dict[str, float]:
    found = {name: statistics.median(series.cpu_us) for name, series in cell.series.items()}
    return {name: round(value, 3) for name, value in found.items()}


# ---------------------------------------------------------------- recording


def answers(count: int = 8192) -> list[Answered]:
    """Calls of 50 ms, of which every third waits for its place."""
    chance = random.Random(1)
    made: list[Answered] = []
    for number in range(count):
        encode_s, decode_s = chance.lognormvariate(-11, 0.3), chance.lognormvariate(-11, 0.3)
        queue_s = 0.0 if number % 3 else chance.uniform(0.0, 0.01)
        reply_s = chance.lognormvariate(-3, 0.5)
        timing = (encode_s, queue_s, 0.0, 0.0, reply_s, decode_s, 0.0, queue_s + reply_s)
        made.append((0.0, timing, chance.randrange(300, 5000), chance.randrange(30, 500), True))
    return made


def recorders() -> Iterator[tuple[str, RunCalls]]:
    made = answers()
    yield OURS, recording(Recorder(time.monotonic, threading.RLock), made)
    yield NOTHING, nothing(made)
    yield from prometheus(made)
    yield from opentelemetry(made)


def recording(recorder: Recorder, made: list[Answered]) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        at_s = time.monotonic()
        for _, timing, request_bytes, reply_bytes, own in itertools.islice(
            itertools.cycle(made), calls
        ):
            answered = recorder.answered  # from here on as in _call.finish
            answered.append((at_s, timing, request_bytes, reply_bytes, own))
            if len(answered) >= SETTLE_AT:
                recorder.settle()
        recorder.settle()
        return ()

    return run


def over(made: list[Answered], record: Callable[[float], object]) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        for _, timing, _, _, _ in itertools.islice(itertools.cycle(made), calls):
            record(timing[-1])
        return ()

    return run


def nothing(made: list[Answered]) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        for _, _, _, _, _ in itertools.islice(itertools.cycle(made), calls):
            pass
        return ()

    return run


def prometheus(made: list[Answered]) -> Iterator[tuple[str, RunCalls]]:
    try:
        client = importlib.import_module("prometheus_client")
    except ImportError:
        return
    histogram = client.Histogram("call_seconds", "one", registry=client.CollectorRegistry())
    yield "prometheus_client, one histogram", over(made, histogram.observe)


def opentelemetry(made: list[Answered]) -> Iterator[tuple[str, RunCalls]]:
    try:
        sdk = importlib.import_module("opentelemetry.sdk.metrics")
        export = importlib.import_module("opentelemetry.sdk.metrics.export")
    except ImportError:
        return
    provider = sdk.MeterProvider([export.InMemoryMetricReader()], shutdown_on_exit=False)
    histogram = provider.get_meter("bench").create_histogram("call.duration", unit="s")
    yield "OpenTelemetry SDK, one histogram", over(made, histogram.record)


# ---------------------------------------------------------------- a whole call

TARGET = make_target(Origin("https", "model.example", 443), "POST", "/invocations", ())
GRANT = Grant(TARGET, 1, 1 << 24)


class Silent(Recorder):
    """Takes what is recorded and counts nothing."""

    __slots__ = ()

    def settle(self) -> None:
        self.answered.clear()


class AtOnce:
    """All ports of a story: always room, a token at hand, and the answer there at once."""

    room = True
    schema = None

    def try_enter(self) -> bool:
        return True

    def leave(self) -> None:
        """Nothing was taken."""

    def answered(self, reply_s: float) -> None:
        """Nothing is learned."""

    def ready(self, served_model: str | None, now_s: float) -> Grant:
        return GRANT

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        now_s = time.monotonic()
        return Reply(200, (), b'{"predictions":[1.0]}', now_s, now_s, 0.0)

    async def sleep(self, seconds: float) -> None:
        """Nothing is waited for."""


def calling(recorder: Recorder) -> RunCalls:
    ports: Any = AtOnce()
    world = World(
        time.monotonic,
        ports.sleep,
        random.random,
        ports,
        ports,
        ports,
        Quota(500),
        (),
        recorder=recorder,
    )
    story, rows = Story("model", Settings(), world), [{"a": 1.0, "b": 2.0}]

    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            _step.run(story.predict(rows, None, None, None, None, 60.0, True, 1))
        return ()

    return run


# ---------------------------------------------------------------- asking


class Clock:
    """Stands where it is put."""

    now_s = 0.0

    def now(self) -> float:
        return self.now_s


def asked() -> Callable[[], Stats]:
    """A client that has five minutes behind it, as ``stats`` of a door puts it together."""
    clock = Clock()
    recorder = Recorder(clock.now, threading.RLock)
    clock.now_s = 300.0
    for number, (_, *rest) in enumerate(itertools.islice(itertools.cycle(answers()), 299_000)):
        recorder.answered.append((number / 1000.0, *rest))  # type: ignore[arg-type]
        if len(recorder.answered) >= SETTLE_AT:
            recorder.settle()
        if number % 100 == 0:
            kind = f"Error{number // 100 % (SERIES - HISTOGRAMS)}"
            recorder.note(number / 1000.0, "failed", kind, 0.2)

    def stats() -> Stats:
        total, recent = recorder.read()
        return Stats("model", ConcurrencyStats(20, 0, 0), 500, total=total, recent=recent)

    return stats


def readers() -> Iterator[tuple[str, RunCalls]]:
    stats = asked()
    assert len(stats().total.errors) + HISTOGRAMS == SERIES
    yield "stats()", repeated(stats)
    yield "and P50 to P99.9 of the last minute", repeated(lambda: stats().last_minute.p99_s)
    yield "and all of it as a table", repeated(lambda: str(stats()))
    yield "and all of it as a card", repeated(lambda: stats()._repr_html_())


def repeated(ask: Callable[[], object]) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            ask()
        return ()

    return run
