"""A job holds what is under way and no more, however large its input."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from servingclient import BadRequest
from servingclient.emulator import Emulator
from tests.bulk.kit import errors_of, mapped
from tests.doors.kit import Client, Door, pat

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


def test_nothing_of_the_input_is_held_after_the_job(door: Door, emulator: Emulator) -> None:
    # without the collector: errors, threads and generators must not hold each other
    emulator.add_endpoint("picky", echo="a", poison=-1.0)
    client = door.open("picky", pat(emulator))
    mapped(door, client, [{"a": 1.0}])
    values = np.arange(1000.0)
    values[[40, 500]] = -1.0
    values[700] = np.nan
    gone = weakref.ref(values)
    gc.collect()
    gc.disable()
    try:
        found = mapped(door, client, {"a": values}, rows_per_request=100, on_error="return")
        row = row_that_failed(door, client, {"a": values}, rows_per_request=100)
        del values
        assert gone() is None
    finally:
        gc.enable()
    assert list(errors_of(found)) == [40, 500, 700]
    assert row == 40


def row_that_failed(door: Door, client: Client, inputs: Any, **options: Any) -> int | None:
    """The error is caught where it is raised: outside, the loop's own frames hold it."""

    def sync() -> int | None:
        try:
            list(client.map(inputs, **options))
        except BadRequest as error:
            return error.row
        return None

    async def asynchronous() -> int | None:
        try:
            await client.map(inputs, **options).to_list()
        except BadRequest as error:
            return error.row
        return None

    return sync() if door.colour == "sync" else door.run(asynchronous())
