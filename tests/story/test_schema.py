"""Calls whose input is checked against the model's signature: when it is read, and what follows."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import ClientClosedError, DeadlineExceeded, Payload, Settings
from servingclient.errors import SchemaMismatch
from servingclient.payload.signature import Column, Schema, Signature
from tests.story.world import START_S, TIMEOUT_S, FakeWorld, Streams

Make = Callable[..., FakeWorld]
WHOLE = Signature({"a": Column("long", True)})
KNOWN = Schema({None: WHOLE, "other": Signature({"b": Column("string", True)})}, None)


def settings(**payload: bool) -> Settings:
    return Settings(timeout_s=TIMEOUT_S, payload=Payload(**payload))


def columns(world: FakeWorld) -> list[Any]:
    return [json.loads(sent.body)["dataframe_split"]["columns"] for sent in world.sends]


def test_nobody_reads_it_unless_asked_to(make: Make) -> None:
    world = make(schema_there=KNOWN)
    world.predict([{"a": "text", "x": 1}])
    assert world.learns == 0
    assert columns(world) == [["a", "x"]]


def test_the_first_call_waits_for_it_and_the_others_do_not(make: Make) -> None:
    world = make(schema_there=KNOWN, schema_s=0.5, settings=settings(prune=True))
    for _ in range(3):
        world.predict([{"a": 1, "x": 1}])
    assert world.learns == 1
    assert columns(world) == [["a"]] * 3
    assert world.sends[0].at_s >= START_S + 0.5
    assert world.inside == 0


def test_the_wait_for_it_is_no_time_of_encoding(make: Make) -> None:
    world = make(schema_there=KNOWN, schema_s=0.5, token_s=0.25, settings=settings(prune=True))
    first, second = (world.predict([{"a": 1, "x": 1}]).timing for _ in range(2))
    assert (first.encode_s, first.token_s, first.total_s) == pytest.approx((0.0, 0.75, 0.85))
    assert (second.encode_s, second.token_s, second.total_s) == pytest.approx((0.0, 0.0, 0.1))


def test_a_misfit_is_refused_and_nothing_sent(make: Make) -> None:
    world = make(schema_there=KNOWN, settings=settings(validate=True))
    with pytest.raises(SchemaMismatch, match="fraction") as caught:
        world.predict([{"a": 1}, {"a": 2.5}])
    assert (caught.value.row, caught.value.column, caught.value.endpoint) == (1, "a", "fraud")
    assert world.sends == []


def test_a_served_model_has_its_own(make: Make) -> None:
    world = make(schema_there=KNOWN, settings=settings(prune=True))
    for name in (None, "other", "third"):
        world.predict([{"a": 1, "b": "t", "x": 1}], served_model=name)
    assert columns(world) == [["a"], ["b"], ["a", "b", "x"]]


def test_without_one_calls_go_on_unchecked(make: Make) -> None:
    world = make(schema_there=Schema({}, "403"), settings=settings(validate=True, prune=True))
    for _ in range(2):
        world.predict([{"a": "text", "x": 1}])
    assert world.learns == 1
    assert columns(world) == [["a", "x"]] * 2


def test_a_reading_that_outlasts_the_call_is_a_time_out(make: Make) -> None:
    world = make(schema_there=KNOWN, schema_s=TIMEOUT_S + 1, settings=settings(validate=True))
    with pytest.raises(DeadlineExceeded):
        world.predict([{"a": 1}])
    assert world.inside == 0


def test_a_closed_client_reads_nothing(make: Make) -> None:
    world = make(schema_there=KNOWN, settings=settings(validate=True))
    world.closed = True
    with pytest.raises(ClientClosedError):
        world.predict([{"a": 1}])
    assert world.learns == 0


def test_a_stream_is_checked_too(make: Make) -> None:
    world = make(
        steps=[Streams((b"data: [DONE]\n\n",))],
        schema_there=KNOWN,
        settings=settings(validate=True, prune=True),
    )
    world.run(world.run(world.opening([{"a": 1, "x": 2}])).aclose())
    assert columns(world) == [["a"]]
    with pytest.raises(SchemaMismatch):
        world.run(world.opening([{"a": "text"}]))
