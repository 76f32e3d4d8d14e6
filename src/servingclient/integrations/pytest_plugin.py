"""A pytest plugin: a local Databricks Model Serving, and an external API, fresh for each test.

Importing this module must stay cheap, because pytest imports plugins in every run of a project
that has the package installed, whether or not a test asks for the fixture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servingclient.emulator import Emulator, ExternalApi


@pytest.fixture
def serving_emulator() -> Iterator[Emulator]:
    """Run an emulator over https for one test.

    Its ``host``, ``token``, ``client_id``, ``client_secret`` and ``ca_file`` are what a client
    needs; the endpoints ``demo`` (standard) and ``demo-fast`` (route-optimized) exist.
    """
    from servingclient.emulator import Emulator

    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def external_api(serving_emulator: Emulator) -> ExternalApi:
    """The external API of that emulator: users by id at ``base_url``, slow or down when asked."""
    return serving_emulator.external
