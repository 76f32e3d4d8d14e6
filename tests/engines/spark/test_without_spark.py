"""What needs no Spark: shares, the cutting of batches, values and types, and that it is missing."""

from __future__ import annotations

import datetime as dt
import sys
from collections.abc import Iterator
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from servingclient import ConfigError
from servingclient.integrations.spark import budget, score, score_udf
from servingclient.integrations.spark.results import fitting
from servingclient.integrations.spark.scoring import Login, Waiting, tables

UTC = dt.timezone.utc


def test_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pyspark", "pyspark.sql"):
        monkeypatch.setitem(sys.modules, name, None)
    wanted = r"needs pyspark, which is not installed .*'servingclient\[spark\]'"
    with pytest.raises(ConfigError, match=wanted):
        score(None, "model")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=wanted):
        score_udf("model")


def test_a_login_does_not_show_its_secrets() -> None:
    assert "s3cret" not in repr(Login("host", "s3cret", "id", "s3cret"))


@pytest.mark.parametrize(
    ("limit", "workers", "each"),
    [(8, 2, 4), (7, 2, 3), (1, 1, 1), (4, 4, 1), (3, 4, 1), (64, 5, 12)],
)
def test_the_parts_stay_within_the_budget(limit: int, workers: int, each: int) -> None:
    assert budget.in_flight(limit, workers) == each
    assert each * workers <= max(limit, workers)


def batches(*sizes: int) -> Iterator[pa.RecordBatch]:
    first = 0
    for size in sizes:
        numbers = list(range(first, first + size))
        yield pa.RecordBatch.from_pydict({"n": numbers, "other": numbers})
        first += size


@pytest.mark.parametrize("sizes", [(25,), (10, 10, 5), (3,) * 9, (1, 24), (0, 25, 0), (7, 0, 18)])
def test_requests_are_the_same_however_batches_are_cut(sizes: tuple[int, ...]) -> None:
    made = list(tables(batches(*sizes), ["n"], 10))
    total = sum(sizes)
    assert [table.num_rows for table in made] == [10] * (total // 10) + [total % 10]
    assert pa.concat_tables(made).to_pydict() == {"n": list(range(total))}


def test_nothing_is_read_before_it_is_wanted() -> None:
    read: list[int] = []

    def source() -> Iterator[pa.RecordBatch]:
        for batch in batches(10, 10, 10):
            read.append(batch.num_rows)
            yield batch

    made = tables(source(), ["n"], 5)
    assert read == []
    next(made)
    next(made)
    assert read == [10]


def test_answers_go_to_the_batches_they_are_for() -> None:
    waiting = Waiting(len)
    given = ["abc", "", "de", "f"]
    assert list(waiting.noted(given)) == ["abc", "de", "f"]
    assert [list(waiting.answered(rows)) for rows in (2, 3, 1)] == [
        [("abc", 0, 2)],
        [("abc", 2, 1), ("de", 0, 2)],
        [("f", 0, 1)],
    ]
    assert list(waiting.answered(0)) == []


def kind(name: str, **rest: Any) -> Any:
    """As pyspark's types are, as far as they are asked."""
    return SimpleNamespace(typeName=lambda: name, simpleString=lambda: name, **rest)


DOUBLE, STRING = kind("double"), kind("string")
FIELDS = [SimpleNamespace(name="x", dataType=DOUBLE), SimpleNamespace(name="s", dataType=STRING)]

FITS: list[tuple[Any, Any, Any]] = [
    (DOUBLE, 1, 1.0),
    (DOUBLE, 2**53 + 1, float(2**53)),
    (kind("float"), 0.5, 0.5),
    (kind("float"), float("inf"), float("inf")),
    (kind("long"), 3.0, 3),
    (kind("long"), 2**63 - 1, 2**63 - 1),
    (kind("byte"), -128, -128),
    (kind("boolean"), True, True),
    (STRING, "é", "é"),
    (kind("decimal(5,2)", precision=5, scale=2), 0.1, Decimal("0.10")),
    (kind("decimal(5,2)", precision=5, scale=2), "1.239", Decimal("1.24")),
    (kind("date"), "2024-02-29", dt.date(2024, 2, 29)),
    (kind("timestamp"), "2024-02-29T01:02:03", dt.datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC)),
    (
        kind("timestamp"),
        "2024-02-29T01:02:03.5+01:00",
        dt.datetime(2024, 2, 29, 0, 2, 3, 500_000, tzinfo=UTC),
    ),
    (
        kind("timestamp_ntz"),
        "2024-02-29 01:02:03.123456789",
        dt.datetime(2024, 2, 29, 1, 2, 3, 123456),  # noqa: DTZ001 - it has no zone
    ),
    (kind("binary"), "aGVs\nbG8=\n", b"hello"),
    (kind("array", elementType=DOUBLE), [1, None, 2.5], [1.0, None, 2.5]),
    (kind("map", keyType=STRING, valueType=DOUBLE), {"k": 1}, [("k", 1.0)]),
    (kind("struct", fields=FIELDS), {"s": None, "x": 1, "more": 0}, {"x": 1.0, "s": None}),
]


