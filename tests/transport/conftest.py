"""Fixtures of the transport's tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from servingclient.settings import Settings
from tests.scripted.certificates import authority  # noqa: F401 - found by name
from tests.transport.kit import LANES, WIRES, Driver

Drive = Callable[..., Driver]


def _factory(name: str) -> Iterator[Drive]:
    made: list[Driver] = []

    def drive(settings: Settings | None = None) -> Driver:
        made.append(Driver(name, settings or Settings()))
        return made[-1]

    yield drive
    for driver in made:
        driver.close()


@pytest.fixture(params=list(WIRES))
def drive(request: pytest.FixtureRequest) -> Iterator[Drive]:
    """Makes drivers of one wire; the test runs once for each of the four."""
    yield from _factory(request.param)


@pytest.fixture(params=LANES)
def drive_lane(request: pytest.FixtureRequest) -> Iterator[Drive]:
    """The same for the two lanes only."""
    yield from _factory(request.param)
