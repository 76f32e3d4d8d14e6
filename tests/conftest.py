"""Shared by all tests: the guards."""

from __future__ import annotations

from tests.guards import (  # noqa: F401 - fixtures apply where they are found
    _asyncio_is_heard,
    _loopback_only,
    _machine_unseen,
    _nothing_left_behind,
    _nothing_left_to_collect,
    _tasks_are_awaited,
)
