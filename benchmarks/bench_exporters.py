"""What exporters add to a call, and what a scrape costs.

Whole calls over a wire that answers at once, with an exporter and without. Prometheus and Datadog
read figures that are there anyway, so a call knows nothing of them; their cost is that of a scrape.
"""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import harness
import machine
import report
from bench_telemetry import AtOnce, asked, repeated
from harness import Effort, RunCalls
from report import Figure, Part

from servingclient import _step
from servingclient._call import Story
from servingclient._ports import World
from servingclient._watching import Observer, Tracer
from servingclient.policies.quota import Quota
from servingclient.settings import Settings
from servingclient.telemetry.recorder import Recorder

NONE = "no exporter"
METRICS = "OpenTelemetry, metrics"
TRACES = "OpenTelemetry, metrics and traces"
NO_SDK = "OpenTelemetry without its SDK"
WORKER = "Prometheus, multiprocess"
ASKED, LOOP = "asked, as in Story.score and Story._send", "the loop alone"
MOST_US, MOST_OFF_US = 30.0, 3.0
FULL, QUICK = Effort(12), Effort(2, 0.02, tries=1, warm=0)


def part(cores: machine.Cores, *, quick: bool) -> Part:
    del cores  # nothing is sent
    effort = QUICK if quick else FULL
    with ExitStack() as stack:
        call = harness.measure(dict(callers(stack)), effort)
        scrape = harness.measure(dict(scrapers(stack)), effort)
    off = harness.measure({ASKED: asking(), LOOP: looping()}, effort)
    cells = {"call": call, "off": off, "scrape": scrape}
    return Part(
        "Exporters",
        "CPU in one thread of a call over a wire that answers at once; spans go to the SDK's batch "
        "processor and on to an exporter that drops them. Scrapes: five minutes of calls behind.",
        [
            Figure(
                "exporters_otel_metrics_cpu_us",
                "CPU a call that OpenTelemetry's metrics add",
                call.differences(METRICS, NONE),
                MOST_US,
                True,
                "µs",
            ),
            Figure(
                "exporters_off_cpu_us",
                "CPU a call without exporters pays for asking whether there are any",
                off.differences(ASKED, LOOP),
                MOST_OFF_US,
                True,
                "µs",
            ),
        ],
        [
            report.cell_table("One call", call, NONE),
            report.cell_table("Asking whether there is a tracer", off, LOOP),
            report.cell_table("One scrape", scrape, "figures", per="time"),
        ],
        {
            name: {
                who: round(statistics.median(series.cpu_us), 2)
                for who, series in cell.series.items()
            }
            for name, cell in cells.items()
        },
        [*call.slices(), *off.slices(), *scrape.slices()],
    )


# ---------------------------------------------------------------- a whole call


def callers(stack: ExitStack) -> Iterator[tuple[str, RunCalls]]:
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
    from prometheus_client import CollectorRegistry

    from servingclient.integrations.opentelemetry import OpenTelemetry
    from servingclient.integrations.prometheus import PrometheusWorker

    class Drops(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    def metered() -> MeterProvider:
        made = MeterProvider([InMemoryMetricReader()], shutdown_on_exit=False)
        stack.callback(made.shutdown)
        return made

    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(BatchSpanProcessor(Drops()))
    stack.callback(spans.shutdown)
    yield NONE, calling()
    yield NO_SDK, calling(tracer=OpenTelemetry())
    yield METRICS, calling(tracer=OpenTelemetry(meter_provider=metered()))
    yield TRACES, calling(tracer=OpenTelemetry(spans, metered()))
    yield WORKER, calling((PrometheusWorker(CollectorRegistry()),))


def calling(observers: tuple[Observer, ...] = (), tracer: Tracer | None = None) -> RunCalls:
    ports: Any = AtOnce()
    world = World(
        time.monotonic,
        ports.sleep,
        random.random,
        ports,
        ports,
        ports,
        Quota(500),
        observers,
        recorder=Recorder(time.monotonic, threading.RLock),
        tracer=tracer,
    )
    story, rows = Story("model", Settings(), world), [{"a": 1.0, "b": 2.0}]

    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            _step.run(story.predict(rows, None, None, None, None, 60.0, True, 1))
        return ()

    return run


def asking() -> RunCalls:
    """The questions alone: beside a whole call they are lost in its noise."""
    ports: Any = AtOnce()
    now = time.monotonic
    world = World(now, ports.sleep, random.random, ports, ports, ports, Quota(500), ())
    story = Story("model", Settings(), world)
    call = story.begin(0.0, ([{"a": 1.0}], None, None, None), None, 60.0, True, 1)

    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            tracer = story.world.tracer
            if (tracer is not None and call.span is None) or call.span is not None:
                raise AssertionError("there is none")
        return ()

    return run


def looping() -> RunCalls:
    def run(calls: int) -> tuple[()]:
        for _ in range(calls):
            pass
        return ()

    return run


# ---------------------------------------------------------------- a scrape


class Client:
    """Has figures, as a client that has been called for five minutes."""

    endpoint = "model"
    apis = ()

    def __init__(self) -> None:
        self.stats = asked()


def scrapers(stack: ExitStack) -> Iterator[tuple[str, RunCalls]]:
    from prometheus_client import CollectorRegistry, generate_latest

    from servingclient.integrations.prometheus import PrometheusExporter
    from servingclient.integrations.watched import Watched

    client = Client()
    watched = Watched()
    watched.add(client)
    registry = CollectorRegistry()
    exporter = PrometheusExporter(registry)
    exporter.client_opened(client)
    stack.callback(exporter.close)
    stack.callback(lambda _: None, client)  # which exporters hold weakly
    yield "figures", repeated(watched.figures)
    yield "Prometheus text", repeated(lambda: generate_latest(registry))
