"""A load test as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from servingclient.loadtest.compare import Change
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.trial import Trial
from servingclient.telemetry.table import count, percent, rate, seconds

HEADER = ("load", "calls", "answers/s", "good/s", "good", "P50", "P90", "P99", "P99.9", "verdict")


def verdict(trial: Trial) -> str:
    """How a trial went, in a word."""
    if trial.doubts:
        return "INVALID"
    if trial.stopped:
        return "stopped"
    return "met" if trial.met else "missed"


def row(trial: Trial) -> tuple[str, ...]:
    """A trial as a row under ``HEADER``."""
    latency = trial.latency
    return (
        trial.load,
        count(trial.calls),
        rate(trial.answered_qps),
        rate(trial.good_qps),
        percent(trial.good_share),
        *map(seconds, (latency.p50_s, latency.p90_s, latency.p99_s, latency.p999_s)),
        verdict(trial),
    )


def trials(test: LoadTest) -> list[Trial]:
    """All of them, one caller alone first."""
    alone = [test.unloaded] if test.unloaded is not None else []
    return [*alone, *test.trials]


def headline(test: LoadTest) -> str:
    """What it has shown, in a sentence."""
    asked = f"{percent(test.goal.share)} of the calls within {seconds(test.goal.latency_s)}"
    if test.stopped is not None:
        return _stopped(test, asked)
    if not test.valid:
        return f"INVALID: the load generator was the bottleneck, not {test.endpoint!r}."
    if test.knee is None:
        return f"{test.endpoint!r} {'met' if test.met else 'missed'} the goal: {asked}."
    if not test.knee.qps:
        return f"{test.endpoint!r} met the goal at no rate that was tried: {asked}."
    above = test.knee.missed_qps
    to = "the highest rate tried" if above is None else f"missed at {rate(above)}/s"
    return f"{test.endpoint!r} meets the goal up to {rate(test.knee.qps)} calls/s ({to}): {asked}."


def _stopped(test: LoadTest, asked: str) -> str:
    what = "load test" if test.knee is None else "search for the knee"
    told = f"The {what} of {test.endpoint!r} was broken off. {(test.stopped or '').rstrip('.')}."
    if test.knee is None or not test.knee.qps or not test.valid:
        return told
    return f"{told} Until then it met the goal up to {rate(test.knee.qps)} calls/s: {asked}."


def notes(test: LoadTest) -> Iterator[str]:
    """What one should know beside the table."""
    yield from (f"not to be believed: {doubt}" for doubt in test.doubts)
    why = test.not_recommended
    if why is not None:
        yield f"no size is recommended: {why.rstrip('.')}"
    for trial in trials(test):
        if trial.stopped:
            yield f"{trial.load} was broken off: {trial.stopped}"
        elif trial.settled is False and trial.callers is None:
            yield f"{trial.load} did not settle: no three windows in a row within 10 %"
        if trial.errors:
            said = ", ".join(f"{count(n)} {name}" for name, n in sorted(trial.errors.items()))
            yield f"{trial.load}: failed were {said}"


def text(test: LoadTest) -> str:
    """The whole as lines of text."""
    lines = [headline(test), "", *table([HEADER, *map(row, trials(test))])]
    found = list(notes(test))
    if found:
        lines += ["", *(f"- {note}" for note in found)]
    lines += [
        "",
        "Latency counts from when a call was due, so waiting for a slow endpoint is in it.",
        "Calls that failed have none: they are in no percentile, and are not good.",
    ]
    return "\n".join(lines)


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Rows with columns of equal width, the first to the left, the others to the right."""
    cells = list(rows)
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if place == 0 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(one, widths, strict=True))
        ).rstrip()
        for one in cells
    ]


def changes(found: Iterable[Change]) -> str:
    """A comparison as lines of text."""
    rows = [("", "before", "after", "change", "95 % interval", "verdict")]
    for one in found:
        show = rate if one.name == "goodput" else seconds
        interval = f"{one.low - 1.0:+.1%} to {one.high - 1.0:+.1%}"
        change = f"{one.ratio - 1.0:+.1%}"
        rows.append((one.name, show(one.before), show(one.after), change, interval, one.verdict))
    return "\n".join(table(rows))
