"""Reading what an endpoint says of itself, sound text and rubbish."""

from __future__ import annotations

import asyncio
import json
import math
import socket
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from servingclient import (
    AsyncServingClient,
    ClientClosedError,
    ConfigError,
    DeadlineExceeded,
    ServingClient,
)
from servingclient.auth.figures import Answered
from servingclient.cli import main
from servingclient.cli.metrics import table
from servingclient.emulator import Emulator
from servingclient.telemetry.endpoint_metrics import (
    PIECE_CHARS,
    PIECE_LINES,
    Distribution,
    EndpointFigures,
    Reading,
    figures_in,
    parser,
    pieces,
    why_no_text,
)
from tests.doors.kit import Door, Who, pat, principal

PATH = "/api/2.0/serving-endpoints/demo/metrics"

TWO_REPLICAS = """\
# HELP cpu_usage_percentage percent
# TYPE cpu_usage_percentage gauge
cpu_usage_percentage{replica="0"} 20.0
cpu_usage_percentage{replica="1"} 80.0
mem_usage_percentage{replica="0"} 40
gpu_usage_percentage0{replica="0"} 10
gpu_usage_percentage1{replica="0"} 30
gpu_mem_usage_percentage0{replica="0"} 50
# TYPE provisioned_concurrent_requests_total gauge
provisioned_concurrent_requests_total{entity="a"} 4
provisioned_concurrent_requests_total{entity="b"} 8
request_count_total{entity="a"} 100
request_count_total{entity="b"} 20 1732300000.5
request_4xx_count_total{entity="a"} 3
request_5xx_count_total{entity="a"} 9
# TYPE request_latency_ms histogram
request_latency_ms_bucket{entity="a",le="10.0"} 50
request_latency_ms_bucket{entity="a",le="20.0"} 90
request_latency_ms_bucket{entity="a",le="+Inf"} 100 # {trace_id="ab"} 21.0
request_latency_ms_bucket{entity="b",le="10.0"} 0
request_latency_ms_bucket{entity="b",le="20.0"} 0
request_latency_ms_bucket{entity="b",le="+Inf"} 20
request_latency_ms_count{entity="a"} 100
request_latency_ms_sum{entity="a"} 1100
request_latency_ms_sum{entity="b"} 1300
# EOF
"""


def test_series_are_put_together() -> None:
    found = figures_in(TWO_REPLICAS, parser())
    assert found.cpu_percent == 50.0
    assert found.busiest_cpu_percent == 80.0
    assert found.memory_percent == 40.0
    assert found.gpu_percent == 20.0
    assert found.gpu_memory_percent == 50.0
    assert found.provisioned_concurrency == 12.0
    assert found.requests == 120.0, "of the last minute: summed, no rate of a counter"
    assert found.qps == 2.0
    assert found.error_rate == pytest.approx(0.1)
    assert found.latency == Distribution((0.01, 0.02, math.inf), (50.0, 90.0, 120.0), 2.4)
    assert found.latency.mean_s == pytest.approx(0.02)
    assert found.queue_time is None
    assert (found.samples, found.skipped) == (21, 0)
    assert found.why_none is None


@pytest.mark.parametrize(
    ("share", "expected_s"),
    [(0.0, 0.0), (0.25, 0.006), (50 / 120, 0.01), (0.5, 0.0125), (0.75, 0.02), (0.99, 0.02)],
)
def test_percentiles_lie_evenly_in_their_bucket(share: float, expected_s: float) -> None:
    found = figures_in(TWO_REPLICAS, parser()).latency
    assert found is not None
    assert found.quantile_s(share) == pytest.approx(expected_s)


def test_without_values_there_is_no_percentile() -> None:
    empty = Distribution((0.01, math.inf), (0.0, 0.0), 0.0)
    assert empty.quantile_s(0.5) is None
    assert empty.mean_s is None
    assert Distribution((), ()).quantile_s(0.5) is None


RUBBISH = [
    "cpu_usage_percentage{",
    "cpu_usage_percentage",
    "cpu_usage_percentage NaN",
    "cpu_usage_percentage -3",
    "cpu_usage_percentage +Inf",
    'cpu_usage_percentage{a="1",a="2"} 90',
    "cpu_usage_percentage 1 2 3",
    "<html>",
    "\x00\x01",
    "größe 3",
]


@pytest.mark.parametrize("line", RUBBISH)
def test_rubbish_is_counted_and_costs_the_rest_nothing(line: str) -> None:
    lines = TWO_REPLICAS.splitlines()
    lines.insert(3, line)
    found = figures_in("\n".join(lines), parser())
    assert found.skipped == 1
    assert found.cpu_percent == 50.0
    assert found.requests == 120.0


