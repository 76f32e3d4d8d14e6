"""What a call tells the gate: how long replies take, that none came, that there is no room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from servingclient import DeadlineExceeded, QueueFull, ServingError, Settings
from servingclient._types import FaultKind
from servingclient.settings import Retry
from tests.story.world import (
    BUSY,
    NO_REPLY,
    NOT_CONNECTED,
    TIMEOUT_S,
    Answer,
    Breaks,
    FakeWorld,
    Streams,
    event_stream,
    refused,
)

Make = Callable[..., FakeWorld]
ONCE = Settings(timeout_s=TIMEOUT_S, retry=Retry(max_attempts=1))


def failed(world: FakeWorld, **options: Any) -> ServingError:
    with pytest.raises(ServingError) as caught:
        world.predict(**options)
    return caught.value


def test_a_good_reply_tells_how_long_it_took(make: Make) -> None:
    world = make(steps=[Answer(takes_s=0.3, connect_s=0.2)], queue_s=[1.0])
    world.predict()
    assert world.answers == [pytest.approx(0.3)]
    assert (world.silences, world.throttles) == ([], 0)


def test_each_try_tells_for_itself(make: Make) -> None:
    world = make(steps=[BUSY, BUSY, Answer(takes_s=0.3)])
    world.predict()
    assert world.throttles == 2
    assert world.answers == [pytest.approx(0.3)]


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (refused(429), 1),
        (refused(503, headers=(("Retry-After", "1"),)), 1),
        (refused(504), 1),
        (refused(503), 0),
        (refused(500), 0),
        (refused(400), 0),
        (Breaks(FaultKind.CUT_OFF), 0),
        (NOT_CONNECTED, 0),
    ],
)
def test_what_tells_that_there_is_no_room(make: Make, step: Any, told: int) -> None:
    world = make(steps=[step], settings=ONCE)
    failed(world)
    assert (world.throttles, world.answers, world.silences) == (told, [], [])


def test_a_reply_that_does_not_come_tells_how_long_it_was_waited_for(make: Make) -> None:
    world = make(steps=[NO_REPLY], queue_s=[4.0])
    assert isinstance(failed(world), DeadlineExceeded)
    assert world.silences == [pytest.approx(TIMEOUT_S - 4.0)]
    assert world.answers == []


def test_time_that_ends_in_the_line_tells_nothing_of_the_endpoint(make: Make) -> None:
    world = make(queue_s=[100.0])
    assert isinstance(failed(world), DeadlineExceeded)
    assert (world.silences, world.sends) == ([], [])


def test_a_stream_tells_when_it_begins(make: Make) -> None:
    world = make(steps=[Streams(event_stream("a"), takes_s=0.7)], queue_s=[1.0])
    stream = world.run(world.opening())
    assert world.answers == [pytest.approx(0.7)]
    assert world.inside == 1, "and keeps its place"
    world.run(stream.aclose())
    assert world.inside == 0


def test_a_stream_that_is_refused_tells_so(make: Make) -> None:
    world = make(steps=[BUSY, Streams(event_stream("a"))])
    world.run(world.run(world.opening()).aclose())
    assert world.throttles == 1


def test_the_line_learns_priority_and_size(make: Make) -> None:
    world = make(queue_s=[0.1])
    world.predict()
    (entry,) = world.entries
    assert entry == (1, len(world.sends[0].body), False)


def test_the_line_learns_who_comes_again(make: Make) -> None:
    world = make(steps=[BUSY, Answer()], queue_s=[0.1, 0.1])
    world.predict()
    assert [again for _, _, again in world.entries] == [False, True]


def test_a_stream_comes_again_likewise(make: Make) -> None:
    world = make(steps=[BUSY, Streams(event_stream("a"))], queue_s=[0.1, 0.1])
    world.run(world.run(world.opening()).aclose())
    assert [again for _, _, again in world.entries] == [False, True]


def test_a_retry_that_finds_no_place_in_the_line_says_what_it_was_for(make: Make) -> None:
    world = make(steps=[BUSY])
    original = world.throttled

    def fills() -> None:
        original()
        world.queue_full = True

    world.throttled = fills  # type: ignore[method-assign]
    error = failed(world)
    assert isinstance(error, QueueFull)
    assert [attempt.status for attempt in error.attempts] == [429]
    assert len(world.sends) == 1
