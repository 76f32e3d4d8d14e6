"""Reading what columns a model takes: only when asked for, once for all, never in a call's way."""

from __future__ import annotations

from typing import Any

import pytest

from servingclient._ports import Grant
from servingclient._types import FaultKind, WireFault
from servingclient.auth.access import Access
from servingclient.errors import TokenRefreshError
from servingclient.payload.signature import Column, Signature
from servingclient.settings import Settings, Token
from tests.auth.world import Reply, World, fault, own_url, reply

PATH = "/api/2.0/serving-endpoints/m/openapi"
A_LONG = Signature({"a": Column("long", True)})


def described(kind: str = "integer", *paths: str) -> dict[str, Any]:
    """An OpenAPI description of a model with one column."""
    row = {"type": kind, "format": "int64"}
    records = {"type": "array", "items": {"required": ["a"], "properties": {"a": row}}}
    schema = {"oneOf": [{"type": "object", "properties": {"dataframe_records": records}}]}
    content = {"application/json": {"schema": schema}}
    operation = {"post": {"requestBody": {"content": content}}}
    return {"paths": dict.fromkeys(paths or ("/invocations",), operation)}


@pytest.fixture
def schemas(world: World) -> list[Any]:
    """What ``/openapi`` answers, step by step; the last one stays."""
    steps: list[Any] = [reply(200, described())]
    usual = world.wire.send

    async def send(target: Any, body: bytes, deadline_s: float, **more: Any) -> Reply:
        if not target.path.endswith("/openapi"):
            return await usual(target, body, deadline_s, **more)
        step = steps.pop(0) if len(steps) > 1 else steps[0]
        always, world.wire.always_describe = world.wire.always_describe, step
        waiting, world.wire.describe_steps = world.wire.describe_steps, []
        try:
            return await usual(target, body, deadline_s, **more)
        finally:
            world.wire.always_describe, world.wire.describe_steps = always, waiting

    world.wire.send = send  # type: ignore[method-assign]
    return steps


def learn(world: World, access: Access, within_s: float = 30.0) -> None:
    world.run(lambda: access.learn(world.clock.now() + within_s))


def asked(world: World) -> int:
    return sum(one.path == PATH for one in world.wire.seen)


def later(world: World, access: Access, seconds: float) -> Grant:
    """A call some time later, and what it started behind itself."""
    world.clock.time_s += seconds
    grant = world.grant(access)
    world.settle()
    return grant


def test_it_is_not_asked_for_unless_someone_wants_it(world: World, schemas: list[Any]) -> None:
    access = world.access(token="dapi-1")
    world.obtain(access)
    later(world, access, 3600.0)
    assert asked(world) == 0
    assert access.schema is None


def test_it_is_read_once_and_again_behind_the_calls(world: World, schemas: list[Any]) -> None:
    access = world.access(token="dapi-1")
    learn(world, access)
    assert access.schema is not None
    assert access.schema.of(None) == A_LONG
    assert access.schema.why_none is None
    (seen,) = [one for one in world.wire.seen if one.path == PATH]
    assert (seen.target.method, seen.body) == ("GET", b"")
    assert seen.header("Authorization") == "Bearer dapi-1"
    learn(world, access)
    later(world, access, 299.0)
    assert asked(world) == 1
    schemas[:] = [reply(200, described("number"))]
    later(world, access, 2.0)
    assert asked(world) == 2
    assert access.schema.of(None) == Signature({"a": Column(None, True)})


def test_64_who_want_it_at_once_cost_one_request(world: World, schemas: list[Any]) -> None:
    access = world.access()
    outcomes = world.together(64, lambda: access.learn(world.clock.now() + 30.0))
    assert outcomes == [None] * 64
    assert asked(world) == 1
    assert len(world.wire.logins) == 1


def test_who_joins_a_flight_that_began_without_it_gets_it_with_the_next(
    world: World, schemas: list[Any]
) -> None:
    step, hold = world.hold(reply(200, world.wire.description))
    world.wire.describe_steps = [step]
    access = world.access(token="dapi-1")
    first = world.start(lambda: access.obtain(None, world.clock.now() + 30.0))
    world.until(hold.reached)
    # the flight asks for it at its end, since by then someone wants it
    second = world.start(lambda: access.learn(world.clock.now() + 30.0))
    hold.let_go()
    first()
    second()
    assert asked(world) == 1
    assert access.schema is not None


