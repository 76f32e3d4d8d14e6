"""The front changes addresses and nothing else."""

from __future__ import annotations

import contextlib
import http.client

import httpx
import pytest

from tests.peers.front import Front
from tests.peers.server import MlflowServer

BODY = b'{"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, 2]]}}'
HEADERS = {"content-type": "application/json", "authorization": "Bearer x"}


def scored(client: httpx.Client, url: str) -> httpx.Response:
    return client.post(url, content=BODY, headers=HEADERS)


def without_date(response: httpx.Response) -> list[tuple[bytes, bytes]]:
    return [pair for pair in response.headers.raw if pair[0] != b"date"]


@pytest.fixture
def client():
    with httpx.Client(timeout=15, trust_env=False) as client:
        yield client


@pytest.mark.parametrize("path", ["invocations", "served-models/sum-1/invocations"])
def test_replies_pass_unchanged(
    path: str, client: httpx.Client, mlflow_server: MlflowServer, mlflow_front: Front
) -> None:
    direct = scored(client, mlflow_server.url("sum"))
    fronted = scored(client, f"{mlflow_front.host}/serving-endpoints/sum/{path}")
    assert fronted.status_code == direct.status_code == 200
    assert fronted.content == direct.content == b'{"predictions": [3.5]}'
    assert without_date(fronted) == without_date(direct)


def test_one_connection_serves_several_models(client: httpx.Client, mlflow_front: Front) -> None:
    ports = set()
    for model, expected in [
        ("sum", [3.5]),
        ("nan", None),
        ("sum", [3.5]),
        ("frame", [{"a": 1.5, "b": 2}]),
    ]:
        url = f"{mlflow_front.host}/serving-endpoints/{model}/invocations"
        with client.stream("POST", url, content=BODY, headers=HEADERS) as response:
            body = response.read()
            ports.add(response.extensions["network_stream"].get_extra_info("client_addr"))
        if expected is not None:
            assert response.json() == {"predictions": expected}
        else:
            assert body == b'{"predictions": [NaN, Infinity, -Infinity, 1.0]}'
    assert len(ports) == 1


def test_a_chunked_body_passes(client: httpx.Client, mlflow_front: Front) -> None:
    url = f"{mlflow_front.host}/serving-endpoints/sum/invocations"
    response = client.post(url, content=iter([BODY[:20], BODY[20:]]), headers=HEADERS)
    assert response.json() == {"predictions": [3.5]}


def test_unknown_paths_are_404(client: httpx.Client, mlflow_front: Front) -> None:
    for path in (
        "/api/2.0/serving-endpoints/sum",
        "/serving-endpoints/none/invocations",
        "/invocations",
    ):
        assert client.get(mlflow_front.host + path).status_code == 404
        assert client.post(mlflow_front.host + path, content=BODY).status_code == 404


def test_the_end_of_a_connection_passes(mlflow_front: Front) -> None:
    # uvicorn closes after an unhandled error without announcing it; so must the front
    with contextlib.closing(
        http.client.HTTPConnection(mlflow_front.host.removeprefix("http://"), timeout=15)
    ) as connection:
        connection.request("POST", "/serving-endpoints/sum/invocations", body=BODY)
        response = connection.getresponse()
        response.read()
        assert response.status == 500
        assert response.getheader("connection") is None
        assert connection.sock.recv(1) == b""
