"""One bulk job in a process of its own, so that its memory can be told from all else.

    python benchmarks/map_job.py --host … --ca-file … --rows 1000000 [--trace]

prints one line of JSON: seconds, and the most bytes held beyond what was held when the job began.
Started by ``bench_map.py``.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
from contenders.ours import ServingClientSync
from contenders.place import Place

COLUMNS = 10


def numbered_frame(rows: int) -> pd.DataFrame:
    """``rows`` of ten floats, numbered in the first; made without a second copy at any time."""
    values = np.empty((COLUMNS, rows))
    np.random.default_rng(1).standard_normal(out=values)
    values[0] = np.arange(rows)
    return pd.DataFrame(values.T, columns=[f"feature_{i}" for i in range(COLUMNS)], copy=False)


def resident_bytes(field: str) -> int:
    """``VmRSS``, what is held now, or ``VmHWM``, the most that ever was.

    Where there is no ``/proc``, both are the most that ever was. Linux offers that as ``ru_maxrss``
    too, but there a child starts with its parent's.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description="One bulk job, and what memory it takes")
    parser.add_argument("--host", required=True)
    parser.add_argument("--ca-file", required=True)
    parser.add_argument("--rows", type=int, required=True)
    parser.add_argument("--trace", action="store_true", help="what Python allocates; some x slower")
    options = parser.parse_args()
    frame = numbered_frame(options.rows)
    ours = ServingClientSync(Place(options.host, options.ca_file, 32, as_shipped=True))
    if options.trace:
        tracemalloc.start()
    resident, started = resident_bytes("VmRSS"), time.perf_counter()
    rows = 0
    for rows, prediction in enumerate(ours.client.map(frame), 1):  # kept: none of them
        if prediction != rows - 1:
            raise SystemExit(f"row {rows - 1} got {prediction!r}")
    if rows != options.rows:
        raise SystemExit(f"{rows} predictions for {options.rows} rows")
    figures = {
        "seconds": time.perf_counter() - started,
        "peak_resident_bytes_above_input": resident_bytes("VmHWM") - resident,
        "peak_traced_bytes": tracemalloc.get_traced_memory()[1] if options.trace else None,
    }
    ours.close()
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
