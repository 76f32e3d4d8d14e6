"""The public API as a typed program uses it: checked by mypy, never run.

A change that breaks this file breaks the type checks of the library's users.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
from databricks.sdk.core import Config
from typing_extensions import assert_type

from servingclient import (
    AsyncMapResult,
    AsyncServingClient,
    Block,
    EndpointFigures,
    Explanation,
    MapResult,
    Prediction,
    ServingClient,
    ServingError,
    Settings,
    Throttled,
)
from servingclient.emulator import Emulator
from servingclient.integrations.call_log import CallLog
from servingclient.integrations.datadog import DatadogReporter
from servingclient.integrations.opentelemetry import OpenTelemetry
from servingclient.integrations.prometheus import PrometheusExporter, PrometheusWorker
from servingclient.settings import Payload, Pool, Retry


def every_way_to_open(config: Config, transport: httpx.BaseTransport) -> None:
    ServingClient("model")
    ServingClient("model", host="https://example.cloud.databricks.com", token="t")
    ServingClient(
        "model", host="https://example.cloud.databricks.com", client_id="i", client_secret="s"
    )
    ServingClient("model", config=config)
    ServingClient("model", settings=Settings(timeout_s=5.0, retry=Retry(max_attempts=2)))
    ServingClient("model", transport=transport)
    ServingClient("model", transport=httpx.MockTransport(lambda request: httpx.Response(200)))


def predict() -> None:
    with ServingClient("model") as client:
        assert_type(client, ServingClient)
        prediction = client.predict([{"a": 1.5}])
        assert_type(prediction, Prediction)
        assert_type(prediction.predictions, Any)
        assert_type(prediction.request_id, str | None)
        assert_type(prediction.attempts[0].status, int | None)
        assert_type(prediction.timing.total_s, float)
        client.predict(
            {"a": [1.5]},
            params={"temperature": 0.1},
            client_request_id="mine",
            usage_context={"team": "risk"},
            served_model="model-2",
            timeout=2.0,
            idempotent=False,
        )
        client.predict(pd.DataFrame({"a": [1.5]}))
        client.predict(np.zeros((2, 3)))
        client.predict({"dataframe_split": {"columns": ["a"], "data": [[1.5]]}})
        assert_type(client.with_options(timeout_s=1.0), ServingClient)
    client.close()


def stages(rows: list[dict[str, float]]) -> None:
    def enrich(given: list[dict[str, float]]) -> list[dict[str, float]]:
        return given

    def without(given: list[dict[str, float]], error: Exception) -> list[dict[str, float]]:
        return given

    with ServingClient(
        "model",
        preprocess=pd.DataFrame,
        enrich=enrich,
        postprocess=lambda values: values[0],
        on_enrichment_error=without,
        apis=[],
    ) as client:
        prediction = client.predict(rows)
        assert_type(prediction.enrichment_error, str | None)
        assert_type(prediction.timing.enrich_s, float)
        assert_type(client.stats().total.stage_errors, Mapping[str, int])
        client.with_options(enrich=None, on_enrichment_error="raise")


async def stages_async(rows: list[dict[str, float]]) -> None:
    async def enrich(given: list[dict[str, float]]) -> list[dict[str, float]]:
        return given

    client = AsyncServingClient("model", enrich=enrich, on_enrichment_error="null")
    assert_type(await client.predict(rows), Prediction)


async def predict_async() -> None:
    async with AsyncServingClient("model") as client:
        assert_type(client, AsyncServingClient)
        assert_type(await client.predict([{"a": 1.5}], timeout=2.0), Prediction)
        assert_type(client.with_options(timeout_s=1.0), AsyncServingClient)
    await client.aclose()


def bulk(client: ServingClient) -> None:
    rows = client.map(
        pd.DataFrame({"a": [1.5]}),
        client_request_id="job",
        rows_per_request=100,
        concurrency=4,
        on_error="return",
        progress=True,
        checkpoint=Path("job.spool"),
    )
    assert_type(rows, MapResult)
    for row in rows:
        assert_type(row, Any)
    with client.map({"a": n} for n in range(9)) as found:
        for block in found.blocks():
            assert_type(block, Block)
            assert_type(block.start_row, int)
            assert_type(block.predictions, list[Any])
        assert_type(found.to_list(), list[Any])


async def bulk_async(client: AsyncServingClient, rows: AsyncIterator[dict[str, float]]) -> None:
    async with client.map(rows) as found:
        assert_type(found, AsyncMapResult)
        async for row in found:
            assert_type(row, Any)
        assert_type(await found.to_list(), list[Any])


def streams(client: ServingClient) -> Iterator[Any]:
    with client.stream({"messages": [{"role": "user", "content": "hello"}]}) as events:
        yield from events


async def streams_async(client: AsyncServingClient) -> AsyncIterator[Any]:
    async with await client.stream({"messages": [{"role": "user", "content": "hello"}]}) as events:
        async for event in events:
            yield event


def errors(client: ServingClient) -> None:
    try:
        client.predict([[1.5]])
    except Throttled as error:
        assert_type(error.retry_after_s, float | None)
    except ServingError as error:
        assert_type(error.status_code, int | None)
        assert_type(error.request_id, str | None)
        assert_type(error.attempts[-1].cause, str | None)


def settings() -> None:
    made = Settings(pool=Pool(max_lanes=4))
    assert_type(made.replace(timeout_s=1.0), Settings)
    assert_type(Settings.from_env(), Settings)
    assert_type(made.retry.max_attempts, int)


def emulate() -> None:
    with Emulator() as emulator:
        emulator.add_endpoint("model", model=lambda rows: [0.0 for _ in rows])
        assert_type(emulator.host, str)
        print(emulator.token, file=io.StringIO())


def explain() -> None:
    with ServingClient("model", settings=Settings(payload=Payload(floats="float32"))) as client:
        report = client.explain(pd.DataFrame({"a": [1.5]}), params={"t": 0.1}, timeout=2.0)
        assert_type(report, Explanation)
        assert_type(report.steps[0].size_bytes, int)
        assert_type(report.relative_error, float)
        assert_type(report.requests, int | None)
        assert_type(report.dropped, tuple[str, ...])


async def explain_async() -> None:
    async with AsyncServingClient("model") as client:
        assert_type(await client.explain([{"a": 1.5}]), Explanation)


async def every_exporter() -> None:
    ServingClient("model", observers=[CallLog(), PrometheusWorker()])
    with DatadogReporter() as reporter:
        exporters = (OpenTelemetry(), PrometheusExporter(), reporter)
        client = AsyncServingClient("model", observers=exporters)
    figures = await client.endpoint_figures(timeout=5.0)
    assert_type(figures, EndpointFigures)
    assert_type(figures.qps, float | None)
    assert_type(ServingClient("model").endpoint_figures(), EndpointFigures)
