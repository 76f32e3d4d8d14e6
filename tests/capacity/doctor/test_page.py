"""What the pages show of an endpoint is what the commands print of one that says these figures."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from servingclient import cli
from servingclient.emulator import Emulator

pytestmark = pytest.mark.checkout

DOCS = Path(__file__).parents[3] / "docs"
SAID = """\
cpu_usage_percentage 91
mem_usage_percentage 48
provisioned_concurrent_requests_total 4
request_count_total 1872
request_4xx_count_total 0
request_5xx_count_total 0
request_latency_ms_bucket{le="50"} 94
request_latency_ms_bucket{le="100"} 1440
request_latency_ms_bucket{le="200"} 1821
request_latency_ms_bucket{le="250"} 1872
request_latency_ms_bucket{le="+Inf"} 1872
request_latency_ms_count 1872
request_latency_ms_sum 159120
model_queue_time_ms_bucket{le="1"} 890
model_queue_time_ms_bucket{le="5"} 1710
model_queue_time_ms_bucket{le="20"} 1872
model_queue_time_ms_bucket{le="+Inf"} 1872
model_queue_time_ms_count 1872
model_queue_time_ms_sum 4493
model_prediction_latency_ms_bucket{le="50"} 210
model_prediction_latency_ms_bucket{le="100"} 1540
model_prediction_latency_ms_bucket{le="200"} 1850
model_prediction_latency_ms_bucket{le="250"} 1872
model_prediction_latency_ms_bucket{le="+Inf"} 1872
model_prediction_latency_ms_count 1872
model_prediction_latency_ms_sum 142272
# EOF
"""


def shown(page: str, command: str) -> tuple[list[str], str]:
    """The command's arguments, and what the page shows below it."""
    pattern = rf"```console\n\$ servingclient ({command} .*?)\n(.*?)```"
    (found,) = re.findall(pattern, (DOCS / page).read_text(encoding="utf-8"), re.DOTALL)
    return found[0].split(), found[1]


def measured_here(text: str) -> str:
    """Without what each run measures anew, and where that makes lines break."""
    table, split, below = text.partition("\n  mean call ")
    table = re.sub(r"(?<=of the mean call \()\d+ %", "#", table)
    words = re.sub(r"[\d.]+ (?:µs|ms|s|%)", "#", " ".join(below.split()))
    return f"{table}{split}{words}"


@pytest.mark.parametrize(
    ("page", "command", "code"),
    [("howto-doctor.md", "doctor", 1), ("howto-monitoring.md", "metrics", 0)],
)
def test_what_pages_show_is_what_is_printed(
    emulator: Emulator,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: str,
    command: str,
    code: int,
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_CLIENT_ID", emulator.client_id)
    monkeypatch.setenv("DATABRICKS_CLIENT_SECRET", emulator.client_secret)
    emulator.add_endpoint("fraud-model", slots=4, cold_start_s=60.0, metrics=SAID)
    argv, told = shown(page, command)
    assert cli.main(argv) == code
    printed = measured_here(capsys.readouterr().out)
    parts = re.split(r"^ *\.\.\.\n", measured_here(told), flags=re.MULTILINE)
    for part in parts:
        _, found, printed = printed.partition(part)
        assert found == part
    assert printed == "", "nothing is left out without dots"
