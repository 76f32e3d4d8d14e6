"""What is refused on the driver, before there is a job; and the function for SQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servingclient import AuthError, ConfigError, NotFound
from servingclient.emulator import Emulator
from servingclient.integrations.spark import score, score_udf
from tests.engines.spark.kit import (
    assert_each_once,
    rows_sent,
    sent,
)

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

Make = Callable[..., Any]


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
