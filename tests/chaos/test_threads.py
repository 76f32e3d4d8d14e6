"""Row 27: 64 threads on one blocking client, switched as often as the interpreter can."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from servingclient import ServingClient, ServingError, Settings
from tests.chaos.apart import Apart

THREADS = 64
ENDS_WITHIN_S = 18.0


@pytest.fixture(scope="module")
def server() -> Iterator[Apart]:
    with Apart({"name": "echo", "echo": "id"}) as one:
        yield one


@pytest.fixture
def stormy() -> Iterator[None]:
    """Threads are switched every 10 us, 500 times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def storm(client: ServingClient, calls: int) -> Counter[str]:
    """So many calls of 64 threads; what they came to."""
    found: Counter[str] = Counter()
    guard = threading.Lock()
    together = threading.Barrier(THREADS)

    def call(number: int) -> str:
        mine = f"row-{number}"
        try:
            return "right" if client.predict([{"id": mine}]).predictions == [mine] else "wrong"
        except ServingError as error:
            return type(error).__name__

    def caller(first: int) -> None:
        together.wait(ENDS_WITHIN_S)
        mine = Counter(call(number) for number in range(first, calls, THREADS))
        with guard:
            found.update(mine)

    threads = [threading.Thread(target=caller, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("transport", ["lanes", "httpx"])
def test_row_27_64_threads_each_get_their_own(transport: str, server: Apart, stormy: None) -> None:
    calls = 2_000
    given = httpx.HTTPTransport() if transport == "httpx" else None
    settings = Settings(timeout_s=ENDS_WITHIN_S)
    with ServingClient(
        "echo", host=server.host, token=server.token, settings=settings, transport=given
    ) as client:
        found = storm(client, calls)
        concurrency = client.stats().concurrency
    assert found == {"right": calls}
    assert (concurrency.in_flight, concurrency.waiting) == (0, 0)
