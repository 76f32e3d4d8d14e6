"""A blocking call in whose midst something else happens in the same thread: Ctrl-C, or a signal
handler that closes the client or asks for its figures. At each point where CPython lets it in.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import Batching, Concurrency, Retry, ServingClient, ServingError, Settings
from servingclient.emulator import Emulator, faults
from servingclient.errors import ClientClosedError
from tests.doors.kit import ROW, SUM, pat
from tests.points import Interrupted, Points

QUICK = Retry(throttled_base_s=0.001, backoff_base_s=0.001)
CALM = Settings(retry=QUICK, close_timeout_s=0.0, timeout_s=20.0)
ONE_PLACE = CALM.replace(concurrency=Concurrency(adaptive=False, initial_calls=1))
BATCHED = CALM.replace(batching=Batching())
ONE_BATCH = CALM.replace(batching=Batching(max_in_flight=1))
HANGS_S = 10.0

pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited"),
    pytest.mark.filterwarnings("ignore:Exception ignored in"),  # a socket nobody held any more
]


class Calls:
    """A client, others that call through it, and one call that something happens to.

    Attributes:
        outcome: What that call came to.
    """

    def __init__(self, emulator: Emulator, settings: Settings, others: int) -> None:
        who = pat(emulator)
        self.client = ServingClient("demo", host=who.host, settings=settings, **who.arguments)  # type: ignore[arg-type]
        self.outcome: Any = None
        self._others = [threading.Thread(target=self._other, daemon=True) for _ in range(others)]

    def _other(self) -> None:
        try:
            self.client.predict([ROW])
        except ServingError:
            pass

    def _one(self) -> None:
        try:
            self.outcome = self.client.predict([ROW]).predictions
        except ServingError as error:
            self.outcome = error
        except Interrupted as interrupt:
            self.outcome = interrupt
            raise

    def go(self, points: Points) -> None:
        """All call; what is to happen to the one happens."""
        thread = threading.Thread(target=lambda: points.during(self._one), daemon=True)
        for each in (*self._others, thread):
            each.start()
        for each in (*self._others, thread):
            each.join(HANGS_S)
            assert not each.is_alive(), f"hangs: {points.struck}"

    def once_more(self) -> Any:
        """Another call, from another thread."""
        got: list[Any] = []
        thread = threading.Thread(
            target=lambda: got.append(self.client.predict([ROW]).predictions), daemon=True
        )
        thread.start()
        thread.join(HANGS_S)
        return got


STORIES: dict[str, tuple[Settings, int, bool]] = {
    "calm": (CALM, 0, False),
    "refused": (CALM, 0, True),
    "one place": (ONE_PLACE, 2, False),
    "batched": (BATCHED, 2, False),
    "one batch": (ONE_BATCH, 2, False),
}


@pytest.fixture(params=list(STORIES))
def begin(request: pytest.FixtureRequest, emulator: Emulator) -> Callable[[], Calls]:
    """Makes the client of one story; the first call of each signs in."""
    settings, others, refused = STORIES[request.param]

    def made() -> Calls:
        if refused:
            emulator.script("demo", faults.throttled())
        return Calls(emulator, settings, others)

    return made


def test_a_handler_may_close_the_client_at_any_point(begin: Callable[[], Calls]) -> None:
    number = 0
    while True:
        number += 1
        calls = begin()
        points = Points(number, act=calls.client.close)
        calls.go(points)
        if not points.struck:
            break
        right = calls.outcome == [SUM] or isinstance(calls.outcome, ClientClosedError)
        assert right, (points.struck, calls.outcome)
    calls.client.close()
    assert number > 40


def test_a_handler_may_ask_for_figures_at_any_point(begin: Callable[[], Calls]) -> None:
    number = 0
    while True:
        number += 1
        calls = begin()
        points = Points(number, act=lambda calls=calls: (calls.client.stats(), repr(calls.client)))  # type: ignore[misc]
        calls.go(points)
        calls.client.close()
        assert calls.outcome == [SUM], points.struck
        if not points.struck:
            break
    assert number > 40


@pytest.mark.parametrize("begin", ["calm", "refused", "batched", "one batch"], indirect=True)
def test_after_ctrl_c_at_any_point_the_next_call_is_answered(begin: Callable[[], Calls]) -> None:
    # Beside the taking and the leaving of a place at the gate it keeps that place: one of many.
    number = 0
    while True:
        number += 1
        calls = begin()
        points = Points(number)
        calls.go(points)
        if not points.struck:
            break
        assert calls.once_more() == [[SUM]], points.struck
        calls.client.close()
    calls.client.close()
    assert number > 40
