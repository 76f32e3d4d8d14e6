"""What one trial has shown. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from servingclient.loadtest.load import Goal, Load, OpenLoad, Timetable
from servingclient.loadtest.series import Series, settled
from servingclient.loadtest.trust import ClientLoad, Trust, doubts
from servingclient.telemetry.histogram import Histogram


class Quantiles(NamedTuple):
    """Latency in seconds; None where nothing was answered.

    Attributes:
        p50_s: Half of the calls took at most this long.
        p90_s: Nine of ten did.
        p95_s: 95 of 100 did.
        p99_s: 99 of 100 did.
        p999_s: 999 of 1,000 did.
        max_s: All did.
    """

    p50_s: float | None
    p90_s: float | None
    p95_s: float | None
    p99_s: float | None
    p999_s: float | None
    max_s: float | None

    @classmethod
    def of(cls, histogram: Histogram) -> Quantiles:
        """Those of what was counted, each within 0.4 %."""
        p50_s, p90_s, p95_s, p99_s, p999_s, max_s = histogram.quantiles(
            (0.5, 0.9, 0.95, 0.99, 0.999, 1.0)
        )
        return cls(p50_s, p90_s, p95_s, p99_s, p999_s, max_s)


class Point(NamedTuple):
    """One second of a trial.

    Attributes:
        second: Whole seconds from the start.
        calls: Calls that were due in it.
        good: How many of them were answered within the goal.
        latency: Seconds from when they were due, of those answered.
    """

    second: int
    calls: int
    good: int
    latency: Histogram


@dataclass(frozen=True, slots=True)
class Trial:
    """One load on one endpoint.

    Attributes:
        load: What it was.
        asked_qps: Calls a second that were asked for, in the mean of what was measured; None in a
            closed loop.
        callers: How many in a closed loop; None in an open one.
        from_s: Where what was measured begins, in seconds from the start: the end of the warm-up.
        seconds: How long was measured.
        calls: Calls that were due in that time.
        answered_qps: Answers a second.
        good_qps: Answers a second within the goal: goodput.
        good_share: Share of all calls that were.
        errors: How many failed, by class of the error.
        latency: From when a call was due.
        raw: From when it began, waiting inside the client included.
        mean_s: Mean latency from when it began; None where nothing was answered.
        points: Second by second, warm-up too.
        settled: The last three windows agreed; None where the load itself changes.
        stopped: Why it was broken off, or None.
        doubts: Why it is not to be believed; empty if it is.
        met: The goal was met: the trial is valid, was not broken off, and enough calls were good.
        inconclusive: It was broken off for what says nothing of the endpoint, so it was not missed
            either: the limit on calls, or calls that were refused for what they are.
    """

    load: str
    asked_qps: float | None
    callers: int | None
    from_s: int
    seconds: float
    calls: int
    answered_qps: float
    good_qps: float
    good_share: float
    errors: Mapping[str, int]
    latency: Quantiles
    raw: Quantiles
    mean_s: float | None
    points: tuple[Point, ...]
    settled: bool | None
    stopped: str | None
    doubts: tuple[str, ...]
    met: bool
    inconclusive: bool = False

    @property
    def valid(self) -> bool:
        """The endpoint was measured, and not the load generator."""
        return not self.doubts

    @property
    def every_second(self) -> tuple[Point, ...]:
        """``points``, with those in which no call was due."""
        known = {point.second: point for point in self.points}
        to_s = max(math.ceil(self.from_s + self.seconds), max(known, default=-1) + 1)
        return tuple(
            known.get(second) or Point(second, 0, 0, Histogram()) for second in range(to_s)
        )

    @property
    def measured(self) -> tuple[Point, ...]:
        """The seconds that count, with those in which no call was due."""
        to_s = self.from_s + self.seconds
        return tuple(point for point in self.every_second if self.from_s <= point.second < to_s)

    def to_json(self) -> dict[str, Any]:
        """As plain values for ``json``; ``of_json`` reads them."""
        return asdict(self) | {
            "latency": self.latency._asdict(),
            "raw": self.raw._asdict(),
            "points": [[*point[:3], point.latency.encode()] for point in self.points],
        }

    @classmethod
    def of_json(cls, values: Mapping[str, Any]) -> Trial:
        """What ``to_json`` gave.

        Raises:
            ValueError: It did not give this.
        """
        try:
            given = dict(values)
            given["latency"] = Quantiles(**given["latency"])
            given["raw"] = Quantiles(**given["raw"])
            given["points"] = tuple(
                Point(second, calls, good, Histogram.decode(latency))
                for second, calls, good, latency in given["points"]
            )
            given["doubts"] = tuple(given["doubts"])
            return cls(**given)
        except (KeyError, TypeError):
            raise ValueError("this is no trial of a load test") from None


def judged(
    load: Load,
    series: Series,
    generators: Sequence[ClientLoad],
    goal: Goal,
    times: Timetable,
    trust: Trust,
    *,
    lasted_s: float,
    stopped: str | None = None,
    inconclusive: bool = False,
    rested: bool = False,
) -> Trial:
    """What a trial has shown.

    Args:
        load: What was asked for.
        series: What became of it.
        generators: How busy the processes were that made it.
        goal: What the endpoint was to hold.
        times: What counts as warm-up and window.
        trust: When not to believe it.
        lasted_s: How long calls were made.
        stopped: Why it was broken off, or None.
        inconclusive: That says nothing of the endpoint.
        rested: It was ended because it had settled; more has come in since.
    """
    # a second in which a steady load was stopped is left out, the last of another one is not
    from_s, to_s = times.warmup_s, int(lasted_s) if load.steady else int(lasted_s) + 1
    if min(lasted_s, to_s) < from_s + 1:  # broken off before there was a second: all of it is shown
        from_s, to_s = 0, int(lasted_s) + 1
    until_s = min(lasted_s, to_s)
    measured, seconds = series.span(from_s, to_s), until_s - from_s
    latency = Quantiles.of(measured.latency)
    doubted = sorted({d for one in generators for d in doubts(one, latency.p99_s, trust)})
    good_share = measured.good / measured.calls if measured.calls else 0.0
    windows = [series.span(*window) for window in times.windows(lasted_s)]
    return Trial(
        load=load.name,
        asked_qps=_asked_qps(load, from_s, until_s),
        callers=getattr(load, "callers", None),
        from_s=from_s,
        seconds=seconds,
        calls=measured.calls,
        answered_qps=measured.answered / seconds,
        good_qps=measured.good / seconds,
        good_share=good_share,
        errors=dict(measured.errors),
        latency=latency,
        raw=Quantiles.of(measured.raw),
        mean_s=measured.raw.mean,
        points=tuple(
            Point(second, one.calls, one.good, one.latency)
            for second, one in sorted(series.seconds.items())
        ),
        settled=rested or settled(windows, times.window_s) if load.steady else None,
        stopped=stopped,
        doubts=tuple(doubted),
        met=not stopped and not doubted and good_share >= goal.share,
        inconclusive=inconclusive,
    )


def _asked_qps(load: Load, from_s: float, to_s: float) -> float | None:
    if not isinstance(load, OpenLoad):
        return None
    return load.profile.calls_between(from_s, to_s) / (to_s - from_s)
