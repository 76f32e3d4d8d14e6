"""A diagnosis with something of everything, and the ways it is shown; written to ``golden/`` by

python -m tests.capacity.doctor.shown
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from rich.console import Console

from servingclient._stats import EnrichmentStats, TokenStats
from servingclient.capacity.doctor import Calls, Diagnosis, Measured, examine
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from tests.capacity.doctor.said import WELL, all_alike

GOLDEN = Path(__file__).parent / "golden"

ILL = replace(
    WELL,
    calls=replace(
        WELL.calls,
        p50_s=0.31,
        p90_s=0.44,
        p99_s=0.82,
        mean_s=0.33,
        first_byte_mean_s=0.32,
        first_byte_p50_s=0.3,
        error_rate=0.02,
        errors={"Throttled": 17, "DeadlineExceeded": 3},
        throttled=60,
        request_mean_bytes=1.4e6,
        request_longest_bytes=2.1e6,
        reused_share=0.4,
    ),
    figures=replace(
        WELL.figures,
        cpu_percent=91.0,
        busiest_cpu_percent=97.0,
        memory_percent=None,
        requests=14_400.0,
        latency=all_alike(310.0, 14_400.0),
        queue_time=all_alike(240.0, 14_400.0),
        model_time=all_alike(55.0, 14_400.0),
        skipped=2,
    ),
    token=TokenStats(3000.0, 45.0),
    apis=(
        EnrichmentStats("https://users", requests=40, p99_s=0.4, hits=50, misses=50),
        EnrichmentStats("https://[red]odd", requests=4, p99_s=0.1, error_rate=0.5, misses=4),
    ),
)
NOTHING = Measured(
    endpoint="fraud",
    calls=Calls(),
    figures=EndpointFigures(why_none="no permission to see its metrics"),
    why_undescribed="The workspace knows no endpoint of that name.",
)
_NOBODY: Final = (
    "databricks-sdk found no usable credentials: none are configured. Pass host with token, or "
    "with client_id and client_secret"
)
NO_CREDENTIALS = Measured(
    endpoint="fraud",
    figures=EndpointFigures(why_none=_NOBODY),
    why_undescribed=f"{_NOBODY}.",
    why_no_token=f"{_NOBODY}.",
)


def in_rich(found: Diagnosis) -> str:
    out = io.StringIO()
    console = Console(file=out, width=140, force_terminal=False, highlight=False)
    console.print(found)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


SHOWN: Mapping[str, Callable[[], str]] = {
    "well.txt": lambda: f"{examine(WELL)}\n",
    "ill.txt": lambda: f"{examine(ILL)}\n",
    "ill.json": lambda: json.dumps(examine(ILL).as_dict(), indent=2) + "\n",
    "ill_rich.txt": lambda: in_rich(examine(ILL)),
    "ill.html": lambda: f"{examine(ILL)._repr_html_()}\n",
    "no_credentials.txt": lambda: f"{examine(NO_CREDENTIALS)}\n",
    "nothing.txt": lambda: f"{examine(NOTHING)}\n",
}

if __name__ == "__main__":
    for name, made in SHOWN.items():
        (GOLDEN / name).write_text(made(), encoding="utf-8")
