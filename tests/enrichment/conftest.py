"""Each test of the doors is told through both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.enrichment.kit import Door
from tests.scripted.certificates import authority  # noqa: F401 - found by name


@pytest.fixture(params=["sync", "async"])
def door(request: pytest.FixtureRequest) -> Iterator[Door]:
    """One colour of client."""
    door = Door(request.param)
    yield door
    door.end()
