"""Both doors, the emulator, and all that is said: what the tests of this folder share."""

from tests.doors.conftest import (  # noqa: F401 - fixtures apply where they are found
    _emulator,
    door,
    emulator,
    overheard,
)
from tests.scripted.certificates import authority  # noqa: F401 - found by name
