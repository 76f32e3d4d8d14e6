"""The doors and the emulator of ``tests/doors``, here for what needs retries and real sockets."""

from tests.doors.conftest import _emulator, door, emulator  # noqa: F401 - found by name
