"""Each story runs in both colours."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.auth.world import AsyncWorld, SyncWorld, World


@pytest.fixture(params=[SyncWorld, AsyncWorld], ids=["sync", "async"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made = request.param()
    yield made
    made.close()
