"""A job that is killed goes on where it was: every row comes out once, none is scored twice."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient import (
    BadRequest,
    CheckpointError,
    PayloadError,
    ServingError,
    Settings,
)
from servingclient.bulk.checkpoint import ROW_SETTINGS
from servingclient.bulk.spool import Spool
from servingclient.emulator import Emulator, faults
from servingclient.settings import Bulk, Payload, Retry
from tests.bulk.kit import errors_of, mapped, rows_in, sent, until_error
from tests.doors.kit import Door, pat

N = 300
IDS = [float(n) for n in range(N)]
FRAME = pd.DataFrame({"id": IDS, "b": [0.5] * N})


@pytest.fixture
def echo(emulator: Emulator) -> Emulator:
    emulator.add_endpoint("echo", echo="id", poison=-1.0)
    return emulator


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "job.spool"


def half_done(door: Door, client: Any, inputs: Any, path: Path, rows: int = 120) -> None:
    """A run that is left after so many results."""

    async def read() -> None:
        async with client.map(inputs, checkpoint=path, rows_per_request=30, concurrency=2) as found:
            for _ in range(rows):
                await anext(found)

    if door.colour == "async":
        door.run(read())
        return
    with client.map(inputs, checkpoint=path, rows_per_request=30, concurrency=2) as found:
        list(itertools.islice(found, rows))


def recorded(path: Path) -> set[float]:
    """The rows whose predictions stand in the file."""
    spool = Spool(str(path), {})  # of whatever job
    rows = {
        float(record.first_row + offset)
        for record in spool._records.values()
        for offset in range(record.rows)
        if offset not in record.holes
    }
    spool.close()
    return rows


FORMS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: FRAME,
    "polars": lambda: pl.DataFrame({"id": IDS, "b": [0.5] * N}),
    "arrow": lambda: pa.table({"id": IDS, "b": [0.5] * N}),
    "array": lambda: {"id": np.array(IDS)},
    "generator": lambda: ({"id": n, "b": 0.5} for n in IDS),
    "frames": lambda: (FRAME[n : n + 70] for n in range(0, N, 70)),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_second_run_sends_what_the_first_did_not(
    door: Door, echo: Emulator, path: Path, form: str
) -> None:
    client = door.open("echo", pat(echo))
    half_done(door, client, FORMS[form](), path)
    known = recorded(path)
    assert len(known) >= 90
    before = len(sent(echo, "echo"))
    assert mapped(door, client, FORMS[form](), checkpoint=path, concurrency=2) == IDS
    again = {row for record in sent(echo, "echo")[before:] for row in rows_in(record)}
    assert again == set(IDS) - known
    assert recorded(path) == set(IDS)


def test_a_finished_job_sends_nothing(door: Door, echo: Emulator, path: Path) -> None:
    client = door.open("echo", pat(echo))
    assert mapped(door, client, FRAME, checkpoint=path) == IDS
    before = len(echo.requests)
    assert mapped(door, client, FRAME, checkpoint=str(path), rows_per_request=7) == IDS
    assert len(echo.requests) == before


CHILD = """
import sys
import pandas as pd
from servingclient import ServingClient

host, token, path, rows = sys.argv[1:]
frame = pd.DataFrame({"id": [float(n) for n in range(int(rows))], "b": 0.5})
with ServingClient("echo", host=host, token=token) as client:
    for row in client.map(frame, checkpoint=path, rows_per_request=20, concurrency=4):
        print(row, flush=True)
