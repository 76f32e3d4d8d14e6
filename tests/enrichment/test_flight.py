"""Who leads, who follows, and what a follower learns."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from servingclient import ClientClosedError, DeadlineExceeded, ServerError
from servingclient._types import FaultKind, WireFault
from servingclient.enrichment.flight import Flights, copied, fail, follow
from servingclient.enrichment.landed import task_flights, thread_flights
from servingclient.transport.clock import LoopClock, ThreadClock


def test_the_first_leads_and_the_others_follow() -> None:
    flights = thread_flights(ThreadClock())
    mine, yours = flights.ticket(), flights.ticket()
    assert flights.enter("k", mine) is mine
    assert flights.enter("k", yours) is mine
    assert flights.flying("k")
    flights.leave("k", yours)
    assert flights.flying("k"), "who did not lead ends nothing"
    flights.leave("k", mine)
    flights.leave("k", mine)
    assert not flights.flying("k")
    assert flights.enter("k", yours) is yours


async def test_a_follower_waits_for_the_end_and_no_longer_than_it_may() -> None:
    clock = LoopClock()
    flights = task_flights(clock)
    mine = flights.ticket()
    flights.enter("k", mine)
    with pytest.raises(WireFault) as caught:
        await follow(mine, clock.now() + 0.01)
    assert (caught.value.kind, caught.value.sent) == (FaultKind.TIMEOUT, "no")
    waiting = [asyncio.ensure_future(follow(mine, clock.now() + 5.0)) for _ in range(3)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    mine.result = "v"
    flights.leave("k", mine)
    assert await asyncio.gather(*waiting[1:]) == ["v", "v"]
    assert await follow(mine, 0.0) == "v", "it has ended already"


def test_threads_wait_too() -> None:
    clock = ThreadClock()
    flights = thread_flights(clock)
    mine: Any = flights.ticket()
    got: list[bool] = []

    def wait() -> None:
        job = mine.landed.wait(clock.now() + 5.0)
        try:
            job.send(None)
        except StopIteration as done:
            got.append(done.value)

    waiter = threading.Thread(target=wait)
    waiter.start()
    flights.leave("k", mine)
    waiter.join(5)
    assert got == [True]


def test_a_flight_of_a_loop_that_has_ended_is_nobodys() -> None:
    flights: Flights[Any] = task_flights(LoopClock())

    async def enter() -> bool:
        mine = flights.ticket()
        return flights.enter("k", mine) is mine

    first, second = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        assert first.run_until_complete(enter())
        assert not first.run_until_complete(enter())
        first.close()
        assert second.run_until_complete(enter())
        assert not second.run_until_complete(enter())
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ServerError("x"), True),
        (ValueError("x"), True),
        (DeadlineExceeded("x"), False),
        (ClientClosedError("x"), False),
        (WireFault(FaultKind.TIMEOUT, "x", sent="no"), False),
    ],
)
def test_only_what_says_something_of_the_api_is_told(error: Exception, told: bool) -> None:
    mine: Any = thread_flights(ThreadClock()).ticket()
    fail(mine, error)
    assert (mine.error is error) is told


def test_each_caller_gets_an_error_of_its_own() -> None:
    error = ServerError("x")
    error.status_code = 500
    one = copied(error)
    assert one is not error
    assert (type(one), str(one), one.status_code) == (ServerError, "x", 500)

    class OddError(Exception):
        def __init__(self, _a: int, _b: int) -> None:
            super().__init__("odd")

    odd = OddError(1, 2)
    assert isinstance(copied(odd), OddError), "or that very one, where it cannot be copied"


def test_claims_run_out() -> None:
    flights = thread_flights(ThreadClock())
    now_s = time.monotonic()
    assert flights.claim("k", now_s)
    assert not flights.claim("k", now_s + 1e6), "somebody is at it"
    flights.disclaim("k", now_s + 1.0)
    assert not flights.claim("k", now_s + 0.9)
    assert flights.claim("k", now_s + 1.1)
    flights.disclaim("k")
    assert flights.claim("k", now_s)
    flights.forget()
    mine = flights.ticket()
    flights.enter("k", mine)
    assert not flights.claim("k", now_s), "it is being fetched"
    for n in range(10_050):
        flights.claim(n, now_s)
        flights.disclaim(n, now_s + 0.1)
    flights.claim("x", now_s + 1.0)
    assert len(flights._claimed) < 100


def test_who_ends_a_flight_while_all_are_forgotten_ends_it_for_who_waits() -> None:
    flights = thread_flights(ThreadClock())
    mine: Any = flights.ticket()

    class Forgotten(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            found = super().get(key, default)
            flights.forget()  # the moment between looking and removing
            return found

    flights._flights = Forgotten()
    flights.enter("k", mine)
    flights.leave("k", mine)
    assert mine.landed._over.done
    assert not flights.flying("k")
