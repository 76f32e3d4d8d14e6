"""Company for the tasks of one event loop: requests are sent by tasks of their own.

A caller only waits for its turn, so it may be cancelled or run out of time alone. When nobody waits
for a request any more, it is aborted.
"""

from __future__ import annotations

import asyncio
import math
import os
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from typing import Final

from servingclient._call import Story
from servingclient._ports import Gate
from servingclient._stats import BatchingStats
from servingclient.batching.alarm import Alarm
from servingclient.batching.assembler import Assembler, Departure
from servingclient.batching.batch import Answer, Batch
from servingclient.batching.company import Key, Member, Slot
from servingclient.batching.sending import closed, late, send
from servingclient.errors import WrongLoopError
from servingclient.settings import Batching

_RETURN_S: Final = 50e-6
"""Callers that were answered together come back together if they call again, within so long each.
Each alone, the first few would take all free slots, and the many others wait for them: with 64
callers and 4 slots of 5 ms that is 5,000 rows a second, and 8,700 gathered and shared out.
"""

Waiter = Member["asyncio.Future[None]"]


class _Runner:
    """A task that sends, and what it has to send."""

    __slots__ = ("parts", "task")

    def __init__(self) -> None:
        self.parts: list[Batch] = []
        self.task: asyncio.Task[None] | None = None


