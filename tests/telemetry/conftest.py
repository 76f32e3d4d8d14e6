"""Callers that share requests, and the emulator with both doors, as elsewhere."""

from __future__ import annotations

from tests.batching.conftest import make, make_tasks  # noqa: F401 - fixtures apply where found
from tests.doors.conftest import (  # noqa: F401 - likewise
    _emulator,
    door,
    emulator,
)
