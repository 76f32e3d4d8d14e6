"""From measured cells to what people read: tables, JSON, and a section of ``results.md``."""

from __future__ import annotations

import datetime as dt
import importlib.metadata
import os
import platform
import re
import ssl
import statistics
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import DISTURBED, REFERENCE_JOB_S, Cell, quartiles

DISTRIBUTIONS = (
    "servingclient",
    "httpx",
    "httpcore",
    "h11",
    "anyio",
    "sniffio",
    "httptools",
    "aiohttp",
    "requests",
    "urllib3",
    "databricks-sdk",
    "mlflow-skinny",
    "orjson",
    "tenacity",
)


@dataclass(frozen=True)
class Verdict:
    """One line of the table of targets.

    Attributes:
        name: Key in the JSON.
        what: The same for people.
        values: What was measured, per round.
        target: What it must reach: at least, or at most where ``at_most``.
        unit: ``"x"`` or ``"µs"``.
    """

    name: str
    what: str
    values: list[float]
    target: float
    at_most: bool
    unit: str

    @property
    def measured(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        return self.measured <= self.target if self.at_most else self.measured >= self.target

    def row(self) -> tuple[str, ...]:
        sign = "≤" if self.at_most else "≥"
        return (
            self.what,
            f"{number(self.measured)} {self.unit}",
            spread(self.values),
            f"{sign} {self.target:g} {self.unit}",
            "pass" if self.met else "MISS",
        )


def number(value: float) -> str:
    """Three figures or more; a ratio of 1.34 must not look like 1.3."""
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.1f}"


def spread(values: list[float]) -> str:
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


# ---------------------------------------------------------------- tables


CELL_COLUMNS = ("", "µs CPU per call", "quartiles", "× servingclient", "quartiles", "calls/s, best")


def cell_rows(cell: Cell, ours: str = "servingclient") -> list[tuple[str, ...]]:
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
                f"{series.best_calls_per_s:,.0f}",
            )
        )
    return rows


def noise(cells: Collection[Cell]) -> str:
    """How steady the machine was: what a reader must know before believing a figure."""
    slices = [one for cell in cells for one in cell.slices()]
    job_ms = [one.job_s * 1000 for one in slices]
    low, high = quartiles(job_ms)
    return (
        f"fixed job {min(job_ms):.2f} ms at best, quartiles {low:.2f}–{high:.2f} (figures are "
        f"scaled to {REFERENCE_JOB_S * 1000:.1f} ms); another process wanted a core in "
        f"{disturbed_share(cells):.0%} of the slices"
    )


def disturbed_share(cells: Collection[Cell]) -> float:
    slices = [one for cell in cells for one in cell.slices()]
    return sum(one.disturbed > DISTURBED for one in slices) / len(slices)


def text_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """First column to the left, the others to the right."""
    widths = [max(len(line[i]) for line in (header, *rows)) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            text.ljust(width) if i == 0 else text.rjust(width)
            for i, (text, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in (header, *rows)
    )


def markdown_table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    rule = ("---", *("---:" for _ in header[1:]))
    return "\n".join(f"| {' | '.join(line)} |" for line in (header, rule, *rows))


VERDICT_COLUMNS = ("target", "measured", "quartiles", "must be", "")


# ---------------------------------------------------------------- files


def as_json(
    cells: Mapping[str, Cell], verdicts: list[Verdict], own_part_us: Mapping[str, float]
) -> dict[str, Any]:
    """All figures under names that say what they are.

    ``ratios`` are medians of paired ratios, contender over servingclient; they are not the quotient
    of the two medians in ``cpu_us_per_call``. ``own_part_us`` is the largest of
    ``own_part_us_by_cell``.
    """
    slices = [one for cell in cells.values() for one in cell.slices()]
    return {
        "cpu_us_per_call": {
            name: {
                who: round(statistics.median(series.cpu_us), 1)
                for who, series in cell.series.items()
            }
            for name, cell in cells.items()
        },
        "own_part_us": round(max(own_part_us.values()), 1) if own_part_us else None,
        "own_part_us_by_cell": {name: round(us, 1) for name, us in own_part_us.items()},
        "ratios": {
            name: {
                who: round(statistics.median(cell.ratios(who, "servingclient")), 2)
                for who in cell.series
                if who != "servingclient"
            }
            for name, cell in cells.items()
            if "servingclient" in cell.series
        },
        "quartiles_us": {
            name: {
                who: [round(us, 1) for us in quartiles(series.cpu_us)]
                for who, series in cell.series.items()
            }
            for name, cell in cells.items()
        },
        "targets": {
            v.name: {
                "measured": round(v.measured, 2),
                "at_most" if v.at_most else "at_least": v.target,
                "met": v.met,
            }
            for v in verdicts
        },
        "rounds": max(len(one.slices) for cell in cells.values() for one in cell.series.values()),
        "disturbed_share": round(disturbed_share(cells.values()), 3),
        "fixed_job_ms": {
            "median": round(statistics.median(one.job_s for one in slices) * 1e3, 2),
            "scaled_to": REFERENCE_JOB_S * 1e3,
        },
        "machine": machine(),
        "versions": versions(),
        "date": today(),
    }


def as_markdown(heading: str, cells: Mapping[str, Cell], verdicts: list[Verdict]) -> str:
    where = ", ".join((today(), *(f"{key} {value}" for key, value in machine().items())))
    parts = [
        f"## {heading}",
        where + f"; {noise(cells.values())}.",
        "Versions: " + ", ".join(f"{name} {v}" for name, v in versions().items()) + ".",
    ]
    if verdicts:
        parts.append(markdown_table(VERDICT_COLUMNS, [v.row() for v in verdicts]))
    for name, cell in cells.items():
        parts += [f"### {name}", markdown_table(CELL_COLUMNS, cell_rows(cell))]
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
