"""Run by ``test_memory`` in a process of its own: score a frame, print the peak above the input.

Arguments: host, token, rows, ``rss`` or ``traced``.
"""

from __future__ import annotations

import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd

from servingclient import ServingClient


def resident(field: str) -> int:
    """A figure of this process's memory in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = [line for line in lines if line.startswith(field)]
    return int(line.split()[1]) * 1024


def main() -> None:
    host, token, rows, how = sys.argv[1:]
    count = int(rows)
    values = np.random.default_rng(0).random((count, 10))
    frame = pd.DataFrame(values, columns=[f"c{n}" for n in range(10)])
    with ServingClient("demo", host=host, token=token) as client:
        assert sum(1 for _ in client.map(frame[:1000])) == 1000  # what is loaded once is loaded
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        before = resident("VmRSS")
        if how == "traced":
            tracemalloc.start()
        assert sum(1 for _ in client.map(frame)) == count
        peak = tracemalloc.get_traced_memory()[1] if how == "traced" else resident("VmHWM") - before
    print(peak)  # noqa: T201 - read by the test


main()
