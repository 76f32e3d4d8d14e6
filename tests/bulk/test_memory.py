"""A job holds what is under way and no more, however large its input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from servingclient.emulator import Emulator

SCRIPT = Path(__file__).with_name("measure_memory.py")
MB = 1_000_000


def peak(emulator: Emulator, rows: int, how: str) -> int:
    arguments = [sys.executable, str(SCRIPT), emulator.host, emulator.token, str(rows), how]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("how", ["rss", "traced"])
def test_memory_does_not_grow_with_the_input(emulator: Emulator, how: str) -> None:
    # 16 requests of 0.9 MB at once, and as many results ahead; the whole as one body is 20 MB
    assert peak(emulator, 100_000, how) < 40 * MB


@pytest.mark.soak
@pytest.mark.timeout(240)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_million_rows_take_no_more_than_150_mb(emulator: Emulator) -> None:
    # of 10 columns: 80 MB as they are, 185 MB as JSON, of which 11 MB were seen at once
    assert peak(emulator, 1_000_000, "rss") <= 150 * MB
