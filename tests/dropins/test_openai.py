"""The real openai package over this library's calls, on the emulator."""

from __future__ import annotations

import builtins
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

import httpx
import openai
import pytest

from servingclient import ConfigError, DeadlineExceeded, QueueFull, Settings
from servingclient.emulator import Emulator, faults
from servingclient.integrations.openai import answers, async_openai_client, openai_client
from servingclient.settings import Retry
from tests.dropins.face import HELLO, Face


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def face(colour: Literal["sync", "async"], emulator: Emulator) -> Iterator[Face]:
    face = Face(colour, emulator)
    yield face
    face.end()


def body_of(face: Face) -> dict[str, Any]:
    return dict(json.loads(face.calls()[-1].body or b""))


# ---------------------------------------------------------------------------- chat


def test_a_chat_completion_is_one_call_of_the_endpoint(face: Face) -> None:
    reply = face.ask(face.open(), temperature=0.0, max_tokens=20)
    assert reply.choices[0].message.content == "good morning"
    assert reply.model == "assistant"
    (call,) = face.calls()
    assert call.path == "/serving-endpoints/assistant/invocations"
    assert body_of(face) == {"messages": HELLO, "temperature": 0.0, "max_tokens": 20}
    assert reply._request_id == call.request_id


def test_tool_calls_come_and_go(face: Face) -> None:
    wanted = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [wanted]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    face.emulator.add_endpoint("assistant", lambda _: {"choices": [choice]}, kind="agent")
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    client = face.open()

    found = face.ask(client, tools=tools).choices[0].message
    assert found.tool_calls[0].function.name == "look"

    answer = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    face.ask(client, tools=tools, messages=[*HELLO, message, answer])
    assert body_of(face) == {"messages": [*HELLO, message, answer], "tools": tools}


def test_a_list_beside_the_messages_is_no_column(face: Face) -> None:
    # two lists of one length would be a table anywhere else
    face.ask(face.open(), extra_body={"documents": [{"text": "a"}]})
    assert body_of(face)["documents"] == [{"text": "a"}]
    words: list[str] = []
    face.words(face.open(), words, extra_body={"documents": [{"text": "a"}]})
    assert "".join(words) == "good morning"


def test_a_stream_arrives_event_by_event(face: Face) -> None:
    words: list[str] = []
    face.words(face.open(), words)
    assert words == ["good ", "morning", ""]
    assert body_of(face)["stream"] is True


def test_a_stream_that_is_left_gives_its_connection_back(
    request: pytest.FixtureRequest, colour: Literal["sync", "async"]
) -> None:
    with Emulator(tls=False) as emulator:  # one that nobody else has connections to
        emulator.add_endpoint("assistant", kind="agent", stream_interval_s=30.0)
        face = Face(colour, emulator)
        request.addfinalizer(face.end)
        client = face.open(settings=Settings(close_timeout_s=0.0))
        if colour == "sync":
            with face.ask(client, stream=True) as stream:
                next(iter(stream))
        else:

            async def leave() -> None:
                async with await client.chat.completions.create(
                    model="assistant", messages=HELLO, stream=True
                ) as stream:
                    await anext(aiter(stream))

            face.run(leave())
        assert emulator.wait_for(lambda: not emulator.open_connections["workspace"])


def test_completions_embeddings_and_responses_go_to_the_endpoint_too(face: Face) -> None:
    said = {"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}]}
    face.emulator.add_endpoint("embedder", lambda _: said, kind="agent")
    client = face.open()
    found = face.run(client.embeddings.create(model="embedder", input=["a"]))
    assert found.data[0].embedding == [0.5]
    assert body_of(face)["input"] == ["a"]
    face.run(client.completions.create(model="assistant", prompt="Once"))
    assert body_of(face)["prompt"] == "Once"
    face.run(client.responses.create(model="assistant", input="Once"))
    assert body_of(face)["input"] == "Once"


def test_route_optimized_endpoints_get_their_own_token(face: Face) -> None:
    emulator = face.emulator
    emulator.add_endpoint("fast", kind="agent", route_optimized=True)
    client = face.open(client_id=emulator.client_id, client_secret=emulator.client_secret)
    assert face.ask(client, model="fast").choices[0].message.content == "good morning"
    assert face.calls()[-1].host == "serving"


# ---------------------------------------------------------------------------- tokens


def test_a_token_that_ends_is_renewed_between_and_within_calls(face: Face) -> None:
    emulator = face.emulator
    client = face.open(client_id=emulator.client_id, client_secret=emulator.client_secret)
    face.ask(client)
    emulator.revoke_tokens()
    assert face.ask(client).choices[0].message.content == "good morning"
    assert [call.status for call in face.calls()] == [200, 403, 200]


def test_the_bearer_is_ours_and_the_clients_own_header_lines_stay_here(face: Face) -> None:
    client = face.open()
    face.ask(client, extra_headers={"x-secret": "s", "authorization": "Bearer theirs"})
    headers = face.calls()[-1].headers
    assert headers["authorization"] == "Bearer ***"  # another one would have been refused
    assert "x-secret" not in headers
    assert not [name for name in headers if name.startswith("x-stainless")]


def test_another_base_url_gets_nothing(face: Face) -> None:
    client = face.open().with_options(base_url="http://localhost:9/serving-endpoints")
    with pytest.raises(openai.APIConnectionError) as caught:
        face.ask(client)
    assert isinstance(caught.value.__cause__, httpx.UnsupportedProtocol)
    assert face.calls() == []


# ---------------------------------------------------------------------------- failures


def test_a_throttled_call_is_retried_by_one_layer_only(face: Face) -> None:
    face.emulator.always("assistant", faults.throttled(retry_after=0))
    settings = Settings(retry=Retry(max_attempts=2))
    client = face.open(settings=settings).with_options(max_retries=4)
    with pytest.raises(openai.RateLimitError, match="provisioned concurrency") as caught:
        face.ask(client)
    assert len(face.calls()) == 2
    assert caught.value.request_id == face.calls()[-1].request_id

    face.emulator.clear("assistant")
    face.emulator.script("assistant", faults.throttled(retry_after=0))
    assert face.ask(client).choices[0].message.content == "good morning"


def test_a_stream_that_is_throttled_first_is_retried_once(face: Face) -> None:
    face.emulator.script("assistant", faults.throttled(retry_after=0))
    words: list[str] = []
    face.words(face.open(), words)
    assert "".join(words) == "good morning"
    assert [call.status for call in face.calls()] == [429, 200]


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        (faults.permission_denied(), openai.PermissionDeniedError, "CAN QUERY"),
        (faults.invalid_token(), openai.AuthenticationError, "Log in again"),
        (faults.html(502), openai.InternalServerError, "502"),
        (faults.answer(400, b'{"error_code":"BAD","message":"no"}'), openai.BadRequestError, "no"),
        (faults.login_page(), openai.APIConnectionError, "Connection error"),
        (faults.reset("after"), openai.APIConnectionError, "Connection error"),
    ],
    ids=lambda value: getattr(value, "name", getattr(value, "__name__", "")),
)
def test_failures_are_the_openai_clients_own(
    face: Face, fault: Any, kind: type[openai.OpenAIError], text: str
) -> None:
    face.emulator.always("assistant", fault)
    with pytest.raises(kind, match=text) as caught:
        face.ask(face.open())
    assert face.emulator.token not in repr(caught.value)
    assert len(face.calls()) == 1  # Settings.llm() runs nothing twice that may have run


def test_where_there_was_no_reply_our_error_is_the_cause_of_the_cause(face: Face) -> None:
    face.emulator.always("assistant", faults.reset("after"))
    with pytest.raises(openai.APIConnectionError) as caught:
        face.ask(face.open())
    transport_error = caught.value.__cause__
    assert transport_error is not None
    assert "may have run the request" in str(transport_error.__cause__)


def test_a_login_that_is_down_is_no_refusal_of_the_credential(face: Face) -> None:
    face.emulator.token_always(faults.html(500))
    client = face.open(client_id="a", client_secret="b")
    with pytest.raises(openai.APIConnectionError) as caught:
        face.ask(client)
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


def test_no_place_in_time_is_a_time_out() -> None:
    request = httpx.Request("POST", "https://x.invalid")
    with pytest.raises(httpx.PoolTimeout, match="no room"):  # which becomes APITimeoutError
        answers.told(QueueFull("no room"), request)


