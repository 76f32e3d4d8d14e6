"""What it costs to turn a model's input into the bytes of a request, and how many they are.

Compared with what ``json.dumps`` makes of ``to_dict("split")`` or ``tolist()``, which is what
databricks-sdk and mlflow send; orjson on the same objects shows how much of that is the encoder's.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import harness
import machine
import numpy as np
import orjson
import pandas as pd
import report
from harness import Cell, Effort, RunCalls
from report import Figure, Part, Table

from servingclient.payload.encode import encode
from servingclient.settings import Payload

Encode = Callable[[], bytes]
OURS, STANDARD = "servingclient", "json.dumps"
FULL, QUICK = Effort(12), Effort(2, 0.02, tries=1, warm=0)


class Case(NamedTuple):
    """One input, in all the ways it is encoded.

    Attributes:
        title: What the input is.
        ways: By name; ``OURS`` and ``STANDARD`` among them.
        least_speedup: CPU of ``STANDARD`` as a multiple of ours.
        most_bytes: Ours as a share of the bytes of ``STANDARD``; None where no share is aimed at.
    """

    title: str
    ways: dict[str, Encode]
    least_speedup: float
    most_bytes: float | None


def cases() -> dict[str, Case]:
    mixed, floats, tensor = mixed_frame(), float_frame(), float32_array()
    return {
        "mixed_frame": Case(
            "DataFrame of 1,000 × 20: 8 float (NaN in three), 6 int, 4 text, 2 timestamp",
            {
                OURS: lambda: ours(mixed),
                STANDARD: lambda: standard(mixed.to_dict("split")),
                "orjson of to_dict": lambda: fast(mixed.to_dict("split")),
                "pandas to_json (10 digits)": lambda: mixed.to_json(orient="split").encode(),
            },
            9.0,
            0.92,
        ),
        "float_frame": Case(
            "DataFrame of 1,000 × 14 floats",
            {
                OURS: lambda: ours(floats),
                STANDARD: lambda: standard(floats.to_dict("split")),
                "orjson of to_dict": lambda: fast(floats.to_dict("split")),
                "pandas to_json (10 digits)": lambda: floats.to_json(orient="split").encode(),
            },
            25.0,
            None,
        ),
        "float32_array": Case(
            "Array of 256 × 1,024 float32",
            {
                OURS: lambda: ours(tensor),
                STANDARD: lambda: json.dumps({"inputs": tensor.tolist()}).encode(),
                "orjson of tolist": lambda: orjson.dumps({"inputs": tensor.tolist()}),
            },
            30.0,
            0.55,
        ),
    }


# ---------------------------------------------------------------- inputs


def mixed_frame(rows: int = 1000) -> pd.DataFrame:
    """As a table of customers or payments looks; the seed fixes it."""
    chance = np.random.default_rng(1)
    columns: dict[str, Any] = {f"amount_{i}": chance.normal(100, 30, rows) for i in range(8)}
    for i in range(3):
        columns[f"amount_{i}"][chance.random(rows) < 0.05] = np.nan
    for i, most in enumerate((2, 24, 100, 10_000, 1_000_000, 10_000_000)):
        columns[f"count_{i}"] = chance.integers(0, most, rows)
    for i, words in enumerate((["EUR", "USD", "GBP"], ["DE", "FR", "US"], COLOURS, CITIES)):
        columns[f"label_{i}"] = chance.choice(words, rows)
    for i in range(2):
        seconds = chance.integers(1_700_000_000, 1_760_000_000, rows)
        columns[f"at_{i}"] = pd.to_datetime(seconds, unit="s")
    return pd.DataFrame(columns)


COLOURS = ["red", "green", "blue", "black"]
CITIES = ["Hamburg", "Marseille", "San Francisco", "Birmingham"]


def float_frame(rows: int = 1000) -> pd.DataFrame:
    values = np.random.default_rng(2).normal(0, 1, (rows, 14))
    return pd.DataFrame(values, columns=[f"feature_{i}" for i in range(14)])


def float32_array() -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, (256, 1024)).astype(np.float32)


# ---------------------------------------------------------------- ways


def ours(inputs: Any) -> bytes:
    return encode(
        inputs, params=None, client_request_id=None, usage_context=None, settings=AS_NULL
    ).data


AS_NULL = Payload(nan="null")  # the mixed frame holds some; to look for them is part of the work


def standard(split: dict[str, Any]) -> bytes:
    return json.dumps({"dataframe_split": split}, default=pd.Timestamp.isoformat).encode()


def fast(split: dict[str, Any]) -> bytes:
    return orjson.dumps({"dataframe_split": split}, default=pd.Timestamp.isoformat)


def same_values(case: Case) -> bool:
    """Whether both say the same: float32 after rounding to it, NaN as null."""
    one, other = (json.loads(case.ways[name](), parse_constant=lambda _: None) for name in PAIR)
    if "inputs" in one:
        return bool(np.array_equal(np.float32(one["inputs"]), np.float32(other["inputs"])))
    return bool(one["dataframe_split"]["data"] == other["dataframe_split"]["data"])


PAIR = (OURS, STANDARD)


# ---------------------------------------------------------------- measuring


def part(cores: machine.Cores, *, quick: bool) -> Part:
    del cores  # nothing is sent
    figures, tables, measured, slices = [], [], {}, []
    for name, case in cases().items():
        if not same_values(case):
            raise SystemExit(f"{name}: servingclient does not send the values json.dumps sends")
        sizes = {way: len(encoded()) for way, encoded in case.ways.items()}
        cell = harness.measure(
            {way: repeated(encoded) for way, encoded in case.ways.items()},
            QUICK if quick else FULL,
        )
        figures += case_figures(name, case, cell, sizes)
        tables.append(table(case, cell, sizes))
        measured[name] = {
            "cpu_ms": {way: median_ms(cell, way) for way in case.ways},
            "bytes": sizes,
        }
        slices += cell.slices()
    return Part(
        "Encoding",
        "CPU to make the bytes of one request, in one thread; every way sends the same values.",
        figures,
        tables,
        measured,
        slices,
    )


def repeated(encoded: Encode) -> RunCalls:
    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            encoded()
        return ()

    return run


def case_figures(name: str, case: Case, cell: Cell, sizes: dict[str, int]) -> list[Figure]:
    times = cell.ratios(STANDARD, OURS)
    what = f"{case.title.split(':')[0]}: json.dumps / servingclient"
    found = [
        Figure(f"encode_{name}_speedup", f"{what}, CPU", times, case.least_speedup, False, "x")
    ]
    if case.most_bytes is not None:
        what = f"{case.title.split(':')[0]}: servingclient / json.dumps, bytes"
        share = [sizes[OURS] / sizes[STANDARD]]
        found.append(Figure(f"encode_{name}_bytes_ratio", what, share, case.most_bytes, True, "x"))
    return found


def median_ms(cell: Cell, way: str) -> float:
    return round(statistics.median(cell.series[way].cpu_us) / 1e3, 4)


def table(case: Case, cell: Cell, sizes: dict[str, int]) -> Table:
    rows = [
        (
            way,
            report.number(median_ms(cell, way)),
            report.number(statistics.median(cell.ratios(way, OURS))),
            report.spread(cell.ratios(way, OURS)),
            f"{sizes[way] / 1000:,.0f}",
            report.number(sizes[way] / sizes[OURS]),
        )
        for way in case.ways
    ]
    columns = ("", "ms CPU", f"× {OURS}", "quartiles", "kB", f"× {OURS}")
    return Table(case.title, columns, rows)
