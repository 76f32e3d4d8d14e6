"""Streams: the place is held while one is open and given back whatever ends it."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import (
    ResponseFormatError,
    ServerError,
    ServingError,
    StreamError,
    UnexpectedRedirect,
)
from servingclient._step import iterate
from servingclient._stream import AsyncStream, OpenStream, Stream
from servingclient._types import FaultKind, WireFault
from servingclient._watching import CallEnded
from tests.story.world import (
    BUSY,
    CUT_OFF,
    ENDPOINT,
    TOKEN,
    TOKEN_401,
    Answer,
    FakeWorld,
    Streams,
    event_stream,
    refused,
)

Make = Callable[..., FakeWorld]

EVENTS = [{"n": 1}, {"n": 2}, {"n": 3}]
THREE = Streams(event_stream(*EVENTS))
BROKEN = WireFault(FaultKind.CUT_OFF, "the connection broke", sent="maybe", host="h")
IDLE = WireFault(FaultKind.TIMEOUT, "nothing came", sent="maybe", host="h")


def read(world: FakeWorld, opened: OpenStream) -> list[Any]:
    """All events, in the world's colour."""
    if not world.suspends:
        return list(iterate(opened.events()))[1:]

    async def collect() -> list[Any]:
        return [event async for event in opened.events()][1:]

    return asyncio.run(collect())


@pytest.mark.parametrize("kind", ["text/html", "Text/HTML; charset=utf-8"])
def test_a_login_page_is_named_as_one(make: Make, kind: str) -> None:
    page = Streams((b"<html>Sign in</html>",), headers=(("Content-Type", kind),))
    world = make([page])
    with pytest.raises(ResponseFormatError, match=r"web page .*most likely a login page") as caught:
        world.run(world.opening())
    with pytest.raises(ResponseFormatError, match=r"web page .*most likely a login page"):
        make([Answer(200, b"<html>Sign in</html>", page.headers)]).predict()
    assert (caught.value.status_code, caught.value.sent) == (200, "yes")
    assert (world.inside, world.open_streams) == (0, 0)


def test_a_redirect_to_a_login_is_named_as_one(make: Make) -> None:
    moved = (("Location", "https://login.example/sso?next=secret"),)
    world = make([Answer(302, b"", moved)])
    with pytest.raises(UnexpectedRedirect, match=r"redirect \(302\) to login\.example") as caught:
        world.run(world.opening())
    assert "secret" not in str(caught.value)
    assert (world.inside, world.open_streams) == (0, 0)


def fails(world: FakeWorld, opened: OpenStream) -> tuple[list[Any], StreamError]:
    got: list[Any] = []

    async def collect() -> None:
        async for event in opened.events():
            got.append(event)  # noqa: PERF401 - what came before the error counts

    with pytest.raises(StreamError) as caught:
        world.run(collect())
    return got[1:], caught.value


def test_events_come_in_order_and_the_place_is_held_meanwhile(make: Make) -> None:
    world = make(steps=[THREE])
    opened = world.run(world.opening())
    assert (world.inside, world.open_streams) == (1, 1)
    assert read(world, opened) == EVENTS
    assert (world.inside, world.open_streams) == (0, 0)
    assert world.sends[0].body.endswith(b'"stream":true}')


def test_events_split_anywhere_are_the_same(make: Make) -> None:
    text = b"".join(event_stream(*EVENTS))
    for size in (1, 3, 7):
        pieces = tuple(text[at : at + size] for at in range(0, len(text), size))
        world = make(steps=[Streams(pieces)])
        assert read(world, world.run(world.opening())) == EVENTS


def test_opening_is_retried_like_any_call(make: Make) -> None:
    world = make(steps=[BUSY, CUT_OFF, TOKEN_401, THREE])
    opened = world.run(world.opening())
    assert [a.status for a in opened.attempts] == [429, None, 401, 200]
    assert opened.attempts[-1].request_id == "stream-1"
    assert world.inside == 1
    assert read(world, opened) == EVENTS
    assert world.inside == 0


def test_a_refusal_in_place_of_a_stream_is_read_and_told(make: Make) -> None:
    world = make(steps=[refused(400, "BAD", "wrong column")])
    with pytest.raises(ServingError, match="wrong column") as caught:
        world.run(world.opening())
    assert caught.value.status_code == 400
    assert (world.inside, world.open_streams) == (0, 0)


