"""Company for threads: the caller whose turn it is sends the request for all aboard.

No thread of the library's own. The leader is whoever of those aboard has the latest deadline, so
that it can wait as long as any of them; who has much more time than the leader stays for another
request. A leader that is interrupted hands over: nobody hangs, and what may not run twice is not
sent twice.

An interrupt may come between any two calls of what is done under the lock. Who stands where is
changed by single steps, so it is always true; all figures follow from it, and whoever was
interrupted makes them anew. Whoever is given something is woken before that, and looks again under
the lock: woken too early it waits on, but what it has it never sleeps over.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from servingclient._call import Story
from servingclient._ports import Gate
from servingclient._stats import BatchingStats
from servingclient._types import FaultKind, WireFault
from servingclient.batching.assembler import Assembler, Departure
from servingclient.batching.batch import Answer, Batch
from servingclient.batching.company import Group, Key, Member, Slot
from servingclient.batching.sending import closed, late, send
from servingclient.settings import Batching

Waiter = Member[threading.Lock]

_SLACK: Final = 0.01
"""Part of its own time by which a leader may be late for others: those who came while it waited
for a place have that much more time than it."""


class ThreadBatcher:
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
        # Reentrant: a signal handler may close the client, or ask for its figures, while the very
        # thread it runs in holds this.
        self._lock = threading.RLock()
        self._assembler: Assembler[threading.Lock] = Assembler(
            self._limits, self._max_waiting, self._slots()
        )
        self._leaders: set[Waiter] = set()
        self._closed = False

    # ------------------------------------------------------------------ what a call asks

    def start_alone(self, slot: Slot, rows: int, now_s: float) -> bool:
        """See ``Batcher.start_alone``."""
        with self._lock:
            return self._assembler.start_alone(slot, rows, self._gate)

    def give_back(self, slot: Slot) -> None:
        """See ``Batcher.give_back``."""
        with self._lock:
            if not self._assembler.given_back(slot):
                self._recount()
            self._go_on()

    def passed(self, rows: int) -> None:
        """See ``Batcher.passed``."""
        with self._lock:
            self._assembler.passed(rows)

    def line_up(self, key: Key, story: Story, priority: int, member: Waiter) -> Awaitable[None]:
        """See ``Batcher.line_up``."""
        member.turn = threading.Lock()
        member.turn.acquire()
        return self._attend(key, story, priority, member)

    async def _attend(self, key: Key, story: Story, priority: int, member: Waiter) -> None:
        with self._lock:
            if self._closed:
                member.answer = closed()
                return
            departure = self._assembler.join(key, story, priority, member)
            if departure is not None:
                self._appoint(departure)
        while member.answer is None:
            if member.work is None:
                self._wait(member)
            else:
                await self._lead(member)

    # ------------------------------------------------------------------ followers

    def _wait(self, member: Waiter) -> None:
        """Until something happens, or it is time to do something."""
        with self._lock:
            if not member.idle:
                return
            if self._closed and member.group is not None:
                member.answer = closed()
                self._leave_line(member)
                return
            group = member.group
            until_s = member.deadline_s
            if group is not None and group.oldest is member:
                until_s = min(until_s, self._assembler.group_due_s(group))
        left_s = min(until_s - self._now(), threading.TIMEOUT_MAX)
        if member.turn.acquire(timeout=max(0.0, left_s)):
            return
        with self._lock:
            if member.idle:
                self._act_in_time(member)

    def _act_in_time(self, member: Waiter) -> None:
        now_s = self._now()
        if member.deadline_s <= now_s:
            member.answer = late(member)
            self._leave_line(member)
            return
        for departure in self._assembler.overdue(now_s):
            self._appoint(departure)

    def _leave_line(self, member: Waiter) -> None:
        group = member.group
        if group is not None:
            self._assembler.leave(member)
            _look_at_the_clock(group)

    # ------------------------------------------------------------------ leaders

    def _appoint(self, departure: Departure[threading.Lock]) -> None:
        """Under the lock: let one of those who would be aboard send the request."""
        self._assembler.slots = self._slots()
        leader = max(departure.group.fitting(departure.group.rows), key=_deadline_s)
        batch = Batch.of(departure, leader.deadline_s, self._board)
        batch.leader = leader
        self._leaders.add(leader)
        _wake(leader)
        leader.work = [batch]

    async def _lead(self, leader: Waiter) -> None:
        work = leader.work
        assert work is not None
        await send(work, self._deliver)
        with self._lock:
            leader.work = None
            self._leaders.discard(leader)
            self._assembler.ended()
            self._go_on()

    def _board(self, batch: Batch) -> Sequence[Waiter]:
        departure, leader = batch.departure, batch.leader
        if departure is None or leader is None:
            with self._lock:
                self._assembler.parted(batch.members)
            return batch.members
        latest_s = leader.deadline_s + _SLACK * (leader.deadline_s - leader.started_s)
        with self._lock:
            self._assembler.board(departure, self._gate, batch, leader, latest_s)
            batch.depart()
            self._go_on()
            _look_at_the_clock(departure.group)
        batch.leader = None  # it holds the batch too: no cycles
        return batch.members

    def _deliver(self, batch: Batch, answer: Answer) -> None:
        with self._lock:
            if batch.departure is not None:  # it failed before it had its place
                batch.members = self._strand(batch)
            for member in batch.members:
                member.batch = batch
                if member.waits:
                    _wake(member)
                    member.answer = answer
            batch.members = ()

    def _strand(self, batch: Batch) -> Sequence[Waiter]:
        """The failure is the leader's own: another may still have time to wait for a place."""
        departure, leader = batch.departure, batch.leader
        assert departure is not None
        assert leader is not None
        batch.departure = batch.leader = None
        self._assembler.call_off(departure)
        self._leave_line(leader)
        _look_at_the_clock(departure.group)
        return [leader]

    def _go_on(self) -> None:
        """Under the lock: what departs because a slot is free."""
        departure = self._assembler.next()
        if departure is not None:
            self._appoint(departure)

    # ------------------------------------------------------------------ callers that leave

    def left(self, member: Waiter) -> None:
        """See ``Batcher.left``. What it leads goes on without it."""
        member.gone = True
        if member.work:
            _break_off(member.work)
        with self._lock:
            if member.group is not None:
                self._assembler.leave(member)
            if member.work is not None:
                self._hand_over(member, member.work)
            self._recount()
            self._go_on()

    def _hand_over(self, leader: Waiter, work: list[Batch]) -> None:
        """Under the lock."""
        current = work[-1] if work else None
        if current is not None and current.departure is not None and current.members:
            # Interrupted while they came aboard: the others wait on, or somebody else has them.
            current.members = [one for one in current.members if one.batch is current]
            current.depart()
        aboard = [member for batch in work for member in batch.members if member.waits]
        if aboard:
            successor = max(aboard, key=_deadline_s)
            self._leaders.add(successor)
            _wake(successor)
            successor.work, leader.work = work, None
        else:
            leader.work = None

    def _recount(self) -> None:
        """Under the lock: somebody was interrupted, perhaps between two figures."""
        self._leaders = {leader for leader in self._leaders if leader.work is not None}
        coming = [
            batch.departure.group
            for leader in self._leaders
            for batch in leader.work or ()
            if batch.departure is not None
        ]
        self._assembler.recount(coming, len(self._leaders))
        for group in self._assembler.groups():
            _look_at_the_clock(group)

    # ------------------------------------------------------------------ the client's life

    def refuse(self) -> None:
        """Take no more calls; those who wait for company are told. What was sent goes on."""
        with self._lock:
            self._closed = True
            for member in list(self._assembler.members()):
                _wake(member)  # each leaves by itself: this may be a signal handler amid a change

    def stats(self) -> BatchingStats:
        """What was counted."""
        with self._lock:
            return self._assembler.stats()


def _break_off(work: list[Batch]) -> None:
    """Not under the lock, since observers are told: the try under way has no end that is known."""
    current = work[-1]
    aboard = current.departure is None and current.sent
    if aboard and current.broken is None and any(member.waits for member in current.members):
        rest = current.rest()
        fault = WireFault(FaultKind.CUT_OFF, "its sender was interrupted", sent="maybe")
        rest.broken = rest.terms.story.failures.of_fault(rest, fault)
        work[-1] = rest


def _wake(member: Waiter) -> None:
    """Under the lock."""
    try:
        member.turn.release()
    except RuntimeError:  # it has been woken, or does not sleep
        pass


def _look_at_the_clock(group: Group[threading.Lock]) -> None:
    """Under the lock: who waits longest in a group sees to it that it is not too long."""
    if group.oldest is not None and not group.coming:
        _wake(group.oldest)


def _deadline_s(member: Waiter) -> float:
    return member.deadline_s


_batchers: weakref.WeakSet[ThreadBatcher] = weakref.WeakSet()


def _renew_all() -> None:
    """In a forked child: who waited, waits in the parent; a thread there may hold the lock."""
    for batcher in list(_batchers):
        batcher._renew()  # noqa: SLF001 - the same module


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_all)
