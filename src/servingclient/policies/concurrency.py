"""How many calls may be under way at once. Pure: time is an argument, whoever calls holds a lock.

Two signals move the limit. A reply that says there is no room takes a tenth off what is under way,
at most once per round trip, and so does a window in which most calls got no answer in time. And
latency does, as in Gradient2 of Netflix's concurrency-limits: as long as replies come about as fast
as they do when nobody has to wait, the limit grows; when they take longer, it sinks.

Gradient2 alone climbs without end where an endpoint queues instead of refusing: its long average
comes to include the waiting it is there to show (simulated, 4 slots and 256 callers: from 20 calls
to 256 within 20,000 replies). So here a window in which calls had to wait for a place can only
lower that average, and now and then the limit is halved for two round trips: what replies take
then is what the endpoint itself takes, and a slow model is told from a queue of our own making.
Such a look costs throughput, so one that finds nothing doubles the time until the next.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import Final, NamedTuple

from servingclient.policies.failure import Failure, FailureClass
from servingclient.settings.concurrency import INITIAL_CALLS, Concurrency

_LEAST_WINDOW_CALLS: Final = 10
"""Fewer replies make a mean that says nothing (Netflix WindowedLimit)."""
_LOOK_AFTER_WINDOWS: Final = 50
"""Pressed windows until the endpoint is looked at with half the limit."""
_FIRST_LOOK_AFTER: Final = 10
"""The same where the very first replies came under pressure: they may have waited in a queue."""
_LOOK_AFTER_MOST: Final = 200
"""The most of them, after looks that found nothing. Clients that met an endpoint together look at
the same time: with 50 every time, a fifth of its slots stood idle for a second in every ten."""
_LOOK_AFTER_SLOW: Final = 10
"""Windows that say the endpoint is slow until it is looked at whether it is."""
_WINDOWS_EASED: Final = 2
"""The first still has the replies of calls sent before; the second is the look."""
_SILENT_FACTOR: Final = 0.5
"""What is left of the limit when most calls of a window got no answer: an endpoint works on for
callers that have gone, so what is sent now only makes it take longer (TCP after a time-out)."""
_UNKNOWN_ROUND_TRIP_S: Final = 0.1
"""Between two cuts while nothing has been answered yet."""
_FORGETS: Final = 0.95
"""The long average's factor per window while it is more than twice the short one (Gradient2)."""
_STEEPEST: Final = 0.5
"""Least gradient, so that one slow window does not halve the limit more than once (Gradient2)."""
_OWN_S: Final = 0.00025
"""So much longer may replies take on top of the tolerance: an event loop reads them one by one, at
some 25 us each, which is no queue of the endpoint's. Without it, 1,024 callers of an endpoint that
answers at once had a limit of 6 to 20, and a call took a tenth more CPU than with 64 at once."""
_TRUSTED_S: Final = 5.0
"""How old figures of replies may be, and some windows more, to turn calls away by."""
_TRUSTED_REPLIES: Final = 5.0
_NO_ROOM: Final = frozenset({FailureClass.REFUSED, FailureClass.COME_BACK})


class Window(NamedTuple):
    """What the calls of about one round trip took.

    Attributes:
        calls: How many came to an end.
        total_s: Seconds they took together; for a call without an answer, how long it waited.
        answered: How many of them were answered.
        answered_s: Seconds those took together.
        under_way: How many were under way when it ended.
        pressed: Whether calls had to wait for a place, or half of the places were taken.
    """

    calls: int
    total_s: float
    answered: int
    answered_s: float
    under_way: int
    pressed: bool


class Recent(NamedTuple):
    """What recent calls took; all 0 where nothing recent is known.

    Attributes:
        held_s: Seconds a call keeps its place, answered or not.
        reply_s: Seconds a reply takes.
        turn_s: Seconds from one turn in the line to the next.
        until_s: Instant from which on they are too old to turn a call away by: those of a slow
            spell long past must not.
    """

    held_s: float
    reply_s: float
    turn_s: float
    until_s: float


