"""Calls begin when they are due, on a loop whose time is made up."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from servingclient._prediction import Prediction
from servingclient.errors import Throttled
from servingclient.loadtest.driving import Driver


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
) -> Driver:
    loop = SteppedLoop()
    try:
        driver = Driver(predict, loop.time)
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
