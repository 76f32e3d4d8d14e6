"""A failure on the way lets go of the request at once, not when the collector comes."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator

import pytest

from servingclient import ConnectionFailed, Retry, ServingClient, Settings
from tests.scripted.server import refused_port


@pytest.fixture
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize("why", ["refused", "no_name"])
def test_a_connection_that_fails_leaves_no_cycle(no_collector: None, why: str) -> None:
    settings = Settings(describe=False, retry=Retry(max_attempts=1))
    host = f"http://127.0.0.1:{refused_port()}" if why == "refused" else "https://no.invalid"
    kind = ConnectionRefusedError if why == "refused" else socket.gaierror
    with ServingClient("m", host=host, token="t", settings=settings) as client:
        with pytest.raises(ConnectionFailed):
            client.predict([[1.0]])
        assert [o for o in gc.get_objects() if type(o) is kind and o.__traceback__] == []
