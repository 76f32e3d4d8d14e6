"""A failure on the way lets go of the request at once, not when the collector comes."""

from __future__ import annotations

import gc
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


def test_a_refused_connection_leaves_no_cycle(no_collector: None) -> None:
    settings = Settings(describe=False, retry=Retry(max_attempts=1))
    host = f"http://127.0.0.1:{refused_port()}"
    with ServingClient("m", host=host, token="t", settings=settings) as client:
        with pytest.raises(ConnectionFailed):
            client.predict([[1.0]])
        left = [o for o in gc.get_objects() if type(o) is ConnectionRefusedError]
        assert left == []
