"""Row 27: 64 threads on one blocking client, switched as often as the interpreter can."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx
import pytest

from servingclient import Batching, ServingClient, ServingError, Settings
from tests.chaos.apart import Apart
from tests.chaos.form import Form
from tests.chaos.judge import Judge

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


def storm(client: ServingClient, calls: int, start: int) -> Counter[str]:
    """So many calls of 64 threads, numbered from ``start``; what they came to."""
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
        mine = Counter(call(start + number) for number in range(first, calls, THREADS))
        with guard:
            found.update(mine)

    threads = [threading.Thread(target=caller, args=(first,)) for first in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(
    "kind",
    [
        "lanes",
        pytest.param("httpx", marks=pytest.mark.soak),
        pytest.param("batched", marks=pytest.mark.soak),
    ],
)
def test_chaos_27_64_threads_on_one_client(
    request: pytest.FixtureRequest, form: Form, server: Apart, stormy: None, kind: str
) -> None:
    """20,000 calls, and then again until a minute is over."""
    settings = Settings(timeout_s=ENDS_WITHIN_S, batching=Batching() if kind == "batched" else None)
    transport = httpx.HTTPTransport() if kind == "httpx" else None
    calls, lasts_s = max(10 * THREADS, round(20_000 * form.scale)), form.phase_s(60.0)
    found: Counter[str] = Counter()
    with (
        Judge(27, kind, request.node.user_properties) as judge,
        ServingClient(
            "echo", host=server.host, token=server.token, settings=settings, transport=transport
        ) as client,
    ):
        began_s = time.monotonic()
        while not found or time.monotonic() < began_s + lasts_s:
            found += storm(client, calls, sum(found.values()))
        concurrency = client.stats().concurrency
        judge.at_least("calls", sum(found.values()), calls)
        judge.exactly("wrong, or errors", sum(found.values()) - found["right"], 0)
        held = concurrency.in_flight + concurrency.waiting
        judge.exactly("places held", held, 0)