@pytest.mark.parametrize("value", ["1e308", "1e13", "-1", "NaN", "+Inf"])
def test_what_no_endpoint_can_count_is_skipped(value: str) -> None:
    found = figures_in(f"request_count_total {value}\nmem_usage_percentage 40\n", parser())
    assert (found.requests, found.memory_percent, found.skipped) == (None, 40.0, 1)


def test_a_bucket_without_a_sound_bound_is_skipped() -> None:
    found = figures_in(
        'request_latency_ms_bucket{le="x"} 3\nrequest_latency_ms_bucket{le="+Inf"} 4\n', parser()
    )
    assert found.skipped == 1
    assert found.latency == Distribution((math.inf,), (4.0,))


def test_buckets_that_sink_are_not_believed() -> None:
    text = 'request_latency_ms_bucket{le="10"} 9\nrequest_latency_ms_bucket{le="+Inf"} 4\n'
    found = figures_in(text, parser()).latency
    assert found is not None
    assert found.counts == (9.0, 9.0)
    assert figures_in('request_latency_ms_bucket{le="10"} 9\n', parser()).latency is None


@given(st.text(max_size=300))
def test_no_text_raises(text: str) -> None:
    found = figures_in(text, parser())
    assert found.samples + found.skipped <= len(text.splitlines())
    told = replace(found, why_none=None, samples=0, skipped=0)
    assert (found.why_none is None) == (told != EndpointFigures())


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (403, b"", "no permission to see its metrics: ask for CAN VIEW"),
        (404, b"", "no metrics API"),
        (401, b"", "refused the token"),
        (503, b"", "answered 503"),
        (200, b"<!doctype html>", "a page or JSON"),
        (200, b'{"metrics": []}', "a page or JSON"),
        (200, b"", None),
    ],
)
def test_why_there_is_no_text(status: int, body: bytes, words: str | None) -> None:
    assert str(words) in str(why_no_text(status, body))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no metrics"),
        ("# EOF\n", "no metrics"),
        ("some_other 60\n", "none of those that are documented"),
    ],
)
def test_why_there_are_none(text: str, words: str) -> None:
    found = figures_in(text, parser())
    assert words in str(found.why_none)
    assert found.cpu_percent is None


def test_errors_that_are_not_told_are_no_rate() -> None:
    assert figures_in("request_count_total 60\n", parser()).error_rate is None
    text = "request_count_total 60\nrequest_5xx_count_total 6\n"
    assert figures_in(text, parser()).error_rate == 0.1


def test_a_bound_below_zero_is_none() -> None:
    text = """\
        request_latency_ms_bucket{le="-5"} 5
        request_latency_ms_bucket{le="10"} 5
        request_latency_ms_bucket{le="+Inf"} 5
        """
    found = figures_in(text, parser())
    assert found.skipped == 1
    assert found.latency == Distribution((0.01, math.inf), (5.0, 5.0))


def test_a_line_that_is_too_long_is_none() -> None:
    parsed: list[int] = []

    def parse(text: str) -> Iterable[Any]:
        parsed.append(len(text))
        return parser()(text)

    read = Reading(parse)
    long = f'request_count_total{{a="{"y" * 20_000}"}} 1'
    read.take([long, "request_count_total 2"])
    assert (read.samples, read.skipped) == (1, 1)
    assert max(parsed) < 100


@given(st.lists(st.integers(0, 3 * PIECE_CHARS), max_size=9), st.integers(0, 1200))
def test_no_piece_is_more_than_a_loop_may_wait_for(lengths: list[int], short: int) -> None:
    lines = ["a" * length for length in lengths] + ["a"] * short
    found = list(pieces("\n".join(lines)))
    assert [line for piece in found for line in piece] == "\n".join(lines).splitlines()
    for piece in found:
        assert len(piece) <= PIECE_LINES
        assert sum(map(len, piece[:-1])) < PIECE_CHARS


def test_no_more_lines_are_read_than_any_endpoint_has() -> None:
    assert sum(map(len, pieces("a\n" * 100_001))) == 100_000


async def test_others_run_while_a_long_text_is_read(emulator: Emulator) -> None:
    who = pat(emulator)
    turns: list[int] = []
    text = b"request_count_total 1\n" * (5 * PIECE_LINES)
    async with AsyncServingClient("demo", host=who.host, **who.arguments) as client:
        await client.predict([{"a": 1.0}])

        async def answered(_deadline_s: float) -> Answered:
            asyncio.get_running_loop().call_soon(other)
            return Answered(200, text)

        def other() -> None:
            turns.append(1)
            if len(turns) < 50:
                asyncio.get_running_loop().call_soon(other)

        client._parts.access.figures = answered  # type: ignore[method-assign]
        found = await client.endpoint_figures()
    assert found.requests == 5 * PIECE_LINES
    assert len(turns) >= 4


# -- through the doors -----------------------------------------------------------------------------


