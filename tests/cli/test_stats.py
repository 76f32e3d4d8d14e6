"""``servingclient stats`` reads what ``CallLog`` writes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

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


TOLD = (
    "call_answered endpoint=fraud status=200 error=None attempts=1 duration_s=0.040000 "
    "queue_s=0.001000 request_bytes=120 reply_bytes=40"
)


def told(paths: list[Path], capsys: pytest.CaptureFixture[str]) -> Any:
    assert cli.main(["stats", *map(str, paths), "--json"]) == 0
    return json.loads(capsys.readouterr().out)["fraud"]


@pytest.mark.parametrize(
    ("first", "second", "span_s"),
    [
        ("2026-11-22 10:00:10,500", "2026-11-22 10:00:00,500", 10.0),
        ("2026-11-22T10:00:10+02:00", "2026-11-22T08:00:20.250Z", 10.25),
        ("2026-11-22T10:00:10.123456789+0200", "2026-11-22 08:00:10", 0.123456),
        ("2026-13-45 10:00:61", "2026-11-22 10:00:10", 0.0),
    ],
    ids=["backwards", "time zones", "nanoseconds", "no date"],
)
def test_the_span_is_that_of_the_log(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    first: str,
    second: str,
    span_s: float,
) -> None:
    path = tmp_path / "service.log"
    path.write_text(f"{first} {TOLD}\n{second} {TOLD}\n")
    found = told([path], capsys)
    assert (found["calls"], found["span_s"]) == (2, span_s)
    assert found["qps"] == (pytest.approx(2 / span_s) if span_s else None)


def test_several_logs_are_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [tmp_path / "new.log", tmp_path / "old.log"]
    for second, path in zip((30, 10), paths, strict=True):
        line = {"message": TOLD, "timestamp": f"2026-11-22T10:00:{second}"}
        path.write_text(json.dumps(line))
    found = told(paths, capsys)
    assert (found["calls"], found["span_s"]) == (2, 20.0)


@pytest.mark.parametrize(
    ("figure", "other"),
    [
        ("duration_s=0.040000", "duration_s=1.2.3"),
        ("attempts=1", "attempts=\u0663"),
        ("attempts=1", f"attempts={'9' * 5000}"),
    ],
)
def test_a_line_with_other_figures_is_another_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], figure: str, other: str
) -> None:
    path = tmp_path / "service.log"
    path.write_text(f"{TOLD.replace(figure, other)}\n{TOLD}\n", encoding="utf-8")
    assert told([path], capsys)["calls"] == 1
