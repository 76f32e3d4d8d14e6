"""databricks-sdk's ``query`` over this library's calls: the same arguments, results and excepts."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import pytest
from databricks import sdk
from databricks.sdk.core import Config
from databricks.sdk.errors import platform
from databricks.sdk.errors.base import DatabricksError
from databricks.sdk.service.serving import (
    ChatMessage,
    ChatMessageRole,
    DataframeSplitInput,
    ServingEndpointsAPI,
)

from servingclient import (
    ConfigError,
    DeadlineExceeded,
    ServingError,
    Settings,
    TokenRefreshError,
)
from servingclient.emulator import Emulator, faults
from servingclient.integrations.databricks_sdk import ServingEndpoints, WorkspaceClient
from servingclient.settings import Queue, Retry
from tests.gates import docstrings

ROWS = [{"a": 1.0, "b": 2.0}]
ONCE = Settings(retry=Retry(max_attempts=1))


def signed_in(emulator: Emulator) -> Config:
    return Config(host=emulator.host, token=emulator.token, auth_type="pat")


@pytest.fixture
def theirs(emulator: Emulator) -> Any:
    """What a program had before."""
    return sdk.WorkspaceClient(config=signed_in(emulator)).serving_endpoints


@pytest.fixture
def ours(emulator: Emulator) -> Iterator[ServingEndpoints]:
    client = ServingEndpoints(sdk.WorkspaceClient(config=signed_in(emulator)), settings=ONCE)
    yield client
    client.close()


def body_of(emulator: Emulator) -> Any:
    calls = [record for record in emulator.requests if record.kind == "invocation"]
    return json.loads(calls[-1].body or b"")


def plain(function: Any) -> list[tuple[str, Any, Any]]:
    found = inspect.signature(function).parameters.values()
    return [(one.name, one.kind, one.default) for one in found]


def test_the_signature_is_theirs() -> None:
    assert plain(ServingEndpoints.query) == plain(ServingEndpointsAPI.query)


ARGUMENTS = {
    "dataframe_split": {"dataframe_split": DataframeSplitInput(columns=["a"], data=[[1.0], [2]])},
    "dataframe_records": {"dataframe_records": ROWS},
    "instances": {"instances": [[1.0, 2.0], [3.0, 4.0]]},
    "inputs": {"inputs": {"a": [1.0, 2.0]}},
    "labels": {
        "dataframe_records": ROWS,
        "client_request_id": "mine",
        "usage_context": {"team": "risk"},
        "stream": False,
    },
}
CHAT = {
    "messages": [ChatMessage(role=ChatMessageRole.USER, content="hi")],
    "max_tokens": 5,
    "temperature": 0.5,
    "n": 1,
    "stop": ["."],
    "extra_params": {"top_k": "1"},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_every_argument_arrives_and_comes_back_as_with_theirs(
    name: str, emulator: Emulator, theirs: Any, ours: ServingEndpoints
) -> None:
    expected = theirs.query("demo", **ARGUMENTS[name])
    sent = body_of(emulator)
    assert ours.query("demo", **ARGUMENTS[name]) == expected
    assert body_of(emulator) == sent
    assert expected.predictions


def test_chats_and_feature_look_ups_come_back_as_with_theirs(
    emulator: Emulator, theirs: Any, ours: ServingEndpoints
) -> None:
    expected = theirs.query("assistant", **CHAT)
    sent = body_of(emulator)
    found = ours.query("assistant", **CHAT)
    assert body_of(emulator) == sent
    assert found.choices == expected.choices
    assert found.served_model_name == expected.served_model_name == "assistant-1"
    looked_up = ours.query("features", dataframe_records=ROWS)
    assert looked_up == theirs.query("features", dataframe_records=ROWS)
    assert looked_up.outputs


def test_the_import_is_the_one_line_that_changes(emulator: Emulator) -> None:
    w = WorkspaceClient(host=emulator.host, token=emulator.token)
    assert isinstance(w, sdk.WorkspaceClient)
    assert w.serving_endpoints is w.serving_endpoints
    assert w.serving_endpoints.query(name="demo", dataframe_records=ROWS).predictions == [3.0]
    assert {endpoint.name for endpoint in w.serving_endpoints.list()} >= {"demo", "assistant"}
    w.serving_endpoints.close()


def test_a_route_optimized_endpoint_is_queried_like_any_other(emulator: Emulator) -> None:
    config = Config(
        host=emulator.host,
        client_id=emulator.client_id,
        client_secret=emulator.client_secret,
        auth_type="oauth-m2m",
    )
    client = ServingEndpoints(sdk.WorkspaceClient(config=config))
    assert client.query("demo-fast", dataframe_records=ROWS).predictions == [3.0]
    emulator.revoke_tokens()
    assert client.query("demo-fast", dataframe_records=ROWS).predictions == [3.0]
    client.close()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.answer(400, b'{"error_code":"BAD","message":"no"}'), platform.BadRequest),
        (faults.answer(404, b'{"message":"no"}'), platform.NotFound),
        (faults.permission_denied(), platform.PermissionDenied),
        (faults.throttled(retry_after=7), platform.TooManyRequests),
        (faults.html(500), platform.InternalError),
        (faults.html(503), platform.TemporarilyUnavailable),
        (faults.execution_timeout(), platform.DeadlineExceeded),
        (faults.html(502), DatabricksError),
        (faults.login_page(), DatabricksError),
        (faults.reset("after"), DatabricksError),
        (faults.body(b"[1, 2]"), DatabricksError),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "__name__", "")),
)
def test_failures_are_theirs_by_status(
    emulator: Emulator, ours: ServingEndpoints, fault: Any, kind: type[DatabricksError]
) -> None:
    emulator.always("demo", fault)
    with pytest.raises(DatabricksError) as caught:
        ours.query("demo", dataframe_records=ROWS)
    assert type(caught.value) is kind
    if fault.name == "throttled":
        assert caught.value.retry_after_secs == 7
    if fault.name != "body":
        assert isinstance(caught.value.__cause__, ServingError)


def test_without_a_token_the_error_is_theirs_too(emulator: Emulator) -> None:
    emulator.token_always(faults.html(500))
    config = Config(host=emulator.host, client_id="a", client_secret="b", auth_type="oauth-m2m")
    client = ServingEndpoints(sdk.WorkspaceClient(config=config), settings=ONCE)
    with pytest.raises(DatabricksError) as caught:
        client.query("demo", dataframe_records=ROWS)
    assert isinstance(caught.value.__cause__, TokenRefreshError)
    client.close()


def test_a_throttled_query_is_sent_as_often_as_our_settings_say(emulator: Emulator) -> None:
    emulator.always("demo", faults.throttled(retry_after=0))
    workspace = sdk.WorkspaceClient(config=signed_in(emulator))
    client = ServingEndpoints(workspace, settings=Settings(retry=Retry(max_attempts=2)))
    with pytest.raises(platform.TooManyRequests):
        client.query("demo", dataframe_records=ROWS)
    assert len([one for one in emulator.requests if one.kind == "invocation"]) == 2
    client.close()


def test_what_their_callers_catch_as_built_in_errors_stays_that(emulator: Emulator) -> None:
    emulator.always("demo", faults.hang())
    workspace = sdk.WorkspaceClient(config=signed_in(emulator))
    client = ServingEndpoints(workspace, settings=Settings(timeout_s=0.2))
    with pytest.raises(TimeoutError) as late:
        client.query("demo", dataframe_records=ROWS)
    assert isinstance(late.value, DeadlineExceeded)
    with pytest.raises(ValueError, match="NaN"):
        client.query("demo", dataframe_records=[{"a": float("nan")}])
    with pytest.raises(ValueError, match="plain name"):
        client.query("../demo", dataframe_records=ROWS)
    with pytest.raises(ConfigError, match="no stream"):
        client.query("demo", dataframe_records=ROWS, stream=True)
    client.close()


def test_a_body_that_is_too_large_is_a_bad_request_and_is_not_sent(
    emulator: Emulator, ours: ServingEndpoints
) -> None:
    with pytest.raises(platform.BadRequest, match="accepts 16,777,216"):
        ours.query("demo", instances=["x" * 17_000_000])
    assert [one for one in emulator.requests if one.kind == "invocation"] == []


def test_a_full_queue_is_too_many_requests(emulator: Emulator) -> None:
    workspace = sdk.WorkspaceClient(config=signed_in(emulator))
    client = ServingEndpoints(workspace, settings=Settings(queue=Queue(max_calls=0)))
    client.query("demo", dataframe_records=ROWS)
    gate = client._clients.of("demo")._parts.gate
    while gate.try_enter():
        pass
    with pytest.raises(platform.TooManyRequests):
        client.query("demo", dataframe_records=ROWS)
    while gate.stats().in_flight:
        gate.leave()
    client.close()


@pytest.mark.checkout
@pytest.mark.skipif(not docstrings.DOCS.exists(), reason="there are no pages beside the wheel")
def test_its_docstrings_tell_everything() -> None:
    # here, since whoever imports it pays for databricks-sdk
    found = docstrings.described(among=("servingclient.integrations.databricks_sdk.",))
    assert len(found) > 3
    docstrings.hold(found)
