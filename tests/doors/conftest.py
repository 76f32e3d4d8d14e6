"""An emulator for all tests of this folder, and each test told through both doors."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from servingclient.emulator import Emulator
from servingclient.emulator import Settings as Behaviour
from tests.doors.kit import Door, Overheard


@pytest.fixture(scope="session")
def _emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.fixture
def emulator(_emulator: Emulator) -> Emulator:
    """One that has seen nothing yet, with ``demo`` and ``demo-fast`` as they are at the start."""
    for name in list(_emulator._workspace.endpoints):
        _emulator.remove_endpoint(name)
    _emulator.add_endpoint("demo")
    _emulator.add_endpoint("demo-fast", route_optimized=True)
    _emulator._workspace.settings = Behaviour()
    _emulator.token_always(None)
    _emulator.describe_always(None)
    _emulator.reset()
    return _emulator


@pytest.fixture(params=["sync", "async"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """One colour of client."""
    door = Door(request.param)
    yield door
    door.end()


@pytest.fixture
def overheard() -> Iterator[Overheard]:
    """What all loggers say at DEBUG."""
    handler = Overheard()
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)
