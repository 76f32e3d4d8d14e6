"""Curves as inline SVG: no script, no font or style from elsewhere. Pure."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

_WIDE, _HIGH = 720.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 64.0, 96.0, 16.0, 36.0
_COLOURS: Final = (
    *("#0969da", "#1a7f37", "#cf222e", "#8250df", "#9a6700", "#bf3989"),
    *("#1b7c83", "#953800", "#0a3069", "#4d2d00", "#99286e"),
)
"""As many as a search for the knee has curves: ten rates and one caller alone."""
_GREY: Final = "#57606a"
_TICKS: Final = 4


class Curve(NamedTuple):
    """Points joined by lines; one without a value interrupts them."""

    name: str
    points: Sequence[tuple[float, float | None]]


class Mark(NamedTuple):
    """A dashed line across the plot.

    Attributes:
        name: What stands beside it.
        x: Where it stands, for an upright one.
        y: Where it lies, for a level one.
    """

    name: str
    x: float | None = None
    y: float | None = None


Words = Callable[[float], str]


def svg(
    title: str,
    curves: Sequence[Curve],
    *,
    x_words: Words,
    y_words: Words,
    marks: Sequence[Mark] = (),
) -> str:
    """A plot from zero up, as one SVG element.

    Args:
        title: What it shows.
        curves: What is drawn.
        x_words: Writes a position on the axis to the right.
        y_words: Writes one on the axis upwards.
        marks: Lines for goals and findings.
    """
    points = [point for curve in curves for point in curve.points]
    wide = max([x for x, _ in points] + [m.x for m in marks if m.x is not None], default=0.0)
    high = max([y for _, y in points if y is not None] + [m.y for m in marks if m.y], default=0.0)
    plot = _Plot(wide or 1.0, 1.05 * high or 1.0)
    parts = [plot.axes(x_words, y_words)]
    parts += [plot.curve(curve, number) for number, curve in enumerate(curves)]
    parts += [plot.mark(mark) for mark in marks]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDE:g} {_HIGH:g}" '
        f'role="img" font-family="sans-serif" font-size="12"><title>{html.escape(title)}</title>'
        f"{''.join(parts)}</svg>"
    )


class _Plot(NamedTuple):
    wide: float
    high: float

    def place(self, x: float, y: float) -> tuple[float, float]:
        across = _LEFT + x / self.wide * (_WIDE - _LEFT - _RIGHT)
        return across, _HIGH - _BOTTOM - y / self.high * (_HIGH - _TOP - _BOTTOM)

    def axes(self, x_words: Words, y_words: Words) -> str:
        parts = [
            self.line((0.0, 0.0), (self.wide, 0.0), _GREY),
            self.line((0.0, 0.0), (0.0, self.high), _GREY),
        ]
        for tick in range(_TICKS + 1):
            x, y = self.wide * tick / _TICKS, self.high * tick / _TICKS
            left, level = self.place(0.0, y)
            parts.append(_text(left - 6, level + 4, y_words(y), anchor="end"))
            across, floor = self.place(x, 0.0)
            parts.append(_text(across, floor + 18, x_words(x), anchor="middle"))
        return "".join(parts)

    def line(
        self, start: tuple[float, float], end: tuple[float, float], colour: str, dash: str = "none"
    ) -> str:
        (x1, y1), (x2, y2) = self.place(*start), self.place(*end)
        return (
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
            f'stroke-dasharray="{dash}"/>'
        )

    def curve(self, curve: Curve, number: int) -> str:
        colour, runs = _COLOURS[number % len(_COLOURS)], list[list[str]]([[]])
        for x, y in curve.points:
            if y is None:
                runs.append([])
            else:
                runs[-1].append("{:.1f},{:.1f}".format(*self.place(x, y)))
        parts = [
            f'<polyline fill="none" stroke="{colour}" stroke-width="1.5" points="{" ".join(run)}"/>'
            for run in runs
            if run
        ]
        across, level = _WIDE - _RIGHT + 8, _TOP + 16.0 * (number + 1)
        return "".join(parts) + _text(across, level, curve.name, colour=colour)

    def mark(self, mark: Mark) -> str:
        if mark.x is not None:
            ends, at = ((mark.x, 0.0), (mark.x, self.high)), (mark.x, self.high)
        else:
            level = mark.y or 0.0
            ends, at = ((0.0, level), (self.wide, level)), (0.0, level)
        across, up = self.place(*at)
        return self.line(*ends, _GREY, "4 3") + _text(across + 4, up - 4, mark.name)


def _text(x: float, y: float, words: str, *, anchor: str = "start", colour: str = _GREY) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">'
        f"{html.escape(words)}</text>"
    )
