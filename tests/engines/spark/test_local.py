"""Scoring on the cores of one machine."""

from __future__ import annotations

import datetime as dt
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from servingclient import AuthError, ConfigError, NotFound, Payload, Settings
from servingclient.emulator import Emulator
from servingclient.integrations.spark import Progress, score, score_udf
from servingclient.integrations.spark.scoring import Login, Scoring, Work, _workers
from tests.engines.spark.conftest import running
from tests.engines.spark.kit import (
    assert_each_once,
    killed_midway,
    most_at_once,
    python_workers,
    request_ids,
    rows_sent,
    sent,
)

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

Make = Callable[..., Any]


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    with running("local[2,4]") as session:
        yield session


# ------------------------------------------------------------------------------- what comes out


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


# ------------------------------------------------------------------------------- how much at once


def test_never_more_at_once_than_the_budget(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", service_time_s=0.03)
    scored = score(frame(20_000, 16), "model", **login, concurrency=5, rows_per_request=250)
    assert_each_once(scored.collect(), 20_000)
    # two workers, two each: 5 // 2
    assert most_at_once(sent(emu)) == 4
    assert {record.status for record in sent(emu)} == {200}


def test_the_budget_is_what_the_endpoint_has(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", slots=6, queue=0, service_time_s=0.03)
    scored = score(frame(20_000, 16), "model", **login, rows_per_request=250)
    assert_each_once(scored.collect(), 20_000)
    assert most_at_once(sent(emu)) == 6
    assert {record.status for record in sent(emu)} == {200}


def test_more_workers_than_budget_is_said(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    with pytest.warns(UserWarning, match=r"2 workers share 1 requests .*df\.coalesce\(1\)"):
        score(frame(10), "model", **login, concurrency=1)
    emu.change_endpoint("model", service_time_s=0.02)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one = score(frame(3000).coalesce(1), "model", **login, concurrency=1, workers=1)
    assert_each_once(one.collect(), 3000)
    assert most_at_once(sent(emu)) == 1


def test_requests_a_second_are_shared_out(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    scored = score(frame(1200, 4), "model", **login, rows_per_request=50, qps=40.0)
    assert_each_once(scored.collect(), 1200)
    began = sorted(record.received_at_s for record in sent(emu))
    assert len(began) == 24
    # 24 at 40 a second take 0.6 s; two workers begin with one each
    assert began[-1] - began[0] >= 0.9 * (24 - 2) / 40


# ------------------------------------------------------------------------------- again, and less


def test_it_reads_no_further_than_it_needs(emu: Emulator, login: Any) -> None:
    from pyspark.sql.types import DoubleType

    read = answered = furthest = 0

    def batches() -> Iterator[pa.RecordBatch]:
        nonlocal read, furthest
        for _ in range(100):
            read += 200
            furthest = max(furthest, read - answered)
            yield pa.RecordBatch.from_pydict({"a": [1.0] * 200, "b": [2.0] * 200})

    work = Work("model", Login(**login), Settings.batch(), DoubleType(), 100, 3, None, "run", None)
    for batch in Scoring(work, ["a", "b"], ["a", "b"], ["b"], "p", "e")(batches()):
        assert batch.to_pydict() == {"b": [2.0] * 100, "p": [3.0] * 100, "e": [None] * 100}
        answered += batch.num_rows
    assert answered == 20_000
    assert furthest <= 100 * (2 * 3 + 1) + 200 + 200  # the job's window, and a batch at each end
    _workers.popitem()[1].client.close()


def test_each_action_scores_anew_unless_cached(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    scored = score(frame(1000), "model", **login)
    for _ in range(2):
        assert scored.collect()
    assert rows_sent(emu) == 2000
    assert set(request_ids(emu).values()) == {2}
    kept = score(frame(1000), "model", **login).cache()
    for _ in range(2):
        assert kept.collect()
    assert rows_sent(emu) == 3000


def test_a_limit_scores_little_more(spark: Any, frame: Make, emu: Emulator, login: Any) -> None:
    emu.change_endpoint("model", service_time_s=0.02)
    scored = score(frame(50_000, 1), "model", **login, concurrency=4, rows_per_request=100)
    assert len(scored.limit(5).collect()) == 5
    assert rows_sent(emu) < 25_000
    before = score(frame(50_000, 1).limit(5), "model", **login, client_request_id="before")
    assert len(before.collect()) == 5
    # the worker of the first job may still be at it: Spark tells it nothing
    ours = [r.rows for r in sent(emu) if (r.client_request_id or "").startswith("before")]
    assert ours == [5]


def test_a_task_that_fails_midway_loses_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    def breaks(batches: Iterator[Any]) -> Iterator[Any]:
        from pyspark import TaskContext

        context = TaskContext.get()
        for number, batch in enumerate(batches):
            if number == 4 and context.attemptNumber() == 0 and context.partitionId() == 1:
                raise RuntimeError("midway")
            yield batch

    scored = score(frame(10_000, 2), "model", **login, client_request_id="r")
    assert_each_once(scored.mapInArrow(breaks, scored.schema).collect(), 10_000)
    twice = {name for name, times in request_ids(emu).items() if times == 2}
    assert {"r-1-0", "r-1-1000"} <= twice
    assert all(str(name).startswith("r-1-") for name in twice)
    assert len(request_ids(emu)) == 10


def test_a_worker_killed_midway_loses_nothing(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.change_endpoint("model", service_time_s=0.03)
    with killed_midway(emu, 8, python_workers):
        rows = score(frame(40_000, 4), "model", **login, concurrency=4).collect()
    assert_each_once(rows, 40_000)
    assert 2 in request_ids(emu).values()


def test_short_tokens_are_renewed_by_the_workers(spark: Any, frame: Make, emu: Emulator) -> None:
    emu.add_endpoint(
        "fast", route_optimized=True, schema={"a": "double"}, outputs="double", service_time_s=0.05
    )
    emu.token_ttl_s = 1.0
    principal = {"client_id": emu.client_id, "client_secret": emu.client_secret}
    scored = score(
        frame(12_000, 2), "fast", host=emu.host, **principal, rows_per_request=100, concurrency=2
    )
    rows = scored.collect()
    assert [row for row in rows if row.prediction != row.a] == []
    assert len(rows) == 12_000
    assert emu.token_requests > 4


def test_credentials_are_found_on_the_workers(
    spark: Any, frame: Make, emu: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", emu.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emu.token)
    scored = score(frame(10), "model")
    # the workers have the environment in which Spark was started, so so far there is no login
    with pytest.raises(Exception, match="databricks-sdk found no usable credentials"):
        scored.collect()
    assert sent(emu) == []
    profile = Path.home() / "no-databrickscfg"
    profile.write_text(f"[DEFAULT]\nhost = {emu.host}\ntoken = {emu.token}\n")
    try:
        assert_each_once(scored.collect(), 10)
    finally:
        profile.unlink()


# ------------------------------------------------------------------------------- before a job


@pytest.fixture
def no_job(spark: Any, emu: Emulator) -> Iterator[None]:
    """Nothing is computed and nothing scored."""
    tracker = spark.sparkContext.statusTracker()
    before = list(tracker.getJobIdsForGroup())
    yield
    assert list(tracker.getJobIdsForGroup()) == before
    assert sent(emu) == []


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"columns": ["a"]}, r"columns leaves out what the model needs: 'b'\."),
    (
        {"columns": ["a", "B"]},
        r"columns names what the frame does not have: 'B'\. It has 'id', 'a'",
    ),
    ({"columns": []}, "columns is empty"),
    ({"columns": "a"}, "columns must be a list of names, not 'a'"),
    ({"keep": ["a", "a"]}, "keep must be a list of names, each of them once"),
    ({"keep": ["id", "x"]}, "keep names what the frame does not have: 'x'"),
    ({"prediction_column": "ID"}, "The frame has 'ID' already"),
    ({"error_column": "Prediction"}, "are both 'prediction'"),
    ({"error_column": None}, "must be names that are text"),
    ({"rows_per_request": 0}, "rows_per_request is 0"),
    ({"rows_per_request": None}, "rows_per_request is None"),
    ({"concurrency": 1.5}, "concurrency is 1.5"),
    ({"workers": -1}, "workers is -1"),
    ({"workers": True}, "workers is True"),
    ({"qps": 0}, "qps is 0"),
    ({"qps": "9"}, "qps is '9'"),
    ({"client_request_id": 3}, "client_request_id must be text"),
    ({"progress": True}, r"progress must be a Progress\(spark\), not bool"),
    ({"settings": {}}, "settings must be Settings"),
    ({"result_type": "number"}, "result_type is 'number', which is no type Spark knows"),
    ({"result_type": float}, "which is no type Spark knows"),
    ({"result_type": "map<int, string>"}, "holds map<int,string>, which predictions in JSON"),
    ({"result_type": "array<interval day>"}, "which predictions in JSON are not of"),
]


@pytest.mark.parametrize(("wrong", "said"), WRONG, ids=[repr(wrong)[:40] for wrong, _ in WRONG])
def test_a_wrong_argument_is_said_before_any_job(
    frame: Make, login: Any, no_job: None, wrong: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        score(frame(10), "model", **{**login, **wrong})


def test_a_frame_that_cannot_be_sent_is_refused_before_any_job(
    spark: Any, frame: Make, emu: Emulator, login: Any, no_job: None
) -> None:
    emu.add_endpoint("any", outputs="double", schema={"a?": "double", "b?": "binary"})
    rows = frame(10)
    with pytest.raises(ConfigError, match="The frame lacks what the model needs: 'a', 'b'"):
        score(rows.select("id"), "model", **login)
    with pytest.raises(ConfigError, match=r"'b' is of type binary, .* base64\(column\)"):
        score(rows.selectExpr("a", "cast('x' AS binary) b"), "any", **login)
    with pytest.raises(ConfigError, match=r"'a' is of type decimal.*, .* Payload\.decimal"):
        score(rows.selectExpr("1.5BD AS a"), "any", **login)
    with pytest.raises(ConfigError, match=r"'a' is of type .*interval.* send seconds"):
        score(rows.selectExpr("interval '1' day AS a"), "any", **login)
    with pytest.raises(ConfigError, match="The frame has two columns 'a'"):
        score(rows.selectExpr("a", "b AS a"), "any", **login)
    with pytest.raises(ConfigError, match="df is a list; give a DataFrame of Spark"):
        score([1], "any", **login)  # type: ignore[arg-type]


def test_an_endpoint_that_cannot_be_asked_is_said_before_any_job(
    frame: Make, emu: Emulator, login: Any, no_job: None
) -> None:
    emu.change_endpoint("model", outputs=None)
    with pytest.raises(ConfigError, match="'model' does not tell what type its predictions are of"):
        score(frame(10), "model", **login)
    with pytest.raises(NotFound):
        score(frame(10), "nobody", **login)
    with pytest.raises(AuthError):
        score(frame(10), "model", host=emu.host, token="wrong")


# ------------------------------------------------------------------------------- SQL


def test_a_function_for_sql(spark: Any, frame: Make, emu: Emulator, login: Any) -> None:
    frame(3000).createOrReplaceTempView("claims")
    spark.udf.register("model", score_udf("model", **login))
    rows = spark.sql(
        "SELECT id, s.* FROM (SELECT id, model(a, b) s FROM claims) WHERE s.prediction >= 0"
    ).collect()
    assert_each_once(rows, 3000)
    assert rows_sent(emu) == 3000  # once, though two fields are read of it and one is asked about
    by_struct = spark.sql("SELECT id, model(struct(b, a)) s FROM claims").collect()
    assert [row for row in by_struct if row.s.prediction != row.id + 0.5] == []


def test_a_function_with_names_of_its_own(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    emu.add_endpoint("numbers", echo="n", poison=2**60 + 8)
    function = score_udf(
        "numbers",
        **login,
        columns=["n"],
        result_type="bigint",
        prediction_column="p",
        error_column="e",
        rows_per_request=30,
    )
    large = frame(100, 1).selectExpr("id", "id + 1152921504606846976L AS n")
    rows = large.select("id", function("n").alias("s")).collect()
    assert [row.id for row in rows if row.s.e] == [8]
    assert {row.s.p - row.id for row in rows if not row.s.e} == {2**60}
    assert rows[8].s.p is None
    with pytest.raises(Exception, match="got 2 arguments and has 1 names"):
        large.select(function("id", "n")).collect()


def test_a_function_needs_what_the_model_needs(emu: Emulator, login: Any, no_job: None) -> None:
    with pytest.raises(ConfigError, match="columns leaves out what the model needs: 'b'"):
        score_udf("model", **login, columns=["a"])


# ------------------------------------------------------------------------------- what nobody sees


def test_the_plan_shows_no_secret(spark: Any, frame: Make, emu: Emulator, login: Any) -> None:
    scored = score(frame(10), "model", **login)
    told = scored._jdf.queryExecution().toString() + repr(scored)
    assert "Scoring" in told
    assert emu.token not in told


def test_workers_keep_their_clients_from_task_to_task(
    spark: Any, frame: Make, emu: Emulator, login: Any
) -> None:
    assert_each_once(score(frame(4000, 16), "model", **login).collect(), 4000)
    described = [record for record in emu.requests if record.kind == "describe"]
    assert len(described) <= 2 + 2 + 1  # the driver twice, each worker once; one may be new
    assert emu.connections["workspace"] < 16