@pytest.mark.parametrize("who", [pat, principal])
def test_a_client_reads_its_endpoints_figures(door: Door, emulator: Emulator, who: Any) -> None:
    name = "demo" if who is pat else "demo-fast"
    client = door.open(name, who(emulator))
    for _ in range(3):
        door.predict(client)
    found: EndpointFigures = door.run(client.endpoint_figures())
    assert found.requests == 3
    assert found.provisioned_concurrency == 4
    assert found.latency is not None
    assert found.latency.count == 3
    assert found.model_time is not None
    assert found.skipped == 0
    assert found.why_none is None
    door.predict(client)
    assert door.run(client.endpoint_figures()).requests == 4, "read anew each time"


def test_without_permission_it_says_so(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("hidden", describable=False)
    client = door.open("hidden", pat(emulator))
    found = door.run(client.endpoint_figures())
    assert "CAN VIEW" in found.why_none
    assert len(door.predict(client).predictions) == 1, "it can be called all the same"


def test_an_endpoint_that_is_not_there(door: Door, emulator: Emulator) -> None:
    client = door.open("nowhere", pat(emulator))
    assert "does not exist" in door.run(client.endpoint_figures()).why_none


def test_a_closed_client_asks_nobody(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    door.close(client)
    with pytest.raises(ClientClosedError):
        door.run(client.endpoint_figures())
    assert emulator.requests == []


def test_it_takes_no_longer_than_it_may(door: Door) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host = f"http://127.0.0.1:{silent.getsockname()[1]}"
        client = door.open("demo", Who(host, {"token": "t"}))
        with pytest.raises(DeadlineExceeded):
            door.run(client.endpoint_figures(timeout=0.05))


def test_without_the_parser_it_says_what_to_install(
    door: Door, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.openmetrics.parser", None)
    client = door.open("demo", pat(emulator))
    with pytest.raises(ConfigError, match=r"pip install 'servingclient\[prometheus\]'"):
        door.run(client.endpoint_figures())


# -- the command -----------------------------------------------------------------------------------


@pytest.fixture
def signed_in(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)
    return emulator


def test_the_command_shows_a_table(
    signed_in: Emulator, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    client = door.open("demo", pat(signed_in))
    for _ in range(30):
        door.predict(client)
    assert main(["metrics", "demo"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "demo, as it says itself"
    assert [line.split() for line in told if "concurrency" in line] == [
        ["provisioned", "concurrency", "4"]
    ]
    assert "  requests last minute     30" in told
    assert "  requests a second        0.5" in told
    assert any(line.startswith("  latency ") and "p99" in line for line in told)


def test_the_command_writes_json(signed_in: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["metrics", "demo", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["endpoint"] == "demo"
    assert told["memory_percent"] == 20.0
    assert told["latency"]["count"] == 0
    assert told["latency"]["p99_s"] is None
    assert told["skipped"] == 0


def test_the_command_writes_what_prometheus_reads(
    signed_in: Emulator, door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    door.predict(door.open("demo", pat(signed_in)))
    assert main(["metrics", "demo", "--prometheus"]) == 0
    families = list(text_string_to_metric_families(capsys.readouterr().out))
    assert {family.type for family in families} == {"gauge"}, "none is a counter, whatever its name"
    values = {sample.name: sample for family in families for sample in family.samples}
    requests = values["servingclient_endpoint_requests_last_minute"]
    assert (requests.value, requests.labels) == (1.0, {"endpoint": "demo"})
    assert values["servingclient_endpoint_latency_seconds"].labels["quantile"] == "0.99"


def test_the_command_says_why_there_are_none(
    signed_in: Emulator, capsys: pytest.CaptureFixture[str]
) -> None:
    signed_in.add_endpoint("hidden", describable=False)
    assert main(["metrics", "hidden"]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("servingclient metrics: hidden: no permission")
    assert main(["metrics", "no/name"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_says_that_it_may_not_ask(
    signed_in: Emulator, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-wrong")
    assert main(["metrics", "demo"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("servingclient metrics: The workspace 127.0.0.1 refuses")
    assert "dapi-wrong" not in told


def test_the_command_says_which_end_of_a_bucket_is_all_that_is_known() -> None:
    text = """
        request_latency_ms_bucket{le="1"} 90
        request_latency_ms_bucket{le="5"} 95
        request_latency_ms_bucket{le="+Inf"} 100
        """
    (line,) = [one for one in table("demo", figures_in(text, parser())) if "latency" in one]
    assert line.split("  ")[-3:] == ["p50 ≤ 1 ms", "p90 ≤ 1 ms", "p99 > 5 ms"]


def test_the_command_ends_with_1_where_nothing_is_known(
    signed_in: Emulator, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = figures_in("some_other 60\n", parser())
    monkeypatch.setattr(ServingClient, "endpoint_figures", lambda *_, **__: known)
    assert main(["metrics", "demo"]) == 1
    assert "none of those that are documented" in capsys.readouterr().err
