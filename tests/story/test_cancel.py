"""R5: cancelling at any point ends the call in that very step, and nothing stays taken."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from tests.story.world import (
    BUSY,
    CUT_OFF,
    STALE,
    TOKEN_401,
    Answer,
    FakeWorld,
    Steps,
    Streams,
    event_stream,
    refused,
    suspensions,
)

Script = dict[str, Any]

GONE = refused(404, "404", "gone")
SCRIPTS: list[Script] = [
    {"steps": [Answer()], "queue_s": [0.1], "token_s": 0.1},
    {"steps": [BUSY, BUSY, BUSY, Answer()], "queue_s": [0.1]},
    {"steps": [STALE, CUT_OFF, TOKEN_401, Answer()]},
    {"steps": [GONE, TOKEN_401, BUSY, Answer()], "route_optimized": True},
    {"steps": [CUT_OFF]},
]


def calls(script: Script, call: Callable[[FakeWorld], Coroutine[Any, Any, Any]]) -> int:
    world = FakeWorld(True, **_fresh(script))
    return suspensions(call(world))


def _fresh(script: Script) -> Script:
    return {key: list(v) if isinstance(v, Sequence) else v for key, v in script.items()}


def points() -> list[tuple[int, int]]:
    """Points of suspension over all scripts: 50 at random, and each at least once."""
    draw = random.Random(5)
    every = [
        (number, at)
        for number, script in enumerate(SCRIPTS)
        for at in range(calls(script, FakeWorld.calling))
    ]
    return [draw.choice(every) for _ in range(50)] + every


@pytest.mark.parametrize(("number", "at"), sorted(set(points())))
def test_R5_a_cancelled_call_ends_at_once(number: int, at: int) -> None:
    world = FakeWorld(True, **_fresh(SCRIPTS[number]))
    steps = Steps(world.calling())
    for _ in range(at + 1):
        assert steps.step()
    sends, ended = len(world.sends), len(world.ended)
    with pytest.raises(asyncio.CancelledError):
        steps.cancel()
    assert steps.done, "it went on after being cancelled"
    assert len(world.sends) == sends, "sent again after being cancelled"
    assert world.inside == 0, "its place is lost"
    assert len(world.ended) == ended
    assert world.quota.available >= 0


def test_R5_the_points_are_many() -> None:
    # the control: were nothing suspended, the test above would test nothing
    assert len(set(points())) >= 30


STREAM = Streams(event_stream({"n": 1}, {"n": 2}))
OPENINGS: list[Script] = [
    {"steps": [STREAM], "queue_s": [0.1], "token_s": 0.1},
    {"steps": [BUSY, STREAM]},
    {"steps": [Streams((b'{"message"', b': "no"}'), 400)]},
]


@pytest.mark.parametrize("number", range(len(OPENINGS)))
def test_R5_a_cancelled_stream_ends_at_once(number: int) -> None:
    async def read(world: FakeWorld) -> None:
        opened = await world.opening()
        try:
            async for _ in opened.events():
                pass
        finally:
            await opened.aclose()

    for at in range(calls(OPENINGS[number], read)):
        world = FakeWorld(True, **_fresh(OPENINGS[number]))
        steps = Steps(read(world))
        for _ in range(at + 1):
            assert steps.step()
        sends = len(world.sends)
        with pytest.raises(asyncio.CancelledError):
            steps.cancel()
        assert len(world.sends) == sends
        assert (world.inside, world.open_streams) == (0, 0)


@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_an_interrupt_passes_through_and_leaves(interrupt: type[BaseException]) -> None:
    # Ctrl-C in a thread that waits for a reply: not a failed try, never retried
    world = FakeWorld(False)

    async def send(*_: object, **__: object) -> None:
        world.sends.append(None)  # type: ignore[arg-type]
        raise interrupt

    world.send = send  # type: ignore[assignment, method-assign]
    with pytest.raises(interrupt):
        world.predict()
    assert len(world.sends) == 1
    assert world.inside == 0


def test_an_interrupt_during_backoff_ends_the_call() -> None:
    world = FakeWorld(False, steps=[BUSY, Answer()])

    async def sleep(_seconds: float) -> None:
        raise KeyboardInterrupt

    world.sleep = sleep  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.predict()
    assert len(world.sends) == 1
    assert world.inside == 0
