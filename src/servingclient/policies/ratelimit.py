"""How fast one API is asked. Pure: time is an argument.

A token bucket that hands out instants instead of tokens: each call is told at once when it leaves,
so whoever came first goes first and nobody polls. It holds one number, the instant at which it
would be full again (GCRA, ITU-T I.371), and the instants that were given back.

What the API says comes on top and can only slow down: how many more requests it takes until its
window ends, and how long it wants to be left alone.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Final

from servingclient._types import RawHeaders, joined
from servingclient.policies import rate_headers
from servingclient.policies.rate_headers import Told
from servingclient.policies.rate_window import TheirWindow
from servingclient.policies.retry_after import parse_retry_after
from servingclient.settings import RateLimit

ASKS_TO_WAIT: Final = frozenset({403, 429, 503})
"""Statuses at which ``Retry-After`` means every call; GitHub says 403 to those that are too fast.
Elsewhere (202, 301) it is about the one thing that was asked for."""
_TOO_MANY: Final = 429
FIRST_UNSAID_S: Final = 0.1
"""The pause after a 429 that does not say how long: about a window's tenth where an API counts by
the second. It doubles with each further one, and ends with any other reply."""
LONGEST_UNSAID_S: Final = 1.0
"""A fifth of the time a call has by default: who refuses everybody is still asked by each."""
MOST_UNDER_WAY: Final = 256
"""Calls without a reply that are remembered, as many as there can be connections: what is left in
the API's count does not know of them. Without, sixteen at once are refused fifteen times."""
_NO_REPLY_S: Final = 10.0  # after which a call gets none; they end without one now and then
_ROUNDING_S: Final = 1e-6  # what adding and taking away the same clock may lose
_UNGUARDED: Final = nullcontext()


