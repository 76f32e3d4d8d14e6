"""Bulk jobs of the blocking client: threads that are there only while someone asks for results."""

from __future__ import annotations

import contextlib
import contextvars
import os
import queue
import threading
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from servingclient import _step
from servingclient._call import Story
from servingclient.bulk.job import Job
from servingclient.bulk.options import BulkOptions
from servingclient.bulk.results import MapResult
from servingclient.bulk.source import opened
from servingclient.errors import ConfigError
from servingclient.stages.staging import Staging
from servingclient.transport.clock import ThreadClock
from servingclient.transport.part import JobEnded, PartWire
from servingclient.transport.wire import SyncWire

_Work = Callable[[], Coroutine[Any, Any, None]]
_LONGEST_WAIT_S = 0.5  # on Windows a thread that waits without end does not hear of Ctrl-C


class ThreadCrew:
    """A thread for each request at a time; see ``bulk.Crew``. Started and ended by one thread.

    Args:
        break_off: Ends what the threads wait for.
    """

    reserve = 1

    def __init__(self, break_off: Callable[[], None]) -> None:
        self._break_off = break_off
        self._orders: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._done: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._running = 0
        self._pid = os.getpid()

    async def start(self, work: _Work, most: int) -> None:
        """See ``Crew.start``."""
        self._refuse_if_forked()
        self._running += 1
        if len(self._threads) < min(most, self._running):
            self._hire()
        self._orders.put(work)

    def _hire(self) -> None:
        context = contextvars.copy_context()  # what the caller traces or logs by
        thread = threading.Thread(
            target=context.run,
            args=(_labour, self._orders, self._done),
            name="servingclient-map",
            daemon=True,  # an iterator that someone keeps must not keep the process
        )
        self._threads.append(thread)  # before it runs: an interrupt in between must not hide it
        try:
            thread.start()
        except RuntimeError:  # no more threads: those there are go on
            self._threads.remove(thread)
            if not self._threads:
                raise

    def _refuse_if_forked(self) -> None:
        if os.getpid() != self._pid:
            raise ConfigError(
                "This job runs in the process that began it, and this one was forked from that. "
                "Call map again here."
            )

    async def wait(self, timeout_s: float | None) -> None:
        """See ``Crew.wait``."""
        self._refuse_if_forked()
        while True:
            try:
                self._done.get(timeout=_LONGEST_WAIT_S if timeout_s is None else timeout_s)
            except queue.Empty:
                if timeout_s is None:
                    continue
                return
            self._running -= 1
            return

    async def pause(self) -> None:
        """See ``Crew.pause``; threads need none."""

    async def end(self) -> None:
        """See ``Crew.end``. In a forked child threads and connections are the parent's."""
        if not self._threads or os.getpid() != self._pid:
            return
        self._break_off()
        with contextlib.suppress(queue.Empty):
            while True:  # pieces that waited for a hand
                self._orders.get_nowait()
        self._orders.put(None)
        for thread in self._threads:
            if thread is threading.current_thread():  # where the collector found the job
                continue
            with contextlib.suppress(RuntimeError):  # an interrupt kept it from starting
                thread.join()
        self._threads.clear()


def _labour(orders: queue.SimpleQueue[_Work | None], done: queue.SimpleQueue[None]) -> None:
    """A thread's life. It knows the queues alone, so that a job nobody asks any more can end."""
    while (work := orders.get()) is not None:
        try:
            _step.run(work())
        except JobEnded:
            pass
        finally:
            del work
            done.put(None)
    orders.put(None)  # for the next


def begin(
    story: Story,
    wire: SyncWire,
    clock: ThreadClock,
    limit: Callable[[], int],
    staging: Staging,
    options: BulkOptions,
    inputs: Any,
) -> MapResult:
    """A bulk job over the connections, queue and token of a client."""
    source = opened(inputs, asynchronous=False)
    part, own_clock = PartWire(wire), clock.part()

    def break_off() -> None:
        own_clock.wake()
        part.end()

    # Its long requests are nothing to measure the delay of hedges by, and there are always more.
    world = replace(story.world, wire=part, sleep=own_clock.sleep, hedging=None)
    own = Story(story.endpoint, story.settings, world)
    job = Job(own, options, source, ThreadCrew(break_off), limit, staging)
    return MapResult(_step.iterate(job.blocks()))
