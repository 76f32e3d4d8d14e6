"""Every story of shared requests is told in both colours: by threads, and by tasks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servingclient.settings import Settings
from tests.batching.world import Company, Tasks, Threads, settings_of
from tests.doors.conftest import (  # noqa: F401 - fixtures apply where they are found
    _emulator,
    door,
    emulator,
)

COLOURS: dict[str, type[Company]] = {"threads": Threads, "tasks": Tasks}


@pytest.fixture(params=COLOURS)
def make(request: pytest.FixtureRequest) -> Iterator[Callable[..., Company]]:
    """``make(max_batch_rows=4)`` is a client of one colour; all its calls must have ended."""
    made: list[Company] = []

    def make(settings: Settings | None = None, **limits: Any) -> Company:
        company = COLOURS[request.param](settings or settings_of(**limits))
        made.append(company)
        return company

    yield make
    for company in made:
        company.end()


@pytest.fixture
def make_tasks() -> Iterator[Callable[..., Tasks]]:
    """The same of tasks only, which can be cancelled."""
    made: list[Tasks] = []

    def make(settings: Settings | None = None, **limits: Any) -> Tasks:
        company = Tasks(settings or settings_of(**limits))
        made.append(company)
        return company

    yield make
    for company in made:
        company.end()


@pytest.fixture
def make_threads() -> Iterator[Callable[..., Threads]]:
    """The same of threads only, which can be interrupted."""
    made: list[Threads] = []

    def make(settings: Settings | None = None, **limits: Any) -> Threads:
        company = Threads(settings or settings_of(**limits))
        made.append(company)
        return company

    yield make
    for company in made:
        company.end()
