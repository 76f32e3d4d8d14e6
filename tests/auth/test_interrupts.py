"""Ctrl-C in a thread that renews a token, or has it renewed."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from servingclient import _step
from servingclient.auth.background import ThreadBackground
from servingclient.auth.single_flight import ThreadSingleFlight
from tests.points import Interrupted, Points

HANGS_S = 10.0


class Asking:
    """The clock of callers that are about to wait."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def now(self) -> float:
        self.asked.set()
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nobody sleeps here")


class Caller(threading.Thread):
    """Wants the result, and keeps what it got."""

    def __init__(self, flight: ThreadSingleFlight, action: Any) -> None:
        super().__init__(daemon=True)
        self._flight, self._action = flight, action
        self.got: Any = None

    def run(self) -> None:
        try:
            self.got = _step.run(self._flight.run(self._action, time.monotonic() + HANGS_S))
        except BaseException as error:  # noqa: BLE001 - also an interrupt
            self.got = error

    def result(self) -> Any:
        self.join(HANGS_S)
        assert not self.is_alive()
        return self.got


def test_who_waits_for_a_caller_that_is_interrupted_does_it_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none_left(work: Any) -> bool:
        return False

    monkeypatch.setattr("servingclient.auth.single_flight._started", none_left)
    clock = Asking()
    flight = ThreadSingleFlight(clock)
    begun, goes_on = threading.Event(), threading.Event()

    async def interrupted() -> str:
        begun.set()
        assert goes_on.wait(HANGS_S)
        raise Interrupted

    async def well() -> str:
        return "token"

    first, second = Caller(flight, interrupted), Caller(flight, well)
    first.start()
    assert begun.wait(HANGS_S)
    second.start()
    assert clock.asked.wait(HANGS_S)
    goes_on.set()
    assert isinstance(first.result(), Interrupted)
    assert second.result() == "token"


def test_an_exit_in_a_thread_of_its_own_is_told_and_not_tried_again() -> None:
    runs = []

    async def leave() -> None:
        runs.append(1)
        raise SystemExit(2)

    caller = Caller(ThreadSingleFlight(Asking()), leave)
    caller.start()
    assert isinstance(caller.result(), SystemExit)
    assert len(runs) == 1


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
def test_an_interrupt_at_any_point_of_asking_leaves_the_way_free() -> None:
    async def well() -> str:
        return "token"

    number = 0
    while True:
        number += 1
        flight = ThreadSingleFlight(Asking())
        points = Points(number, within="auth/single_flight")
        points.during(lambda flight=flight: _step.run(flight.run(well, time.monotonic() + HANGS_S)))  # type: ignore[misc]
        after = Caller(flight, well)
        after.start()
        assert after.result() == "token", points.struck
        if not points.struck:
            break
    assert number > 5


def test_an_interrupt_at_any_point_of_a_start_leaves_the_way_free() -> None:
    number = 0
    while True:
        number += 1
        background = ThreadBackground()
        ran = threading.Event()

        async def act(ran: threading.Event = ran) -> None:
            ran.set()

        points = Points(number, within="auth/background")
        points.during(lambda background=background, act=act: background.start(act))  # type: ignore[misc]
        for thread in threading.enumerate():
            if thread.name == "servingclient-refresh":
                thread.join(HANGS_S)
        ran.clear()
        background.start(act)
        assert ran.wait(HANGS_S), points.struck
        if not points.struck:
            break
    assert number > 5