def test_a_refusal_that_breaks_off_gives_all_back(make: Make) -> None:
    world = make(steps=[Streams((b'{"mess', BROKEN), 500)])
    with pytest.raises(ServingError):
        world.run(world.opening())
    assert (world.inside, world.open_streams) == (0, 0)
    assert len(world.sends) == 4


def test_nothing_is_sent_again_after_the_first_piece(make: Make) -> None:
    # the model has run in part: a resend would repeat what the user has seen
    world = make(steps=[Streams((*event_stream(EVENTS[0], done=False), BROKEN)), THREE])
    got, error = fails(world, world.run(world.opening()))
    assert got == EVENTS[:1]
    assert type(error) is StreamError
    assert len(world.sends) == 1
    assert (world.inside, world.open_streams) == (0, 0)
    assert error.endpoint == ENDPOINT
    assert error.request_id == "stream-1"
    assert error.sent == "yes"
    assert error.ambiguous is True
    assert error.status_code == 200
    assert [a.status for a in error.attempts] == [200]
    assert error.elapsed_s == pytest.approx(0.1)
    assert error.__cause__ is None


@pytest.mark.parametrize(
    "pieces",
    [
        (IDLE,),
        (b"data: {}\n\n", b"data: {"),
        event_stream(*EVENTS, done=False),
        (b"data: no json\n\n",),
        (b"data: \xff\xfe\n\n",),
        (b'data: {"error": {"message": "model failed"}}\n\n',),
        (b"data: " + b"x" * (5 << 20),),
    ],
    ids=["stalled", "cut", "no-done", "no-json", "no-utf8", "error-event", "huge"],
)
def test_every_way_to_break_is_one_typed_error(make: Make, pieces: tuple[Any, ...]) -> None:
    world = make(steps=[Streams(pieces)])
    _, error = fails(world, world.run(world.opening()))
    assert type(error) is StreamError
    assert (world.inside, world.open_streams) == (0, 0)


def test_an_error_event_shows_no_token(make: Make) -> None:
    text = b'data: {"error": {"message": "credential %s refused"}}\n\n' % TOKEN.encode()
    world = make(steps=[Streams((text,))])
    _, error = fails(world, world.run(world.opening()))
    assert TOKEN not in str(error)


def test_observers_learn_of_a_stream_when_it_ends(make: Make) -> None:
    world = make(steps=[THREE], queue_s=[0.5])
    opened = world.run(world.opening())
    assert world.ended == []
    world.now_s += 2.0
    read(world, opened)
    size = sum(map(len, THREE.pieces))  # type: ignore[arg-type]
    sent = len(world.sends[0].body)
    (end,) = world.ended
    assert end == CallEnded(
        ENDPOINT, 200, None, pytest.approx(2.6), 0.5, 1, sent, size, streamed=True
    )


def test_observers_learn_that_a_stream_broke(make: Make) -> None:
    # a metric that counts a broken stream as a success hides the outage
    world = make(steps=[Streams((BROKEN,))])
    fails(world, world.run(world.opening()))
    assert [end.error for end in world.ended] == ["StreamError"]


def test_closing_twice_leaves_once(make: Make) -> None:
    world = make(steps=[THREE])
    opened = world.run(world.opening())
    world.run(opened.aclose())
    world.run(opened.aclose())
    assert (world.inside, world.open_streams) == (0, 0)
    assert len(world.ended) == 1


def test_a_closed_stream_has_no_more_events(make: Make) -> None:
    world = make(steps=[THREE])
    opened = world.run(world.opening())
    world.run(opened.aclose())
    assert read(world, opened) == []


def test_a_quota_credit_is_given_for_an_opened_stream(make: Make) -> None:
    world = make(steps=[BUSY, THREE])
    world.run(world.run(world.opening()).aclose())
    assert world.quota.available == 500


def test_a_failed_opening_is_told_to_observers(make: Make) -> None:
    world = make(steps=[refused(501)])
    with pytest.raises(ServerError):
        world.run(world.opening())
    assert [end.error for end in world.ended] == ["ServerError"]


def test_a_reply_that_is_no_stream_is_an_error(make: Make) -> None:
    # an endpoint without streaming answers with one JSON document
    world = make(steps=[Answer()])
    got, error = fails(world, world.run(world.opening()))
    assert got == []
    assert error.request_id is None