class LoopBatcher:
    """See ``batched.Batcher``.

    Args:
        limits: Of a batch.
        max_waiting: Calls that may wait for company.
        gate: Where requests, and calls that go alone, have their places.
        slots: How many requests at once before calls gather, as known by now.
        now: The clock of the calls' deadlines.
    """

    def __init__(
        self,
        limits: Batching,
        max_waiting: int,
        gate: Gate,
        slots: Callable[[], int],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._max_waiting = max_waiting
        self._gate = gate
        self._slots = slots
        self._now = now
        self._renew()
        _batchers.add(self)

    def _renew(self) -> None:
        self._assembler: Assembler[asyncio.Future[None]] = Assembler(
            self._limits, self._max_waiting, self._slots()
        )
        self._runners: set[_Runner] = set()
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waited_enough = Alarm(self._now, self._release_overdue)
        self._out_of_time = Alarm(self._now, self._refuse_late)
        self._back_s = -math.inf

    # ------------------------------------------------------------------ what a call asks

    def start_alone(self, slot: Slot, rows: int, now_s: float) -> bool:
        """See ``Batcher.start_alone``. Not for those who come back from one request: they gather
        in this round of the loop, and depart in the next.
        """
        return now_s >= self._back_s and self._assembler.start_alone(slot, rows, self._gate)

    def give_back(self, slot: Slot) -> None:
        """See ``Batcher.give_back``."""
        if self._assembler.given_back(slot):
            self._slot_is_free()

    def _slot_is_free(self) -> None:
        if self._assembler.waiting and _running_loop() is self._loop:
            self._start(None)

    def passed(self, rows: int) -> None:
        """See ``Batcher.passed``."""
        self._assembler.passed(rows)

    def line_up(
        self, key: Key, story: Story, priority: int, member: Waiter
    ) -> asyncio.Future[None]:
        """See ``Batcher.line_up``."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._adopt(loop)
        member.turn = loop.create_future()
        if self._closed:
            _wake(member, closed())
            return member.turn
        departure = self._assembler.join(key, story, priority, member)
        if departure is not None:
            self._start(departure)
        elif self._waited_enough.at_s == math.inf and not _expects(member):
            self._waited_enough.set(self._assembler.due_s)
        if member.deadline_s < self._out_of_time.at_s:
            self._out_of_time.set(member.deadline_s)
        return member.turn

    # ------------------------------------------------------------------ requests

    def _start(self, departure: Departure[asyncio.Future[None]] | None) -> None:
        """Have a request sent, or whatever is next by then, outside the context of any caller."""
        runner = _Runner()
        if departure is not None:
            runner.parts.append(self._batch(departure))
        self._run_in_task(runner)

    def _run_in_task(self, runner: _Runner) -> None:
        loop = asyncio.get_running_loop()
        runner.task = Context().run(loop.create_task, self._run(runner))
        self._runners.add(runner)
        runner.task.add_done_callback(lambda _: self._finished(runner))

    async def _run(self, runner: _Runner) -> None:
        """Send, and go on with who is next: the callers just answered are woken meanwhile."""
        parts = runner.parts
        while parts or self._load_next(parts):
            await send(parts, self._deliver)
            self._assembler.ended()

    def _load_next(self, parts: list[Batch]) -> bool:
        departure = self._assembler.next()
        if departure is None:
            return False
        parts.append(self._batch(departure))
        return True

    def _batch(self, departure: Departure[asyncio.Future[None]]) -> Batch:
        self._assembler.slots = self._slots()
        return Batch.of(departure, math.inf, self._board)

    def _board(self, batch: Batch) -> Sequence[Waiter]:
        if batch.departure is None:
            self._assembler.parted(batch.members)
            return batch.members
        members = self._assembler.board(batch.departure, self._gate)
        if self._assembler.waiting:
            self._go_on()
        return members

    def _go_on(self) -> None:
        """Somebody waits: for a slot that is free, or for the time when that does not matter."""
        departure = self._assembler.next()
        if departure is not None:
            self._start(departure)
        else:
            self._waited_enough.set(self._assembler.due_s)

    def _deliver(self, batch: Batch, answer: Answer) -> None:
        if batch.departure is not None:  # it failed before it had its place
            batch.members, batch.departure = self._board(batch), None
            for member in batch.members:
                member.batch = batch
        if len(batch.members) > 1:
            self._back_s = self._now() + _RETURN_S * len(batch.members)
        for member in batch.members:
            if member.answer is None and not member.turn.done():
                member.answer = answer
                member.turn.set_result(None)
        batch.members = ()

    def _finished(self, runner: _Runner) -> None:
        """A task has ended: it had nothing left to send, or it was cancelled."""
        self._runners.discard(runner)
        if not runner.parts:
            return
        batch = runner.parts.pop()
        if batch.departure is not None:
            self._assembler.call_off(batch.departure)
        elif not batch.deserted:  # it was not us: the loop ends, and the callers with it
            runner.parts.append(batch)
            self._cancel_all(runner.parts)
        if runner.parts:
            self._run_in_task(runner)
            return
        self._assembler.ended()
        self._slot_is_free()
        self._waited_enough.set(self._assembler.due_s)

    def _cancel_all(self, parts: list[Batch]) -> None:
        for batch in parts:
            for member in batch.members:
                member.turn.cancel()
        parts.clear()

    # ------------------------------------------------------------------ callers that leave

    def left(self, member: Waiter) -> None:
        """See ``Batcher.left``. What was under way for nobody else is aborted."""
        member.gone = True
        group, batch = member.group, member.batch
        if group is not None:
            self._assembler.leave(member)
        for runner in self._runners:
            current = runner.parts[-1] if runner.parts else None
            if current is None or runner.task is None:
                continue
            departure = current.departure
            concerned = current is batch if departure is None else departure.group is group
            if concerned and current.deserted:
                runner.task.cancel()

    def _refuse_late(self) -> None:
        now_s = self._now()
        for member in [member for member in self._all() if member.deadline_s <= now_s]:
            _wake(member, late(member))
            self.left(member)
        self._out_of_time.set(min((one.deadline_s for one in self._all()), default=math.inf))

    def _all(self) -> Iterator[Waiter]:
        """All who wait for an answer."""
        yield from self._assembler.members()
        for runner in self._runners:
            for batch in runner.parts:
                yield from (member for member in batch.members if member.waits)

    def _release_overdue(self) -> None:
        for departure in self._assembler.overdue(self._now()):
            self._start(departure)
        self._waited_enough.set(self._assembler.due_s)

    # ------------------------------------------------------------------ the client's life

    def refuse(self) -> None:
        """Take no more calls; those who wait for company are told. What was sent goes on."""
        self._closed = True
        self._waited_enough.stop()
        for member in self._assembler.clear():
            _wake(member, closed())

    def _adopt(self, loop: asyncio.AbstractEventLoop) -> None:
        """Move to the running loop. Calls that a closed loop never finished wait for nothing."""
        old = self._loop
        if old is not None and old.is_running():
            raise WrongLoopError(
                "This client is in use on another running event loop; connections cannot cross "
                "loops. Make one AsyncServingClient per loop."
            )
        if old is not None and old.is_closed():
            self._assembler.clear()
            for _ in self._runners:
                self._assembler.ended()
            self._runners.clear()
        self._waited_enough.stop()
        self._out_of_time.stop()
        self._loop = loop

    def stats(self) -> BatchingStats:
        """What was counted."""
        return self._assembler.stats()


def _expects(member: Waiter) -> bool:
    """Whether a request is on its way for those it waits with: then nobody has to see to one. To
    ask for the next of all groups instead is 0.7 us a row.
    """
    return member.group is not None and member.group.coming > 0


def _wake(member: Waiter, answer: Answer) -> None:
    member.answer = answer
    if not member.turn.done():
        member.turn.set_result(None)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """None where a call ends because its coroutine is collected after its loop closed."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


_batchers: weakref.WeakSet[LoopBatcher] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: who waited, waits in the parent, whose loop seems to run for ever."""
    for batcher in list(_batchers):
        batcher._renew()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
