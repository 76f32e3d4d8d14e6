"""Requests that are no plain JSON: compressed where that is taken, MessagePack where asked for."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from servingclient import BadRequest, Payload, ResponseFormatError, Settings
from servingclient._types import Target
from tests.story.world import (
    BUSY,
    CUT_OFF,
    STALE,
    TIMEOUT_S,
    Answer,
    FakeWorld,
    Sends,
    Streams,
    refused,
)

Make = Callable[..., FakeWorld]
ROWS: list[dict[str, Any]] = [{"a": 1.5, "b": "text that repeats, " * 20}] * 50
JSON = {"dataframe_split": {"columns": ["a", "b"], "data": [list(row.values()) for row in ROWS]}}
UNSUPPORTED = refused(415, None, "Unsupported content encoding: gzip")
MISREAD = refused(400, "BAD_REQUEST", "UnicodeDecodeError")


def settings(**payload: Any) -> Settings:
    return Settings(timeout_s=TIMEOUT_S, payload=Payload(**payload))


def line(target: Target, name: str) -> str | None:
    values = [value for key, value in target.headers if key == name]
    assert len(values) <= 1
    text = target.head.decode()
    assert (f"\r\n{name}: " in text) == bool(values)
    assert all(f"\r\n{name}: {value}\r\n" in text for value in values)
    return values[0] if values else None


def packed(sent: Sends) -> bool:
    """Whether a request went compressed; either way it says what it should."""
    coding = line(sent.target, "Content-Encoding")
    assert coding in {None, "gzip"}
    body = gzip.decompress(sent.body) if coding else sent.body
    assert json.loads(body) == JSON
    return coding is not None


def gzips(world: FakeWorld) -> list[bool]:
    return [packed(sent) for sent in world.sends]


# -- gzip -----------------------------------------------------------------------------------------


def test_nothing_is_compressed_unless_asked_for(make: Make) -> None:
    world = make()
    world.predict(ROWS)
    assert gzips(world) == [False]


def test_what_is_taken_once_is_used_from_then_on(make: Make) -> None:
    world = make(settings=settings(gzip="probe"))
    for _ in range(3):
        world.predict(ROWS)
    assert gzips(world) == [True] * 3
    assert len(world.sends[0].body) < len(json.dumps(JSON)) / 10


@pytest.mark.parametrize("no", [UNSUPPORTED, MISREAD], ids=["415", "400"])
def test_p4_a_refusal_costs_one_resend_and_is_remembered(make: Make, no: Answer) -> None:
    world = make(steps=[no, Answer()], settings=settings(gzip="probe"))
    prediction = world.predict(ROWS)
    assert gzips(world) == [True, False]
    assert [attempt.status for attempt in prediction.attempts] == [no.status, 200]
    assert world.slept == []
    assert world.quota.available == 500
    for _ in range(100):
        world.predict(ROWS)
    assert gzips(world) == [True] + [False] * 101


def test_input_that_is_at_fault_itself_says_nothing_of_compression(make: Make) -> None:
    world = make(steps=[MISREAD, MISREAD, Answer()], settings=settings(gzip="probe"))
    with pytest.raises(BadRequest) as caught:
        world.predict(ROWS)
    assert len(caught.value.attempts) == 2
    world.predict(ROWS)
    world.predict(ROWS)
    assert gzips(world) == [True, False, True, True]


def test_a_400_is_final_where_compression_is_known_to_be_taken(make: Make) -> None:
    world = make(steps=[Answer(), MISREAD], settings=settings(gzip="probe"))
    world.predict(ROWS)
    with pytest.raises(BadRequest):
        world.predict(ROWS)
    assert gzips(world) == [True, True]


def test_an_endpoint_may_change_its_mind(make: Make) -> None:
    world = make(steps=[Answer(), UNSUPPORTED, Answer()], settings=settings(gzip="probe"))
    for _ in range(3):
        world.predict(ROWS)
    assert gzips(world) == [True, True, False, False]


def test_what_fails_for_other_reasons_is_tried_again(make: Make) -> None:
    steps = [BUSY, CUT_OFF, STALE, Answer()]
    world = make(steps=steps, settings=settings(gzip="probe"), rand=0.0)
    world.predict(ROWS)
    assert gzips(world) == [True] * 4
    assert world.compression.state == "taken"


def test_servers_that_fail_on_it_are_left_alone(make: Make) -> None:
    broken = refused(500, None, "Internal Server Error")
    world = make(steps=[broken, broken, broken, Answer()], settings=settings(gzip="probe"))
    world.predict(ROWS)
    assert gzips(world) == [True, True, True, False]
    assert world.compression.state == "refused"


def test_a_call_that_may_not_run_twice_does_not_try_it(make: Make) -> None:
    world = make(settings=settings(gzip="probe"))
    world.predict(ROWS, idempotent=False)
    world.predict(ROWS)
    world.predict(ROWS, idempotent=False)
    assert gzips(world) == [False, True, True]


def test_small_requests_go_plain(make: Make) -> None:
    size = len(make_plain(make))
    for least, expected in ((size, True), (size + 1, False)):
        world = make(settings=settings(gzip="probe", gzip_min_bytes=least))
        world.predict(ROWS)
        assert gzips(world) == [expected]


def make_plain(make: Make) -> bytes:
    world = make()
    world.predict(ROWS)
    return world.sends[0].body


def test_the_limit_counts_the_bytes_before_compression(make: Make) -> None:
    size = len(make_plain(make))
    world = make(settings=settings(gzip="probe"), max_request_bytes=size - 1)
    with pytest.raises(ValueError, match="accepts"):
        world.predict(ROWS)
    assert world.sends == []


def test_an_interrupted_trial_leaves_the_question_open() -> None:
    world = FakeWorld(False, settings=settings(gzip="probe"))

    async def send(*_: object, **__: object) -> None:
        assert not world.compression.admit(harmless=True)  # one at a time
        raise KeyboardInterrupt

    world.send = send  # type: ignore[assignment, method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.predict(ROWS)
    assert world.compression.admit(harmless=True)


# -- MessagePack ----------------------------------------------------------------------------------

PACKED_HEADERS = (("content-type", "application/msgpack; v=1"),)


def test_a_gateway_is_asked_in_messagepack_and_may_answer_in_it(make: Make) -> None:
    values = [3.5, {"label": "a", "p": float("inf")}, None, 2**63]
    body = msgpack.packb({"predictions": values})
    world = make(
        steps=[Answer(body=body, headers=PACKED_HEADERS)], settings=settings(codec="msgpack")
    )
    assert world.predict(ROWS).predictions == values
    (sent,) = world.sends
    assert msgpack.unpackb(sent.body) == JSON
    assert line(sent.target, "Content-Type") == "application/msgpack"
    assert line(sent.target, "X-Accept") == "application/json"
    assert line(sent.target, "Accept") == "application/msgpack, application/json"
    assert line(sent.target, "Content-Encoding") is None


def test_or_in_json(make: Make) -> None:
    world = make(settings=settings(codec="msgpack"))
    assert world.predict(ROWS).predictions == [3.5]


def test_only_who_asks_in_messagepack_reads_it(make: Make) -> None:
    body = msgpack.packb({"predictions": [1]})
    world = make(steps=[Answer(body=body, headers=PACKED_HEADERS)])
    with pytest.raises(ResponseFormatError, match="JSON"):
        world.predict(ROWS)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (msgpack.packb({"predictions": [msgpack.ExtType(7, b"x")]}), "extension type"),
        (msgpack.packb({"predictions": [msgpack.Timestamp(1)]}), "extension type"),
        (msgpack.packb({"predictions": {1: 2}}), "no text"),
        (msgpack.packb({"predictions": {b"a": 2}}), "no text"),
        (msgpack.packb({"predictions": b"raw"}), "bytes"),
        (msgpack.packb({"predictions": [1]}) + b"\x01", "more follows"),
        (msgpack.packb({"predictions": [1]})[:-1], "cut off"),
        (b"", "cut off"),
        (b"\xc1", "MessagePack"),
        (b"\x91" * 2000 + b"\x01", "deeply"),
        (b"\xdd\xff\xff\xff\xff", "MessagePack"),
        (b"\x81\xa1\xff\x01", "MessagePack"),
        (msgpack.packb({"other": 1}), "neither predictions"),
        (msgpack.packb([1, 2]), "array"),
    ],
)
def test_59_what_json_could_not_hold_is_refused(make: Make, value: bytes, words: str) -> None:
    answer = Answer(body=value, headers=PACKED_HEADERS)
    world = make(steps=[answer], settings=settings(codec="msgpack"))
    with pytest.raises(ResponseFormatError, match=words) as caught:
        world.predict(ROWS)
    assert caught.value.sent == "yes"
    assert len(caught.value.attempts) == 1


def test_an_error_in_messagepack_is_read_too(make: Make) -> None:
    said = {"error_code": "BAD_REQUEST", "message": "Model is missing inputs ['b']."}
    world = make(
        steps=[Answer(400, msgpack.packb(said), PACKED_HEADERS)],
        settings=settings(codec="msgpack"),
    )
    with pytest.raises(BadRequest, match="missing inputs"):
        world.predict(ROWS)


def test_both_at_once(make: Make) -> None:
    world = make(settings=settings(codec="msgpack", gzip="probe"))
    world.predict(ROWS)
    (sent,) = world.sends
    assert msgpack.unpackb(gzip.decompress(sent.body)) == JSON
    assert line(sent.target, "Content-Encoding") == "gzip"
    assert line(sent.target, "Content-Type") == "application/msgpack"


def test_a_stream_is_asked_for_in_messagepack_but_never_compressed(make: Make) -> None:
    world = make(
        steps=[Streams((b"data: [DONE]\n\n",))], settings=settings(codec="msgpack", gzip="probe")
    )
    stream = world.run(world.opening(ROWS))
    world.run(stream.aclose())
    (sent,) = world.sends
    assert msgpack.unpackb(sent.body) == {**JSON, "stream": True}
    assert line(sent.target, "Content-Encoding") is None