def test_json_where_a_stream_was_asked_for_tells_all_it_knows(make: Make) -> None:
    headers = (("content-type", "application/json"), ("x-request-id", "r-7"))
    world = make(steps=[BUSY, Streams((b"{}",), headers=headers)])
    with pytest.raises(ResponseFormatError, match="predict") as caught:
        world.run(world.opening())
    error = caught.value
    assert [a.status for a in error.attempts] == [429, 200]
    assert error.attempts[-1].request_id == error.request_id == "r-7"
    assert error.sent == "yes"
    assert (world.inside, world.open_streams) == (0, 0)
    assert world.ended[0].attempts == 2


# -- what the doors hand out -----------------------------------------------------------------------


@pytest.fixture
def sync_world() -> FakeWorld:
    return FakeWorld(False, steps=[THREE])


@pytest.fixture
def async_world() -> FakeWorld:
    return FakeWorld(True, steps=[THREE])


def test_a_blocking_stream_gives_back_on_break(sync_world: FakeWorld) -> None:
    with Stream(sync_world.run(sync_world.opening())) as stream:
        for event in stream:
            assert event == EVENTS[0]
            break
        assert sync_world.inside == 1
    assert (sync_world.inside, sync_world.open_streams) == (0, 0)
    assert list(stream) == []


@pytest.mark.parametrize("read_first", [0, 1])
def test_a_blocking_stream_gives_back_when_it_goes_out_of_use(
    sync_world: FakeWorld, read_first: int
) -> None:
    stream = Stream(sync_world.run(sync_world.opening()))
    for _ in range(read_first):
        next(stream)
    del stream
    assert (sync_world.inside, sync_world.open_streams) == (0, 0)


def test_a_blocking_stream_gives_back_at_its_end(sync_world: FakeWorld) -> None:
    stream = Stream(sync_world.run(sync_world.opening()))
    assert list(stream) == EVENTS
    assert sync_world.inside == 0
    assert stream.request_id == "stream-1"
    assert [a.status for a in stream.attempts] == [200]


async def test_an_async_stream_gives_back_on_break(async_world: FakeWorld) -> None:
    async with AsyncStream(async_world.opening) as stream:
        async for event in stream:
            assert event == EVENTS[0]
            break
        assert async_world.inside == 1
    assert (async_world.inside, async_world.open_streams) == (0, 0)
    assert [event async for event in stream] == []


@pytest.mark.parametrize("read_first", [0, 1])
async def test_an_async_stream_gives_back_when_it_goes_out_of_use(
    async_world: FakeWorld, read_first: int
) -> None:
    # also one that was never read: a place lost for good would close the client bit by bit
    stream = AsyncStream(async_world.opening)
    for _ in range(read_first):
        await stream.__anext__()
    del stream
    gc.collect()
    for _ in range(5):
        await asyncio.sleep(0)
    assert (async_world.inside, async_world.open_streams) == (0, 0)


async def test_a_cancelled_reader_gives_back(async_world: FakeWorld) -> None:
    async def reader() -> None:
        async with AsyncStream(async_world.opening) as stream:
            async for _ in stream:
                await asyncio.Event().wait()

    task = asyncio.ensure_future(reader())
    for _ in range(10):
        await asyncio.sleep(0)
    assert async_world.inside == 1
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (async_world.inside, async_world.open_streams) == (0, 0)


async def test_a_blocking_stream_works_inside_a_running_loop(sync_world: FakeWorld) -> None:
    # a notebook's loop finalises async generators it has seen; ours must not end up there
    stream = Stream(sync_world.run(sync_world.opening()))
    assert next(stream) == EVENTS[0]
    stream.close()
    del stream
    gc.collect()
    await asyncio.sleep(0)
    assert (sync_world.inside, sync_world.open_streams) == (0, 0)


async def test_an_async_stream_closed_while_it_opens_is_closed(async_world: FakeWorld) -> None:
    """Closing must win, whoever comes first; nothing may stay open behind it."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def opening() -> OpenStream:
        begun.set()
        await go_on.wait()
        return await async_world.opening()

    stream = AsyncStream(opening)
    reader = asyncio.ensure_future(stream.__anext__())
    await begun.wait()
    with pytest.raises(RuntimeError, match="another task"):
        await stream.__anext__()
    await stream.aclose()
    go_on.set()
    with pytest.raises(StopAsyncIteration):
        await reader
    assert async_world.open_streams == 0
