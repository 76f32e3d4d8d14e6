"""Errors do not pin the payload: a million rows must be free once the except block ends."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servingclient import QueueFull, ServingError
from servingclient._running import Call
from tests.story.world import (
    BUSY,
    CUT_OFF,
    NO_REPLY,
    TOKEN_401,
    Answer,
    Breaks,
    FakeWorld,
    Step,
    Streams,
    drive,
    refused,
)

Make = Callable[..., FakeWorld]


class Rows(list[Any]):
    """An input that can be watched."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Cycles stay: what is freed here is freed at once for users too."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


FAILURES: dict[str, list[Step]] = {
    "refused": [refused(400)],
    "throttled": [BUSY],
    "cut_off": [CUT_OFF],
    "no_reply": [NO_REPLY],
    "token": [TOKEN_401],
    "mixed": [CUT_OFF, BUSY, TOKEN_401, refused(400)],
    "no_predictions": [Answer(body=b"{}")],
    "login_page": [BUSY, Answer(body=b"<html>")],
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_call_lets_go_of_its_input(make: Make, no_collector: None, name: str) -> None:
    assert calls_alive() == 0
    world = make(steps=FAILURES[name])
    world.sends = _Blind()
    rows = Rows([{"a": 1.0}])
    watched = weakref.ref(rows)
    calling = world.calling(rows)
    del rows
    try:
        drive(calling)
    except ServingError:
        pass
    del calling
    assert watched() is None, "something still holds the input"
    assert calls_alive() == 0, "something still holds the encoded payload"


@pytest.mark.parametrize("steps", [[Answer()], [BUSY, CUT_OFF, TOKEN_401, Answer()]])
def test_a_good_call_lets_go_too(make: Make, no_collector: None, steps: list[Step]) -> None:
    # a brown-out must not also be a memory leak: tenacity leaves cycles behind
    world = make(steps=steps)
    assert drive(world.calling()).predictions == [3.5]
    assert calls_alive() == 0


@pytest.mark.parametrize("timeout_s", [10.0, 2.0])
def test_a_call_that_ran_out_of_time_lets_go(
    make: Make, no_collector: None, timeout_s: float
) -> None:
    # DeadlineExceeded has a cause, which has frames of its own
    world = make(steps=[BUSY])
    world.sends = _Blind()
    rows = Rows([{"a": 1.0}])
    watched = weakref.ref(rows)
    calling = world.calling(rows, timeout_s=timeout_s)
    del rows
    try:
        drive(calling)
    except ServingError:
        pass
    del calling
    assert watched() is None


@pytest.mark.parametrize("error", [QueueFull, RuntimeError])
def test_a_retry_that_fails_on_its_way_to_the_endpoint_lets_go(
    make: Make, no_collector: None, error: type[Exception]
) -> None:
    # what goes through tenacity's loop without being a failed try must not stay in its state
    world = make(steps=[BUSY])
    world.sends = _Blind()
    enter = world.try_enter
    world.try_enter = lambda: enter() if not world.slept else _raise(error)  # type: ignore[method-assign]
    rows = Rows([{"a": 1.0}])
    watched = weakref.ref(rows)
    calling = world.calling(rows)
    del rows
    outcome = None
    try:
        drive(calling)
    except (ServingError, RuntimeError) as raised:
        outcome = type(raised)
    del calling
    assert outcome is error
    assert watched() is None
    assert calls_alive() == 0


@pytest.mark.parametrize("steps", [[BUSY], [Streams((b"{", b"}"), 500)], [Breaks(NO_REPLY.kind)]])
def test_a_stream_that_was_refused_lets_go(
    make: Make, no_collector: None, steps: list[Step]
) -> None:
    world = make(steps=steps)
    world.sends = _Blind()
    rows = Rows([{"a": 1.0}])
    watched = weakref.ref(rows)
    opening = world.opening(rows)
    del rows
    try:
        drive(opening)
    except ServingError:
        pass
    del opening
    assert watched() is None


def test_a_kept_error_holds_the_frames_it_must_and_no_more(make: Make, no_collector: None) -> None:
    # an error that is logged later holds its traceback; without it, it holds nothing
    world = make(steps=[BUSY])
    world.sends = _Blind()
    rows = Rows([{"a": 1.0}])
    watched = weakref.ref(rows)
    calling = world.calling(rows)
    del rows
    kept: ServingError | None = None
    try:
        drive(calling)
    except ServingError as error:
        kept = error.with_traceback(None)
    del calling
    assert kept is not None
    assert watched() is None


def calls_alive() -> int:
    """Calls somebody holds, and with each its encoded body (bytes cannot be watched)."""
    return sum(type(thing) is Call for thing in gc.get_objects())


def _raise(error: type[Exception]) -> bool:
    raise error("on the way")


class _Blind(list[Any]):
    """Records nothing: what the test's own world holds does not count."""

    def append(self, _item: Any) -> None:
        pass
