"""What happened to the calls of one row, and the figures that the matrix asks for. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.endpoint import Sent

QUIET_S, QUIET_PART = 0.25, 0.1
"""A machine that stands still for longer, or for a larger part of the time, is not quiet."""
WELL = 0.99
"""Share of good calls from which on a window counts as well."""


class Call(NamedTuple):
    """One call, as its caller saw it.

    Attributes:
        id: What it carried, and wants back.
        due_s: When the open loop wanted it to begin, ``time.monotonic``.
        began_s: When it did.
        ended_s: When its one outcome was there.
        outcome: ``"ok"``, ``"WRONG"`` for another call's answer, or the name of the error.
        tries: Requests it made, as the client tells.
        error: The error.
    """

    id: str
    due_s: float
    began_s: float
    ended_s: float
    outcome: str
    tries: int
    error: BaseException | None = None

    @property
    def took_s(self) -> float:
        """From when it began."""
        return self.ended_s - self.began_s


class Sample(NamedTuple):
    """All clients at one instant.

    Attributes:
        at_s: When.
        in_flight: Calls admitted.
        waiting: Calls in the queues.
        most: The most admitted calls of one client.
        limit: The highest limit of one client.
    """

    at_s: float
    in_flight: int
    waiting: int
    most: int
    limit: int


@dataclass(frozen=True)
class Left:
    """What the clients held when all their calls had ended.

    Attributes:
        busy_lanes: Connections that still carry a request.
        in_flight: Calls that still hold a place.
        quotas: Tokens of each client's retry quota.
        cpu_s: CPU time of the thread that made the calls (async), for what costs CPU.
    """

    busy_lanes: int
    in_flight: int
    quotas: tuple[int, ...]
    cpu_s: float = 0.0


@dataclass(frozen=True)
class Told:
    """The record of one run.

    Attributes:
        calls: All calls, as they ended.
        sent: All requests the endpoint saw.
        processed: How often each id was run there.
        started: How many calls were begun.
        fault_s: When the fault began and ended, ``time.monotonic``.
        over_s: When the last phase ended.
        window_s: Length of a window of recovery.
        left: What was left.
        samples: The clients, ten times a second.
        stall_s: The longest that the machine stood still (``Load``).
        lost_s: What it took in all.
    """

    calls: Sequence[Call]
    sent: Sequence[Sent]
    processed: Counter[str]
    started: int
    fault_s: tuple[float, float]
    over_s: float
    window_s: float
    left: Left
    samples: Sequence[Sample] = field(default=(), repr=False)
    stall_s: float = 0.0
    lost_s: float = 0.0

    # -- which calls ------------------------------------------------------------------------------

    @property
    def before(self) -> list[Call]:
        """Calls that were due, and over, before the fault."""
        return [call for call in self.calls if call.ended_s < self.fault_s[0]]

    @property
    def during(self) -> list[Call]:
        """Calls that began in the fault."""
        start_s, end_s = self.fault_s
        return [call for call in self.calls if start_s <= call.began_s < end_s]

    # -- figures ----------------------------------------------------------------------------------

    def amplification(self, calls: Sequence[Call] | None = None) -> float:
        """Requests the endpoint saw per call; of the calls in the fault, if none are given."""
        some = self.during if calls is None else calls
        times = Counter(sent.id for sent in self.sent)
        return sum(times[call.id] for call in some) / len(some)

    def tries(self, calls: Sequence[Call] | None = None) -> float:
        """Requests per call that the clients made or wanted to, seen by an endpoint or not."""
        some = self.during if calls is None else calls
        return sum(call.tries for call in some) / len(some)

    def most_processed(self, calls: Sequence[Call] | None = None) -> int:
        """How often the id that was run most often was run."""
        some = self.calls if calls is None else calls
        return max((self.processed[call.id] for call in some), default=0)

    @property
    def recovery_s(self) -> float:
        """Seconds from the end of the fault until each later window is well; inf if never.

        A window counts the calls that ended in it. Windows begin at each fifth of their length.
        """
        end_s, step_s = self.fault_s[1], self.window_s / 5
        ended = [(call.ended_s - end_s, call.outcome == "ok") for call in self.calls]
        room_s = self.over_s - end_s - self.window_s
        starts = [n * step_s for n in range(math.floor(room_s / step_s) + 1)]
        assert starts, "the last phase is shorter than a window"
        recovered_s = math.inf
        for start_s in reversed(starts):
            good = [ok for at_s, ok in ended if start_s <= at_s < start_s + self.window_s]
            if not good or sum(good) < WELL * len(good):
                break
            recovered_s = start_s
        return recovered_s

    @property
    def noise(self) -> str:
        """What the machine took, where that was too much to judge times by; else nothing."""
        part = self.lost_s / (self.over_s - self.calls[0].began_s)
        if self.stall_s <= QUIET_S and part <= QUIET_PART:
            return ""
        return f"the machine stood still for {self.stall_s:.2f} s at once, {part:.0%} in all"

    @property
    def most_in_flight(self) -> int:
        """Most calls that one client had admitted at one time."""
        return max((sample.most for sample in self.samples), default=0)

    @property
    def highest_limit(self) -> int:
        """The highest limit that one client had."""
        return max((sample.limit for sample in self.samples), default=0)

    @property
    def most_sent(self) -> int:
        """Most requests that the endpoint saw of one call."""
        return max(Counter(sent.id for sent in self.sent).values(), default=0)


def success(calls: Sequence[Call]) -> float:
    """Share of the calls that got their own answer."""
    return sum(call.outcome == "ok" for call in calls) / len(calls)


def outcomes(calls: Sequence[Call]) -> Counter[str]:
    """How calls ended, and how many."""
    return Counter(call.outcome for call in calls)


def failed(calls: Sequence[Call]) -> list[Call]:
    """Those with an error or a wrong answer."""
    return [call for call in calls if call.outcome != "ok"]


def quantile(values: Sequence[float], share: float) -> float:
    """The value that this share of the values does not exceed; 0 of none."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, math.ceil(share * len(ranked)) - 1)] if ranked else 0.0


def longest_s(calls: Sequence[Call]) -> float:
    """Seconds that the slowest call took."""
    return max((call.took_s for call in calls), default=0.0)


def those(calls: Sequence[Call], wanted: Callable[[Call], bool]) -> list[Call]:
    """A selection."""
    return [call for call in calls if wanted(call)]
