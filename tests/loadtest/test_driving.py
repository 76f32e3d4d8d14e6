"""Calls begin when they are due, on a loop whose time is made up."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable

import pytest

from servingclient._prediction import Prediction
from servingclient.errors import BadRequest, Throttled
from servingclient.loadtest.driving import Driver, Refusal
from servingclient.loadtest.punctual import Lateness


class SteppedLoop(asyncio.SelectorEventLoop):
    """Time stands still while anything can run, and then jumps to the next timer."""

    def __init__(self) -> None:
        super().__init__()
        self.now_s = 1000.0

    def time(self) -> float:
        return self.now_s

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self.now_s = max(self.now_s, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def driven(
    predict: Callable[[], Awaitable[Prediction]],
    story: Callable[[Driver], Awaitable[object]],
    **limits: float,
) -> Driver:
    loop = SteppedLoop()
    try:
        driver = Driver(predict, loop.time, **limits)
        loop.run_until_complete(asyncio.wait_for(story(driver), 3600))
        return driver
    finally:
        loop.close()


async def a_tenth() -> Prediction:
    await asyncio.sleep(0.1)
    return Prediction([1.0], ())


def test_a_slow_answer_delays_no_call() -> None:
    async def story(driver: Driver) -> None:
        await driver.open_loop(iter([0.0, 0.01, 0.02, 0.5]))
        assert driver.due == 4
        assert await driver.drain(10) == 0

    driver = driven(a_tenth, story)
    assert [one.began_s for one in driver.ended] == pytest.approx([0.0, 0.01, 0.02, 0.5])
    assert [one.ended_s - one.due_s for one in driver.ended] == pytest.approx([0.1] * 4)


def test_what_is_overdue_begins_at_once_and_counts_from_when_it_was_due() -> None:
    async def story(driver: Driver) -> None:
        stall = itertools.chain([0.0], (i / 1000 for i in range(1, 200)))
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, setattr, loop, "now_s", loop.time() + 0.5)  # the process stood still
        await driver.open_loop(stall)
        await driver.drain(10)

    driver = driven(a_tenth, story)
    assert driver.began == 200
    late = [one for one in driver.ended if one.began_s - one.due_s > 0.3]
    assert late
    assert all(one.ended_s - one.due_s > 0.4 for one in late)


def test_failures_are_noted_by_class_and_a_stop_ends_it() -> None:
    calls = itertools.count()

    async def predict() -> Prediction:
        if next(calls) % 2:
            raise Throttled("full")
        return Prediction([1.0], ())

    async def story(driver: Driver) -> None:
        asyncio.get_running_loop().call_later(0.995, driver.stop)
        await driver.open_loop(i / 100 for i in range(10_000))
        assert driver.due == 100
        await driver.drain(1)

    driver = driven(predict, story)
    assert [one.error for one in driver.ended] == [None, "Throttled"] * 50


def test_it_stops_by_itself_at_the_most_refusals_and_keeps_the_first() -> None:
    calls = itertools.count()

    async def predict() -> Prediction:
        which = next(calls)
        await asyncio.sleep(0.001)
        if which % 10 == 3:
            raise BadRequest(f"call {which} holds what the model does not take")
        return Prediction([1.0], ())

    async def story(driver: Driver) -> None:
        await driver.open_loop(i / 100 for i in range(10_000))
        await driver.drain(1)

    driver = driven(predict, story, most_refusals=3)
    assert driver.stopped
    assert driver.began == 24  # calls 3, 13 and 23 were refused, each before the next began
    assert driver.refused == Refusal(3, "call 3 holds what the model does not take")


def test_calls_that_could_not_begin_in_time_are_missing() -> None:
    async def story(driver: Driver) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(0.05, setattr, loop, "now_s", loop.time() + 5.0)  # the process stood still
        await driver.open_loop((i / 100 for i in range(100)), 2.0)
        await driver.drain(10)

    driver = driven(a_tenth, story)
    assert driver.due == 100
    assert driver.began < 20


def test_what_does_not_end_is_cancelled_and_counted() -> None:
    async def predict() -> Prediction:
        await asyncio.Event().wait()
        raise AssertionError

    async def story(driver: Driver) -> None:
        await driver.open_loop(iter([0.0, 0.1]))
        assert driver.running == 2
        assert await driver.drain(5) == 2

    assert driven(predict, story).ended == []


def test_a_closed_loop_asks_again_when_it_has_its_answer() -> None:
    async def story(driver: Driver) -> None:
        await driver.closed_loop(4, 1.05)
        assert driver.due == driver.began == 44

    driver = driven(a_tenth, story)
    assert all(one.began_s == one.due_s for one in driver.ended)


def seen(stalls_s: list[float], *, seconds: float, warmup_s: float = 0.0) -> float:
    """P99 of the lateness of a loop that stands still for 50 ms at these instants."""
    loop = SteppedLoop()

    async def story() -> float:
        lateness = Lateness(warmup_s, loop.time)
        for at_s in stalls_s:
            loop.call_later(at_s, lambda: setattr(loop, "now_s", loop.time() + 0.05))
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(lateness.watch(), seconds)
        return lateness.p99_s

    try:
        return loop.run_until_complete(story())
    finally:
        loop.close()


def test_a_loop_that_stands_still_is_late_and_one_that_does_not_is_not() -> None:
    assert seen([], seconds=10.0) == pytest.approx(0.0, abs=1e-6)
    each_half_second = [number / 2 + 0.005 for number in range(20)]
    assert seen(each_half_second, seconds=10.0) == pytest.approx(0.045, abs=0.006)


def test_how_late_a_loop_was_in_the_warm_up_does_not_count() -> None:
    at_first = [0.005, 0.5, 1.0]
    assert seen(at_first, seconds=10.0, warmup_s=2.0) == pytest.approx(0.0, abs=1e-6)
    assert seen(at_first, seconds=1.5, warmup_s=2.0) > 0.02  # there is nothing else
