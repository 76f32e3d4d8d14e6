"""Who waits for company, and who goes when. Pure: it is told of every event and says what to do.

A call that finds a free slot and nobody waiting goes at once, alone. Otherwise it gathers with
those whose rows fit the same body, and a request departs for them

=========  ====================================================================================
`"slot"`   when a slot is free
`"wait"`   when the oldest has waited ``max_wait_s`` for one
`"rows"`   when they are ``max_batch_rows``: company is complete
`"bytes"`  when they are ``max_batch_bytes``, likewise
=========  ====================================================================================

Whom it takes is settled later, when it has its place at the gate: all who came until then, or their
share where further slots are free. Of one group the oldest go first; groups of one priority take
turns, so that a busy one, whose rows fill request after request, does not hold up the others.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic

from servingclient._call import Story
from servingclient._ports import Gate
from servingclient._stats import BatchingStats
from servingclient.batching.company import Group, Key, Member, Slot, Terms, Turn
from servingclient.errors import QueueFull
from servingclient.settings import Batching

if TYPE_CHECKING:
    from servingclient.batching.batch import Batch


class Departure(Generic[Turn]):
    """A request that goes to the gate now, and why."""

    __slots__ = ("group", "reason")

    def __init__(self, group: Group[Turn], reason: str) -> None:
        self.group: Group[Turn] = group
        self.reason: str = reason


class Assembler(Generic[Turn]):
    """The waiting calls of one client, and how many requests are under way.

    Args:
        limits: Of a batch.
        max_waiting: Calls that may wait; one more is refused.
        slots: Requests at once before calls gather.

    Attributes:
        slots: As given; may change.
        busy: Requests that have departed and not ended.
        waiting: Calls that gather.
    """

    def __init__(self, limits: Batching, max_waiting: int, slots: int) -> None:
        self._limits = limits
        self._max_waiting = max_waiting
        self._ranks: tuple[OrderedDict[Key, Group[Turn]], ...] = (
            OrderedDict(),
            OrderedDict(),
            OrderedDict(),
        )
        self.slots = slots
        self.busy: int = 0
        self.waiting: int = 0
        self._alone = 0
        self._calls = self._rows = 0
        self._releases: Counter[str] = Counter()
        self._sizes = [0] * 64

    # ------------------------------------------------------------------ calls come

    def start_alone(self, slot: Slot, rows: int, gate: Gate) -> bool:
        """Whether a call goes at once: a slot and a place are free, and nobody waits for them.

        It then holds the slot.
        """
        if self.busy >= self.slots or self.waiting or not gate.room:
            return False
        slot.taken = True  # these lines call nothing, so no interrupt comes between them
        self.busy += 1
        self._alone += 1
        self._calls += 1
        self._rows += rows
        self._count("idle", rows)
        return True

    def passed(self, rows: int) -> None:
        """A call went by: it can share no request."""
        self._calls += 1
        self._rows += rows
        self._count("alone", rows)

    def join(
        self, key: Key, story: Story, priority: int, member: Member[Turn]
    ) -> Departure[Turn] | None:
        """A call lines up.

        Returns:
            The request that departs for it and its company, if one does now.

        Raises:
            QueueFull: Too many wait.
        """
        if self.waiting >= self._max_waiting:
            raise _full(self.waiting)
        group = self._ranks[priority].get(key)
        if group is None:
            group = Group(key, Terms(story, *key[:4], priority), self._limits)
            self._ranks[priority][key] = group
        group.add(member)
        self.waiting += 1
        self._calls += 1
        self._rows += member.count
        if group.rows >= group.enough_rows:
            return self._depart(group, "rows")
        if group.size >= group.enough_bytes:
            return self._depart(group, "bytes")
        if self.busy < self.slots and group.left_over:
            return self._depart(group, "slot")
        return None

    def leave(self, member: Member[Turn]) -> None:
        """A call that waited has had enough."""
        group = member.group
        assert group is not None
        group.remove(member)
        self.waiting -= 1
        self._forget(group)

    # ------------------------------------------------------------------ requests go

    def _depart(self, group: Group[Turn], reason: str) -> Departure[Turn]:
        self.busy += 1
        group.expect(1)
        return Departure(group, reason)

    def board(
        self,
        departure: Departure[Turn],
        gate: Gate,
        batch: Batch | None = None,
        leader: Member[Turn] | None = None,
        latest_s: float = math.inf,
    ) -> list[Member[Turn]]:
        """The request has its place: who goes with it. They wait no longer.

        Where other slots are free, and their requests would have places too, it leaves them their
        share: ``next`` tells of the one that departs for it.
        """
        group = departure.group
        slots = 1 + max(0, self.slots - self.busy) if gate.room else 1
        members = group.fitting(-(-group.rows // slots), leader, latest_s)
        if batch is not None:
            batch.members = members  # before they go: who is aboard has it as its ``batch``
        group.part_with(members, batch)
        self.waiting -= len(members)
        if members:
            self._count(departure.reason, sum(member.count for member in members))
        if group.members:  # the other groups are next
            self._ranks[group.terms.priority].move_to_end(group.key)
        self.call_off(departure)
        return members

    def call_off(self, departure: Departure[Turn]) -> None:
        """The request comes for nobody."""
        departure.group.expect(-1)
        self._forget(departure.group)

    def parted(self, members: Iterable[Member[Turn]]) -> None:
        """Half of a refused batch has its place."""
        self._count("part", sum(member.count for member in members))

    def given_back(self, slot: Slot) -> bool:
        """A call that went alone has ended; False where its slot was given back before."""
        if not slot.taken:
            return False
        slot.taken = False
        self.busy -= 1
        self._alone -= 1
        return True

    def ended(self) -> None:
        """A request has ended."""
        self.busy -= 1

    def next(self) -> Departure[Turn] | None:
        """The request that departs because a slot is free."""
        if self.busy >= self.slots or not self.waiting:
            return None
        group = next((group for group in self.groups() if group.left_over), None)
        return None if group is None else self._depart(group, "slot")

    def recount(self, coming: Sequence[Group[Turn]], requests: int) -> None:
        """An interrupt came between two figures: make them anew from who stands where.

        Args:
            coming: Where each request that is on its way to the gate will take from.
            requests: Those and all that left the gate, without calls that went alone.
        """
        self.busy = self._alone + requests
        for group in list(self.groups()):
            group.recount(coming.count(group))
            self._forget(group)
        self.waiting = sum(len(group.members) for group in self.groups())

    # ------------------------------------------------------------------ time passes

    @property
    def due_s(self) -> float:
        """When the next group has waited long enough."""
        return min(map(self.group_due_s, self.groups()), default=math.inf)

    def group_due_s(self, group: Group[Turn]) -> float:
        """When one group has; never, while a request is coming for its oldest."""
        oldest = group.oldest
        if oldest is None or group.coming:
            return math.inf
        return oldest.encoded_s + self._limits.max_wait_s

    def overdue(self, now_s: float) -> list[Departure[Turn]]:
        """The requests that depart because their calls have waited long enough."""
        due = [group for group in self.groups() if self.group_due_s(group) <= now_s]
        return [self._depart(group, "wait") for group in due]

    # ------------------------------------------------------------------ the rest

    def clear(self) -> list[Member[Turn]]:
        """Nobody waits any more. Who did?"""
        left = list(self.members())
        for member in left:
            self.leave(member)
        return left

    def members(self) -> Iterator[Member[Turn]]:
        """All who wait."""
        for group in self.groups():
            yield from group.members

    def stats(self) -> BatchingStats:
        """What was counted."""
        sizes = {1 << power: count for power, count in enumerate(self._sizes) if count}
        return BatchingStats(
            self._calls,
            self._rows,
            sum(self._sizes),
            self.waiting,
            dict(self._releases),
            sizes,
        )

    def groups(self) -> Iterator[Group[Turn]]:
        """All groups in the order of their turns."""
        for rank in self._ranks:
            yield from rank.values()

    def _forget(self, group: Group[Turn]) -> None:
        if not group.members and not group.coming:
            self._ranks[group.terms.priority].pop(group.key, None)

    def _count(self, reason: str, rows: int) -> None:
        self._releases[reason] += 1
        self._sizes[(rows - 1).bit_length()] += 1


def _full(waiting: int) -> QueueFull:
    error = QueueFull(
        f"{waiting} calls already wait to share a request. Send fewer at once, or raise "
        "Queue.max_calls (a longer queue)."
    )
    error.retryable = True
    return error
