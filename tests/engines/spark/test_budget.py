"""How much is asked for at once, how far ahead, and how often."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from servingclient.emulator import Emulator
from servingclient.integrations.spark import score
from tests.engines.spark.kit import (
    assert_each_once,
    most_at_once,
    sent,
)

pytest.importorskip("pyspark", reason="pyspark is not installed here: run `make engines`")

Make = Callable[..., Any]


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
        warnings.simplefilter("error", UserWarning)
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
