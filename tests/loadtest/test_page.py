"""What the page plots of a trial."""

from __future__ import annotations

import re
from itertools import pairwise

from servingclient.loadtest import ClosedLoad, Goal, LoadTest, Timetable, Trial, Trust
from servingclient.loadtest.page import page
from servingclient.loadtest.series import Done, Series
from servingclient.loadtest.trial import judged
from servingclient.loadtest.trust import ClientLoad


def trial(calls: list[Done], *, seconds: float) -> Trial:
    series = Series(1.0)
    series.take(calls)
    sound, load = ClientLoad(0.3, 0.001, 0.0, 100, 100), ClosedLoad(1, seconds)
    times = Timetable(warmup_s=0, window_s=1)
    return judged(load, series, [sound], Goal(), times, Trust(), lasted_s=seconds)


def plot(test: LoadTest, title: str) -> str:
    (found,) = re.findall(rf"<svg[^>]*><title>{title}.*?</svg>", page(test))
    return str(found)


def curves(drawn: str) -> list[list[tuple[float, float]]]:
    """Points of each line, as places on the plot: up is less."""
    lines = re.findall(r'points="([^"]*)"', drawn)
    return [[tuple(map(float, one.split(","))) for one in line.split()] for line in lines]  # type: ignore[misc]


def test_percentiles_are_plotted_as_far_as_there_are_calls() -> None:
    hundred = trial(
        [Done(i / 10, i / 10, i / 10 + i / 1000, None, 0.0) for i in range(100)], seconds=10.0
    )
    test = LoadTest("m", Goal(latency_s=0.5), (hundred, hundred))
    drawn = plot(test, "Latency by percentile")
    assert [f">P{share}<" in drawn for share in ("0", "90", "99", "99.9", "99.99")] == [True] * 5
    one, other = curves(drawn)
    assert one == other
    assert len(one) == 8  # up to P99, of the twelve
    assert all(a[0] < b[0] and a[1] >= b[1] for a, b in pairwise(one))
    assert ">1 caller<" in drawn
    assert ">goal 500 ms<" in drawn


def test_a_trial_without_an_answer_has_no_curve() -> None:
    failed = trial(
        [Done(i / 10, i / 10, i / 10, "ServerError", 0.0) for i in range(50)], seconds=5.0
    )
    drawn = plot(LoadTest("m", Goal(), (failed,)), "Latency by percentile")
    assert curves(drawn) == []


def test_seconds_without_a_call_are_none_due_in_the_plot() -> None:
    each_third = trial([Done(i, i, i + 0.1, None, 0.0) for i in range(0, 9, 3)], seconds=9.0)
    due, good = curves(plot(LoadTest("m", Goal(), (each_third,)), "Calls a second"))
    levels, none = [up for _, up in due], max(up for _, up in due)
    assert [up < none for up in levels] == [True, False, False] * 3
    assert good == due
