"""Stages around the requests of a bulk job: one row in, one row out, none twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servingclient import (
    BadRequest,
    CheckpointError,
    ConfigError,
    PayloadError,
    ServingError,
    Settings,
)
from servingclient.emulator import Emulator
from servingclient.settings import Payload
from tests.bulk.kit import mapped, rows_in, sent, until_error
from tests.doors.kit import Door, pat

N = 300
ROWS = [{"a": float(n)} for n in range(N)]


class Broken(Exception):  # noqa: N818 - says what it is
    """A caller's own."""


@pytest.fixture
def echo(emulator: Emulator) -> Emulator:
    """An endpoint that gives back the sum of each row."""
    emulator.add_endpoint("echo", model=lambda rows: [sum(row.values()) for row in rows])
    return emulator


class Doubling:
    """Adds the double of a column, and knows every row it was given."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, rows: Any) -> Any:
        if isinstance(rows, pd.DataFrame):
            self.seen += rows["a"].tolist()
            return rows.assign(b=2 * rows["a"])
        self.seen += [row["a"] for row in rows]
        return [{**row, "b": 2 * row["a"]} for row in rows]


@pytest.mark.parametrize("inputs", [ROWS, pd.DataFrame(ROWS), iter(ROWS), [pd.DataFrame(ROWS)]])
def test_each_row_goes_through_once_and_comes_back_in_order(
    door: Door, echo: Emulator, inputs: Any
) -> None:
    enrich = Doubling()
    inputs = ROWS if not isinstance(inputs, (list, pd.DataFrame)) else inputs
    client = door.open(
        "echo", pat(echo), enrich=enrich, postprocess=lambda values: [-v for v in values]
    )
    assert mapped(door, client, inputs, rows_per_request=70) == [-3.0 * n for n in range(N)]
    assert enrich.seen == [row["a"] for row in ROWS]


def test_rows_that_do_not_fit_a_request_go_through_once_all_the_same(
    door: Door, echo: Emulator
) -> None:
    enrich = Doubling()
    settings = Settings(payload=Payload(max_request_bytes=600))
    client = door.open("echo", pat(echo), settings, enrich=enrich)
    assert mapped(door, client, ROWS, rows_per_request=100) == [3.0 * n for n in range(N)]
    sizes = [len(rows_in(record)) for record in sent(echo, "echo")]
    assert max(sizes) < 100, "they were cut"
    assert enrich.seen == [row["a"] for row in ROWS]


def test_halves_of_a_refused_request_are_as_they_were_made(door: Door, emulator: Emulator) -> None:
    def model(rows: Any) -> Any:
        if any(row["b"] == 14.0 for row in rows):
            raise ValueError("fourteen")
        return [row["b"] for row in rows]

    emulator.add_endpoint("echo", model=model)
    enrich = Doubling()
    client = door.open("echo", pat(emulator), enrich=enrich)
    got = mapped(door, client, ROWS[:20], rows_per_request=20, on_error="return")
    assert [n for n, value in enumerate(got) if isinstance(value, BadRequest)] == [7]
    assert got[8:] == [2.0 * n for n in range(8, 20)]
    assert enrich.seen == [row["a"] for row in ROWS[:20]]


def test_postprocess_gets_predictions_and_no_errors(door: Door, emulator: Emulator) -> None:
    def model(rows: Any) -> Any:
        if any(row["a"] == 3.0 for row in rows):
            raise ValueError("three")
        return [row["a"] for row in rows]

    emulator.add_endpoint("echo", model=model)
    given: list[list[float]] = []

    def post(values: list[float]) -> Any:
        given.append(values)
        return np.array(values) * 10

    client = door.open("echo", pat(emulator), postprocess=post)
    got = mapped(door, client, ROWS[:6], rows_per_request=6, on_error="return")
    assert given == [[0.0, 1.0, 2.0, 4.0, 5.0]]
    assert isinstance(got[3], ServingError)
    assert [*got[:3], *got[4:]] == [0.0, 10.0, 20.0, 40.0, 50.0]
    assert type(got[0]) is float


def test_an_error_of_a_stage_comes_after_the_rows_before_it(door: Door, echo: Emulator) -> None:
    mine = Broken("mine")

    def enrich(rows: Any) -> Any:
        if rows[0]["a"] >= 100:
            raise mine
        return rows

    client = door.open("echo", pat(echo), enrich=enrich)
    for on_error in ("raise", "return"):
        seen, error = until_error(
            door, client, ROWS, rows_per_request=50, concurrency=2, on_error=on_error
        )
        assert seen == [float(n) for n in range(100)]
        assert error is mine


def test_an_error_of_postprocess_ends_the_job(door: Door, echo: Emulator) -> None:
    def post(values: Any) -> Any:
        if values[0] >= 100:
            raise Broken
        return values

    client = door.open("echo", pat(echo), postprocess=post)
    seen, error = until_error(door, client, ROWS, rows_per_request=50)
    assert seen == [float(n) for n in range(100)]
    assert type(error) is Broken


def test_a_job_may_go_on_without_enrichment(door: Door, echo: Emulator) -> None:
    def enrich(rows: Any) -> Any:
        raise Broken

    def stand_in(rows: Any, error: Exception) -> Any:
        return [{**row, "b": 0.5} for row in rows]

    client = door.open("echo", pat(echo), enrich=enrich, on_enrichment_error=stand_in)
    assert mapped(door, client, ROWS[:4]) == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ([], "made 0 rows of 10 rows"),
        (ROWS[:11], "made 11 rows of 10 rows"),
        (7, "made an object of type int of 10 rows"),
        (iter(ROWS[:10]), "made an object of type list_iterator of 10 rows"),
    ],
)
def test_stages_must_keep_rows_one_for_one(
    door: Door, echo: Emulator, made: Any, says: str
) -> None:
    client = door.open("echo", pat(echo), preprocess=lambda _: made)
    seen, error = until_error(door, client, ROWS[:10])
    assert (seen, type(error)) == ([], ConfigError)
    assert f"preprocess and enrich {says}" in str(error)
    assert sent(echo, "echo") == []


@pytest.mark.parametrize(
    ("made", "says"),
    [
        ([1.0], "made 1 values of 10 predictions"),
        ({"a": 1}, "made an object of type dict of 10 predictions"),
        ("abcdefghij", "made an object of type str of 10 predictions"),
        (None, "made an object of type NoneType of 10 predictions"),
        (pd.DataFrame({"a": [0.0] * 10}), "made an object of type DataFrame of 10 predictions"),
        (np.zeros(9), "made 9 values of 10 predictions"),
    ],
)
def test_postprocess_must_give_a_value_for_each(
    door: Door, echo: Emulator, made: Any, says: str
) -> None:
    client = door.open("echo", pat(echo), postprocess=lambda _: made)
    seen, error = until_error(door, client, ROWS[:10], rows_per_request=10)
    assert (seen, type(error)) == ([], ConfigError)
    assert f"postprocess {says}" in str(error)


def test_a_missing_return_is_found(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo), preprocess=lambda _: None)
    _, error = until_error(door, client, ROWS[:10])
    assert type(error) is PayloadError
    assert "preprocess returned None" in str(error)


def test_a_checkpoint_knows_rows_as_they_were_given(
    door: Door, echo: Emulator, tmp_path: Path
) -> None:
    # what enrich adds may differ from run to run: it is no other input
    ages = iter(range(1000))
    enriched: list[int] = []

    def enrich(rows: Any) -> Any:
        enriched.append(len(rows))
        return [{**row, "age": float(next(ages))} for row in rows]

    def post(values: Any) -> Any:
        return [round(value) for value in values]

    client = door.open("echo", pat(echo), enrich=enrich, postprocess=post)
    options = {"rows_per_request": 50, "checkpoint": tmp_path / "job.spool"}
    first = mapped(door, client, ROWS, **options)
    assert enriched == [50] * 6
    asked = len(sent(echo, "echo"))
    assert mapped(door, client, ROWS, **options) == first
    assert enriched == [50] * 6, "rows that are scored are not enriched again"
    assert len(sent(echo, "echo")) == asked


def test_the_holes_of_an_earlier_run_are_made_again(
    door: Door, emulator: Emulator, tmp_path: Path
) -> None:
    refused = {4.0}

    def model(rows: Any) -> Any:
        if any(row["a"] in refused for row in rows):
            raise ValueError("not now")
        return [row["b"] for row in rows]

    emulator.add_endpoint("echo", model=model)
    client = door.open("echo", pat(emulator), enrich=Doubling())
    options = {"rows_per_request": 10, "checkpoint": tmp_path / "job.spool", "on_error": "return"}
    first = mapped(door, client, ROWS[:20], **options)
    assert [n for n, value in enumerate(first) if isinstance(value, ServingError)] == [4]
    refused.clear()
    assert mapped(door, client, ROWS[:20], **options) == [2.0 * n for n in range(20)]


def test_a_checkpoint_must_recognise_the_rows(door: Door, echo: Emulator, tmp_path: Path) -> None:
    class Wine:
        """No row that can be encoded; preprocess makes one of it."""

    client = door.open("echo", pat(echo), preprocess=lambda wines: [{"a": 1.0} for _ in wines])
    wines = [Wine() for _ in range(4)]
    assert mapped(door, client, wines) == [1.0] * 4
    _, error = until_error(door, client, wines, checkpoint=tmp_path / "job.spool")
    assert type(error) is CheckpointError
    assert "cannot tell this input from another" in str(error)
