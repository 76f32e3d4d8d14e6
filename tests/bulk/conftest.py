"""The doors and the emulator of ``tests/doors``, here for jobs of many requests."""

from tests.doors.conftest import _emulator, door, emulator  # noqa: F401 - found by name
