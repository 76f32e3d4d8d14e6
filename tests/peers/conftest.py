"""The real MLflow scoring server, started once for all tests that compare with it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from servingclient.emulator import Emulator
from tests.peers.facts import EMULATED
from tests.peers.front import Front
from tests.peers.places import Place
from tests.peers.server import MlflowServer


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "mlflow_server" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.peer)
            # the first test of the session also starts the server, which the limit includes
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session")
def mlflow_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MlflowServer]:
    """The server of ``serve_models.py``; ``.url(model)`` is where a model is scored."""
    python = request.config.rootpath / ".venv-peer" / "bin" / "python"
    if not python.exists():
        pytest.fail("the peer's environment is missing: run `make peer`", pytrace=False)
    with MlflowServer(python, tmp_path_factory.mktemp("mlflow")) as server:
        yield server


@pytest.fixture(scope="session")
def mlflow_front(mlflow_server: MlflowServer) -> Iterator[Front]:
    """The same models under the addresses of a workspace: ``ServingClient(model, host=…)``."""
    with Front(mlflow_server.ports) as front:
        yield front


@pytest.fixture(scope="module")
def emulated() -> Iterator[Place]:
    with Emulator(tls=False) as emulator:
        for name, (model, schema) in EMULATED.items():
            emulator.add_endpoint(name, model=model, schema=schema)
        yield Place(emulator.host, emulator.token, lambda: len(emulator.requests))


@pytest.fixture(
    scope="module",
    params=[
        "emulator",
        pytest.param("mlflow", marks=[pytest.mark.peer, pytest.mark.timeout(120)]),
    ],
)
def place(request: pytest.FixtureRequest) -> Place:
    if request.param == "emulator":
        return request.getfixturevalue("emulated")
    front = request.getfixturevalue("mlflow_front")
    return Place(front.host, "any-token", lambda: len(front.requests))
