"""A caller's functions beside an event loop: awaited, or in threads, and never past the time."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import ClientClosedError
from servingclient.stages.functions import Stage
from servingclient.stages.staging import NotDone
from servingclient.stages.tasks import TaskHands

LONG_S = 10.0
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


def plain(function: Callable[..., Any]) -> Stage:
    return Stage("enrich", function, asynchronous=False)


def asynchronous(function: Callable[..., Any]) -> Stage:
    return Stage("enrich", function, asynchronous=True)


async def closing(hands: TaskHands) -> None:
    """End its threads, as the client does."""
    hands.refuse()
    await asyncio.sleep(0)


async def test_a_plain_function_runs_beside_the_loop_with_the_callers_context() -> None:
    hands = TaskHands(2)
    WHO.set("alice")
    seen = await hands.run(plain(lambda n: (n, WHO.get(), threading.get_ident())), (7,), LONG_S)
    assert seen[:2] == (7, "alice")
    assert seen[2] != threading.get_ident()
    await closing(hands)


async def test_an_async_function_is_awaited_with_the_callers_context() -> None:
    async def enrich(n: int) -> Any:
        await asyncio.sleep(0)
        return n, WHO.get(), threading.get_ident()

    WHO.set("bob")
    seen = await TaskHands(2).run(asynchronous(enrich), (7,), LONG_S)
    assert seen == (7, "bob", threading.get_ident())


async def test_what_a_plain_function_returns_is_awaited_where_it_must_be() -> None:
    async def enrich(n: int) -> Any:
        await asyncio.sleep(0)
        return n, threading.get_ident()

    hands = TaskHands(2)
    seen = await hands.run(plain(lambda n: enrich(n + 1)), (7,), LONG_S)
    assert seen == (8, threading.get_ident())
    await closing(hands)


async def test_a_function_that_blocks_holds_up_nobody() -> None:
    hands = TaskHands(2)
    entered, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def blocks(_: Any) -> str:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(LONG_S)
        return "done"

    call = asyncio.ensure_future(hands.run(plain(blocks), (0,), LONG_S))
    await entered.wait()
    assert not call.done()
    go.set()
    assert await call == "done"
    await closing(hands)


async def test_only_so_many_block_at_once() -> None:
    hands = TaskHands(2)
    lock, go = threading.Lock(), threading.Event()
    inside: list[int] = [0]
    most: list[int] = [0]

    def blocks(_: Any) -> None:
        with lock:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            if inside[0] == 2:
                go.set()
        assert go.wait(LONG_S)
        with lock:
            inside[0] -= 1

    await asyncio.gather(*(hands.run(plain(blocks), (n,), LONG_S) for n in range(20)))
    assert most == [2]
    await closing(hands)


class Broken(Exception):  # noqa: N818 - says what it is
    """A caller's own."""


@pytest.mark.parametrize("error", [Broken("mine"), StopIteration("mine"), SystemExit(3)])
async def test_what_a_thread_raises_arrives(error: BaseException) -> None:
    hands = TaskHands(1)

    def fails(_: Any) -> None:
        raise error

    # a coroutine cannot raise a StopIteration
    stops = isinstance(error, StopIteration)
    says = "enrich raised StopIteration" if stops else str(error)
    with pytest.raises(RuntimeError if stops else type(error), match=says) as caught:
        await hands.run(plain(fails), (0,), LONG_S)
    assert error in (caught.value, caught.value.__cause__)
    await closing(hands)


@pytest.mark.parametrize("kind", [plain, asynchronous])
async def test_an_error_leaves_no_cycle(kind: Callable[..., Stage]) -> None:
    # it would hold the inputs until the collector comes
    hands = TaskHands(1)

    class Own(Exception):  # noqa: N818 - one that no other test holds
        pass

    def fails(_: Any) -> None:
        raise Own

    async def fails_later(_: Any) -> None:
        raise Own

    stage = kind(fails if kind is plain else fails_later)
    gc.collect()
    gc.disable()
    try:
        with pytest.raises(Own):
            await hands.run(stage, (0,), LONG_S)
        await asyncio.sleep(0)
        alive = [one for one in gc.get_objects() if isinstance(one, Own)]
        assert alive == []
    finally:
        gc.enable()
    await closing(hands)


