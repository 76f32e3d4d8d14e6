"""A pytest plugin: the fixture ``serving_emulator`` is a fresh local Databricks Model Serving.

Importing this module must stay cheap, because pytest imports plugins in every run of a project
that has the package installed, whether or not a test asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servingclient.emulator import Emulator


@pytest.fixture
def serving_emulator() -> Iterator[Emulator]:
    """Run an emulator over https for one test.

    Its ``host``, ``token``, ``client_id``, ``client_secret`` and ``ca_file`` are what a client
    needs; the endpoints ``demo`` (standard) and ``demo-fast`` (route-optimized) exist.
    """
    from servingclient.emulator import Emulator

    with Emulator() as emulator:
        yield emulator
