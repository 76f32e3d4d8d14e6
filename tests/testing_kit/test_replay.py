"""What is recorded over the emulator is given out again without it, and holds no secret."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from servingclient import (
    AsyncServingClient,
    BadRequest,
    PermissionDenied,
    ServingClient,
    ServingError,
    Settings,
    StreamError,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Payload, Retry
from servingclient.testing import (
    AsyncRecordingTransport,
    AsyncReplayTransport,
    RecordingTransport,
    ReplayTransport,
)
from servingclient.testing.tape import Exchange
from tests.testing_kit.kit import ROWS, Colour

QUICK = Settings(retry=Retry(throttled_base_s=0.001))
CHAT = {"messages": [{"role": "user", "content": "good canarymorning"}]}


@pytest.fixture(scope="module")
def _emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.fixture
def emulator(_emulator: Emulator) -> Emulator:
    _emulator.add_endpoint("demo")
    _emulator.add_endpoint("assistant", kind="agent")
    _emulator.reset()
    return _emulator


class Recorder:
    """Records and replays in one colour."""

    def __init__(self, colour: Colour, emulator: Emulator, path: Path) -> None:
        self.colour = colour
        self.emulator = emulator
        self.path = path
        self.sync = colour.name == "sync"

    def client(self, endpoint: str, transport: Any, **who: Any) -> Any:
        kind = ServingClient if self.sync else AsyncServingClient
        return kind(endpoint, transport=transport, **who)

    def record(self, endpoint: str = "demo", *, payloads: bool = True, **options: Any) -> Any:
        kind = RecordingTransport if self.sync else AsyncRecordingTransport
        emulator = self.emulator
        who = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
        transport = kind(self.path, payloads=payloads)
        return self.client(endpoint, transport, host=emulator.host, **who, **options)

    def replay(self, endpoint: str = "demo", **options: Any) -> tuple[Any, Any]:
        kind = ReplayTransport if self.sync else AsyncReplayTransport
        transport = kind(self.path)
        who = {"client_id": "anyone", "client_secret": "anything"}
        return self.client(endpoint, transport, host=transport.host, **who, **options), transport

    def predict(self, client: Any, inputs: Any = ROWS, **options: Any) -> Any:
        return self.colour.run(client.predict(inputs, **options))

    def close(self, client: Any) -> None:
        self.colour.close(client)


@pytest.fixture
def tape(colour: Colour, emulator: Emulator, tmp_path: Path) -> Recorder:
    return Recorder(colour, emulator, tmp_path / "calls.jsonl")


def replayed(tape: Recorder, **options: Any) -> tuple[Any, Any]:
    """A client over what was recorded, and proof that it reaches nothing."""
    tape.emulator.reset()
    return tape.replay(**options)


def test_calls_come_back_as_they_were(tape: Recorder) -> None:
    client = tape.record(settings=QUICK)
    tape.emulator.script("demo", faults.throttled(retry_after=0))
    first = tape.predict(client)
    second = tape.predict(client, [{"a": 2.0}], client_request_id="one")
    tape.close(client)

    again, transport = replayed(tape, settings=QUICK)
    assert [one.status for one in tape.predict(again).attempts] == [429, 200]
    found = tape.predict(again, [{"a": 2.0}], client_request_id="another")
    assert found.predictions == second.predictions == [2.0]
    assert found.request_id == second.request_id
    assert found.served_model == first.served_model
    transport.assert_used()
    tape.close(again)
    assert tape.emulator.requests == []


def test_a_route_optimized_endpoint_is_replayed_at_its_own_host(tape: Recorder) -> None:
    client = tape.record("demo-fast")
    tape.predict(client)
    tape.close(client)
    again, transport = replayed(tape, endpoint="demo-fast")
    assert tape.predict(again).predictions == [3.5]
    assert transport.host == f"{tape.emulator.host}/"
    tape.close(again)
    assert tape.emulator.requests == []


def test_streams_come_back_too(tape: Recorder) -> None:
    client = tape.record("assistant")
    events = tape.colour.listed(client.stream(CHAT))
    tape.close(client)
    again, _ = replayed(tape, endpoint="assistant")
    assert tape.colour.listed(again.stream(CHAT)) == events
    tape.close(again)


def test_a_stream_that_broke_breaks_again(tape: Recorder) -> None:
    tape.emulator.script("assistant", faults.cut_stream(1))
    client = tape.record("assistant")
    with pytest.raises(StreamError):
        tape.colour.listed(client.stream(CHAT))
    tape.close(client)
    again, _ = replayed(tape, endpoint="assistant")
    with pytest.raises(StreamError, match="the recording ends here"):
        tape.colour.listed(again.stream(CHAT))
    tape.close(again)


def test_failures_come_back_as_what_they_were(tape: Recorder) -> None:
    once = Settings(idempotent=False)
    emulator = tape.emulator
    emulator.script("demo", faults.permission_denied(), faults.reset("after"), faults.html(502))
    client = tape.record(settings=once)
    kinds = []
    for number in range(3):
        with pytest.raises(ServingError) as caught:
            tape.predict(client, [{"a": number}])
        kinds.append(type(caught.value))
    tape.close(client)
    assert kinds[0] is PermissionDenied

    again, transport = replayed(tape, settings=once)
    for number, kind in enumerate(kinds):
        with pytest.raises(kind):
            tape.predict(again, [{"a": number}])
    transport.assert_used()
    tape.close(again)


def test_compressed_bodies_are_recognised(tape: Recorder) -> None:
    tape.emulator.change(gzip_requests="accepted", gzip_replies=True)
    packed = Settings(payload=Payload(gzip="probe", gzip_min_bytes=1))
    client = tape.record(settings=packed)
    tape.predict(client)
    tape.close(client)
    tape.emulator.change(gzip_requests="misread", gzip_replies=False)
    again, _ = replayed(tape, settings=packed)
    assert tape.predict(again).predictions == [3.5]
    tape.close(again)


# ---------------------------------------------------------------------------- what was not recorded


def test_what_was_not_recorded_is_refused_and_told(tape: Recorder) -> None:
    client = tape.record()
    tape.predict(client)
    tape.close(client)
    again, transport = replayed(tape)
    with pytest.raises(BadRequest, match=r"calls.jsonl holds no POST .* \(1 others"):
        tape.predict(again, [{"a": 99.0}])
    with pytest.raises(AssertionError, match=r"not recorded: POST .*; not asked for: POST"):
        transport.assert_used()
    tape.predict(again)
    with pytest.raises(BadRequest, match=r"\(0 others"):
        tape.predict(again)  # each call is given out once
    tape.close(again)


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.jsonl"
    for text in ("", "{}", '{"servingclient_tape": 99, "payloads": true}', "no json"):
        path.write_text(text)
        with pytest.raises(ValueError, match="no recording of this library"):
            ReplayTransport(path)
    path.write_text('{"servingclient_tape": 1, "payloads": true}\n{"a": 1}\n')
    with pytest.raises(ValueError, match="no recorded exchange"):
        ReplayTransport(path)


# ---------------------------------------------------------------------------- secrets and payloads


def test_no_credential_gets_into_the_file(tape: Recorder) -> None:
    tape.emulator.script("demo", faults.echo_authorization())
    once = Settings(idempotent=False, headers=(("x-api-key", "canary-key-1"),))
    client = tape.record(settings=once)
    with pytest.raises(ServingError):
        tape.predict(client, ROWS, params={"api_key": "canary-cell-2"})
    tape.predict(client, ROWS)
    tape.close(client)
    text = tape.path.read_text()
    assert tape.emulator.client_secret not in text
    assert "canary-key-1" not in text
    assert "canary-cell-2" not in text  # under a name that says what it is
    logins = [one for one in map(Exchange.of_line, text.splitlines()[1:]) if not one.is_call]
    assert {one.request for one in logins} == {""}
    issued = tape.emulator._workspace.tokens._grants
    assert issued
    assert not [token for token in issued if token in text]
    assert "Bearer ey" not in text
    kept = {name for line in text.splitlines()[1:] for name, _ in Exchange.of_line(line).headers}
    assert kept <= {"content-type", "date", "x-request-id", "served-model-name", "retry-after"} | {
        name for name in kept if name.endswith("request-id")
    }


def test_without_payloads_only_their_shape_is_kept(tape: Recorder) -> None:
    client = tape.record(payloads=False)
    secret = [{"name": "canaryname", "amount": 7391739.25}]
    tape.predict(client, secret, client_request_id="canaryid")
    tape.emulator.script("demo", faults.answer(400, b'{"error_code":"BAD","message":"no good"}'))
    with pytest.raises(BadRequest):
        tape.predict(client, [{"other": 1}])
    tape.close(client)
    text = tape.path.read_text()
    assert "canary" not in text
    assert "7391739" not in text

    again, transport = replayed(tape)
    found = tape.predict(again, [{"name": "somebody", "amount": 1.0}])
    assert found.predictions == [0.0]
    with pytest.raises(BadRequest, match="no good"):
        tape.predict(again, [{"other": 5}])
    transport.assert_used()
    tape.close(again)


def test_without_payloads_the_words_of_a_stream_are_gone(tape: Recorder) -> None:
    client = tape.record("assistant", payloads=False)
    events = tape.colour.listed(client.stream(CHAT))
    tape.close(client)
    assert "canarymorning" not in tape.path.read_text()
    again, _ = replayed(tape, endpoint="assistant")
    found = tape.colour.listed(again.stream({"messages": [{"role": "u", "content": "x"}]}))
    assert len(found) == len(events)
    assert found[0].keys() == events[0].keys()
    tape.close(again)


# ---------------------------------------------------------------------------- over any transport


def test_any_transport_may_be_below(tmp_path: Path) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "GET":
            return httpx.Response(404)
        return httpx.Response(200, json={"predictions": [1]})

    path = tmp_path / "calls.jsonl"
    transport = RecordingTransport(path, httpx.MockTransport(answer))
    host = "https://my-workspace.cloud.databricks.com"
    with ServingClient("demo", host=host, token="dapi-canary", transport=transport) as client:
        assert client.predict(ROWS).predictions == [1]
    text = path.read_text()
    assert "dapi-canary" not in text
    assert json.loads(text.splitlines()[-1])["url"].startswith(host)
    replay = ReplayTransport(path)
    with ServingClient("demo", host=replay.host, token="any", transport=replay) as client:
        assert client.predict(ROWS).predictions == [1]


def test_a_connection_that_fails_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    async def ask(transport: httpx.AsyncBaseTransport) -> None:
        async with httpx.AsyncClient(transport=transport) as client:
            await client.post("https://x.invalid/invocations", json={})

    with pytest.raises(httpx.ConnectError, match="no"):
        asyncio.run(ask(AsyncRecordingTransport(path, httpx.MockTransport(refuse))))
    with pytest.raises(httpx.ConnectError, match="as recorded"):
        asyncio.run(ask(AsyncReplayTransport(path)))
