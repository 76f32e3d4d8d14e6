"""The demo's data, and a small model of it in plain Python.

The data is described in ``wine.md`` beside this file, with its source and licence.
"""

from __future__ import annotations

import csv
from importlib import resources
from statistics import fmean, pstdev
from typing import Any

LABEL = "cultivar"

Wine = dict[str, float]


def load() -> tuple[list[Wine], list[int]]:
    """The measurements of every wine, and its cultivar."""
    text = resources.files("servingclient.cli").joinpath("wine.csv").read_text(encoding="utf-8")
    wines: list[Wine] = []
    labels: list[int] = []
    for row in csv.DictReader(text.splitlines()):
        labels.append(int(row.pop(LABEL)))
        wines.append({name: float(value) for name, value in row.items()})
    return wines, labels


class NearestCentroid:
    """Predicts the cultivar whose average wine is nearest, each measurement in its own spread.

    Args:
        wines: What to learn from.
        labels: Their cultivars.
    """

    def __init__(self, wines: list[Wine], labels: list[int]) -> None:
        self._spread = {name: pstdev(wine[name] for wine in wines) for name in wines[0]}
        self._centroids = {
            label: self._average(
                [wine for wine, of in zip(wines, labels, strict=True) if of == label]
            )
            for label in sorted(set(labels))
        }

    def _average(self, wines: list[Wine]) -> Wine:
        return {name: fmean(wine[name] for wine in wines) for name in self._spread}

    def __call__(self, rows: Any) -> list[int]:
        """The cultivar of each row; as a model of the emulator, so ``rows`` is what was sent."""
        return [
            min(self._centroids, key=lambda label: self._distance(row, self._centroids[label]))
            for row in rows
        ]

    def _distance(self, row: Wine, centroid: Wine) -> float:
        return sum(
            ((row[name] - centroid[name]) / spread) ** 2 for name, spread in self._spread.items()
        )