class Bucket:
    """The pace of the calls to one API.

    Args:
        rules: Rate, burst, and whether to heed what the API says.
        guard: Makes a change atomic: a lock where threads share the bucket, nothing on one event
            loop.
    """

    __slots__ = (
        "_freed",
        "_full_s",
        "_guard",
        "_interval_s",
        "_last_s",
        "_longest_s",
        "_pause_s",
        "_rules",
        "_saved_s",
        "_under_way",
        "_unlimited",
        "_unsaid_s",
        "_window",
    )

    def __init__(
        self, rules: RateLimit, guard: AbstractContextManager[object] = _UNGUARDED
    ) -> None:
        self._rules = rules
        self._guard = guard
        self._interval_s = 0.0 if rules.calls_per_s is None else 1.0 / rules.calls_per_s
        self._saved_s = (rules.burst_calls - 1) * self._interval_s
        self._longest_s = rules.max_pause_s
        self._unlimited = rules.calls_per_s is None
        self._full_s = -math.inf
        self._last_s = -math.inf
        self._freed: list[float] = []
        self._pause_s = -math.inf
        self._unsaid_s = 0.0
        self._window = TheirWindow(rules.max_pause_s)
        self._under_way: deque[float] = deque(maxlen=MOST_UNDER_WAY)

    @property
    def calls_per_s(self) -> float | None:
        """The rate in force: what is set or what the API told, whichever is less."""
        rate = min(self._rules.calls_per_s or math.inf, self._window.calls_per_s or math.inf)
        return None if rate == math.inf else rate

    def reserve(self, now_s: float, most_s: float = math.inf) -> float:
        """Take a token, and say how many seconds to wait before the call leaves.

        Args:
            now_s: The clock.
            most_s: The longest wait that is of any use. When it would be longer, nothing is taken
                and the call must not be made: giving back later would leave a gap.
        """
        if self._unlimited:
            self._under_way.append(now_s)
            return 0.0
        with self._guard:
            go_s = max(now_s, self._full_s - self._saved_s, self._pause_s, self._last_s)
            go_s = self._window.earliest(go_s)
            freed_s = self._earliest_freed(now_s) if self._freed else None
            if freed_s is not None:
                if freed_s - now_s <= most_s:
                    self._under_way.append(heapq.heappop(self._freed))
                return freed_s - now_s
            if go_s - now_s <= most_s:
                self._go(go_s, now_s)
            return go_s - now_s

    def paused(self, now_s: float) -> bool:
        """Whether the API has asked to be left alone now, maybe after a call was told to leave.

        Such a call gives its token back and takes another.
        """
        return now_s < self._pause_s

    def held_up(self, now_s: float) -> bool:
        """Whether it is the API that makes calls wait now, and not the rate that was set."""
        if self._rules.calls_per_s is None or self.paused(now_s):
            return True
        with self._guard:
            return self._window.earliest(now_s) > now_s

    def unreserve(self, now_s: float, go_s: float) -> None:
        """Give a token back, because its call did not leave after all.

        What the others were told stands. An instant that is still to come goes to the next who
        asks. One that has passed is made up for only if it was the last: with calls after it, the
        bucket might have been full without this one, and its token lost.

        Args:
            now_s: The clock.
            go_s: The instant it was told: when it asked, and what ``reserve`` said.
        """
        with self._guard:
            with suppress(ValueError):  # long forgotten, or told with a rounding
                self._under_way.remove(go_s)
            if self._unlimited:
                return
            if go_s > now_s:
                heapq.heappush(self._freed, go_s)
            elif go_s > self._last_s - _ROUNDING_S:
                self._full_s -= self._interval_s

    def learn(self, status: int, headers: RawHeaders, now_s: float, wall_s: float) -> None:
        """Read what a reply says of the API's limits.

        Args:
            status: Its status.
            headers: Its header lines.
            now_s: The clock.
            wall_s: The time of day, in seconds since 1970.
        """
        if not self._rules.learn:
            return
        with self._guard:
            if self._under_way:
                self._under_way.popleft()
        told = rate_headers.read(headers, wall_s)
        asked_s = _asked_s(headers) if status in ASKS_TO_WAIT else None
        if status != _TOO_MANY:
            self._unsaid_s = 0.0
        if told == rate_headers.NOTHING and asked_s is None and status != _TOO_MANY:
            return
        with self._guard:
            if told == rate_headers.NOTHING and asked_s is None:
                self._pause_unsaid(now_s)
            if asked_s is not None:
                self._pause(asked_s, now_s)
            self._heed(told, now_s)
            self._unlimited = False

    def __repr__(self) -> str:
        rate = self.calls_per_s
        return f"Bucket({'no limit' if rate is None else f'{rate:g} calls/s'})"

    # --- inside, guarded

    def _earliest_freed(self, now_s: float) -> float | None:
        """The earliest instant given back that is still of use."""
        earliest_s = max(now_s, self._pause_s)
        while self._freed and self._freed[0] < earliest_s:
            heapq.heappop(self._freed)
        return self._freed[0] if self._freed else None

    def _go(self, go_s: float, now_s: float) -> None:
        """Note that a call leaves at ``go_s``."""
        self._window.take(go_s)
        self._under_way.append(go_s)
        self._full_s = max(self._full_s, go_s) + self._interval_s
        self._last_s = go_s
        self._unlimited = not self._interval_s and self._window.left is None and go_s == now_s

    def _pause_unsaid(self, now_s: float) -> None:
        if self.paused(now_s):  # a call that left before the pause began
            return
        self._unsaid_s = min(max(FIRST_UNSAID_S, 2.0 * self._unsaid_s), LONGEST_UNSAID_S)
        self._pause(self._unsaid_s, now_s)

    def _pause(self, seconds: float, now_s: float) -> None:
        self._pause_s = max(self._pause_s, now_s + min(seconds, self._longest_s))

    def _heed(self, told: Told, now_s: float) -> None:
        until_s = now_s + min(told.reset_s or told.window_s or 0.0, self._longest_s)
        lost_s = now_s - _NO_REPLY_S
        unseen = sum(lost_s < go_s < until_s for go_s in tuple(self._under_way))
        if self._window.told(told, now_s, unseen):
            self._pause(told.reset_s or 0.0, now_s)


def _asked_s(headers: RawHeaders) -> float | None:
    text = joined(headers, b"retry-after")
    return parse_retry_after(
        text or None, reply_date=joined(headers, b"date"), cap_s=math.inf
    ).wait_s
