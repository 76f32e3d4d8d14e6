"""The scripted world of ``tests/story``, and the doors and emulator of ``tests/doors``."""

from tests.doors.conftest import _emulator, door, emulator  # noqa: F401 - found by name
from tests.story.conftest import make  # noqa: F401 - found by name
