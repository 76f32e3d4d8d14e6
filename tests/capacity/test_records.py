"""Service times from files of several makes, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from servingclient import ConfigError
from servingclient.capacity import plan, recorded, records
from servingclient.capacity.service import of_times
from servingclient.loadtest.load import Goal
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.trial import Point, Quantiles, Trial
from servingclient.telemetry.histogram import Histogram

LOCUST = """\
Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,\
Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,\
50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%
POST,/invocations,1000,0,40,43,30,95,20,100.0,0.0,40,42,45,47,55,65,75,85,94,95,95
,Aggregated,1000,0,40,43,30,95,20,100.0,0.0,40,42,45,47,55,65,75,85,94,95,95
"""


@pytest.mark.parametrize(
    ("name", "content", "times"),
    [
        ("a.json", "[0.04, 0.05, 0.04]", {0.04: 2, 0.05: 1}),
        ("a.json", '{"latency_ms": [40, 50, 40]}', {0.04: 2, 0.05: 1}),
        ("a.json", '{"endpoint": "x", "service_time_s": [0.04, 0.05]}', {0.04: 1, 0.05: 1}),
        ("a.json", '{"bounds_s": [0.04, 0.05, 0.1], "counts": [7, 3, 0]}', {0.04: 7, 0.05: 3}),
        ("a.csv", "time_s\n0.04\n0.05\n", {0.04: 1, 0.05: 1}),
        ("a.csv", "id,latency_ms,ok\n1,40,1\n2,50,0\n", {0.04: 1, 0.05: 1}),
        ("a.csv", "\ufeffResponse Time ms\n40\n40\n", {0.04: 2}),
    ],
)
def test_files_that_are_known(
    name: str, content: str, times: dict[float, int], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    assert recorded(path) == times
    assert recorded(str(path)) == times


def test_statistics_of_locust_keep_their_percentiles(tmp_path: Path) -> None:
    path = tmp_path / "run_stats.csv"
    path.write_text(LOCUST)
    made = of_times(recorded(path))
    assert made.mean_s == pytest.approx(0.043, rel=0.05)
    assert made.quantile_s(0.50) == pytest.approx(0.040, rel=0.02)
    assert made.quantile_s(0.95) == pytest.approx(0.065, rel=0.02)
    assert made.quantile_s(0.99) == pytest.approx(0.085, rel=0.02)
    assert plan(qps=100, service_times=recorded(path)).scaling == (8, 8)


ALONE = Trial(
    load="1 caller",
    asked_qps=None,
    callers=1,
    from_s=1,
    seconds=2.0,
    calls=4,
    answered_qps=2.0,
    good_qps=2.0,
    good_share=1.0,
    errors={},
    latency=Quantiles(0.04, 0.08, 0.08, 0.08, 0.08, 0.08),
    raw=Quantiles(0.04, 0.08, 0.08, 0.08, 0.08, 0.08),
    mean_s=0.06,
    points=(
        Point(0, 9, 9, Histogram([5.0] * 9)),  # the warm-up
        Point(1, 3, 3, Histogram([0.040, 0.040, 0.080])),
        Point(2, 1, 1, Histogram([0.080])),
    ),
    settled=True,
    stopped=None,
    doubts=(),
    met=True,
)


def load_test(**more: Any) -> dict[str, Any]:
    """As ``servingclient loadtest --json`` writes it."""
    written = LoadTest("busy", Goal(latency_s=0.1), (), unloaded=ALONE).to_json()
    return {**json.loads(written), **more}


def test_a_load_test_tells_what_one_caller_alone_met(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(load_test()))
    times = recorded(path)
    assert sorted(times) == pytest.approx([0.040, 0.080], rel=0.004)
    assert sorted(times.values()) == [2, 2]
    assert plan(qps=10, service_times=times, overhead_s=0).workload.spread == "measured"


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"unloaded": None}, "without one caller alone"),
        ({"unloaded": {"points": 3}}, "no load test that can be read"),
        ({"unloaded": {"from_s": 0, "seconds": 9, "points": [[0, 1, 1, [7]]]}}, "can be read"),
    ],
)
def test_a_load_test_that_does_not_tell(more: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    path.write_text(json.dumps(load_test(**more)))
    with pytest.raises(ConfigError, match=told):
        recorded(path)


def test_statistics_of_locust_are_read_for_all_requests(tmp_path: Path) -> None:
    path = tmp_path / "run_stats.csv"
    header, one, whole = LOCUST.splitlines()
    slower = one.replace(
        ",40,42,45,47,55,65,75,85,94,95,95", ",400,420,450,470,550,650" + ",950" * 5
    )
    path.write_text(f"{header}\n{whole}\n{slower}\n")
    assert of_times(recorded(path)).quantile_s(0.5) == pytest.approx(0.040, rel=0.02)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "has no column of times"),
        (b"a,b\n1,2\n", "has no column of times"),
        (b"hello", "has no column of times"),
        (b"latency_ms\nfast\n", "value 1 is no time"),
        (b"latency_ms\n40\n-1\n", "value 2 is no time"),
        (b"latency_ms\n40\nnan\n", "value 2 is no time"),
        (b"a,latency_ms\n1\n", "value 1 is no time"),
        (b"[0.1, true]", "value 2 is no time"),
        (b"[0.1, [2]]", "value 2 is no time"),
        (b"[0.1,", "is no valid JSON"),
        (b"{}", "holds no list of times"),
        (b'{"latency_ms": 40}', "holds no list of times"),
        (b'{"bounds_s": [1, 2], "counts": [1]}', "2 bounds_s and 1 counts"),
        (b"[" * 100_000, "is no valid JSON"),
        (b"\x89PNG\r\n\x1a\n\xff", "is no text"),
    ],
)
def test_files_that_are_none(content: bytes, told: str, tmp_path: Path) -> None:
    path = tmp_path / "secret-run.txt"
    path.write_bytes(content)
    with pytest.raises(ConfigError) as raised:
        recorded(path)
    message = str(raised.value)
    assert message.startswith("secret-run.txt")
    assert told in message
    assert "Known forms:" in message or "one count for" in message
    assert str(tmp_path) not in message


def test_what_stands_in_the_file_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("latency_ms\nhunter2\n")
    with pytest.raises(ConfigError) as raised:
        recorded(path)
    assert "hunter2" not in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^gone\.json cannot be read: No such file"):
        recorded(tmp_path / "gone.json")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        recorded(tmp_path)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BYTES", 10)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([0.1] * 10))
    with pytest.raises(ConfigError, match="larger than 10 bytes"):
        recorded(path)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device without an end")
def test_what_has_no_end_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "MAX_BYTES", 1000)
    with pytest.raises(ConfigError, match="larger than 1,000 bytes"):
        recorded("/dev/zero")
