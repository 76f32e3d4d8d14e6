"""Callers whose rows fit one request: what they have in common, and who waits. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from servingclient._call import Story
from servingclient._failures import Call
from servingclient.settings import Batching

if TYPE_CHECKING:
    from servingclient.batching.batch import Answer, Batch

Turn = TypeVar("Turn")
"""What wakes a waiting caller: a lock or a future."""

Key = tuple[object, ...]
"""Equal for calls that may share a request."""


class Terms(NamedTuple):
    """What calls must have in common to share a request.

    Attributes:
        story: Sends it; those of copies with the same retry rules may stand for each other.
        head: The body up to the rows.
        tail: The body behind them, parameters included.
        served_model: Served model asked for.
        idempotent: Whether it may run twice.
        max_idle_s: Connections that idled longer are not reused.
        priority: Rank at the gate.
    """

    story: Story
    head: bytes
    tail: bytes
    served_model: str | None
    idempotent: bool
    max_idle_s: float
    priority: int


class Member(Generic[Turn]):
    """One call that waits to share a request, or shares one.

    Attributes:
        call: The call; its deadline counts for it alone.
        rows: Its rows, as they stand in a body.
        count: How many.
        turn: Wakes its caller.
        group: Where it waits; None once it is aboard or has left.
        batch: What carries it.
        first: Position of its first row there.
        work: Batches its caller sends for the others, where it leads.
        gone: Its caller has left: rows not sent yet are dropped, and nobody waits for a reply.
        answer: What became of it.
    """

    __slots__ = (
        "answer",
        "batch",
        "call",
        "count",
        "first",
        "gone",
        "group",
        "rows",
        "turn",
        "work",
    )

    def __init__(self, call: Call, rows: bytes, count: int, turn: Turn) -> None:
        self.call = call
        self.rows = rows
        self.count = count
        self.turn = turn
        self.group: Group[Turn] | None = None
        self.batch: Batch | None = None
        self.first = 0
        self.work: list[Batch] | None = None
        self.gone = False
        self.answer: Answer | None = None

    @property
    def waits(self) -> bool:
        """Whether its caller still waits for an answer."""
        return self.answer is None and not self.gone


class Group(Generic[Turn]):
    """Calls that wait and may share a request.

    Attributes:
        key: What is equal for them.
        terms: What they have in common.
        members: They, the oldest first.
        rows: How many rows they have.
        size: How many bytes these are.
        most_rows: Most rows of one request.
        most_bytes: Most bytes of rows of one request.
        coming: Requests on their way to the gate that will take from here.
    """

    __slots__ = ("coming", "key", "members", "most_bytes", "most_rows", "rows", "size", "terms")

    def __init__(self, key: Key, terms: Terms, limits: Batching) -> None:
        self.key = key
        self.terms = terms
        self.members: dict[Member[Turn], None] = {}
        self.rows = 0
        self.size = 0
        self.most_rows = limits.max_batch_rows
        self.most_bytes = limits.max_batch_bytes - len(terms.head) - len(terms.tail)
        self.coming = 0

    @property
    def oldest(self) -> Member[Turn] | None:
        """Who waits longest."""
        return next(iter(self.members), None)

    def add(self, member: Member[Turn]) -> None:
        """Line up."""
        member.group = self
        self.members[member] = None
        self.rows += member.count
        self.size += len(member.rows) + 1

    def remove(self, member: Member[Turn]) -> None:
        """Leave the line."""
        member.group = None
        del self.members[member]
        self.rows -= member.count
        self.size -= len(member.rows) + 1

    @property
    def complete(self) -> str | None:
        """Why it is no use waiting for more company, if so."""
        requests = self.coming + 1
        if self.rows >= requests * self.most_rows:
            return "rows"
        return "bytes" if self.size >= requests * self.most_bytes else None

    @property
    def left_over(self) -> bool:
        """Whether anyone will still be here when all that are coming have taken theirs."""
        coming = self.coming
        return self.rows > coming * self.most_rows or self.size > coming * self.most_bytes

    def fitting(
        self, leader: Member[Turn] | None = None, latest_s: float = math.inf
    ) -> list[Member[Turn]]:
        """The oldest that fit one request.

        Args:
            leader: One of them that must be aboard.
            latest_s: Whose deadline is later stays for another request.
        """
        rows, size = self.most_rows, self.most_bytes
        if leader is not None:
            rows, size = rows - leader.count, size - len(leader.rows) - 1
        fitting = []
        for member in self.members:
            if member is leader:
                fitting.append(member)
                continue
            if member.work is not None or member.call.deadline_s > latest_s:
                continue
            rows, size = rows - member.count, size - len(member.rows) - 1
            if rows < 0 or size < 0:
                break
            fitting.append(member)
        if leader is not None and leader not in fitting:
            fitting.append(leader)
        return fitting
