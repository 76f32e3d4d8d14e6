"""``servingclient stats`` reads what ``CallLog`` writes."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from servingclient import CallEnded, cli
from servingclient.integrations.call_log import CallLog

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a service with two endpoints, amid other lines."""
    path = tmp_path / "service.log"
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logger = logging.getLogger("servingclient.call")
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    watching = CallLog(slow_s=0.5)
    for number in range(100):
        duration_s = 0.9 if number == 99 else 0.04
        watching.call_ended(CallEnded("fraud", 200, None, duration_s, 0.001, 1, 120, 40))
    watching.call_ended(CallEnded("fraud", 429, "Throttled", 2.0, 0.0, 4, 120, 0))
    watching.call_ended(CallEnded("churn", 200, None, 0.010, 0.0, 2, 2000, 80))
    logger.info("call_answered endpoint=cut status=200 err")
    logger.setLevel(before)
    logger.removeHandler(handler)
    handler.close()
    return path


def test_figures_of_each_endpoint(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["stats", str(log), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert list(told) == ["churn", "fraud"]
    fraud = told["fraud"]
    assert (fraud["calls"], fraud["failed"], fraud["errors"]) == (101, 1, {"Throttled": 1})
    assert (fraud["attempts"], fraud["retries"]) == (104, 3)
    assert fraud["p50_s"] == pytest.approx(0.04, rel=0.005)
    assert fraud["p99_s"] == pytest.approx(0.9, rel=0.005)
    assert fraud["max_s"] == 2.0
    assert (fraud["request_bytes_mean"], fraud["reply_bytes_mean"]) == (120.0, 40.0)


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        f"2026-11-22 10:00:{second:02},500 call_answered endpoint=fraud status=200 error=None "
        "attempts=1 duration_s=0.040000 queue_s=0.001000 request_bytes=120 reply_bytes=40"
        for second in range(11)
    ]
    lines += [
        f"x 2026-11-22T10:00:{second} call_failed endpoint=churn status=None error=DeadlineExceeded"
        " attempts=3 duration_s=5.000000 queue_s=0.000000 request_bytes=120 reply_bytes=0"
        for second in (10, 12)
    ]
    path = tmp_path / "service.log"
    path.write_text("\n".join(lines))
    assert cli.main(["stats", str(path)]) == 0
    assert capsys.readouterr().out == (GOLDEN / "stats.txt").read_text(encoding="utf-8")


def test_no_calls_is_told_with_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "service.log"
    path.write_bytes(b"\xff\xfe other lines\n")
    assert cli.main(["stats", str(path)]) == 1
    assert "observers=[CallLog()]" in capsys.readouterr().err
