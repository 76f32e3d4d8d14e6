"""How fast 256 × 1,024 float32 can be written as JSON: by us, and by all we might use for it.

    python benchmarks/float32.py

Behind the target of the part ``encode`` that is not reached; ``README.md`` tells what follows. What
is not installed is left out. Each is the least CPU of several runs, in one thread.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["POLARS_MAX_THREADS"] = "1"  # read when it is imported

import numpy as np
import orjson

from servingclient.payload.encode import encode
from servingclient.settings import Payload

RUNS = 7
Way = tuple[str, Callable[[], Any]]


def least_ms(way: Callable[[], Any]) -> float:
    """CPU of this process and its threads."""
    took = []
    for _ in range(RUNS):
        began = time.process_time()
        way()
        took.append(time.process_time() - began)
    return min(took) * 1e3


def whole_bodies(array: np.ndarray) -> Iterator[Way]:
    rules = Payload()
    yield "servingclient", lambda: encode(array, None, None, None, rules)
    yield (
        "orjson.dumps alone",
        lambda: orjson.dumps({"inputs": array}, None, orjson.OPT_SERIALIZE_NUMPY),
    )
    yield "json.dumps of tolist", lambda: json.dumps({"inputs": array.tolist()})


def other_printers(array: np.ndarray) -> Iterator[Way]:
    """The same values as text, as short as they may be, and nothing around them unless named."""
    flat = array.ravel()
    if polars := imported("polars"):
        series, frame = polars.Series(flat), polars.DataFrame(array)
        yield "polars, cast to text", lambda: series.cast(polars.String)
        yield "polars, write_csv", lambda: frame.write_csv(io.BytesIO(), include_header=False)
    if pyarrow := imported("pyarrow"):
        csv, compute = imported("pyarrow.csv"), imported("pyarrow.compute")
        values = pyarrow.array(flat)
        table = pyarrow.table({str(number): column for number, column in enumerate(array.T)})
        headless = csv.WriteOptions(include_header=False)
        yield "pyarrow, cast to text", lambda: compute.cast(values, pyarrow.string())
        yield "pyarrow, write_csv", lambda: csv.write_csv(table, io.BytesIO(), headless)
    if pandas := imported("pandas"):
        rows = pandas.DataFrame(array)
        yield "pandas, to_json (10 digits)", lambda: rows.to_json(orient="values")
        yield "pandas, to_csv", lambda: rows.to_csv(header=False, index=False)
    yield "numpy, astype text", lambda: flat.astype("S")


def imported(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        print(f"{name} is not installed: left out")
        return None


def main() -> None:
    array = np.random.default_rng(3).normal(0, 1, (256, 1024)).astype(np.float32)
    for name, way in (*whole_bodies(array), *other_printers(array)):
        print(f"{name:30}{least_ms(way):8.2f} ms")


if __name__ == "__main__":
    main()