"""


def test_a_killed_process_loses_nothing_that_was_done(
    door: Door, echo: Emulator, path: Path
) -> None:
    rows = 2000
    echo.always("echo", faults.slow(0.01))
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, echo.host, echo.token, str(path), str(rows)],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    seen = [float(next(child.stdout)) for _ in range(500)]
    child.kill()  # SIGKILL: nothing of it can say goodbye
    child.communicate()
    assert seen == [float(n) for n in range(500)]
    known = recorded(path)
    assert known >= set(seen), "what was handed out had been recorded"
    assert len(known) < rows
    client = door.open("echo", pat(echo))
    frame = pd.DataFrame({"id": [float(n) for n in range(rows)], "b": 0.5})
    options = {"checkpoint": path, "client_request_id": "second", "rows_per_request": 50}
    assert mapped(door, client, frame, **options) == frame["id"].tolist()
    # told by its id: what the first had under way may be decided only now
    second = [r for r in sent(echo, "echo") if str(r.client_request_id).startswith("second-")]
    again = [row for record in second for row in rows_in(record)]
    assert sorted(again) == sorted(set(frame["id"]) - known)


def test_rows_that_failed_are_tried_again_alone(door: Door, echo: Emulator, path: Path) -> None:
    client = door.open("echo", pat(echo))
    ids = np.array(IDS)
    ids[[40, 200]] = -1.0
    options = {"checkpoint": path, "rows_per_request": 50, "on_error": "return"}
    found = mapped(door, client, {"id": ids}, **options)
    assert list(errors_of(found)) == [40, 200]
    before = len(sent(echo, "echo"))
    echo.change_endpoint("echo", poison=None)  # the model was mended
    assert mapped(door, client, {"id": ids}, **options) == ids.tolist()
    assert [rows_in(record) for record in sent(echo, "echo")[before:]] == [[-1.0], [-1.0]]
    assert mapped(door, client, {"id": ids}, **options) == ids.tolist()
    assert len(sent(echo, "echo")) == before + 2


def test_rows_that_could_not_be_sent_stay_so(door: Door, echo: Emulator, path: Path) -> None:
    client = door.open("echo", pat(echo))
    ids = np.array(IDS)
    ids[[0, 77]] = math.nan
    options = {"checkpoint": path, "rows_per_request": 50}
    for _ in range(2):
        found = mapped(door, client, {"id": ids}, on_error="return", **options)
        assert list(errors_of(found)) == [0, 77]
        assert isinstance(found[77], PayloadError)
        good = [n for n in found if not isinstance(n, ServingError)]
        assert good == [n for n in IDS if n not in (0, 77)]
    assert len(sent(echo, "echo")) == 6, "the second run sent nothing"
    seen, error = until_error(door, client, {"id": ids}, **options)
    assert seen == []
    assert isinstance(error, PayloadError)


def test_a_job_that_raised_goes_on_behind_what_was_done(
    door: Door, echo: Emulator, path: Path
) -> None:
    client = door.open("echo", pat(echo))
    ids = np.array(IDS)
    ids[137] = -1.0
    options = {"checkpoint": path, "rows_per_request": 50, "concurrency": 1}
    seen, error = until_error(door, client, {"id": ids}, **options)
    assert seen == IDS[:137]
    assert isinstance(error, BadRequest)
    echo.change_endpoint("echo", poison=None)
    before = len(sent(echo, "echo"))
    assert mapped(door, client, {"id": ids}, **options) == ids.tolist()
    again = [row for record in sent(echo, "echo")[before:] for row in rows_in(record)]
    assert not set(again) & set(IDS[:137])


def test_whatever_a_model_answers_comes_back(door: Door, emulator: Emulator, path: Path) -> None:
    answers = [
        math.nan,
        math.inf,
        -0.0,
        2**64 - 1,
        -(2**63),
        0.1,
        None,
        True,
        "ünï",
        {"b": [1, {"a": None}], "a": []},
        [[1.5], []],
    ]
    emulator.add_endpoint("odd", model=lambda rows: answers)
    client = door.open("odd", pat(emulator))
    rows = [{"id": n} for n in range(len(answers))]
    first = mapped(door, client, rows, checkpoint=path)
    requests = len(emulator.requests)
    again = mapped(door, client, rows, checkpoint=path)
    assert repr(again) == repr(first)
    assert [type(value) for value in again] == [type(value) for value in answers]
    assert len(emulator.requests) == requests


# -- not this job's file ---------------------------------------------------------------------------


CHANGED: dict[str, tuple[Any, int]] = {
    "a value": (FRAME.assign(id=[999.0 if n == 45 else n for n in IDS]), 30),
    "another order": (FRAME[::-1], 0),
    "another column": (FRAME.rename(columns={"b": "c"}), 0),
    "a row less before": (FRAME[1:], 0),
    "its end": (FRAME[:100], 100),
    "other portions": ((FRAME[n : n + 50] for n in range(0, N, 50)), 50),
    "what cannot be sent": (FRAME.assign(id=[math.nan if n == 70 else n for n in IDS]), 60),
}


@pytest.mark.parametrize("change", CHANGED)
def test_another_input_is_found_out(door: Door, echo: Emulator, path: Path, change: str) -> None:
    client = door.open("echo", pat(echo))
    options = {"checkpoint": path, "rows_per_request": 30}
    assert mapped(door, client, FRAME, **options) == IDS
    before, requests = path.read_bytes(), len(echo.requests)
    inputs, row = CHANGED[change]
    if change == "other portions":
        inputs = (FRAME[n : n + 50] for n in range(0, N, 50))
    _, error = until_error(door, client, inputs, **options)
    assert isinstance(error, CheckpointError)
    assert error.row == row
    assert "another input" in str(error)
    assert path.read_bytes() == before
    assert len(echo.requests) == requests


def test_an_input_that_ends_before_what_is_known_is_found_out(
    door: Door, echo: Emulator, path: Path
) -> None:
    client = door.open("echo", pat(echo), Settings(retry=Retry(max_attempts=1)))
    echo.script("echo", faults.ok(), faults.plain(500))
    options = {"checkpoint": path, "rows_per_request": 50, "concurrency": 1}
    found = mapped(door, client, FRAME, on_error="return", **options)
    assert list(errors_of(found)) == list(range(50, 100))
    _, error = until_error(door, client, FRAME[:50], **options)
    assert isinstance(error, CheckpointError)
    assert error.row == 50
    assert mapped(door, client, FRAME, **options) == IDS


def test_more_rows_than_before_are_scored(door: Door, echo: Emulator, path: Path) -> None:
    client = door.open("echo", pat(echo))
    assert mapped(door, client, FRAME[:200], checkpoint=path) == IDS[:200]
    before = len(sent(echo, "echo"))
    assert mapped(door, client, FRAME, checkpoint=path) == IDS
    again = [row for record in sent(echo, "echo")[before:] for row in rows_in(record)]
    assert sorted(again) == IDS[200:]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"endpoint": "demo"}, "another endpoint"),
        ({"params": {"factor": 2}}, "another set of params"),
        ({"served_model": "echo-1"}, "another served model"),
        ({"settings": Settings(payload=Payload(nan="null"))}, "another encoding"),
    ],
    ids=["endpoint", "params", "served model", "encoding"],
)
def test_another_job_is_found_out(
    door: Door, echo: Emulator, path: Path, changes: dict[str, Any], words: str
) -> None:
    assert mapped(door, door.open("echo", pat(echo)), FRAME, checkpoint=path) == IDS
    before, requests = path.read_bytes(), len(echo.requests)
    changes = dict(changes)
    endpoint, settings = changes.pop("endpoint", "echo"), changes.pop("settings", None)
    other = door.open(endpoint, pat(echo), settings)
    _, error = until_error(door, other, FRAME, checkpoint=path, **changes)
    assert isinstance(error, CheckpointError)
    assert words in str(error)
    assert path.read_bytes() == before
    assert len(echo.requests) == requests


def test_it_is_decided_for_every_setting_whether_it_changes_rows() -> None:
    harmless = {"validate", "codec", "gzip", "gzip_min_bytes", "gzip_level", "max_request_bytes"}
    assert {field.name for field in fields(Payload)} == {*ROW_SETTINGS, *harmless}


def test_what_does_not_change_the_rows_may_change(door: Door, echo: Emulator, path: Path) -> None:
    mapped(door, door.open("echo", pat(echo)), FRAME, checkpoint=path, client_request_id="monday")
    settings = Settings(payload=Payload(max_request_bytes=5000), bulk=Bulk(max_request_rows=11))
    other = door.open("echo", pat(echo), settings)
    before = len(sent(echo, "echo"))
    found = mapped(door, other, FRAME, checkpoint=path, client_request_id="tuesday", timeout=5)
    assert found == IDS
    assert len(sent(echo, "echo")) == before


def test_two_jobs_at_one_file_are_told(door: Door, echo: Emulator, path: Path) -> None:
    client = door.open("echo", pat(echo))
    spool = Spool(str(path), {})
    _, error = until_error(door, client, FRAME, checkpoint=path)
    spool.close()
    assert isinstance(error, CheckpointError)
    assert "in use by another map" in str(error)


def test_a_disk_that_fills_up_ends_the_job_with_one_error(
    door: Door, echo: Emulator, path: Path
) -> None:
    resource = pytest.importorskip("resource")
    client = door.open("echo", pat(echo))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1500, limits[1]))
    options = {"checkpoint": path, "rows_per_request": 30}
    try:
        seen, error = until_error(door, client, FRAME, on_error="return", **options)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert isinstance(error, CheckpointError)
    assert "cannot be written" in str(error)
    assert seen == IDS[: len(seen)]
    before = len(sent(echo, "echo"))
    assert mapped(door, client, FRAME, **options) == IDS
    again = [row for record in sent(echo, "echo")[before:] for row in rows_in(record)]
    assert 0 < len(again) < N
