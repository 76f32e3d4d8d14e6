"""Callers: who makes the calls of a contender, how many at a time, and how long each took."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Any, Protocol, TypeVar

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
def by_threads(
    client: Closeable, call: Call, concurrency: int, *, timed: bool = False
) -> Iterator[RunCalls]:
    """``call`` made by so many threads at a time; ``client`` is closed at the end."""
    watch = Stopwatch()
    made = watch.timed(call) if timed else call
    threads = Threads(concurrency)

    def run(calls: int) -> list[float]:
        threads.run(made, calls)
        return watch.take()

    try:
        yield run
    finally:
        threads.close()
        client.close()


@contextmanager
def by_tasks(
    client: AsyncCloseable, call: AsyncCall, concurrency: int, loop: Loop, *, timed: bool = False
) -> Iterator[RunCalls]:
    """``call`` made by so many tasks at a time; ``client`` is closed at the end."""
    watch = Stopwatch()
    made = watch.timed_async(call) if timed else call

    def run(calls: int) -> list[float]:
        loop.run_until_complete(run_tasks(made, calls, concurrency))
        return watch.take()

    try:
        yield run
    finally:
        loop.run_until_complete(client.aclose())


class Threads:
    """Threads that stay alive over all slices, as a service's do; they share one client."""

    def __init__(self, count: int) -> None:
        self._orders: SimpleQueue[tuple[Call, Iterator[int]] | None] = SimpleQueue()
        self._done: SimpleQueue[BaseException | None] = SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def run(self, call: Call, calls: int) -> None:
        budget = iter(range(calls))  # shared: all threads stay busy until it is used up
        for _ in self._threads:
            self._orders.put((call, budget))
        errors = [self._done.get() for _ in self._threads]
        for error in errors:
            if error is not None:
                raise error

    def close(self) -> None:
        for _ in self._threads:
            self._orders.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            call, budget = order
            try:
                for _ in budget:
                    call()
            except BaseException as error:  # noqa: BLE001  raised again by run
                self._done.put(error)
            else:
                self._done.put(None)


async def made(kind: Callable[[Place], Made], place: Place) -> Made:
    """A contender that must be made where its loop runs."""
    return kind(place)


async def run_tasks(call: AsyncCall, calls: int, concurrency: int) -> None:
    """``calls`` calls, ``concurrency`` of them open at any time."""
    budget = iter(range(calls))

    async def caller() -> None:
        for _ in budget:
            await call()

    await asyncio.gather(*(caller() for _ in range(concurrency)))


class Stopwatch:
    """Notes how long calls take: 0.2 µs each, so only where latency is the question."""

    def __init__(self) -> None:
        self._noted_s: list[float] = []

    def timed(self, call: Call) -> Call:
        def timed_call() -> None:
            started = time.perf_counter()
            call()
            self._noted_s.append(time.perf_counter() - started)

        return timed_call

    def timed_async(self, call: AsyncCall) -> AsyncCall:
        async def timed_call() -> None:
            started = time.perf_counter()
            await call()
            self._noted_s.append(time.perf_counter() - started)

        return timed_call

    def take(self) -> list[float]:
        """What was noted since the last time."""
        noted_s = self._noted_s[:]
        self._noted_s.clear()
        return noted_s
