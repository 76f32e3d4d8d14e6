"""A snapshot with everything in it, for what is printed of it."""

from __future__ import annotations

from servingclient._stats import (
    BatchingStats,
    ConcurrencyStats,
    EnrichmentStats,
    HedgingStats,
    LaneStats,
    TokenStats,
)
from servingclient.telemetry.recorder import Recorder
from servingclient.telemetry.snapshot import Stats

START_S = 1000.0
END_S = START_S + 7384.0


class Clock:
    now_s = START_S

    def now(self) -> float:
        return self.now_s


def full(endpoint: str = "fraud", kind: str = "Throttled") -> Stats:
    """Two hours: a call every 4 s, one in ten throttled first, one in fifty failed."""
    clock = Clock()
    recorder = Recorder(clock.now)
    for number in range(1846):
        at_s = START_S + 4.0 * number
        total_s = 0.04 + 0.001 * (number % 40)
        if number % 50 == 49:
            recorder.note(at_s, "failed_attempt", "429", 0.01)
            recorder.note(at_s, "throttled")
            recorder.note(at_s, "failed", kind, 2.5)
            continue
        if number % 10 == 0:
            recorder.note(at_s, "failed_attempt", "429", 0.01)
            recorder.note(at_s, "throttled")
            recorder.note(at_s, "retry")
        wait_s = 0.002 * (number % 7)
        parts = (2e-5, wait_s, 0.0, 0.0 if number else 0.003, total_s - wait_s, 1e-5, 0.0, total_s)
        recorder.answered.append((at_s, parts, 1250, 64, True))
    recorder.note(END_S, "cancelled", "CancelledError", 1.0)
    recorder.note(END_S, "stream", None, 8.0)
    for size in (9000, 11000):
        recorder.note(END_S, "unpacked", None, size)
        recorder.note(END_S, "packed", None, size / 4)
    clock.now_s = END_S
    total, recent = recorder.read()
    return Stats(
        endpoint,
        ConcurrencyStats(20, 3, 1, 188, 2),
        486,
        BatchingStats(calls=4000, rows=4000, batches=320, waiting=5),
        HedgingStats(calls=900, hedges=12, wins=7, delay_s=0.085),
        LaneStats(3, 5, 11, 2),
        TokenStats(754.0, 2846.0, failing=True, route_optimized=True),
        (
            EnrichmentStats(
                "https://u.example",
                hits=960,
                misses=40,
                qps=12.5,
                p99_s=0.181,
                error_rate=0.02,
                breaker="open",
            ),
        ),
        total=total,
        recent=recent,
    )


def empty(endpoint: str = "fraud") -> Stats:
    """A client that was made a moment ago."""
    total, recent = Recorder(Clock().now).read()
    return Stats(endpoint, ConcurrencyStats(20, 0, 0), 500, total=total, recent=recent)
