"""The real databricks-sdk logs in and calls: the emulator is what the SDK takes for a workspace."""

from __future__ import annotations

import json
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config

from servingclient.emulator import Emulator

RECORDS = [{"a": 1, "b": 2.5}, {"a": 3, "b": 4}]


def config(emu: Emulator, **more: Any) -> Config:
    return Config(
        host=emu.host,
        retry_timeout_seconds=2,
        http_timeout_seconds=5,
        **(more or {"client_id": emu.client_id, "client_secret": emu.client_secret}),
    )


def test_a_service_principal_logs_in(emu: Emulator) -> None:
    headers = config(emu).authenticate()
    assert headers["Authorization"].startswith("Bearer ")
    assert emu.token_requests == 1
    assert {r.path for r in emu.requests if r.kind == "discovery"} >= {
        "/oidc/.well-known/oauth-authorization-server"
    }


def test_over_https_with_the_authority(monkeypatch: pytest.MonkeyPatch) -> None:
    with Emulator() as emu:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(emu.ca_file))
        assert config(emu).authenticate()["Authorization"].startswith("Bearer ")


@pytest.mark.parametrize("how", ["pat", "oauth"])
def test_a_standard_endpoint_answers(emu: Emulator, how: str) -> None:
    given = config(emu, token=emu.token) if how == "pat" else config(emu)
    client = WorkspaceClient(config=given)
    answer = client.serving_endpoints.query("demo", dataframe_records=RECORDS)
    assert answer.predictions == [3.5, 7.0]
    assert answer.served_model_name == "demo-1"


def test_a_route_optimized_endpoint_answers(emu: Emulator) -> None:
    # The SDK exchanges its token without a scope, which Model Serving is said to refuse.
    emu.change(refuse_empty_scope=False)
    client = WorkspaceClient(config=config(emu))
    answer = client.serving_endpoints_data_plane.query("demo-fast", dataframe_records=RECORDS)
    assert answer.predictions == [3.5, 7.0]
    assert [record.kind for record in emu.requests if record.kind != "discovery"] == [
        "token",
        "describe",
        "token",
        "invocation",
    ]


def test_features_and_description(emu: Emulator) -> None:
    emu.add_endpoint("features", kind="feature")
    client = WorkspaceClient(config=config(emu, token=emu.token))
    answer = client.serving_endpoints.query("features", dataframe_records=RECORDS[:1])
    assert answer.outputs == [{"a": 1, "b": 2.5, "feature_sum": 3.5}]
    described = client.serving_endpoints.get("demo-fast")
    assert described.data_plane_info.query_info.endpoint_url == emu.endpoint_url("demo-fast")
    assert [endpoint.name for endpoint in client.serving_endpoints.list()] == [
        "demo",
        "demo-fast",
        "features",
    ]
    assert client.current_user.me().user_name == emu.client_id


def test_schema_and_metrics(emu: Emulator) -> None:
    emu.change_endpoint("demo", schema={"a": "double"})
    endpoints = WorkspaceClient(config=config(emu, token=emu.token)).serving_endpoints
    schema, metrics = (
        endpoints.get_open_api("demo").contents,
        endpoints.export_metrics("demo").contents,
    )
    assert schema is not None
    assert metrics is not None
    with schema, metrics:
        assert json.loads(schema.read())["info"]["title"] == "demo"
        assert metrics.read().endswith(b"# EOF\n")