NOTHING_RECENT: Final = Recent(0.0, 0.0, 0.0, math.inf)


class Limiter:
    """The limit of one client. Always ``least <= calls <= most``.

    Args:
        rules: Where it starts and how it moves.
        most: Its ceiling.

    Attributes:
        recent: What the calls of the last window took.
        throttles: How often the endpoint said that it has no room.
    """

    __slots__ = (
        "_cut_s",
        "_eased",
        "_least",
        "_limit",
        "_look_after",
        "_most",
        "_pressed_windows",
        "_provisioned",
        "_rules",
        "_throttled",
        "_under_way",
        "_usual_s",
        "recent",
        "throttles",
    )

    def __init__(self, rules: Concurrency, most: int) -> None:
        self._rules = rules
        self._most = most
        self._least = min(rules.min_calls, most) if rules.adaptive else 1
        self._provisioned: int | None = None
        self._limit = self._start()
        self._usual_s: float | None = None
        self._cut_s = -math.inf
        self._throttled = False
        self._look_after = _LOOK_AFTER_WINDOWS
        self._pressed_windows = 0
        self._eased = 0
        self._under_way = 0
        self.recent: Recent = NOTHING_RECENT
        self.throttles: int = 0

    @property
    def calls(self) -> int:
        """Calls that may be under way at once now."""
        limit = self._limit / 2 if self._eased else self._limit
        return max(self._least, int(limit))

    @property
    def window_calls(self) -> int:
        """How many calls make a window: at the limit, those of one round trip."""
        return max(_LEAST_WINDOW_CALLS, int(self._limit))

    def provisioned(self, calls: int | None) -> None:
        """The endpoint says how many calls it works on at once; a new figure is a new start."""
        if calls is not None and calls != self._provisioned:
            self._provisioned = calls
            if self._rules.adaptive and self._rules.initial_calls is None:
                self._limit = self._start()
                self._look_after, self._pressed_windows = _LOOK_AFTER_WINDOWS, 0
                self._under_way = 0
                self.recent = NOTHING_RECENT

    def learn(self, window: Window, now_s: float) -> None:
        """Move the limit by what a window's calls took."""
        took_s = window.total_s / window.calls
        self._under_way = window.under_way
        if self._rules.adaptive:
            self._follow(window, took_s, now_s)
        self.recent = Recent(
            took_s,
            window.answered_s / window.answered if window.answered else self.recent.reply_s,
            took_s / int(self._limit),
            now_s + _TRUSTED_S + _TRUSTED_REPLIES * took_s,
        )

    def _follow(self, window: Window, took_s: float, now_s: float) -> None:
        if 2 * window.answered < window.calls:
            self._cut(window.under_way, now_s, _SILENT_FACTOR)
            return
        if self._usual_s is None:
            self._usual_s = took_s
            if window.pressed:
                self._pressed_windows = _LOOK_AFTER_WINDOWS - _FIRST_LOOK_AFTER
        if self._eased:
            self._look(took_s)
            return
        usual_s = self._remember(took_s, window)
        throttled, self._throttled = self._throttled, False
        if not window.pressed:
            self._calm_down(throttled=throttled)
            return
        slow = took_s > self._tolerable_s(usual_s)
        self._pressed_windows += self._look_after // _LOOK_AFTER_SLOW if slow else 1
        if self._pressed_windows >= self._look_after and self._limit >= 2 * self._least:
            self._eased = _WINDOWS_EASED
        else:
            self._move(window.calls, took_s, usual_s, may_grow=not throttled)

    def _look(self, took_s: float) -> None:
        """With half the limit: what replies take now is what the endpoint takes."""
        self._eased -= 1
        if not self._eased:
            usual_s, self._usual_s = self._usual_s, took_s
            found = usual_s is not None and usual_s > self._tolerable_s(took_s)
            after = _LOOK_AFTER_WINDOWS if found else 2 * self._look_after
            self._look_after = min(after, _LOOK_AFTER_MOST)
            self._pressed_windows = 0

    def _remember(self, took_s: float, window: Window) -> float:
        """The long average, with this window in it unless it may hold waiting."""
        usual_s = self._usual_s
        assert usual_s is not None
        if not window.pressed or took_s < usual_s:
            share = 1.0 - (1.0 - 2.0 / (self._rules.long_window_calls + 1)) ** window.calls
            usual_s += share * (took_s - usual_s)
        if usual_s > 2.0 * took_s:
            usual_s *= _FORGETS
        self._usual_s = usual_s
        return usual_s

    def _calm_down(self, *, throttled: bool) -> None:
        """With few calls under way nothing is learnt, but a limit that was cut comes back."""
        start = self._start()
        if self._limit < start and not throttled:
            self._limit = min(start, self._limit + math.sqrt(self._limit))

    def _move(self, calls: int, took_s: float, usual_s: float, *, may_grow: bool) -> None:
        """Towards what the window says, once for each round trip that its calls were.

        Ten calls are five round trips of a client that may make two at once. If it moved but once
        for them, it would never catch up with clients that have more.
        """
        rules, limit = self._rules, self._limit
        ratio = self._tolerable_s(usual_s) / took_s if took_s > 0.0 else 1.0
        gradient = max(_STEEPEST, min(1.0, ratio))
        aim = limit * gradient + math.sqrt(limit)
        rounds = max(1.0, min(calls, _LEAST_WINDOW_CALLS) / limit)
        share = 1.0 - (1.0 - rules.smoothing) ** rounds
        aim = (1.0 - share) * limit + share * aim
        if aim <= limit or may_grow:
            self._limit = self._bounded(aim)

    def _tolerable_s(self, usual_s: float) -> float:
        return self._rules.tolerance * usual_s + _OWN_S

    def throttled(self, under_way: int, now_s: float) -> None:
        """The endpoint said that it has no room, with so many calls under way.

        A limit of 20 with 3 calls under way is cut to 2.7: it was never tried out. What was under
        way in the last window counts, too: calls that were refused just now are not, and a client
        where nobody waits in line would be cut to the least within three replies.
        """
        self.throttles += 1
        self._throttled = True
        round_trip_s = self.recent.reply_s or _UNKNOWN_ROUND_TRIP_S
        if self._rules.adaptive and now_s - self._cut_s >= round_trip_s:
            self._cut(under_way, now_s, self._rules.throttled_factor)

    def _cut(self, under_way: int, now_s: float, factor: float) -> None:
        self._cut_s = now_s
        if now_s <= self.recent.until_s:
            under_way = max(under_way, self._under_way)
        tried = self._limit if self._eased else min(self._limit, under_way)
        self._limit = self._bounded(tried * factor)

    def _start(self) -> float:
        rules = self._rules
        if rules.initial_calls is not None:
            start = rules.initial_calls
        elif not rules.adaptive:
            start = self._most
        elif self._provisioned is not None:
            start = self._provisioned // rules.client_processes
        else:
            start = INITIAL_CALLS
        return self._bounded(start)

    def _bounded(self, limit: float) -> float:
        return float(max(self._least, min(self._most, limit)))

    def __repr__(self) -> str:
        return f"Limiter({self.calls} of {self._least} to {self._most})"


def says_no_room(failure: Failure) -> bool:
    """Whether a failed try is a reason to send fewer at once.

    A gateway that gives up on the model counts too. In simulation, eight clients that do not heed
    it take 40 s to leave a brown-out of 10 s; those that do take 10 s.
    """
    return failure.cls in _NO_ROOM or failure.status == HTTPStatus.GATEWAY_TIMEOUT


def fixed(calls: int) -> Limiter:
    """A limit that stays."""
    return Limiter(Concurrency(adaptive=False, initial_calls=calls), calls)
