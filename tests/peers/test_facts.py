"""The table of facts, put to the real MLflow scoring server and to the emulator."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.peers.facts import ANYTHING, EMULATED, FACTS, Fact
from tests.peers.server import MlflowServer


def names(fact: Fact) -> str:
    return f"{fact.model}-{fact.name}".replace(" ", "_")


def ask(url: str, fact: Fact, **headers: str) -> httpx.Response:
    # A connection each: uvicorn closes it unannounced after an unhandled error.
    sent = {**headers, **fact.headers}
    if fact.sends is not None:
        sent["content-type"] = fact.sends
    return httpx.post(url, content=fact.content(), headers=sent, timeout=15, trust_env=False)


def check(fact: Fact, response: httpx.Response) -> None:
    assert response.status_code == fact.status, response.text
    assert response.headers["content-type"] == fact.gets
    if fact.pattern is not None:
        assert re.search(fact.pattern, response.text, re.DOTALL), response.text
    if fact.reply is not ANYTHING:
        assert json.loads(response.text) == fact.reply


def test_every_fact_checks_something() -> None:
    assert all(f.pattern is not None or f.reply is not ANYTHING for f in FACTS)
    assert len({names(f) for f in FACTS}) == len(FACTS)


@pytest.mark.parametrize("fact", FACTS, ids=names)
def test_mlflow(fact: Fact, mlflow_server: MlflowServer) -> None:
    check(fact, ask(mlflow_server.url(fact.model), fact))


@pytest.fixture(scope="module")
def emulator() -> Iterator[Any]:
    from servingclient.emulator import Emulator

    with Emulator(tls=False) as emulator:
        for name, (model, schema) in EMULATED.items():
            emulator.add_endpoint(name, model=model, schema=schema)
        yield emulator


@pytest.mark.parametrize("fact", [f for f in FACTS if not f.only_real], ids=names)
def test_emulator(fact: Fact, emulator: Any) -> None:
    url = f"{emulator.host}/serving-endpoints/{fact.model}/invocations"
    check(fact, ask(url, fact, authorization=f"Bearer {emulator.token}"))


def test_iris_on_mlflow(mlflow_server: MlflowServer) -> None:
    # a setosa and a virginica of the data set the model was fitted to
    columns = [f"{part} {size} (cm)" for part in ("sepal", "petal") for size in ("length", "width")]
    body = {
        "dataframe_split": {
            "columns": columns,
            "data": [[5.1, 3.5, 1.4, 0.2], [7.7, 2.6, 6.9, 2.3]],
        }
    }
    response = httpx.post(mlflow_server.url("iris"), json=body, timeout=15, trust_env=False)
    assert response.json() == {"predictions": [0, 2]}
