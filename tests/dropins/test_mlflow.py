"""``mlflow.deployments``' ``predict`` over this library's calls, without mlflow."""

from __future__ import annotations

import ast
import inspect
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from servingclient import (
    ConfigError,
    ConnectionLost,
    DeadlineExceeded,
    PayloadError,
    Settings,
    StreamError,
)
from servingclient.emulator import Emulator, faults
from servingclient.integrations.mlflow import (
    DatabricksDeploymentClient,
    DatabricksEndpoint,
    _as_http_error,
    get_deploy_client,
)
from servingclient.settings import Retry

ROOT = Path(__file__).parents[2]
RECORDS = {"dataframe_records": [{"a": 1.0, "b": 2.0}]}
CHAT = {"messages": [{"role": "user", "content": "good morning"}]}
ONCE = Settings(retry=Retry(max_attempts=1))


@pytest.fixture
def signed_in(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)


@pytest.fixture
def client(signed_in: None) -> Iterator[DatabricksDeploymentClient]:
    client = get_deploy_client("databricks", settings=ONCE)
    yield client
    client.close()


def names_of(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


@pytest.mark.checkout
@pytest.mark.parametrize("name", ["predict", "predict_stream"])
def test_the_arguments_are_theirs(name: str) -> None:
    found = list(ROOT.glob(".venv-peer/lib/*/site-packages/mlflow/deployments/databricks"))
    if not found:
        pytest.skip("the environment with mlflow is not there: make peer builds it")
    tree = ast.parse((found[0] / "__init__.py").read_text())
    theirs = next(
        node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == name
    )
    assert names_of(getattr(DatabricksDeploymentClient, name)) == [
        one.arg for one in theirs.args.args
    ]
    assert len(theirs.args.defaults) == 3
    assert all(isinstance(one, ast.Constant) and one.value is None for one in theirs.args.defaults)


def test_the_whole_reply_comes_back_as_a_dict_with_attributes(
    client: DatabricksDeploymentClient,
) -> None:
    reply = client.predict(endpoint="demo", inputs=RECORDS)
    assert reply == {"predictions": [3.0]}
    assert reply.predictions == [3.0]
    assert isinstance(reply, DatabricksEndpoint)
    chat = client.predict(endpoint="assistant", inputs=CHAT)
    assert chat.choices[0]["message"]["content"] == "good morning"
    assert client.predict(endpoint="features", inputs=RECORDS).outputs[0]["feature_sum"] == 3.0
    with pytest.raises(AttributeError, match="no 'nothing'"):
        _ = reply.nothing
    assert "mlflow" not in sys.modules


def test_nested_objects_have_attributes_too() -> None:
    assert DatabricksEndpoint({"usage": {"total_tokens": 3}}).usage.total_tokens == 3


def test_a_stream_gives_its_events(client: DatabricksDeploymentClient, emulator: Emulator) -> None:
    events = client.predict_stream(endpoint="assistant", inputs=CHAT)
    words = [event["choices"][0]["delta"].get("content", "") for event in events]
    assert "".join(words) == "good morning"
    # two lists of one length, which are no columns all the same
    listed = {**CHAT, "documents": [{"text": "a"}]}
    assert list(client.predict_stream(endpoint="assistant", inputs=listed))
    sent = [record for record in emulator.requests if record.kind == "invocation"][-1]
    assert json.loads(sent.body or b"") == {**listed, "stream": True}
    emulator.script("assistant", faults.cut_stream(1), faults.throttled(retry_after=0))
    broken = client.predict_stream(endpoint="assistant", inputs=CHAT)
    assert next(broken)["choices"]
    with pytest.raises(StreamError):
        list(broken)
    with pytest.raises(requests.HTTPError):
        next(client.predict_stream(endpoint="assistant", inputs=CHAT))


@pytest.mark.parametrize(
    ("fault", "status"),
    [(faults.permission_denied(), 403), (faults.throttled(), 429), (faults.html(504), 504)],
    ids=lambda value: getattr(value, "name", value),
)
def test_an_error_of_the_endpoint_keeps_its_status(
    client: DatabricksDeploymentClient, emulator: Emulator, fault: Any, status: int
) -> None:
    emulator.always("demo", fault)
    with pytest.raises(requests.HTTPError) as caught:
        client.predict(endpoint="demo", inputs=RECORDS)
    assert caught.value.response is not None
    assert caught.value.response.status_code == status
    assert getattr(caught.value.__cause__, "status_code", None) == status


def test_all_other_failures_are_our_own(
    client: DatabricksDeploymentClient, emulator: Emulator
) -> None:
    emulator.always("demo", faults.reset("after"))
    with pytest.raises(ConnectionLost):
        client.predict(endpoint="demo", inputs=RECORDS)
    with pytest.raises(PayloadError, match="whole body"):
        client.predict(endpoint="demo", inputs=[1])  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="Name the serving endpoint"):
        client.predict("demo", RECORDS)


def test_a_call_that_ran_out_of_time_is_late_whatever_the_last_reply_was() -> None:
    late = DeadlineExceeded("late")
    late.status_code = 429
    assert _as_http_error(late) is None


def test_a_throttled_call_is_sent_twice_and_not_eight_times_as_often(
    signed_in: None, emulator: Emulator
) -> None:
    emulator.script("demo", faults.throttled(retry_after=0))
    client = get_deploy_client()
    assert client.predict(endpoint="demo", inputs=RECORDS) == {"predictions": [3.0]}
    assert len([one for one in emulator.requests if one.kind == "invocation"]) == 2
    client.close()


def test_a_profile_names_the_workspace(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "databrickscfg"
    file.write_text(f"[prod]\nhost = {emulator.host}\ntoken = {emulator.token}\n")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(file))
    client = get_deploy_client("databricks://prod")
    assert client.predict(endpoint="demo", inputs=RECORDS) == {"predictions": [3.0]}
    client.close()
    with pytest.raises(ConfigError, match="is none of Databricks"):
        get_deploy_client("sagemaker:/us-west-2")