async def test_an_async_function_is_cancelled_when_the_time_is_up() -> None:
    ended: list[str] = []

    async def hangs(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cleaned up")

    with pytest.raises(NotDone):
        await TaskHands(1).run(asynchronous(hangs), (0,), 0.001)
    assert ended == ["cleaned up"]


async def test_what_it_raises_while_it_is_cancelled_is_not_lost_on_the_loop() -> None:
    async def hangs(_: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise Broken  # the guards would report it as never retrieved

    with pytest.raises(NotDone):
        await TaskHands(1).run(asynchronous(hangs), (0,), 0.001)


async def test_a_thread_is_left_to_itself_when_the_time_is_up() -> None:
    hands = TaskHands(1)
    go, ended = threading.Event(), threading.Event()

    def blocks(_: Any) -> None:
        assert go.wait(LONG_S)
        ended.set()

    with pytest.raises(NotDone):
        await hands.run(plain(blocks), (0,), 0.001)
    assert not ended.is_set()
    go.set()
    assert await asyncio.to_thread(ended.wait, LONG_S)
    await closing(hands)


@pytest.mark.parametrize("kind", [plain, asynchronous])
async def test_a_cancelled_caller_takes_its_function_along(kind: Callable[..., Stage]) -> None:
    hands = TaskHands(1)
    go, entered = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    ended: list[str] = []

    def blocks(_: Any) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(LONG_S)

    async def waits(_: Any) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    stage = kind(blocks if kind is plain else waits)
    call = asyncio.ensure_future(hands.run(stage, (0,), LONG_S))
    await entered.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == ([] if kind is plain else ["cancelled"])
    go.set()
    await closing(hands)


async def test_a_closed_client_begins_nothing_and_ends_what_runs() -> None:
    hands = TaskHands(1)
    hands.begin()
    await hands.run(plain(len), ([],), LONG_S)
    hands.refuse()
    with pytest.raises(ClientClosedError):
        hands.begin()
    # the call under way has stages left
    assert await hands.run(plain(len), ([1],), LONG_S) == 1
    hands.end()
    with pytest.raises(RuntimeError, match="shutdown"):
        await hands.run(plain(len), ([1],), LONG_S)


def test_it_goes_on_in_a_forked_child(monkeypatch: pytest.MonkeyPatch) -> None:
    # where the threads of the parent do not exist, and what is handed to them waits for ever
    hands = TaskHands(1)

    def length(n: int) -> Any:
        return asyncio.run(hands.run(plain(len), ([0] * n,), LONG_S))

    assert length(3) == 3
    parents = hands._executor
    assert parents is not None
    parents.shutdown()
    monkeypatch.setattr("servingclient.stages.tasks.os.getpid", lambda: -1)
    assert length(4) == 4
    assert hands._executor is not parents
    hands.refuse()


async def test_what_waits_for_a_thread_is_dropped_with_its_caller() -> None:
    hands = TaskHands(1)
    go, entered = threading.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    ran: list[str] = []

    def blocks(_: Any) -> None:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(LONG_S)

    first = asyncio.ensure_future(hands.run(plain(blocks), (0,), LONG_S))
    await entered.wait()
    cancelled = asyncio.ensure_future(hands.run(plain(ran.append), ("cancelled",), LONG_S))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    with pytest.raises(NotDone):
        await hands.run(plain(ran.append), ("late",), 0.001)
    await asyncio.sleep(0)  # the executor hears of it in the next round
    go.set()
    await first
    await hands.run(plain(ran.append), ("last",), LONG_S)
    assert ran == ["last"]
    await closing(hands)
