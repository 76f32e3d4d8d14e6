"""A load test as one HTML page that needs nothing else: no script, no network. Pure."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Sequence
from typing import Final

from servingclient.loadtest import report
from servingclient.loadtest.plots import Curve, Mark, svg
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.trial import Trial
from servingclient.telemetry.histogram import merged
from servingclient.telemetry.table import rate, seconds, span

_STYLE: Final = (
    "body{font:14px/1.5 sans-serif;color:#1f2328;max-width:60em;margin:2em auto;padding:0 1em}"
    "table{border-collapse:collapse;margin:1em 0}"
    "td,th{padding:.2em .7em;text-align:right;border-bottom:1px solid #d0d7de}"
    "td:first-child,th:first-child{text-align:left}svg{width:100%;height:auto}"
    ".bad{color:#cf222e;font-weight:600}"
)
_EXPLAINED: Final = (
    "Latency counts from when a call was due. Raw is from when it began: where the two differ, "
    "calls could not begin in time. Waiting inside the client is in both. A call that failed has "
    "no latency; percentiles are of those that were answered."
)


def page(test: LoadTest) -> str:
    """The whole page."""
    endpoint = html.escape(test.endpoint)
    begun = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(test.started_unix_s))
    made = "1 process" if test.processes == 1 else f"{test.processes} processes"
    return "".join(
        (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"/>',
            f"<title>Load test of {endpoint}</title><style>{_STYLE}</style></head><body>",
            f"<h1>Load test of {endpoint}</h1>",
            f"<p{_class(test)}>{html.escape(report.headline(test))}</p>",
            f"<p>Begun {begun}; load made by {made}, arrivals of seed {test.seed}.</p>",
            _table(test),
            _notes(test),
            _against_rate(test),
            _over_percentiles(test),
            *(_over_time(trial, test) for trial in report.trials(test)),
            f"<p>{_EXPLAINED}</p></body></html>",
        )
    )


def _class(test: LoadTest) -> str:
    return "" if test.met else ' class="bad"'


def _table(test: LoadTest) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in report.HEADER)
    rows = (
        "".join(f"<td>{html.escape(cell)}</td>" for cell in report.row(trial))
        for trial in report.trials(test)
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


def _notes(test: LoadTest) -> str:
    found = "".join(f"<li>{html.escape(note)}</li>" for note in report.notes(test))
    return f"<ul>{found}</ul>" if found else ""


def _against_rate(test: LoadTest) -> str:
    """Latency against the rate, with the knee; only where several rates were tried."""
    trials = sorted((t for t in test.trials if t.asked_qps is not None), key=_asked_qps)
    if len({trial.asked_qps for trial in trials}) < 2:
        return ""
    marks = [Mark(f"goal {seconds(test.goal.latency_s)}", y=test.goal.latency_s)]
    if test.knee is not None and test.knee.qps:
        marks.append(Mark(f"knee {rate(test.knee.qps)}/s", x=test.knee.qps))
    curves = [
        Curve("P50", [(_asked_qps(trial), trial.latency.p50_s) for trial in trials]),
        Curve("P99", [(_asked_qps(trial), trial.latency.p99_s) for trial in trials]),
        Curve("P99 raw", [(_asked_qps(trial), trial.raw.p99_s) for trial in trials]),
    ]
    drawn = svg("Latency against rate", curves, x_words=_per_s, y_words=seconds, marks=marks)
    return f"<h2>Latency against rate</h2>{drawn}"


def _asked_qps(trial: Trial) -> float:
    return trial.asked_qps or 0.0


def _per_s(value: float) -> str:
    return f"{rate(value)}/s"


_NINES: Final = 4
"""Up to P99.99: each nine is as wide as the one before."""
_SHARES: Final = (0.0, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999)


def _over_percentiles(test: LoadTest) -> str:
    """Latency over its percentiles, a curve for each trial."""
    curves = [_by_share(trial) for trial in report.trials(test)]
    marks = [Mark(f"goal {seconds(test.goal.latency_s)}", y=test.goal.latency_s)]
    title = "Latency by percentile"
    return f"<h2>{title}</h2>" + svg(
        title, curves, x_words=_percentile, y_words=seconds, marks=marks
    )


def _by_share(trial: Trial) -> Curve:
    """As far as there are calls: beyond, all percentiles are the slowest one."""
    latency = merged(point.latency for point in trial.measured)
    known = [share for share in _SHARES if round(latency.count * (1.0 - share), 6) >= 1.0]
    points = zip(map(_nines, known), latency.quantiles(known), strict=True)
    return Curve(_short(trial), [*points, (float(_NINES), None)])


def _nines(share: float) -> float:
    return -math.log10(1.0 - share)


def _percentile(nines: float) -> str:
    return f"P{100.0 * (1.0 - 10.0**-nines):.6g}"


def _short(trial: Trial) -> str:
    if trial.asked_qps is not None:
        return _per_s(trial.asked_qps)
    return "trace" if trial.callers is None else trial.load


def _over_time(trial: Trial, test: LoadTest) -> str:
    heading = f"<h2>{html.escape(trial.load)}</h2>"
    marks = [Mark("measured from here", x=float(trial.from_s))] if trial.from_s else []
    latency = svg(
        f"Latency over time, {trial.load}",
        [_over_points(trial, "P50", 0.5), _over_points(trial, "P99", 0.99)],
        x_words=span,
        y_words=seconds,
        marks=[*marks, Mark(f"goal {seconds(test.goal.latency_s)}", y=test.goal.latency_s)],
    )
    rates = svg(
        f"Calls a second, {trial.load}",
        [
            Curve("due", [(point.second, float(point.calls)) for point in trial.every_second]),
            Curve("good", [(point.second, float(point.good)) for point in trial.every_second]),
        ],
        x_words=span,
        y_words=_per_s,
        marks=marks,
    )
    return heading + latency + rates + _percentiles(trial)


def _over_points(trial: Trial, name: str, share: float) -> Curve:
    return Curve(name, [(p.second, p.latency.quantile(share)) for p in trial.points])


def _percentiles(trial: Trial) -> str:
    """One row from when calls were due, one from when they began."""
    names: Sequence[str] = ("P50", "P90", "P95", "P99", "P99.9", "max")
    rows = (("from when due", trial.latency), ("raw", trial.raw))
    head = "".join(f"<th>{name}</th>" for name in ("", *names))
    body = (
        f"<tr><td>{name}</td>{''.join(f'<td>{seconds(value)}</td>' for value in values)}</tr>"
        for name, values in rows
    )
    return f"<table><tr>{head}</tr>{''.join(body)}</table>"
