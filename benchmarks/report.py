"""From what was measured to what people read: figures, tables, JSON, ``results.md``."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import math
import os
import platform
import re
import ssl
import statistics
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import DISTURBED, REFERENCE_JOB_S, Cell, Slice, quartiles

DISTRIBUTIONS = (
    "servingclient",
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "sniffio",
    "httptools",
    "httpx-aiohttp",
    "aiohttp",
    "requests",
    "urllib3",
    "databricks-sdk",
    "mlflow-skinny",
    "openai",
    "orjson",
    "redis",
    "tenacity",
    "numpy",
    "pandas",
)
MOST_DISTURBED = 0.1
"""Share of disturbed slices up to which a run is worth reading."""


@dataclass(frozen=True)
class Figure:
    """One figure that has a target.

    Attributes:
        name: Key in the JSON: it says what was measured, and in what unit.
        what: The same for people.
        values: What was measured, per round.
        target: What it must reach: at least, or at most where ``at_most``.
        unit: Such as ``"x"``, ``"µs"``, ``"MB"``.
    """

    name: str
    what: str
    values: Sequence[float]
    target: float
    at_most: bool
    unit: str

    @property
    def value(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether it reaches its target. What never ends does not, whatever it is compared with."""
        if not (math.isfinite(self.value) and math.isfinite(self.target)):
            return False
        return self.value <= self.target if self.at_most else self.value >= self.target

    def row(self) -> tuple[str, ...]:
        sign = "≤" if self.at_most else "≥"
        return (
            self.what,
            f"{number(self.value)} {self.unit}",
            spread(self.values) if len(self.values) > 1 else "",
            f"{sign} {self.target:g} {self.unit}",
            "pass" if self.met else "MISS",
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "value": significant(self.value),
            "target": significant(self.target),
            "must_be": "at_most" if self.at_most else "at_least",
            "unit": self.unit,
            "pass": self.met,
            "quartiles": [significant(value) for value in quartiles(self.values)],
        }


@dataclass(frozen=True)
class Table:
    """What one cell showed, for people."""

    title: str
    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Part:
    """What one benchmark hands back.

    Attributes:
        heading: Of its section in ``results.md``.
        setting: One sentence: what was done to get these figures.
        figures: Those that have targets.
        tables: All others, contender by contender.
        measured: The tables' figures for the JSON, under names that say what they are.
        slices: What they were taken from, to tell how quiet the machine was.
    """

    heading: str
    setting: str
    figures: list[Figure]
    tables: list[Table]
    measured: dict[str, Any]
    slices: list[Slice] = field(default_factory=list)


def number(value: float) -> str:
    """Three figures or more; a ratio of 1.34 must not look like 1.3."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"


def significant(value: float) -> float | None:
    """For JSON, which knows no infinity: what never happens takes no number of seconds."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def spread(values: Sequence[float]) -> str:
    low, high = quartiles(values)
    return f"{number(low)}–{number(high)}"


# ---------------------------------------------------------------- where and with what


def machine() -> dict[str, Any]:
    """What a reader needs to judge figures; no names of hosts or folders."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
    }


def _cpu_model() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    except OSError:
        found = None
    return found[1].strip() if found else platform.processor()


def versions() -> dict[str, str]:
    """Installed versions. Absent ones are named too: httpx is dearer without sniffio."""
    found = {}
    for name in DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def today() -> str:
    return dt.datetime.now(dt.timezone.utc).date().isoformat()


def noise(slices: Collection[Slice]) -> str:
    """How steady the machine was: what a reader must know before believing a figure."""
    job_ms = [one.job_s * 1000 for one in slices]
    low, high = quartiles(job_ms)
    return (
        f"fixed job {min(job_ms):.2f} ms at best, quartiles {low:.2f}–{high:.2f} (CPU is "
        f"scaled to {REFERENCE_JOB_S * 1000:.1f} ms); another process wanted a core in "
        f"{disturbed_share(slices):.0%} of the slices"
    )


def disturbed_share(slices: Collection[Slice]) -> float:
    return sum(one.disturbed > DISTURBED for one in slices) / len(slices) if slices else 0.0


# ---------------------------------------------------------------- tables

FIGURE_COLUMNS = ("target", "measured", "quartiles", "must be", "")


def cell_table(title: str, cell: Cell, ours: str = "servingclient", per: str = "call") -> Table:
    """CPU of all contenders of a cell, and as a multiple of ours."""
    rows = []
    for name, series in cell.series.items():
        times = cell.ratios(name, ours) if ours in cell.series else []
        rows.append(
            (
                name,
                number(statistics.median(series.cpu_us)),
                spread(series.cpu_us),
                number(statistics.median(times)) if times else "",
                spread(times) if times else "",
                f"{max(series.calls_per_s):,.0f}",
            )
        )
    columns = ("", f"µs CPU per {per}", "quartiles", f"× {ours}", "quartiles", f"{per}s/s, best")
    return Table(title, columns, rows)


def text_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """First column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    )


def figures_text(figures: list[Figure]) -> str:
    return text_table(FIGURE_COLUMNS, [figure.row() for figure in figures])


def markdown_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in header[1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


# ---------------------------------------------------------------- whole parts


def print_part(part: Part) -> None:
    print(f"\n## {part.heading}\n{part.setting}")
    for table in part.tables:
        print(f"\n{table.title}\n{text_table(table.header, table.rows)}")
    if part.figures:
        print(f"\n{figures_text(part.figures)}")
    if part.slices:
        print(f"\n{noise(part.slices)}")
    if disturbed_share(part.slices) > MOST_DISTURBED:
        print("The machine was not quiet: take nothing from this run.")


def as_json(parts: dict[str, Part], *, quick: bool) -> dict[str, Any]:
    """All figures under names that say what they are; ``measured`` holds the tables."""
    return {
        "figures": {
            figure.name: figure.as_json() for part in parts.values() for figure in part.figures
        },
        "measured": {name: part.measured for name, part in parts.items()},
        "disturbed_share": {
            name: round(disturbed_share(part.slices), 3)
            for name, part in parts.items()
            if part.slices
        },
        "quick": quick,
        "machine": machine(),
        "versions": versions(),
        "date": today(),
    }


def as_markdown(part: Part) -> str:
    where = ", ".join((today(), *(f"{key} {value}" for key, value in machine().items())))
    parts = [
        f"## {part.heading}",
        part.setting,
        f"{where}; {noise(part.slices)}." if part.slices else f"{where}.",
        "Versions: " + ", ".join(f"{name} {v}" for name, v in versions().items()) + ".",
    ]
    if part.figures:
        parts.append(markdown_table(FIGURE_COLUMNS, [figure.row() for figure in part.figures]))
    for table in part.tables:
        parts += [f"### {table.title}", markdown_table(table.header, table.rows)]
    return "\n\n".join(parts) + "\n"


def put_section(path: Path, section: str) -> None:
    """Write ``section`` into the file at ``path``, in place of the one with the same heading."""
    text = path.read_text() if path.exists() else "# Results\n"
    heading = section.split("\n", 1)[0]
    old = re.search(rf"^{re.escape(heading)}\n.*?(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    if old is None:
        text = text.rstrip("\n") + "\n\n" + section
    else:
        text = (
            text[: old.start()] + section + ("\n" if text[old.end() :] else "") + text[old.end() :]
        )
    path.write_text(text)
