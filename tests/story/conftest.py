"""Every story is told in both colours: stepped without an event loop, and awaited on one."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from tests.story.world import FakeWorld


@pytest.fixture(params=["stepped", "awaited"])
def make(request: pytest.FixtureRequest) -> Callable[..., FakeWorld]:
    """``make(steps=[...])`` is a world of one colour."""
    return partial(FakeWorld, request.param == "awaited")
