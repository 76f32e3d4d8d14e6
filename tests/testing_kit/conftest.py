"""Each test of a fake is told in both colours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.testing_kit.kit import Colour


@pytest.fixture(params=["sync", "async"])
def colour(request: pytest.FixtureRequest) -> Iterator[Colour]:
    colour = Colour(request.param)
    yield colour
    colour.end()
