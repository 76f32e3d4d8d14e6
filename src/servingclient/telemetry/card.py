"""The figures of a client as one piece of HTML for a notebook: no script, nothing fetched. Pure."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from servingclient.telemetry import table
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.tally import SLOTS

_WIDTH: Final = 180
_HEIGHT: Final = 36
_EDGE: Final = 2
_COLOURS: Final = ("#1b6ca8", "#8a5a00", "#b3261e")
_LEFT: Final = "style='text-align:left'"
_RIGHT: Final = "style='text-align:right'"


def card(stats: Stats) -> str:
    """Curves of the last five minutes, and below them the table."""
    points = stats.history
    curves: list[tuple[str, list[float | None], Callable[[float], str]]] = [
        ("calls a second", [point.qps for point in points], table.rate),
        ("P99", [point.p99_s for point in points], table.seconds),
        ("failed", [point.error_rate for point in points], table.percent),
    ]
    figures = "".join(
        _figure(name, values, shown, colour)
        for (name, values, shown), colour in zip(curves, _COLOURS, strict=True)
    )
    return (
        "<div style='font-family:sans-serif;font-size:13px'>"
        f"<div style='font-weight:bold;margin-bottom:6px'>{_safe(table.title(stats))}</div>"
        f"<div>{figures}</div>"
        f"<table>{_rows(table.traffic_rows(stats), _RIGHT)}</table>"
        f"<table>{_rows(table.present_rows(stats), _LEFT)}</table>"
        "</div>"
    )


def _rows(rows: Iterable[table.Row], align: str) -> str:
    lines = []
    for name, cells in rows:
        indent = "padding-left:1.5em;" if name.startswith(" ") else ""
        head = f"<th style='{indent}text-align:left'>{_safe(name.strip())}</th>"
        data = "".join(f"<td {align}>{_safe(cell)}</td>" for cell in cells)
        lines.append(f"<tr>{head}{data}</tr>")
    return "".join(lines)


def _figure(
    name: str, values: Sequence[float | None], shown: Callable[[float], str], colour: str
) -> str:
    known = [value for value in values if value is not None]
    most = f"up to {shown(max(known))}" if known else "nothing yet"
    return (
        "<div style='display:inline-block;margin-right:18px'>"
        f"<div>{_safe(name)}, {_safe(most)}</div>{sparkline(values, colour)}</div>"
    )


def sparkline(values: Sequence[float | None], colour: str) -> str:
    """A curve from 0 to the largest value; the last one stands at the right edge.

    Args:
        values: At most 60, the oldest first; None leaves a gap.
        colour: Of the line.
    """
    top = max((value for value in values if value is not None), default=0.0) or 1.0
    step = (_WIDTH - 2 * _EDGE) / (SLOTS - 1)
    left = _WIDTH - _EDGE - step * (len(values) - 1)
    pieces: list[list[str]] = [[]]
    for number, value in enumerate(values):
        if value is None:
            pieces.append([])
            continue
        x, y = left + step * number, _HEIGHT - _EDGE - (_HEIGHT - 2 * _EDGE) * value / top
        pieces[-1].append(f"{x:.1f},{y:.1f}")
    drawn = "".join(_line(piece, colour) for piece in pieces if piece)
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{_WIDTH}' height='{_HEIGHT}' "
        f"role='img'>{drawn}</svg>"
    )


def _line(corners: list[str], colour: str) -> str:
    if len(corners) == 1:
        x, _, y = corners[0].partition(",")
        return f"<circle cx='{x}' cy='{y}' r='1.5' fill='{colour}'/>"
    points = " ".join(corners)
    return f"<polyline points='{points}' fill='none' stroke='{colour}' stroke-width='1.5'/>"


def _safe(words: str) -> str:
    return html.escape(words)
