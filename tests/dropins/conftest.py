"""An emulator for all tests of this folder, with one endpoint of each kind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servingclient.emulator import Emulator
from servingclient.emulator import Settings as Behaviour


@pytest.fixture(scope="session")
def _emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.fixture
def emulator(_emulator: Emulator) -> Emulator:
    """One that has seen nothing yet."""
    for name in list(_emulator._workspace.endpoints):
        _emulator.remove_endpoint(name)
    _emulator.add_endpoint("demo")
    _emulator.add_endpoint("demo-fast", route_optimized=True)
    _emulator.add_endpoint("features", kind="feature")
    _emulator.add_endpoint("assistant", kind="agent")
    _emulator._workspace.settings = Behaviour()
    _emulator.token_always(None)
    _emulator.describe_always(None)
    _emulator.reset()
    return _emulator
