"""The emulator of a service."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servingclient.emulator import Emulator


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator
