"""What a run of calls says of a client: a history is taken down first and judged afterwards.

As Jepsen does it: the run may be as wild as it likes, and what is asserted is only what must hold
of any run. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Outcome(NamedTuple):
    """One way in which a call ended.

    Attributes:
        error: Class of the error; None for an answer.
        answer: What was answered.
        attempts: How many tries were told; None where nobody could tell them.
        sent: Whether the endpoint may have seen it, as the error says.
        ours: The error is one that callers are told of.
    """

    error: str | None = None
    answer: object = None
    attempts: int | None = None
    sent: str = "yes"
    ours: bool = True


@dataclass(slots=True)
class Call:
    """One call.

    Attributes:
        id: What it asks for, and must be answered with.
        idempotent: Whether it may run twice.
        timeout_s: What it was given.
        outcomes: How it ended; must be one.
        took_s: How long that took.
    """

    id: str
    idempotent: bool
    timeout_s: float
    outcomes: list[Outcome] = field(default_factory=list)
    took_s: float = 0.0


@dataclass(slots=True)
class History:
    """A run.

    Attributes:
        calls: All calls.
        most_attempts: Most tries of one call, by its settings.
        processed: How often the endpoint worked on each id.
        quota: What was seen of the retry quota.
        quota_capacity: The most there may be of it.
        left: What was still held when all had ended, and how much of it.
    """

    most_attempts: int
    quota_capacity: int
    calls: list[Call] = field(default_factory=list)
    processed: Mapping[str, int] = field(default_factory=dict)
    quota: list[int] = field(default_factory=list)
    left: dict[str, int] = field(default_factory=dict)

    @property
    def outcomes(self) -> Counter[str]:
        """How calls ended, and how many."""
        return Counter(one.error or "ok" for call in self.calls for one in call.outcomes)


LATE_S = 5.0
"""How much later than its deadline a call may end: what stalls its loop or the machine holds it up
too, and to the millisecond it is measured by other rows. Here it is whether it ends."""


def problems(history: History) -> list[str]:
    """What must not be, in words; empty for a good run."""
    found = list(_of_ids(history.calls, history.processed))
    for call in history.calls:
        found += _of_call(call, history.processed.get(call.id, 0), history.most_attempts)
    found += _of_quota(history.quota, history.quota_capacity)
    found += [f"{held} {what} left" for what, held in history.left.items() if held]
    return found


def _of_ids(calls: Sequence[Call], processed: Iterable[str]) -> Iterator[str]:
    known = Counter(call.id for call in calls)
    yield from (f"{one}: called twice, the run is wrong" for one, n in known.items() if n > 1)
    yield from (f"{one}: processed, and nobody called it" for one in processed if one not in known)


def _of_call(call: Call, processed: int, most_attempts: int) -> Iterator[str]:
    if len(call.outcomes) != 1:
        yield f"{call.id}: {len(call.outcomes)} outcomes"
        return
    outcome = call.outcomes[0]
    attempts = most_attempts if outcome.attempts is None else outcome.attempts
    if processed > attempts:
        yield f"{call.id}: processed {processed} times in {attempts} tries"
    if not call.idempotent and processed > 1:
        yield f"{call.id}: processed {processed} times, and may run only once"
    if not outcome.ours:
        yield f"{call.id}: ended with {outcome.error}"
    if outcome.error is None and outcome.answer != call.id:
        yield f"{call.id}: answered with {outcome.answer!r}"
    if outcome.error is None and not processed:
        yield f"{call.id}: answered, and nobody processed it"
    if outcome.error is not None and outcome.sent == "no" and processed:
        yield f"{call.id}: processed, and {outcome.error} says that it was not sent"
    if call.took_s > call.timeout_s + LATE_S:
        yield f"{call.id}: ended after {call.took_s:.3f} s, with {call.timeout_s:.3f} s to go"


def _of_quota(seen: Iterable[int], capacity: int) -> Iterator[str]:
    wrong = sorted({one for one in seen if not 0 <= one <= capacity})
    if wrong:
        yield f"retry quota of {wrong}, which is from 0 to {capacity}"