def test_the_time_out_of_a_request_is_the_whole_calls(face: Face) -> None:
    # two of three tries take 0.2 s each: each is in time, the call is not
    face.emulator.always("assistant", replace(faults.html(502), delay_s=0.2))
    client = face.open(settings=Settings(retry=Retry(max_attempts=3, backoff_cap_s=0.0)))
    with pytest.raises(openai.APITimeoutError) as caught:
        face.ask(client, timeout=0.35)
    assert caught.value.__cause__ is not None
    error = caught.value.__cause__.__cause__
    assert isinstance(error, DeadlineExceeded)
    assert len(error.attempts) == 2


def test_the_settings_time_limit_holds_where_a_request_has_none(face: Face) -> None:
    face.emulator.always("assistant", faults.hang())
    client = face.open(settings=Settings(timeout_s=0.2))
    with pytest.raises(openai.APITimeoutError):
        face.ask(client)
    with pytest.raises(openai.APITimeoutError):
        face.ask(client, timeout=None)


@pytest.mark.parametrize("fault", [faults.cut_stream(1), faults.stream_error(1)])
def test_a_stream_that_breaks_is_an_api_error(face: Face, fault: Any) -> None:
    face.emulator.script("assistant", fault)
    words: list[str] = []
    with pytest.raises(openai.APIError, match=r"broke|model failed"):
        face.words(face.open(), words)
    assert words == ["good "]
    assert len(face.calls()) == 1


@pytest.mark.parametrize("model", ["nobody", "gpt-4.1", "../admin"])
def test_a_model_that_is_no_endpoint_is_not_found(face: Face, model: str) -> None:
    with pytest.raises(openai.NotFoundError):
        face.ask(face.open(), model=model)


def test_what_serving_endpoints_do_not_have_is_said(face: Face) -> None:
    client = face.open()
    with pytest.raises(openai.NotFoundError, match="there is no GET /models"):
        face.run(client.models.retrieve("x"))
    with pytest.raises(openai.BadRequestError, match="extra_query"):
        face.ask(client, extra_query={"a": "b"})
    with pytest.raises(openai.NotFoundError, match="there is no POST /files"):
        face.run(client.files.create(file=b"x", purpose="batch"))
    assert face.calls() == []


def test_a_payload_that_cannot_be_sent_is_a_bad_request(face: Face) -> None:
    client = face.open()
    huge = [{"role": "user", "content": "x" * 5_000_000}]
    with pytest.raises(openai.BadRequestError, match="accepts 4,194,304"):
        face.ask(client, messages=huge)


@pytest.mark.parametrize("make", [openai_client, async_openai_client])
def test_bad_arguments_are_told_before_anything_is_sent(make: Any) -> None:
    with pytest.raises(ConfigError, match="plain http"):
        make(host="http://example.com", token="t")
    with pytest.raises(ConfigError, match="client_secret is missing"):
        make(host="https://x.cloud.databricks.com", client_id="a")


def test_without_the_package_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "openai":
            raise ModuleNotFoundError(name="openai")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r"pip install 'servingclient\[openai\]'"):
        openai_client(host="https://x.cloud.databricks.com", token="t")


def test_a_workspace_that_only_the_environment_knows(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", emulator.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", emulator.token)
    with openai_client() as client:
        assert str(client.base_url) == "https://workspace.invalid/serving-endpoints/"
        reply = client.chat.completions.create(model="assistant", messages=HELLO)  # type: ignore[arg-type]
    assert reply.choices[0].message.content == "good morning"


def test_replies_are_those_of_the_client_that_databricks_sdk_makes(emulator: Emulator) -> None:
    from databricks.sdk import WorkspaceClient

    theirs = WorkspaceClient(host=emulator.host, token=emulator.token).serving_endpoints
    with pytest.warns(DeprecationWarning, match="databricks-openai"):
        made = theirs.get_open_ai_client()
    with made as client:
        expected = client.chat.completions.create(model="assistant", messages=HELLO)
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="nobody", messages=HELLO)
    assert emulator.requests[-2].path == "/serving-endpoints/chat/completions"
    with openai_client(host=emulator.host, token=emulator.token) as client:
        found = client.chat.completions.create(model="assistant", messages=HELLO)  # type: ignore[arg-type]
    assert found.choices == expected.choices
    assert found.model == expected.model
