"""The emulator with both doors, as elsewhere."""

from __future__ import annotations

from tests.doors.conftest import (  # noqa: F401 - fixtures apply where they are found
    _emulator,
    door,
    emulator,
)
