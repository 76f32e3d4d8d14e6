"""The drop-ins and the testing kit as a typed program uses them: checked by mypy, never run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
from databricks import sdk
from databricks.sdk.service.serving import QueryEndpointResponse
from typing_extensions import assert_type

from servingclient import AsyncServingClient, Prediction, ServingClient, Settings
from servingclient.emulator import Emulator
from servingclient.integrations.databricks_sdk import ServingEndpoints, WorkspaceClient
from servingclient.integrations.mlflow import DatabricksDeploymentClient, get_deploy_client
from servingclient.integrations.openai import async_openai_client, openai_client
from servingclient.testing import (
    AsyncFakeServingClient,
    FakeServingClient,
    MadeCall,
    RecordingTransport,
    ReplayTransport,
    SentRequest,
    VirtualClock,
    presets,
    reply,
    throttled,
)


def openai_clients(settings: Settings) -> None:
    assert_type(openai_client(host="h", token="t", settings=settings), openai.OpenAI)
    assert_type(async_openai_client(client_id="i", client_secret="s"), openai.AsyncOpenAI)


def databricks_sdk(w: sdk.WorkspaceClient) -> None:
    endpoints = ServingEndpoints(w, settings=Settings())
    assert_type(endpoints.query("e", instances=[[1.0]]), QueryEndpointResponse)
    ours: sdk.WorkspaceClient = WorkspaceClient(host="h", token="t")
    assert_type(ours.serving_endpoints.query(name="e", prompt="p"), QueryEndpointResponse)


def mlflow() -> None:
    client = get_deploy_client("databricks")
    assert_type(client, DatabricksDeploymentClient)
    client.predict(endpoint="e", inputs={"instances": [1]})
    assert_type(client.predict_stream(endpoint="e", inputs={}), Iterator[dict[str, Any]])


def scored(client: ServingClient) -> Prediction:
    return client.predict([{"a": 1}])


async def scored_async(client: AsyncServingClient) -> Prediction:
    return await client.predict([{"a": 1}])


async def fakes() -> None:
    clock = VirtualClock()
    fake = FakeServingClient([throttled(), reply([1.0])], clock=clock)
    scored(fake)
    assert_type(fake.calls, list[MadeCall])
    assert_type(fake.requests, list[SentRequest])
    assert_type(fake.clock.now(), float)
    await scored_async(AsyncFakeServingClient(model=lambda rows: [row["a"] for row in rows]))


def recorded(emulator: Emulator) -> None:
    ServingClient("e", transport=RecordingTransport("tape", payloads=False))
    replay = ReplayTransport("tape", ignore=("client_request_id", "params"))
    ServingClient("e", host=replay.host, token="any", transport=replay)
    with presets.busy(2, service_time_s=0.5).on(emulator, "demo"):
        pass
