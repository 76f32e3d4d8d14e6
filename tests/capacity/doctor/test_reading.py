"""What the doctor has read anew: the description, and what stands in it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from servingclient import Settings
from servingclient.auth.description import Asked
from servingclient.auth.endpoint import Description, read_description
from servingclient.emulator import Emulator
from servingclient.errors import ServingError
from tests.auth.world import AsyncWorld, SyncWorld, World, own_url, reply
from tests.capacity.doctor.said import metrics
from tests.doors.kit import Door, principal


@pytest.fixture(params=[SyncWorld, AsyncWorld], ids=["sync", "async"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = request.param()
    yield made
    made.close()


def read(**more: Any) -> Description:
    found = read_description(json.dumps({"name": "m", **more}).encode())
    assert found is not None
    return found


def entities(*found: dict[str, Any]) -> dict[str, Any]:
    return {"config": {"served_entities": list(found)}}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (({"scale_to_zero_enabled": True},), True),
        (({"scale_to_zero_enabled": False}, {"scale_to_zero_enabled": True}), True),
        (({"scale_to_zero_enabled": False}, {"scale_to_zero_enabled": False}), False),
        (({"scale_to_zero_enabled": False}, {}), None),
        (({"scale_to_zero_enabled": "true"},), None),
        ((), None),
    ],
)
def test_whether_it_may_scale_to_zero(said: Any, expected: bool | None) -> None:
    assert read(**entities(*said)).scale_to_zero is expected


def test_hardware_and_updates() -> None:
    assert read(**entities({"workload_type": "CPU"})).workload_type == "CPU"
    two = ({"workload_type": "CPU"}, {"workload_type": "GPU_SMALL"})
    assert read(**entities(*two)).workload_type is None
    assert read(state={"config_update": "NOT_UPDATING"}).updating is None
    assert read(state={"config_update": "IN_PROGRESS"}).updating == "IN_PROGRESS"
    assert read().updating is None


def look(world: World, access: Any) -> Asked | None:
    found: Asked | None = world.run(lambda: access.look(world.clock.now() + 5))
    return found


def test_a_look_reads_what_is_known_already(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)
    world.wire.description = {**world.wire.description, "state": {"ready": "NOT_READY"}}
    found = look(world, access)
    assert found is not None
    assert found.description is not None
    assert found.description.ready is False
    assert found.round_trip_s == 0.0
    assert (len(world.wire.reads), len(world.wire.logins)) == (2, 1), "with the token at hand"
    assert world.ready(access) == grant
    assert len(world.wire.reads) == 2, "and is good for the calls too"


def test_a_look_that_is_refused_leaves_calls_as_they_are(world: World) -> None:
    world.wire.description = own_url()
    access = world.access()
    grant = world.obtain(access)
    world.wire.describe_steps.append(reply(403, {"error_code": "PERMISSION_DENIED"}))
    found = look(world, access)
    assert found is not None
    assert (found.status, found.description) == (403, None)
    after = world.ready(access)
    assert after is not None
    assert after.target.origin == grant.target.origin


def test_many_who_look_share_what_is_read(world: World) -> None:
    access = world.access()
    found = world.together(8, lambda: access.look(world.clock.now() + 5))
    assert {one.status for one in found if isinstance(one, Asked)} == {200}
    assert len(world.wire.logins) == 1


def test_nothing_is_read_where_settings_say_so(world: World) -> None:
    world.settings = Settings(describe=False)
    assert look(world, world.access()) is None
    assert world.wire.reads == []


def test_no_login_no_look(world: World) -> None:
    world.wire.always_token = reply(401, {"error": "invalid_client"})
    with pytest.raises(ServingError):
        look(world, world.access())


def test_an_endpoint_of_the_emulator_says_what_it_is_told(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("told", metrics=metrics(cpu=12.5))
    client = door.open("told", principal(emulator))
    assert door.run(client.endpoint_figures()).cpu_percent == 12.5
    emulator.change_endpoint("told", metrics=None)
    assert door.run(client.endpoint_figures()).cpu_percent == 0.0


def test_without_the_description_calls_are_judged_all_the_same(
    door: Door, emulator: Emulator
) -> None:
    client = door.open("demo", principal(emulator), Settings(describe=False))
    door.predict(client)
    found = door.run(client.doctor())
    assert "Settings.describe is off" in found["state"].why
    assert found["error rate"].verdict == "ok"
