"""One timer for many deadlines: it rings at the nearest, and then not again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from servingclient.batching.alarm import Alarm
from tests.batching.world import VirtualLoop


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop()
    yield loop
    loop.close()


@pytest.mark.parametrize(
    ("instants", "rings"),
    [
        ([1005.0], [1005.0]),
        ([1005.0, 1003.0, 1004.0], [1003.0]),
        ([1003.0, 1005.0], [1003.0]),
        ([990.0], [1000.0]),  # at once
        ([float("inf")], []),
    ],
)
def test_it_rings_once_at_the_nearest(
    loop: VirtualLoop, instants: list[float], rings: list[float]
) -> None:
    heard: list[float] = []
    alarm = Alarm(loop.time, lambda: heard.append(loop.time()))

    async def scenario() -> None:
        for at_s in instants:
            alarm.set(at_s)
        await asyncio.sleep(10.0)

    loop.run_until_complete(scenario())
    assert heard == pytest.approx(rings)
    assert alarm.at_s == float("inf")


def test_it_can_be_set_anew_while_it_rings_and_stopped(loop: VirtualLoop) -> None:
    heard: list[float] = []

    def ring() -> None:
        heard.append(loop.time())
        if len(heard) < 3:
            alarm.set(loop.time() + 1.0)

    alarm = Alarm(loop.time, ring)

    async def scenario() -> None:
        alarm.set(1001.0)
        await asyncio.sleep(10.0)
        alarm.set(1011.0)
        alarm.stop()
        await asyncio.sleep(10.0)

    loop.run_until_complete(scenario())
    assert heard == pytest.approx([1001.0, 1002.0, 1003.0])
