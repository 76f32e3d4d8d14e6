"""When a call may be sent a second time while its first request is under way.

A few replies in a hundred take many times as long as the others, for reasons that have nothing to
do with the request: a busy replica, a lost packet, a collector's pause. A second request, sent once
the first has taken longer than 95 % of recent ones, is nearly always answered quickly, for 5 % more
load (Dean, Barroso: The Tail at Scale, 2013). When all replies slow down, second requests would be
the load that keeps them slow: so they have a share, pay the retry quota, and pause when the
endpoint says that it has no room.
"""

from __future__ import annotations

import math
import os
import weakref
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Final, Literal

from servingclient._stats import HedgingStats
from servingclient.policies.quota import Quota
from servingclient.settings import Hedge

WINDOW: Final = 500
"""Replies that the delay is worked out from, unless more are asked for: a p99 still rests on five,
and a change is followed within some hundred calls."""
BURST: Final = 10.0
"""Hedges saved up at most. Without a bound, a quiet day would save enough to double the load of the
first bad hour."""

NO_ROOM: Final = frozenset({429, 503})
"""Replies after which hedging pauses."""

_UNGUARDED: Final = nullcontext()


End = int | Literal["running", "broken"]
"""How a request stands: the status of its reply, still to come, or never."""


def choice(ends: Sequence[End]) -> int | None:
    """Which of a call's requests it goes on with; None as long as another may do better.

    What the endpoint makes of the request itself (a result, a bad input, a wrong credential) it
    would say both times, so the first such reply counts. What it says of its own state it may not.
    When no request does better, a reply tells more than a broken connection, and the first request
    more than the second.
    """
    replies = [(position, end) for position, end in enumerate(ends) if isinstance(end, int)]
    for position, status in replies:
        if status < 500 and status not in NO_ROOM:
            return position
    if "running" in ends:
        return None
    return replies[0][0] if replies else 0


class HedgePolicy:
    """Delay, share and counts of one client's hedges.

    Args:
        settings: Quantile, samples, share and pause.
        quota: Tokens shared with retries.
        cost: Tokens that a hedge takes, as a retry does. A good reply brings them back.
        guard: Makes a change atomic: a lock where threads share the policy, nothing on one event
            loop.
    """

    __slots__ = (
        "__weakref__",
        "_allowance",
        "_calls",
        "_cost",
        "_delay_s",
        "_guard",
        "_hedges",
        "_ordered",
        "_quota",
        "_recent",
        "_resume_s",
        "_settings",
        "_window",
        "_wins",
    )

    def __init__(
        self,
        settings: Hedge,
        quota: Quota,
        cost: int,
        guard: AbstractContextManager[object] = _UNGUARDED,
    ) -> None:
        self._settings = settings
        self._quota = quota
        self._cost = cost
        self._guard = guard
        self._window = max(WINDOW, settings.min_samples)
        self._recent: deque[float] = deque()
        self._ordered: list[float] = []
        self._delay_s: float | None = None
        self._allowance = 0.0
        self._resume_s = -math.inf
        self.forget_counts()
        _policies.add(self)

    def forget_counts(self) -> None:
        """What the parent of a forked child counted is not the child's."""
        self._calls = self._hedges = self._wins = 0

    def delay_s(self, now_s: float) -> float | None:
        """How long a call that may be repeated waits before it is hedged; None for not at all.

        Counts the call.

        Args:
            now_s: The instant at which it is sent.
        """
        with self._guard:
            self._calls += 1
            self._allowance = min(self._allowance + self._settings.max_share, BURST)
            return None if now_s < self._resume_s else self._delay_s

    def take(self) -> bool:
        """A call has waited so long: whether a hedge may leave. Takes its share and its tokens."""
        with self._guard:
            if self._allowance < 1.0 or not self._quota.take(self._cost):
                return False
            self._allowance -= 1.0
            self._hedges += 1
            return True

    def untake(self) -> None:
        """The hedge that was granted could not be sent after all."""
        with self._guard:
            self._quota.refund(self._cost)
            self._allowance += 1.0
            self._hedges -= 1

    def answered(self, took_s: float, *, hedged: bool = False, won: bool = False) -> None:
        """A call got a good reply.

        Args:
            took_s: Seconds since its first request left, also where the second was quicker: what
                the first would have taken is not known, but no less.
            hedged: A second request had left. Its tokens come back, as a retry's do.
            won: The second was answered first.
        """
        with self._guard:
            if hedged:
                self._quota.refund(self._cost)
                self._wins += won
            self._learn(took_s)

    def _learn(self, took_s: float) -> None:
        recent, ordered = self._recent, self._ordered
        if len(recent) == self._window:
            del ordered[bisect_left(ordered, recent.popleft())]
        recent.append(took_s)
        insort(ordered, took_s)
        if len(ordered) >= self._settings.min_samples:
            self._delay_s = ordered[math.ceil(self._settings.quantile * len(ordered)) - 1]

    def no_room(self, now_s: float) -> None:
        """The endpoint refused a call for want of room."""
        with self._guard:
            self._resume_s = max(self._resume_s, now_s + self._settings.pause_s)

    def stats(self) -> HedgingStats:
        """What was counted so far."""
        with self._guard:
            return HedgingStats(self._calls, self._hedges, self._wins, self._delay_s)


_policies: weakref.WeakSet[HedgePolicy] = weakref.WeakSet()


def _forget_all() -> None:
    for policy in list(_policies):
        policy.forget_counts()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_all)
