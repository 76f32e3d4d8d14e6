"""Callers whose rows fit one request: what they have in common, and who waits. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from servingclient._call import Story
from servingclient._watching import Span
from servingclient.payload.body import Body
from servingclient.settings import Batching

if TYPE_CHECKING:
    from servingclient.batching.batch import Answer, Batch

Turn = TypeVar("Turn")
"""What wakes a waiting caller: a lock or a future."""

Key = tuple[bytes, bytes, "str | None", bool, tuple[int, int]]
"""Equal for calls that may share a request: head and tail of the body, served model, whether it
may run twice, and which rules it is sent by."""


class Terms(NamedTuple):
    """What the calls of one group have in common.

    Attributes:
        story: Sends them; those of copies with the same rules may stand for each other.
        head: The body up to the rows.
        tail: The body behind them, parameters included.
        served_model: Served model asked for.
        idempotent: Whether they may run twice.
        priority: Rank at the gate.
    """

    story: Story
    head: bytes
    tail: bytes
    served_model: str | None
    idempotent: bool
    priority: int


class Slot:
    """What a call that goes alone holds. Made before it is taken: whatever interrupts the call, and
    wherever, it is known whether there is one to give back.

    Attributes:
        taken: It is held now.
    """

    taken = False


class Member(Generic[Turn]):
    """What one caller wants of a shared request.

    Attributes:
        body: What it would send alone.
        rows: Its rows, as they stand in a body.
        count: How many.
        started_s: When its caller called.
        encoded_s: When its body was ready, and it lined up.
        deadline_s: When its caller gives up.
        turn: Wakes its caller, once it has lined up.
        queue_s: How long it waited, once that is known.
        learn_s: How long it waited for the model's signature, before it was encoded.
        group: Where it waits; None once it is aboard or has left.
        batch: What carries it.
        first: Position of its first row there.
        work: Batches its caller sends for the others, where it leads.
        gone: Its caller has left: rows not sent yet are dropped, and nobody waits for a reply.
        answer: What became of it.
        span: Follows the call, where calls are traced.
    """

    turn: Turn
    # What most members never change stands as a default of the class, as in a Call.
    queue_s: float = 0.0
    learn_s: float = 0.0
    group: Group[Turn] | None = None
    batch: Batch | None = None
    first = 0
    work: list[Batch] | None = None
    gone = False
    answer: Answer | None = None
    span: Span | None = None

    def __init__(
        self,
        body: Body,
        rows: bytes,
        started_s: float,
        encoded_s: float,
        deadline_s: float,
    ) -> None:
        self.body = body
        self.rows = rows
        self.count: int = body.rows or 1
        self.started_s = started_s
        self.encoded_s = encoded_s
        self.deadline_s = deadline_s

    @property
    def waits(self) -> bool:
        """Whether its caller still waits for an answer."""
        return self.answer is None and not self.gone

    @property
    def idle(self) -> bool:
        """Whether there is nothing for its caller to take or to do."""
        return self.answer is None and self.work is None


class Group(Generic[Turn]):
    """Calls that wait and may share a request.

    Attributes:
        key: What is equal for them.
        terms: What they have in common.
        members: They, the oldest first.
        rows: How many rows they have.
        size: How many bytes these are.
        coming: Requests on their way to the gate that will take from here.
        enough_rows: With so many, one more request is full.
        enough_bytes: With so many, likewise.
    """

    __slots__ = (
        "coming",
        "enough_bytes",
        "enough_rows",
        "key",
        "members",
        "most_bytes",
        "most_rows",
        "rows",
        "size",
        "terms",
    )

    enough_bytes: int
    enough_rows: int
    most_bytes: int
    most_rows: int

    def __init__(self, key: Key, terms: Terms, limits: Batching) -> None:
        self.key: tuple[bytes, bytes, str | None, bool, tuple[int, int]] = key
        self.terms: Terms = terms
        self.members: dict[Member[Turn], None] = {}
        self.rows: int = 0
        self.size: int = 0
        self.coming: int = 0
        self.most_rows = self.enough_rows = limits.max_batch_rows
        envelope = len(terms.head) + len(terms.tail)
        self.most_bytes = self.enough_bytes = limits.max_batch_bytes - envelope

    @property
    def oldest(self) -> Member[Turn] | None:
        """Who waits longest."""
        return next(iter(self.members), None)

    @property
    def left_over(self) -> bool:
        """Whether anyone will still be here when all that are coming have taken theirs."""
        return (
            self.rows > self.enough_rows - self.most_rows
            or self.size > self.enough_bytes - self.most_bytes
        )

    def expect(self, requests: int) -> None:
        """So many more requests are coming, or fewer."""
        self.coming += requests
        self.enough_rows = (self.coming + 1) * self.most_rows
        self.enough_bytes = (self.coming + 1) * self.most_bytes

    def add(self, member: Member[Turn]) -> None:
        """Line up."""
        size = len(member.rows) + 1
        member.group = self  # from here on no call: an interrupt finds all of it done, or nothing
        self.members[member] = None
        self.rows += member.count
        self.size += size

    def remove(self, member: Member[Turn]) -> None:
        """Leave the line."""
        size = len(member.rows) + 1
        member.group = None  # as in ``add``
        del self.members[member]
        self.rows -= member.count
        self.size -= size

    def part_with(self, members: Sequence[Member[Turn]], batch: Batch | None) -> None:
        """Several leave the line, for a batch."""
        for member in members:
            size = len(member.rows) + 1
            member.group = None  # as in ``add``
            member.batch = batch
            del self.members[member]
            self.rows -= member.count
            self.size -= size

    def recount(self, coming: int) -> None:
        """Make all figures anew: so many requests are coming for who stands here."""
        self.rows = sum(member.count for member in self.members)
        self.size = sum(len(member.rows) + 1 for member in self.members)
        self.expect(coming - self.coming)

    def fitting(
        self,
        share_rows: int,
        leader: Member[Turn] | None = None,
        latest_s: float = math.inf,
    ) -> list[Member[Turn]]:
        """The oldest that fit one request.

        Args:
            share_rows: Enough for it, if there are more.
            leader: One of them that must be aboard.
            latest_s: Whose deadline is later stays for another request.
        """
        rows, size = self.most_rows, self.most_bytes
        if leader is None and self.rows <= min(rows, share_rows) and self.size <= size:
            return list(self.members)
        enough = rows - share_rows
        if leader is not None:
            rows, size = rows - leader.count, size - len(leader.rows) - 1
        fitting = []
        for member in self.members:
            if member is leader:
                fitting.append(member)
                continue
            if rows <= enough:
                break
            if member.work is not None or member.deadline_s > latest_s:
                continue
            rows -= member.count
            size -= len(member.rows) + 1
            if rows < 0 or size < 0:
                break
            fitting.append(member)
        if leader is not None and leader not in fitting:
            fitting.append(leader)
        return fitting