@pytest.mark.parametrize(("kind", "value", "stored"), FITS)
def test_what_means_the_same_fits(kind: Any, value: Any, stored: Any) -> None:
    errors: list[str | None] = [None, None]
    column = fitting(kind).column([value, None], errors)
    assert column.to_pylist() == [stored, None]
    assert errors == [None, None]


MISFITS: list[tuple[Any, Any, str]] = [
    (DOUBLE, "1", "text"),
    (DOUBLE, True, "a truth value"),
    (DOUBLE, 10**400, "a number beyond 64 bits"),
    (kind("float"), 1e300, "a number beyond 32 bits"),
    (kind("long"), 1.5, "a fraction"),
    (kind("long"), float("nan"), "a fraction"),
    (kind("long"), 2**63, "a number beyond 64 bits"),
    (kind("short"), 40_000, "a number beyond 16 bits"),
    (kind("integer"), True, "a truth value"),
    (kind("boolean"), 1, "a whole number"),
    (STRING, 1.5, "a number"),
    (STRING, ["x"], "a list"),
    (kind("decimal(5,2)", precision=5, scale=2), 123456, "a whole number that has no place there"),
    (kind("decimal(5,2)", precision=5, scale=2), "x", "text that has no place there"),
    (kind("decimal(5,2)", precision=5, scale=2), float("inf"), "a number that has no place there"),
    (kind("date"), "2024-02-30", "text that is no ISO date"),
    (kind("timestamp"), "soon", "text that is no ISO time"),
    (kind("timestamp"), 1_700_000_000, "a whole number"),
    (kind("timestamp_ntz"), "2024-02-29T01:02:03Z", "a time with a zone"),
    (kind("binary"), "not base64!", "text that is no base64"),
    (kind("array", elementType=DOUBLE), "ab", "text"),
    (kind("array", elementType=DOUBLE), [1.0, "x"], "text"),
    (kind("map", keyType=STRING, valueType=DOUBLE), [1], "a list"),
    (kind("struct", fields=FIELDS), {"x": 1}, "an object without 's'"),
    (kind("struct", fields=FIELDS), 1.0, "a number"),
]


@pytest.mark.parametrize(("kind", "value", "said"), MISFITS)
def test_what_does_not_fit_is_the_row_s_error_alone(kind: Any, value: Any, said: str) -> None:
    errors: list[str | None] = [None, None]
    column = fitting(kind).column([None, value], errors)
    assert column.to_pylist() == [None, None]
    assert errors[0] is None
    assert (errors[1] or "").startswith(
        f"PredictionType: the prediction is {said}, and result_type"
    )


def test_one_that_does_not_fit_leaves_the_others() -> None:
    errors: list[str | None] = [None] * 3
    assert fitting(DOUBLE).column([1.5, "x", 2], errors).to_pylist() == [1.5, None, 2.0]
    assert [error is None for error in errors] == [True, False, True]
    assert fitting(kind("long")).column([1, 2**70], errors).to_pylist() == [1, None]
