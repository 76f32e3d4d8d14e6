"""Figures against bounds, and the table of them."""

from __future__ import annotations

import math
from typing import NamedTuple


class Verdict(NamedTuple):
    """One figure.

    Attributes:
        part: Of the soak.
        what: The figure's name, with its unit.
        value: What was measured.
        least: It must not be below; None for no bound.
        most: It must not be above; None for no bound.
    """

    part: str
    what: str
    value: float
    least: float | None = None
    most: float | None = None

    @property
    def good(self) -> bool:
        """Whether it is within its bounds. NaN never is."""
        above = self.least is None or self.value >= self.least
        below = self.most is None or self.value <= self.most
        return above and below and not math.isnan(self.value)

    @property
    def judged(self) -> bool:
        """Whether it has a bound at all."""
        return self.least is not None or self.most is not None

    def __str__(self) -> str:
        bounds = [f">= {self.least:g}"] if self.least is not None else []
        bounds += [f"<= {self.most:g}"] if self.most is not None else []
        verdict = ("ok" if self.good else "MISSED") if self.judged else ""
        bound = ", ".join(bounds) or "-"
        return f"{self.part:16}{self.what:40}{self.value:>12,.3f}  {bound:24}{verdict}".rstrip()


HEAD = f"{'part':16}{'figure':40}{'measured':>12}  {'bound':24}verdict"
"""Of the table that verdicts make, one a line."""
