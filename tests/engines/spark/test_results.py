"""What comes out of scoring a frame, on the cores of one machine."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from servingclient import Payload, Settings
from servingclient.emulator import Emulator
from servingclient.integrations.spark import Progress, score
from tests.engines.spark.kit import (
    assert_each_once,
    request_ids,
    sent,
)

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

Make = Callable[..., Any]


def test_every_row_gets_its_own_prediction(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    progress = Progress(spark)
    scored = score(frame(5000), "model", **login, progress=progress, client_request_id="run")
    assert scored.columns == ["id", "a", "b", "prediction", "prediction_error"]
    assert sent(emu) == []
    rows = scored.collect()
    assert [row.id for row in rows] == list(range(5000))
    assert_each_once(rows, 5000)
    assert (progress.rows, progress.requests, progress.errors) == (5000, 8, 0)
    assert request_ids(emu) == {f"run-{part}-{row}": 1 for part in range(4) for row in (0, 1000)}
    assert [record.rows for record in sent(emu)].count(1000) == 4


def test_only_what_the_model_knows_is_sent(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    wide = frame(10, 1).selectExpr("*", "'x' AS `a.b`", "base64('y') AS c")
    rows = score(wide, "model", **login, keep=["a.b", "id"]).collect()
    assert rows[3].asDict() == {"a.b": "x", "id": 3, "prediction": 3.5, "prediction_error": None}
    assert b'"columns":["a","b"]' in (sent(emu)[0].body or b"")
    emu.add_endpoint("any")
    some = score(wide, "any", **login, columns=["b"], keep=[], result_type="double")
    assert [row.asDict() for row in some.limit(1).collect()] == [
        {"prediction": 0.5, "prediction_error": None}
    ]


def test_an_empty_frame_asks_for_nothing(
    frame: Make, emu: Emulator, login: Any, spark: Any
) -> None:
    assert score(frame(0), "model", **login).collect() == []
    assert sent(emu) == []


def test_rows_that_fail_have_an_error_and_end_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", poison=1234.0)
    progress = Progress(spark)
    with_null = frame(3000).selectExpr(
        "id", "nullif(a, 7.0D) AS a", "if(id = 8, 'NaN', b)::double AS b"
    )
    rows = score(with_null, "model", **login, progress=progress).collect()
    failed = {
        row.id: row.prediction_error.partition(":")[0] for row in rows if row.prediction_error
    }
    assert failed == {7: "PayloadError", 8: "PayloadError", 1234: "BadRequest"}
    assert {row.id for row in rows if row.prediction is None} == {7, 8, 1234}
    assert (progress.rows, progress.errors) == (3000, 3)
    assert progress.requests > 4  # the refused one was halved


def test_missing_values_go_as_null_where_the_settings_say_so(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    settings = Settings.batch().replace(payload=Payload(nan="null"))
    nulls = frame(2, 1).selectExpr("id", "cast(null AS double) AS a", "b")
    emu.change_endpoint("model", schema=None)
    rows = score(nulls, "model", **login, settings=settings, result_type="double").collect()
    assert [row.prediction for row in rows] == [1 + 0.5, 0.5] or [
        row.prediction_error for row in rows
    ] == [None, None]
    assert b"null" in (sent(emu)[0].body or b"")


def test_all_kinds_of_values_arrive(spark: Any, emu: Emulator, login: Any) -> None:
    emu.add_endpoint("kinds", model=lambda rows: [str(row) for row in rows])
    one = spark.sql(
        "SELECT 2L l, 'text' s, true t, date'2024-02-03' d, timestamp'2024-02-03 04:05:06Z' z,"
        " timestamp_ntz'2024-02-03 04:05:06' n, array(1, 2) a, map('k', 1) m,"
        " named_struct('x', 1.5D) r, 1.25BD e"
    )
    settings = Settings.batch().replace(payload=Payload(decimal="float"))
    (row,) = score(one, "kinds", **login, settings=settings, result_type="string").collect()
    assert row.prediction == str(
        {
            "l": 2,
            "s": "text",
            "t": True,
            "d": "2024-02-03",
            "z": "2024-02-03T04:05:06",
            "n": "2024-02-03T04:05:06",
            "a": [1, 2],
            "m": {"k": 1},
            "r": {"x": 1.5},
            "e": 1.25,
        }
    )


def test_predictions_are_of_the_promised_type(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    answers: list[Any] = [
        {"label": "x", "score": 1, "at": "2024-02-03T04:05:06.123456789Z", "rest": 0},
        {"label": "x", "score": 0.5, "at": None},
        {"label": "x", "score": 0.5},
        {"label": 3, "score": 0.5, "at": None},
        1.5,
        None,
    ]
    emu.add_endpoint("objects", model=lambda rows: [answers[int(row["id"])] for row in rows])
    scored = score(
        frame(6, 1),
        "objects",
        **login,
        columns=["id"],
        keep=[],
        result_type="label string, score double, at timestamp",
    )
    rows = scored.selectExpr(
        "prediction.*", "date_format(prediction.at, 'SSSSSS') us", "prediction_error e"
    ).collect()
    assert [(row.label, row.score, row.us) for row in rows[:2]] == [
        ("x", 1.0, "123456"),
        ("x", 0.5, None),
    ]
    assert [row.e and row.e.partition(", and")[0] for row in rows] == [
        None,
        None,
        "PredictionType: the prediction is an object without 'at'",
        "PredictionType: the prediction is a whole number",
        "PredictionType: the prediction is a number",
        None,
    ]


def test_every_type_goes_through_spark(spark: Any, frame: Make, emu: Emulator, login: Any) -> None:
    answer = {
        "f": 0.5,
        "s": -3.0,
        "b": 127,
        "t": False,
        "d": 12.345,
        "day": "2024-02-29",
        "n": "2024-02-29T01:02:03.5",
        "z": "2024-02-29T01:02:03+01:00",
        "x": "aGVsbG8=",
        "l": [1, None],
        "m": {"k": [{"y": "z"}]},
    }
    emu.add_endpoint("all", model=lambda rows: [answer for _ in rows])
    promised = (
        "f float, s smallint, b tinyint, t boolean, d decimal(6,2), day date, n timestamp_ntz,"
        " z timestamp, x binary, l array<bigint>, m map<string, array<struct<y: string>>>"
    )
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    try:
        scored = score(frame(1), "all", **login, result_type=promised)
        (row,) = scored.selectExpr(
            "prediction.*", "prediction_error e", "unix_timestamp(prediction.z) u"
        ).collect()
    finally:
        spark.conf.unset("spark.sql.session.timeZone")
    assert row.e is None
    assert (row.f, row.s, row.b, row.t, row.d) == (0.5, -3, 127, False, Decimal("12.34"))
    assert (row.day, row.n) == (dt.date(2024, 2, 29), dt.datetime(2024, 2, 29, 1, 2, 3, 500_000))  # noqa: DTZ001 - without zone
    assert row.u == dt.datetime(2024, 2, 29, 0, 2, 3, tzinfo=dt.timezone.utc).timestamp()
    assert (bytes(row.x), row.l, row.m["k"][0].y) == (b"hello", [1, None], "z")


def test_the_type_is_what_the_endpoint_tells(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", outputs={"label": "string", "odd-name": "long"})
    made = score(frame(1), "model", **login).schema["prediction"].dataType
    assert made.simpleString() == "struct<label:string,odd-name:bigint>"
