"""P99 against the rate: as plain text, as SVG, and as PNG where matplotlib is installed."""

from __future__ import annotations

import html as markup
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from servingclient.capacity import sizing
from servingclient.capacity.workload import Workload, count, duration
from servingclient.errors import ConfigError

_POINTS: Final = 40
_STEPS: Final = range(1, _POINTS + 1)
_NEAR_FULL: Final = 0.985
"""Curves end here: beyond it the P99 is of no use to anybody and would flatten the rest."""
_MARKS: Final = "abcdefgh"
_COLOURS: Final = ("#bc4c00", "#0969da", "#1a7f37", "#8250df", "#9a6700", "#116329", "#57606a")


class Curve(NamedTuple):
    """P99 of one size.

    Attributes:
        slots: The size.
        points: Calls a second with the P99 there, in seconds.
    """

    slots: int
    points: tuple[tuple[float, float], ...]


class _Frame(NamedTuple):
    """What is shown: from 0 to these."""

    qps: float
    seconds: float


def curves(workload: Workload, slots: Sequence[int], overhead_s: float) -> tuple[Curve, ...]:
    """P99 against the rate, up to nearly full, for each size."""
    found = []
    for size in slots:
        full = sizing.saturated_at_qps(workload, size)
        # closer together towards the end, where the curve turns up
        rates = [full * _NEAR_FULL * (1.0 - (1.0 - step / _POINTS) ** 2) for step in _STEPS]
        points = [(qps, sizing.response_s(workload, size, qps, overhead_s, 0.99)) for qps in rates]
        found.append(Curve(size, tuple(points)))
    return tuple(found)


def _frame(shown: Sequence[Curve], workload: Workload) -> _Frame:
    """Room for the wanted rate, and for twice what calls take while nobody waits."""
    ends = [curve.points[-1][0] for curve in shown]
    calm = [curve.points[0][1] for curve in shown]
    wanted_s = workload.p99_goal_s or 0.0
    return _Frame(
        max([*ends, workload.qps * workload.burst]) * 1.02,
        max(2.0 * max(calm, default=0.0), 1.25 * wanted_s, 1e-6),
    )


# ------------------------------------------------------------------------------- text


def text(shown: Sequence[Curve], workload: Workload, *, width: int, height: int) -> str:
    """The plot in characters: a letter for each size, ``|`` the wanted rate, ``-`` the goal."""
    frame = _frame(shown, workload)
    grid = [[" "] * width for _ in range(height)]
    goal_s = workload.p99_goal_s
    if goal_s is not None:
        grid[_row(goal_s, frame, height)] = ["-"] * width
    at = min(int(workload.qps / frame.qps * width), width - 1)
    for line in grid:
        line[at] = "|"
    for mark, curve in zip(_MARKS, shown, strict=False):
        before = None
        for column in range(width):
            seconds = _at(curve, (column + 0.5) / width * frame.qps)
            if seconds is None:
                break
            row = _row(seconds, frame, height)
            # no gaps where it rises steeply
            for one in range(row, row + 1 if before is None else max(before, row + 1)):
                grid[one][column] = mark
            before = row
    lines = [f"P99  (top: {duration(frame.seconds)})"]
    lines += [f"  |{''.join(line).rstrip()}" for line in grid]
    lines += ["  +" + "-" * width, f"   0{count(frame.qps):>{width - 1}} calls/s", ""]
    named = [f"{mark} {one.slots} slots" for mark, one in zip(_MARKS, shown, strict=False)]
    named.append(f"| wanted {count(workload.qps)}/s")
    if goal_s is not None:
        named.append(f"- goal {duration(goal_s)}")
    lines.append("   " + "   ".join(named))
    return "\n".join(lines)


def _at(curve: Curve, qps: float) -> float | None:
    """P99 of a curve at a rate; None beyond its end."""
    before = (0.0, curve.points[0][1])
    for point in curve.points:
        if qps <= point[0]:
            share = (qps - before[0]) / (point[0] - before[0])
            return before[1] + share * (point[1] - before[1])
        before = point
    return None


def _row(seconds: float, frame: _Frame, height: int) -> int:
    """0 is the top."""
    return height - 1 - min(int(seconds / frame.seconds * height), height - 1)


# ------------------------------------------------------------------------------- SVG

_WIDE, _HIGH = 720.0, 380.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 70.0, 120.0, 20.0, 50.0


