"""Agents: chat replies and streams of events."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from servingclient.emulator import Emulator, faults
from tests.emulator.peer import Answer, call, connected, post

CHAT = {"messages": [{"role": "user", "content": "one two three"}]}
STREAM = {**CHAT, "stream": True}


@pytest.fixture
def agent(emu: Emulator) -> Emulator:
    emu.add_endpoint("agent", kind="agent")
    return emu


def events(answer: Answer) -> list[str]:
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    parts = answer.body.decode().split("\n\n")
    assert parts.pop() == ""
    assert all(part.startswith("data: ") for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def said(chunks: list[str]) -> str:
    deltas = [json.loads(chunk)["choices"][0]["delta"] for chunk in chunks]
    return "".join(delta.get("content", "") for delta in deltas)


def test_a_whole_reply_is_not_wrapped(agent: Emulator) -> None:
    value = call(agent, "agent", CHAT).json()
    assert value["choices"][0]["message"] == {"role": "assistant", "content": "one two three"}
    assert value["object"] == "chat.completion"


@pytest.mark.parametrize(
    "body", [{"input": [{"role": "user", "content": "hi"}]}, {"input": "hi"}, {"prompt": "hi"}]
)
def test_other_keys(agent: Emulator, body: dict[str, Any]) -> None:
    assert call(agent, "agent", body).json()["choices"][0]["message"]["content"] == "hi"


@pytest.mark.parametrize("path", ["chat/completions", "completions", "embeddings"])
def test_an_openai_client_names_the_endpoint_in_the_body(agent: Emulator, path: str) -> None:
    wanted = f"/serving-endpoints/{path}"
    answer = call(agent, value={**CHAT, "model": "agent"}, path=wanted)
    assert answer.json()["choices"][0]["message"]["content"] == "one two three"
    assert agent.executions("agent").total() == 1
    for body in ({**CHAT, "model": "nobody"}, CHAT, {"model": ["agent"]}, [1]):
        assert call(agent, value=body, path=wanted).status == 404


def test_a_stream_ends_in_done(agent: Emulator) -> None:
    answer = call(agent, "agent", STREAM)
    *chunks, done = events(answer)
    assert done == "[DONE]"
    assert said(chunks) == "one two three"
    assert json.loads(chunks[-1])["choices"][0]["finish_reason"] == "stop"
    assert answer.headers["served-model-name"] == "agent-1"


def test_events_come_one_by_one(agent: Emulator) -> None:
    agent.change_endpoint("agent", stream_interval_s=0.03)
    with connected(agent) as peer:
        began = time.monotonic()
        peer.send(post(agent, "agent", STREAM))
        first = peer.sock.recv(65536)
        assert b"[DONE]" not in first
        while b"[DONE]" not in first:
            first += peer.sock.recv(65536)
        assert time.monotonic() - began >= 0.12


def test_a_connection_can_be_used_again_after_a_stream(agent: Emulator) -> None:
    with connected(agent) as peer:
        for _ in range(2):
            peer.send(post(agent, "agent", STREAM))
            assert events(peer.answer())[-1] == "[DONE]"


def test_a_model_decides_the_shape(agent: Emulator) -> None:
    agent.add_endpoint(
        "mine", lambda body: [{"type": "delta", "n": n} for n in (1, 2)], kind="agent"
    )
    agent.add_endpoint("dict", lambda body: {"output": body["messages"]}, kind="agent")
    assert events(call(agent, "mine", STREAM)) == [
        '{"type":"delta","n":1}',
        '{"type":"delta","n":2}',
        "[DONE]",
    ]
    assert call(agent, "dict", CHAT).json() == {"output": CHAT["messages"]}


def test_a_custom_model_does_not_stream(emu: Emulator) -> None:
    answer = call(emu, value={"inputs": [1], "stream": True})
    assert answer.json() == {"predictions": [1.0]}


@pytest.mark.parametrize("how", ["reset", "fin"])
def test_a_stream_may_break(agent: Emulator, how: Any) -> None:
    agent.script("agent", faults.cut_stream(2, how))
    got = b""
    with connected(agent) as peer:
        peer.send(post(agent, "agent", STREAM))
        try:
            got = peer.rest()
            assert how == "fin"
        except ConnectionResetError:
            assert how == "reset"
    if how == "fin":
        assert got.count(b"data: ") == 2
        assert not got.endswith(b"0\r\n\r\n")


def test_what_is_no_stream_is_not_cut(agent: Emulator) -> None:
    agent.script("agent", faults.cut_stream(1))
    with connected(agent) as peer:
        for _ in range(2):  # on one connection
            peer.send(post(agent, "agent", CHAT))
            assert peer.answer().json()["choices"][0]["message"]["content"] == "one two three"


def test_a_stream_may_end_without_done(agent: Emulator) -> None:
    agent.script("agent", faults.cut_stream(2, "end"))
    assert len(events(call(agent, "agent", STREAM))) == 2


def test_a_stream_may_turn_into_an_error(agent: Emulator) -> None:
    agent.script("agent", faults.stream_error(1, "out of memory"))
    first, failure = events(call(agent, "agent", STREAM))
    assert said([first]) == "one "
    assert json.loads(failure)["error"]["message"] == "out of memory"
