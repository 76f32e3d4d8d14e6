"""Callers: who makes the calls of a contender, how many at a time, and how long each took."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeVar

from contenders.place import Place
from harness import RunCalls

Call = Callable[[], Any]
AsyncCall = Callable[[], Awaitable[Any]]
Loop = asyncio.AbstractEventLoop
Made = TypeVar("Made")


class Closeable(Protocol):
    def close(self) -> None: ...


class AsyncCloseable(Protocol):
    async def aclose(self) -> None: ...


@contextmanager
def by_threads(client: Closeable, call: Call, concurrency: int) -> Iterator[RunCalls]:
    """``call`` made by so many threads at a time; ``client`` is closed at the end."""
    threads = Threads(concurrency)
    try:
        yield lambda calls: threads.run(call, calls)
    finally:
        threads.close()
        client.close()


@contextmanager
def by_tasks(
    client: AsyncCloseable, call: AsyncCall, concurrency: int, loop: Loop
) -> Iterator[RunCalls]:
    """``call`` made by so many tasks at a time; ``client`` is closed at the end."""
    try:
        yield lambda calls: loop.run_until_complete(run_tasks(call, calls, concurrency))
    finally:
        loop.run_until_complete(client.aclose())


class Order(NamedTuple):
    """What threads are to do: ``call`` as often as ``budget`` lasts, which they share."""

    call: Call
    budget: Iterator[int]
    seconds: list[float]


class Threads:
    """Threads that stay alive over all slices, as a service's do; they share one client."""

    def __init__(self, count: int) -> None:
        self._orders: SimpleQueue[Order | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def run(self, call: Call, calls: int) -> list[float]:
        """Make ``calls`` calls; the seconds each took."""
        order = Order(call, iter(range(calls)), [])
        for _ in self._threads:
            self._orders.put(order)
        errors = [self._done.get() for _ in self._threads]
        for error in errors:
            if error is not None:
                raise error
        return order.seconds

    def close(self) -> None:
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        now = time.perf_counter
        while (order := self._orders.get()) is not None:
            call, budget, seconds = order
            try:
                for _ in budget:
                    started = now()
                    call()
                    seconds.append(now() - started)
            except BaseException as error:  # noqa: BLE001  raised again by run
                self._done.put(error)
            else:
                self._done.put(None)


async def made(kind: Callable[[Place], Made], place: Place) -> Made:
    """A contender that must be made where its loop runs."""
    return kind(place)


async def run_tasks(call: AsyncCall, calls: int, concurrency: int) -> list[float]:
    """``calls`` calls, ``concurrency`` of them open at any time; the seconds each took."""
    budget, now = iter(range(calls)), time.perf_counter
    seconds: list[float] = []

    async def caller() -> None:
        for _ in budget:
            started = now()
            await call()
            seconds.append(now() - started)

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return seconds