def svg(shown: Sequence[Curve], workload: Workload) -> str:
    """The plot as one SVG element: no script, no font or style from elsewhere."""
    frame = _frame(shown, workload)
    parts = [_line(0.0, 0.0, frame.qps, 0.0, frame, "#57606a"), _axis(frame)]
    parts.append(_line(workload.qps, 0.0, workload.qps, frame.seconds, frame, "#57606a", "4 3"))
    parts.append(_label(workload.qps, frame.seconds, frame, f"{count(workload.qps)}/s"))
    if workload.p99_goal_s is not None:
        goal_s = workload.p99_goal_s
        parts.append(_line(0.0, goal_s, frame.qps, goal_s, frame, "#cf222e", "4 3"))
        parts.append(_label(0.0, goal_s, frame, f"goal {duration(goal_s)}"))
    for number, curve in enumerate(shown):
        parts.append(_curve(curve, frame, _COLOURS[number % len(_COLOURS)], number))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE:g} {_HIGH:g}" '
        f'width="{_WIDE:g}" height="{_HIGH:g}" font-family="sans-serif" font-size="12">'
        f"<title>P99 against the rate</title>{''.join(parts)}</svg>"
    )


def _place(qps: float, seconds: float, frame: _Frame) -> tuple[float, float]:
    across = _LEFT + qps / frame.qps * (_WIDE - _LEFT - _RIGHT)
    up = min(seconds / frame.seconds, 1.0)
    return across, _HIGH - _BOTTOM - up * (_HIGH - _TOP - _BOTTOM)


def _line(
    qps: float,
    seconds: float,
    to_qps: float,
    to_s: float,
    frame: _Frame,
    colour: str,
    dashes: str = "none",
) -> str:
    (x1, y1), (x2, y2) = _place(qps, seconds, frame), _place(to_qps, to_s, frame)
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-dasharray="{dashes}"/>'
    )


def _axis(frame: _Frame) -> str:
    parts = [_line(0.0, 0.0, 0.0, frame.seconds, frame, "#57606a")]
    for seconds in _ticks(frame.seconds):
        x, y = _place(0.0, seconds, frame)
        parts.append(f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">')
        parts.append(f"{markup.escape(duration(seconds))}</text>")
    for qps in _ticks(frame.qps):
        x, y = _place(qps, 0.0, frame)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{count(qps)}</text>')
    parts.append(f'<text x="{_LEFT:g}" y="{_HIGH - 8:g}">calls a second; P99 upwards</text>')
    return "".join(parts)


def _ticks(most: float) -> list[float]:
    """Round numbers from 0 on, four to ten of them."""
    step: float = 10.0 ** math.floor(math.log10(most / 4.0))
    step *= next(times for times in (5.0, 2.0, 1.0) if most / (step * times) >= 4.0)
    return [number * step for number in range(int(most / step) + 1)]


def _label(qps: float, seconds: float, frame: _Frame, said: str) -> str:
    x, y = _place(qps, seconds, frame)
    return f'<text x="{x + 4:.1f}" y="{y - 4:.1f}">{markup.escape(said)}</text>'


def _curve(curve: Curve, frame: _Frame, colour: str, number: int) -> str:
    seen = [_place(qps, s, frame) for qps, s in curve.points if s <= frame.seconds]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in seen)
    y = _TOP + 16.0 * (number + 1)
    x = _WIDE - _RIGHT + 12.0
    return (
        f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="{path}"/>'
        f'<line x1="{x:g}" y1="{y - 4:g}" x2="{x + 16:g}" y2="{y - 4:g}" stroke="{colour}" '
        f'stroke-width="2"/><text x="{x + 22:g}" y="{y:g}">{curve.slots:,} slots</text>'
    )


# ------------------------------------------------------------------------------- files


def save(shown: Sequence[Curve], workload: Workload, path: Path) -> None:
    """Write the plot to a file whose name says what it is.

    Raises:
        ConfigError: The name ends otherwise, or matplotlib is not installed.
        OSError: The file cannot be written.
    """
    kind = path.suffix.lower()
    if kind == ".svg":
        path.write_text(svg(shown, workload) + "\n", encoding="utf-8")
    elif kind == ".png":
        _save_png(shown, workload, path)
    else:
        raise ConfigError(
            f"A plot is written as .svg or .png, not as {path.suffix or 'no kind'!r}."
        )


def _save_png(shown: Sequence[Curve], workload: Workload, path: Path) -> None:
    figure: Any
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise ConfigError(
            "A plot as .png needs matplotlib, which is not installed: "
            "pip install 'servingclient[plot]', or write it as .svg."
        ) from None
    figure = Figure(figsize=(9.0, 5.0))
    axes, frame = figure.subplots(), _frame(shown, workload)
    for curve in shown:
        rates, seconds = zip(*curve.points, strict=True)
        axes.plot(rates, [1e3 * one for one in seconds], label=f"{curve.slots:,} slots")
    axes.axvline(workload.qps, linestyle="--", color="grey")
    if workload.p99_goal_s is not None:
        axes.axhline(1e3 * workload.p99_goal_s, linestyle="--", color="red")
    axes.set(xlim=(0.0, frame.qps), ylim=(0.0, 1e3 * frame.seconds))
    axes.set(xlabel="calls/s", ylabel="P99, ms")
    axes.legend()
    figure.savefig(path, format="png")
