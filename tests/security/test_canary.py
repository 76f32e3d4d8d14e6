"""A5: whatever fails, no secret, no input and no reply is shown, wherever one might look.

Looked at are: the log of all loggers at DEBUG, text, ``repr``, fields, arguments, pickle and
traceback of each error and all it was caused by, local variables of the library's frames, ``repr``
of clients, settings and figures, spans, metrics of three exporters, warnings, standard output and
error. ``tests/auth/test_canary.py`` does so for logins alone, in 35 more ways.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import databricks.sdk.core  # noqa: F401 - seconds on a busy machine, which no login should wait for
import pytest

from servingclient import ServingError
from servingclient.emulator import Emulator
from tests.doors.kit import Door, Overheard
from tests.security.canary import GIVEN, PASSWORD, REPLY, WORD, Scene, found
from tests.security.paths import APIS, CALLS, COMMANDS, REDIS, Path_


@pytest.fixture
def scene(
    door: Door,
    emulator: Emulator,
    overheard: Overheard,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> Iterator[Scene]:
    scene = Scene(door, emulator, overheard, capsys, tmp_path)
    yield scene
    scene.end()


def look(scene: Scene, path: Path_) -> None:
    with scene.watched():
        path(scene)
    seen = scene.seen()
    canaries = scene.canaries
    shown = {place: found(place, text, canaries) for place, text in seen.items()}
    assert {place: which for place, which in shown.items() if which} == {}


LOCAL = {
    "nan",
    "value no model can be sent",
    "bytes",
    "row too large",
    "lone surrogate",
    "bad parameters",
    "bad label",
    "API with a password in its URL",
    "API with a key in its URL",
}
"""Refused before anything that has a colour."""
WAYS = [("sync", name) for name in CALLS | APIS]
WAYS += [("async", name) for name in CALLS | APIS if name not in LOCAL]


@pytest.mark.parametrize(("door", "name"), WAYS, indirect=["door"])
def test_A5_a_failed_call_shows_nothing(scene: Scene, name: str) -> None:
    look(scene, (CALLS | APIS)[name])
    assert scene.errors
    assert all(isinstance(error, ServingError) for error in scene.errors), scene.errors


@pytest.mark.parametrize("name", REDIS)
def test_A5_a_redis_that_fails_shows_nothing(scene: Scene, name: str) -> None:
    look(scene, REDIS[name])
    assert scene.errors == []
    assert "redis_bypassed" in scene.seen()["log"]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("door", ["sync"], indirect=True)
def test_A5_a_command_shows_nothing(scene: Scene, name: str) -> None:
    look(scene, COMMANDS[name])
    assert scene.errors == []
    assert scene.more[-1].startswith("exit code")


def test_A5_there_are_enough_ways_to_fail() -> None:
    assert len(CALLS | APIS | REDIS | COMMANDS) >= 75


def test_A5_what_is_looked_for_is_found_where_it_is(scene: Scene) -> None:
    """The control of the scan: a canary in each place is seen there."""
    with scene.watched():
        client = scene.open()
        scene.door.predict(client)
        sys.stdout.write(PASSWORD)
        scene.more.append(REPLY)
        error = ServingError(WORD)
        error.__cause__ = ValueError(scene.who.secrets[0])
        raise error
    seen = scene.seen()
    canaries = scene.canaries
    assert found("error 0", seen["error 0"], canaries) == [WORD, scene.who.secrets[0]]
    assert found("output", seen["output"], canaries) == [PASSWORD]
    assert found("files", seen["warnings and files"], canaries) == [REPLY]
    assert len(canaries) > len(GIVEN) + 3, "a token was issued"
    for place in ("log", "spans", "OpenTelemetry", "Prometheus", "Datadog"):
        assert "demo" in seen[place], f"{place} tells of the call"