@pytest.mark.parametrize(
    ("step", "why"),
    [
        (reply(403, {"error_code": "PERMISSION_DENIED"}), "403 Forbidden"),
        (reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}), "404 Not Found"),
        (reply(400, {"error_code": "BAD_REQUEST", "message": "no signature"}), "400 Bad Request"),
        (reply(200, {"paths": {}}), "names no columns"),
        (reply(200, b"<html>"), "names no columns"),
        (reply(503), "503 Service Unavailable"),
        (reply(799), "799"),
        (fault(FaultKind.NOT_CONNECTED), "not connected"),
        (fault(FaultKind.TIMEOUT), "timeout"),
        (fault(FaultKind.CLOSED), "closed"),
    ],
    ids=str,
)
def test_what_stands_in_the_way_is_told_and_stops_no_call(
    world: World, schemas: list[Any], step: Reply | WireFault, why: str
) -> None:
    schemas[:] = [step]
    access = world.access(token="dapi-1")
    learn(world, access)
    assert access.schema is not None
    assert access.schema.of(None) is None
    assert why in str(access.schema.why_none)
    assert world.grant(access).target.path == "/serving-endpoints/m/invocations"
    before = asked(world)
    learn(world, access)  # known to be unknown: no call asks again by itself
    assert asked(world) == before


def test_in_an_outage_the_last_one_is_kept_and_asked_for_again_soon(
    world: World, schemas: list[Any]
) -> None:
    access = world.access(token="dapi-1")
    learn(world, access)
    schemas[:] = [reply(503)]
    later(world, access, 301.0)
    assert access.schema is not None
    assert access.schema.of(None) == A_LONG
    before = asked(world)
    schemas[:] = [reply(200, described("number"))]
    later(world, access, 2.0)
    later(world, access, 2.0)
    assert asked(world) > before
    assert access.schema.of(None) == Signature({"a": Column(None, True)})


def test_a_signature_that_is_gone_is_not_kept(world: World, schemas: list[Any]) -> None:
    access = world.access(token="dapi-1")
    learn(world, access)
    schemas[:] = [reply(400, {"error_code": "BAD_REQUEST"})]
    later(world, access, 301.0)
    assert access.schema is not None
    assert access.schema.of(None) is None


def test_whoever_comes_while_it_is_read_is_not_held_up(world: World, schemas: list[Any]) -> None:
    step, hold = world.hold(reply(200, described()))
    schemas[:] = [step]
    access = world.access(token="dapi-1")
    wanting = world.start(lambda: access.learn(world.clock.now() + 30.0))
    world.until(hold.reached)
    assert world.ready(access) is not None
    hold.let_go()
    wanting()


def test_a_refused_token_is_dropped_though_the_schema_was_just_read(
    world: World, schemas: list[Any]
) -> None:
    step, hold = world.hold(reply(200, described()))
    schemas[:] = [step]
    access = world.access()
    wanting = world.start(lambda: access.learn(world.clock.now() + 30.0))
    world.until(hold.reached)
    grant = world.ready(access)
    assert grant is not None
    assert access.reject(grant)
    hold.let_go()
    wanting()
    assert world.grant(access).token != grant.token


def test_an_endpoint_of_its_own_host_is_asked_about_at_the_workspace(
    world: World, schemas: list[Any]
) -> None:
    world.wire.description = own_url()
    schemas[:] = [reply(200, described("integer", "/served-models/m-1/invocations"))]
    access = world.access()
    learn(world, access)
    (seen,) = [one for one in world.wire.seen if one.path == PATH]
    assert seen.target.origin.host == "ws.cloud.databricks.com"
    assert seen.header("Authorization") == "Bearer tok-1"
    assert access.schema is not None
    assert access.schema.of("m-1") == access.schema.of(None) == A_LONG
    assert access.schema.of("m-2") is None


def test_it_is_read_without_a_description_too(world: World, schemas: list[Any]) -> None:
    world.settings = Settings(describe=False)
    access = world.access(token="dapi-1")
    learn(world, access)
    assert [one.path for one in world.wire.reads] == [PATH]
    later(world, access, 301.0)
    assert asked(world) == 2


def test_without_a_token_learning_fails_as_a_call_would(world: World, schemas: list[Any]) -> None:
    world.wire.always_token = reply(500)
    access = world.access()
    with pytest.raises(TokenRefreshError):
        learn(world, access)
    assert asked(world) == 0


def test_a_workspace_that_gives_no_token_for_it_does_not_stop_the_calls(
    world: World, schemas: list[Any]
) -> None:
    # the endpoint's own token outlives the workspace's
    world.settings = Settings(token=Token(endpoint_ttl_s=100.0))
    world.wire.description = own_url()
    short = {"access_token": "tok-0", "token_type": "Bearer", "expires_in": 200}
    world.wire.token_steps = [reply(200, short)]
    access = world.access()
    learn(world, access)
    world.wire.always_token = reply(500)
    assert later(world, access, 300.0).route_optimized
    assert asked(world) == 1
    assert access.schema is not None
    assert access.schema.of(None) == A_LONG
