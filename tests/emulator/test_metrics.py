"""The health of an endpoint, as a scraper reads it."""

from __future__ import annotations

import re
import time

import pytest

from servingclient.emulator import Emulator, faults
from servingclient.emulator.metrics import BOUNDS_MS, LastMinute
from tests.emulator.peer import TWO_ROWS, Answer, call, connected, post, read

_SAMPLE = re.compile(r'(\w+)\{served_entity="([^"]+)",replica_id="0"(?:,le="([^"]+)")?\} (\S+)')


def scraped(emu: Emulator, name: str = "demo") -> Answer:
    return read(emu, f"/api/2.0/serving-endpoints/{name}/metrics", emu.token)


def samples(emu: Emulator, name: str = "demo") -> dict[str, float]:
    """Every sample without its served model; a bucket has its bound behind it."""
    lines = scraped(emu, name).body.decode().splitlines()
    found = [_SAMPLE.fullmatch(line) for line in lines if not line.startswith("#")]
    assert None not in found
    return {
        f"{match[1]} {match[3]}" if match[3] else match[1]: float(match[4])
        for match in found
        if match is not None
    }


def test_the_text(emu: Emulator) -> None:
    answer = scraped(emu)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    lines = answer.body.decode().splitlines()
    assert lines[-1] == "# EOF"
    types = dict(line.removeprefix("# TYPE ").split() for line in lines if line[:6] == "# TYPE")
    assert types == {
        # a gauge in spite of its name: what was counted in the last minute
        **dict.fromkeys(
            (
                "cpu_usage_percentage",
                "mem_usage_percentage",
                "provisioned_concurrent_requests_total",
                "request_count_total",
                "request_4xx_count_total",
                "request_5xx_count_total",
            ),
            "gauge",
        ),
        **dict.fromkeys(
            ("request_latency_ms", "model_queue_time_ms", "model_prediction_latency_ms"),
            "histogram",
        ),
    }


def test_counts(emu: Emulator) -> None:
    emu.script("demo", faults.ok(), faults.ok(), faults.html(502), faults.execution_timeout())
    for value in (TWO_ROWS, b"no json", TWO_ROWS, TWO_ROWS):
        call(emu, value=value)
    found = samples(emu)
    assert found["request_count_total"] == 4
    assert found["request_4xx_count_total"] == 1
    assert found["request_5xx_count_total"] == 2
    assert found["request_latency_ms_count"] == found["request_latency_ms_bucket +Inf"] == 4
    # the gateway's 502 never reached a slot
    assert found["model_queue_time_ms_count"] == found["model_prediction_latency_ms_count"] == 3


def test_refusals_in_front_of_the_model_are_missing(emu: Emulator) -> None:
    emu.script("demo", faults.throttled())
    assert call(emu).status == 429
    assert call(emu, token="wrong").status == 403
    emu.change_endpoint("demo", slots=0, queue=0)
    assert call(emu).status == 429
    assert samples(emu)["request_count_total"] == 0


def test_latency_is_queue_and_prediction(emu: Emulator) -> None:
    emu.change_endpoint("demo", slots=1, service_time_s=0.03)
    with connected(emu) as first, connected(emu) as second:
        first.send(post(emu))
        second.send(post(emu))
        first.answer()
        second.answer()
    found = samples(emu)
    # the second came after the first, so it waited for less than the whole of it
    assert 0 < found["model_queue_time_ms_sum"] <= 30
    assert found["model_prediction_latency_ms_sum"] >= 60
    parts_ms = found["model_queue_time_ms_sum"] + found["model_prediction_latency_ms_sum"]
    assert found["request_latency_ms_sum"] >= parts_ms
    assert found["model_prediction_latency_ms_bucket 25.0"] == 0
    assert found["model_prediction_latency_ms_bucket +Inf"] == 2


@pytest.mark.parametrize(("slots", "shown"), [(None, 4), (7, 7), (0, 0)])
def test_concurrency(emu: Emulator, slots: int | None, shown: int) -> None:
    emu.change_endpoint("demo", slots=slots)
    assert samples(emu)["provisioned_concurrent_requests_total"] == shown
    emu.scale_endpoint("demo", 9)
    assert samples(emu)["provisioned_concurrent_requests_total"] == 9


def test_each_served_model_has_its_own(emu: Emulator) -> None:
    emu.add_endpoint("two", served_models={"a": 100, "b": 0})
    call(emu, "two")
    text = scraped(emu, "two").body.decode()
    assert 'request_count_total{served_entity="a",replica_id="0"} 1\n' in text
    assert 'request_count_total{served_entity="b",replica_id="0"} 0\n' in text


def test_a_minute_passes() -> None:
    minute = LastMinute()
    for now_s in (0.5, 0.9, 30.0, 59.9):
        minute.of("m", now_s).add(200, 7.0)
    assert [minute.total("m", now_s).requests for now_s in (59.9, 60.0, 89.9, 90.0, 120.0)] == [
        4,
        2,
        2,
        1,
        0,
    ]
    assert minute.total("other", 60.0).requests == 0


@pytest.mark.parametrize(("value_ms", "below"), [(0.0, 1.0), (1.0, 1.0), (1.1, 2.0), (1e4, 1e4)])
def test_a_value_is_counted_up_to_its_bound(value_ms: float, below: float) -> None:
    minute = LastMinute()
    minute.of("m", 0.0).add(200, value_ms)
    assert minute.total("m", 0.0).latency.counts.index(1) == BOUNDS_MS.index(below)


def test_reset_forgets(emu: Emulator) -> None:
    call(emu)
    assert samples(emu)["request_count_total"] == 1
    emu.reset()
    assert samples(emu)["request_count_total"] == 0
    assert emu.requests[-1].kind == "metrics"
    assert emu.requests[-1].decided_at_s <= time.monotonic()
