"""The dashboards name what exporters send."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from servingclient.cli.metrics import exposition
from servingclient.integrations.datadog import PARTS
from servingclient.integrations.prometheus import metric_name
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from servingclient.telemetry.exported import METRICS, PREFIX, Metric

pytestmark = pytest.mark.checkout

BOARDS = Path(__file__).parents[3] / "docs" / "dashboards"
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum")}


def board(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((BOARDS / name).read_text(encoding="utf-8"))
    return found


def expressions() -> list[str]:
    panels = board("grafana.json")["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def of_prometheus() -> dict[str, Metric | None]:
    """Names as they are scraped."""
    found: dict[str, Metric | None] = {
        metric_name(metric) + suffix: metric
        for metric in METRICS.values()
        for suffix in SUFFIXES.get(metric.kind, ("",))
    }
    whole = EndpointFigures(1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0)
    for line in exposition("demo", whole):
        if not line.startswith("#"):
            found[line.partition("{")[0]] = None
    return found


def test_grafana_asks_for_metrics_and_labels_there_are() -> None:
    known = of_prometheus()
    for expression in expressions():
        names = re.findall(r"servingclient_\w+", expression)
        assert names, expression
        for name in names:
            assert name in known, f"{name} in {expression}"
        labels = set(re.findall(r'[{,](\w+)=~?"', expression))
        for group in re.findall(r"by \(([^)]*)\)", expression):
            labels |= {label.strip() for label in group.split(",")}
        for label in labels - {"endpoint", "le"}:
            metrics = [known[name] for name in names]
            assert any(metric and label in metric.labels for metric in metrics), expression


def test_grafana_takes_rates_of_counters_only() -> None:
    counters = {name for name, one in of_prometheus().items() if one and one.kind in SUFFIXES}
    for expression in expressions():
        rated = set(re.findall(r"rate\((servingclient_\w+)", expression))
        assert rated <= counters, expression
        assert set(re.findall(r"servingclient_\w+", expression)) & counters == rated, expression


def test_grafana_imports() -> None:
    made = board("grafana.json")
    assert len({panel["id"] for panel in made["panels"]}) == len(made["panels"])
    places = [tuple(panel["gridPos"][key] for key in "xy") for panel in made["panels"]]
    assert len(set(places)) == len(places)
    asked = next(one for one in made["templating"]["list"] if one["name"] == "endpoint")["query"]
    listed = "servingclient_call_duration_seconds_count"  # which workers have as well
    assert asked["query"] == f"label_values({listed}, endpoint)"
    assert listed in of_prometheus()
    for panel in made["panels"]:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_datadog_asks_for_metrics_there_are() -> None:
    known = {
        PREFIX + name + (f".{part}" if metric.kind == "histogram" else ""): (metric, part)
        for name, metric in METRICS.items()
        for part in PARTS
    }
    for widget in board("datadog.json")["widgets"]:
        for request in widget["definition"]["requests"]:
            asked = re.findall(r"(?:sum|max|min):(servingclient\.[\w.]+)\{([^}]*)\}", request["q"])
            assert asked, request["q"]
            for name, scope in asked:
                assert name in known, f"{name} in {request['q']}"
                metric, part = known[name]
                assert scope.startswith("$endpoint")
                tags = set(re.findall(r"(\w+):", scope))
                for group in re.findall(r"by \{([^}]*)\}", request["q"]):
                    tags |= set(group.split(","))
                assert tags <= set(metric.labels), request["q"]
                counts = metric.kind == "counter" or part in {"count", "sum"}
                rated = ".as_rate()" in request["q"] or ".as_count()" in request["q"]
                if metric.kind != "histogram":
                    assert rated == counts, request["q"]


@pytest.mark.parametrize("name", ["grafana.json", "datadog.json"])
def test_the_guides_table_is_there(name: str) -> None:
    text = (BOARDS / name).read_text(encoding="utf-8")
    for words in ("Latency", "Calls a second", "Error rate", "Queue depth", "Throttled"):
        assert f'"title": "{words}' in text
