"""What the story notes of calls, tries and streams, in both colours under virtual time."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import Payload, ServingError, Settings, StreamError
from servingclient._types import FaultKind, WireFault
from servingclient.telemetry.histogram import Histogram
from servingclient.telemetry.traffic import Traffic
from tests.batching.test_answers import gathered
from tests.batching.world import Company, Tasks
from tests.story.world import (
    BUSY,
    CUT_OFF,
    NO_REPLY,
    NOT_CONNECTED,
    TIMEOUT_S,
    Answer,
    FakeWorld,
    Steps,
    Streams,
    event_stream,
    refused,
    with_retry,
)

PERMITTED = refused(403, "PERMISSION_DENIED")


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def suspends(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def told(world: FakeWorld) -> Traffic:
    return world.recorder.read()[0]


def counts(traffic: Traffic) -> tuple[int, ...]:
    """Answered, failed, cancelled, attempts, retries, throttled."""
    return (
        traffic.answered,
        traffic.failed,
        traffic.cancelled,
        traffic.attempts,
        traffic.retries,
        traffic.throttled,
    )


def test_a_good_call(suspends: bool) -> None:
    world = FakeWorld(suspends, steps=[Answer(connect_s=0.25)], queue_s=[0.5], token_s=2.0)
    timing = world.predict().timing
    traffic = told(world)
    assert counts(traffic) == (1, 0, 0, 1, 0, 0)
    parts = ("encode", "queue", "token", "connect", "first_byte", "decode", "backoff")
    for name in parts:
        assert getattr(traffic, f"{name}_s").max == getattr(timing, f"{name}_s"), name
    assert traffic.answered_s.max == timing.total_s > 2.5
    assert traffic.request_bytes.max == len(world.sends[0].body)
    assert traffic.reply_bytes.max == len(Answer().body)
    assert traffic.reused_share == 0.0


@pytest.mark.parametrize(
    ("steps", "expected", "failed_attempts"),
    [
        ([BUSY, Answer()], (1, 0, 0, 2, 1, 1), {"429": 1}),
        ([NOT_CONNECTED, CUT_OFF, Answer()], (1, 0, 0, 3, 2, 0), {"never_sent": 1, "ambiguous": 1}),
        ([PERMITTED], (0, 1, 0, 1, 0, 0), {"403": 1}),
        ([NO_REPLY], (0, 1, 0, 1, 0, 0), {"slow": 1}),
        ([Answer(body=b"{}")], (0, 1, 0, 1, 0, 0), {"unfit": 1}),
    ],
    ids=["busy", "broken", "refused", "silent", "unfit"],
)
def test_tries_and_their_ends(
    steps: list[Any],
    expected: tuple[int, ...],
    failed_attempts: dict[str, int],
    suspends: bool,
) -> None:
    world = FakeWorld(suspends, steps=steps, settings=with_retry(max_attempts=3))
    errors: list[ServingError] = []
    try:
        world.predict()
    except ServingError as error:
        errors.append(error)
    traffic = told(world)
    assert counts(traffic) == expected
    assert traffic.failed_attempts == failed_attempts
    assert traffic.errors == {type(error).__name__: 1 for error in errors}
    assert traffic.failed_s == Histogram([error.elapsed_s or 0.0 for error in errors])
    assert traffic.failed_attempt_s.count == sum(failed_attempts.values())


def test_who_finds_no_place_fails_without_a_try(suspends: bool) -> None:
    world = FakeWorld(suspends, queue_full=True)
    with pytest.raises(ServingError):
        world.predict()
    assert counts(told(world)) == (0, 1, 0, 0, 0, 0)
    assert told(world).errors == {"QueueFull": 1}


def test_an_input_that_cannot_be_sent_is_no_call(suspends: bool) -> None:
    world = FakeWorld(suspends)
    with pytest.raises(ServingError):
        world.predict([{"a": object()}])
    assert told(world).calls == 0


def test_a_cancelled_call_is_counted_as_such() -> None:
    world = FakeWorld(True, steps=[Answer()])
    steps = Steps(world.calling())
    assert steps.step(), "it waits in the wire"
    with pytest.raises(asyncio.CancelledError):
        steps.cancel()
    assert counts(told(world)) == (0, 0, 1, 0, 0, 0)
    assert told(world).errors == {}


def test_what_a_foreign_transport_raises_is_a_failure(
    suspends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def breaks(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    world = FakeWorld(suspends)
    monkeypatch.setattr(FakeWorld, "send", breaks)
    with pytest.raises(ZeroDivisionError):
        world.predict()
    assert counts(told(world))[:3] == (0, 1, 0)
    assert told(world).errors == {"ZeroDivisionError": 1}


def test_compressed_requests_tell_their_size_before_and_after(suspends: bool) -> None:
    settings = Settings(timeout_s=TIMEOUT_S, payload=Payload(gzip="probe", gzip_min_bytes=1))
    world = FakeWorld(suspends, settings=settings)
    world.predict([{"a": 1.5, "b": 2}] * 100)
    traffic, sent = told(world), world.sends[0].body
    assert traffic.packed_bytes.max == len(sent)
    assert traffic.unpacked_bytes.max == len(gzip.decompress(sent)) == traffic.request_bytes.max


def test_streams_are_counted_apart(suspends: bool) -> None:
    world = FakeWorld(suspends, steps=[Streams(event_stream(1, 2))])
    world.run(_read(world))
    assert (told(world).streams, told(world).attempts, told(world).calls) == (1, 1, 0)
    assert told(world).stream_s.count == 1


def test_a_broken_stream_is_a_failure(suspends: bool) -> None:
    fault = WireFault(FaultKind.CUT_OFF, "the connection broke", sent="maybe", host="h")
    world = FakeWorld(suspends, steps=[Streams((*event_stream(1, done=False), fault))])
    with pytest.raises(StreamError):
        world.run(_read(world))
    assert (told(world).streams, told(world).attempts) == (0, 1)
    assert told(world).errors == {"StreamError": 1}


async def _read(world: FakeWorld) -> None:
    opened = await world.opening()
    events = opened.events()
    try:
        async for _ in events:
            pass
    finally:
        await events.aclose()


def test_a_stream_that_does_not_open_is_a_failed_call(suspends: bool) -> None:
    world = FakeWorld(suspends, steps=[PERMITTED])
    with pytest.raises(ServingError):
        world.run(world.opening())
    assert counts(told(world)) == (0, 1, 0, 1, 0, 0)


def test_time_without_calls_lowers_the_rate() -> None:
    world = FakeWorld(False)
    world.predict()
    world.now_s += 99.9
    assert told(world).qps == pytest.approx(1 / told(world).span_s)
    assert told(world).span_s == pytest.approx(100.0)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("echo", (4, 0, 0, 2, 0, 0)),  # one who goes alone, and three who share
        ("unfit", (1, 3, 0, 2, 0, 0)),
    ],
)
def test_every_caller_of_a_shared_request_counts_and_the_request_once(
    make: Callable[..., Company], answer: str, expected: tuple[int, ...]
) -> None:
    company = make()
    waiting, request = gathered(company, 3)
    if answer == "echo":
        request.echo()
    else:
        request.reply([])
    company.ended(*waiting)
    traffic, _ = company.story.world.recorder.read()
    assert counts(traffic) == expected
    assert traffic.errors == ({"BatchScatterError": 3} if answer == "unfit" else {})


def test_a_cancelled_member_is_counted_as_such(make_tasks: Callable[..., Tasks]) -> None:
    company = make_tasks()
    waiting, request = gathered(company, 2)
    company.cancel(waiting[0])
    request.echo()
    company.ended(*waiting)
    traffic, _ = company.story.world.recorder.read()
    assert counts(traffic)[:4] == (2, 0, 1, 2)
