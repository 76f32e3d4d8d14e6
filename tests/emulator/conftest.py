"""Emulators for the tests; plain http where TLS is not the point, because it is quicker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servingclient.emulator import Emulator


@pytest.fixture
def emu() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator
