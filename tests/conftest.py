"""Shared by all tests: the guards, and the profiles of hypothesis."""

from __future__ import annotations

import tests.trials  # noqa: F401 - registers them before one is chosen
from tests.guards import (  # noqa: F401 - fixtures apply where they are found
    _asyncio_is_heard,
    _loopback_only,
    _machine_unseen,
    _nothing_left_behind,
    _nothing_left_to_collect,
    _only_what_tests_make_is_collected,
    _tasks_are_awaited,
)
