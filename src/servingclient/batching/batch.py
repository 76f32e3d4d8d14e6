"""A request that carries rows of several callers: who they are, and what it came to for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, Final, NamedTuple

from servingclient._failures import TryFailed
from servingclient._running import Call
from servingclient._types import Reply, WireFault
from servingclient.batching.assembler import Departure
from servingclient.batching.company import Member, Terms
from servingclient.payload.body import Body
from servingclient.payload.divide import joined

_deadline_s = attrgetter("deadline_s")
_NO_BODY: Final = Body(b"", None, True)


class Deserted(Exception):  # noqa: N818 - no error: there is nothing left to do
    """All callers have left, so nothing is sent."""


class Batch(Call):
    """The call that carries others.

    Args:
        terms: What its members have in common.
        now_s: When it begins.
        deadline_s: When to give up waiting for a place; then the latest of its members counts.

    Attributes:
        members: Who is aboard.
        departure: Where they will come from; None once they have.
        board: Asked for them when it has its place; the halves of a batch know theirs.
        leader: The member whose caller sends it, among threads.
        sent: Whether the endpoint may have seen their rows.
        broken: How its last try ended, where the caller that made it was interrupted.
        boarded_s: When they came aboard, less what its own ``queue_s`` counts.
        untraced: Tries made before its span began.
    """

    deadline_s: float
    started_s: float

    gathers = True
    members: Sequence[Member[Any]] = ()
    departure: Departure[Any] | None = None
    board: Callable[[Batch], Sequence[Member[Any]]]
    leader: Member[Any] | None = None
    sent: bool = False
    broken: TryFailed | None = None
    boarded_s: float = 0.0
    untraced: int = 0

    def __init__(self, terms: Terms, now_s: float, deadline_s: float) -> None:
        super().__init__(
            _NO_BODY,
            terms.served_model,
            now_s,
            now_s,
            deadline_s - now_s,
            terms.idempotent,
            terms.story.max_idle_s[terms.idempotent],
            terms.priority,
        )
        self.terms = terms

    @classmethod
    def of(
        cls,
        departure: Departure[Any],
        deadline_s: float,
        board: Callable[[Batch], Sequence[Member[Any]]],
    ) -> Batch:
        """One whose members come aboard when it has its place."""
        terms = departure.group.terms
        batch = cls(terms, terms.story.world.now(), deadline_s)
        batch.departure = departure
        batch.board = board
        return batch

    def fill(self) -> Body:
        """The rows of all who are there. Whoever leaves between two tries is not sent again.

        Raises:
            Deserted: Nobody is.
        """
        if not self.sent:
            self.members = self.board(self)
        if self.departure is not None:
            self.depart()
        staying = [m for m in self.members if m.answer is None and not m.gone]
        if not staying:
            raise Deserted
        if not self.sent or len(staying) < len(self.members):
            self.carry(staying)
            self.sent = True
        tracer = self.terms.story.world.tracer
        if tracer is not None and self.span is None:
            links = [member.span for member in staying if member.span is not None]
            self.span = tracer.call_begun(self.terms.story.endpoint, 0.0, "shared", links)
            self.untraced = len(self.attempts)
        return self.body

    def depart(self) -> None:
        """All are aboard."""
        self.departure = None
        self.boarded_s = self.tried_s - self.queue_s

    def traced(self, error: BaseException | None = None) -> None:
        """It has ended; whoever sends it again after an interrupt begins a span of its own."""
        span, self.span = self.span, None
        if span is not None:
            span.ended(self.attempts[self.untraced :], error)

    def carry(self, members: Sequence[Member[Any]]) -> None:
        """These are sent, and no others."""
        self.members = members
        first = 0
        for member in members:
            member.batch = self
            member.first = first
            first += member.count
        last = max(members, key=_deadline_s)
        self.started_s, self.deadline_s = last.started_s, last.deadline_s
        rows = [member.rows for member in members]
        self.body: Body = Body(joined(self.terms.head, rows, self.terms.tail), first, True)

    @property
    def deserted(self) -> bool:
        """Whether nobody waits for it any more."""
        if self.departure is not None:
            return not self.departure.group.members
        return not any(member.waits for member in self.members)

    def halves(self) -> list[Batch]:
        """Two batches of half the members each, the first last, as a stack takes them.

        They go on from here: what was tried and waited for so far, it was for their members.
        """
        middle = (len(self.members) + 1) // 2
        return [self._part(self.members[middle:]), self._part(self.members[:middle])]

    def rest(self) -> Batch:
        """Those who still wait, in a batch of their own that goes on as this one would.

        Who has its answer reads of this one what it cost, and that stays as it is.
        """
        rest = self._part([member for member in self.members if member.waits])
        rest.tried_s, rest.grant, rest.advice = self.tried_s, self.grant, self.advice
        rest.progress = self.progress
        if rest.attempts and rest.attempts[-1].cause is None:  # an answer that nobody of them got
            rest.attempts = rest.attempts[:-1]
        rest.carry(rest.members)
        rest.sent = True
        return rest

    def _part(self, members: Sequence[Member[Any]]) -> Batch:
        part = Batch(self.terms, self.started_s, self.deadline_s)
        part.members, part.board, part.had_turn = members, self.board, True
        part.attempts, part.seen = self.attempts, self.seen
        part.boarded_s, part.queue_s = self.boarded_s, self.queue_s
        part.token_s, part.backoff_s = self.token_s, self.backoff_s
        for member in members:
            member.batch = part
        return part


class Answered(NamedTuple):
    """A good reply, for each member to take its part of.

    Attributes:
        reply: The reply.
        values: What it holds.
        done_s: When it was there.
    """

    reply: Reply
    values: Any
    done_s: float


class Failed(NamedTuple):
    """An error, for each member to take a copy of.

    Attributes:
        error: Without traceback, which would hold everybody's rows.
    """

    error: BaseException


Answer = Answered | Failed | WireFault
"""What becomes of a member. A ``WireFault`` is its own: its time was up, or the client closed."""
