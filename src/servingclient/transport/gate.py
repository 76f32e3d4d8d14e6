"""Admission before the lanes: what the gates of both colours have in common.

As many calls at once as the limit says, the others wait in line. Whoever gives up a place, for
whatever reason, hands it on; one who was handed a place and leaves all the same does so too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from servingclient._explain import shown_s
from servingclient._stats import ConcurrencyStats
from servingclient._types import FaultKind, WireFault
from servingclient.errors import QueueFull, WrongLoopError
from servingclient.policies.concurrency import Limiter, Window
from servingclient.settings import Queue
from servingclient.transport.line import Line


def late() -> WireFault:
    """The deadline came before a place."""
    return WireFault(FaultKind.TIMEOUT, "no place became free in time", sent="no")


def closed() -> WireFault:
    """The client was closed."""
    return WireFault(FaultKind.CLOSED, "the client is closed", sent="no")


def wrong_loop() -> WrongLoopError:
    """Places and connections belong to one loop at a time."""
    return WrongLoopError(
        "This client is in use on another running event loop; connections cannot cross loops. "
        "Make one AsyncServingClient per loop."
    )


def _refusal(text: str) -> QueueFull:
    error = QueueFull(text)
    error.retryable = True
    return error


class Admission(ABC):
    """Limit, refusals and figures of one gate.

    What is read on the way of every call lies in plain attributes; what changes them holds
    ``_guard``. Threads add up replies without it: one that is lost between two changes no mean.

    Attributes:
        places: Calls admitted at once now.
    """

    _guard: AbstractContextManager[object]
    """Makes a change atomic: a lock for threads, nothing on an event loop."""
    _line: Line[Any]

    def __init__(self, limiter: Limiter, queue: Queue, now: Callable[[], float]) -> None:
        self.places: int = limiter.calls
        self._limiter = limiter
        self._queue = queue
        self._now = now
        self._waited = False
        self._forget_counts()
        self._new_window()

    def _forget_counts(self) -> None:
        """What the parent of a forked child counted is not the child's."""
        self._rejected = 0
        self._limiter.throttles = 0

    # ------------------------------------------------------------------ what calls took

    def answered(self, reply_s: float) -> None:
        """See ``_ports.Gate.answered``."""
        self._answered_s += reply_s
        self._left -= 1
        if self._left <= 0:
            self._close_window()

    def unanswered(self, waited_s: float) -> None:
        """See ``_ports.Gate.unanswered``."""
        with self._guard:
            # One that had little time left has not seen how long the reply would have taken.
            recent = self._limiter.recent
            known_s = recent.held_s if self._now() <= recent.until_s else 0.0
            self._unanswered_s += max(waited_s, known_s)
            self._unanswered += 1
        self._left -= 1
        if self._left <= 0:
            self._close_window()

    def throttled(self) -> None:
        """See ``_ports.Gate.throttled``."""
        with self._guard:
            self._limiter.throttled(self.inside + 1, self._now())
            self._follow()

    def provisioned(self, calls: int | None) -> None:
        """The endpoint says how many calls it works on at once."""
        with self._guard:
            self._limiter.provisioned(calls)
            self._follow()

    def _close_window(self) -> None:
        with self._guard:
            if self._left > 0:  # another thread was quicker
                return
            answered = max(0, self._window - self._left - self._unanswered)
            under_way = self.inside + 1
            window = Window(
                answered + self._unanswered,
                self._answered_s + self._unanswered_s,
                answered,
                self._answered_s,
                under_way,
                self._waited or 2 * under_way >= self.places,
            )
            self._limiter.learn(window, self._now())
            self._new_window()
            self._waited = self.waiting > 0
            self._follow()

    def _new_window(self) -> None:
        self._window = self._left = self._limiter.window_calls
        self._answered_s = self._unanswered_s = 0.0
        self._unanswered = 0

    def _follow(self) -> None:
        places = self._limiter.calls
        if places != self.places:
            self._fit(places)

    @abstractmethod
    def _fit(self, places: int) -> None:
        """Under the guard: have so many places from now on, and let in who may enter."""

    # ------------------------------------------------------------------ who is turned away

    def _check_room_in_line(self, ahead: int, deadline_s: float, size_bytes: int) -> None:
        """Under the guard: refuse a call that may not line up, or whose turn would come too late.

        Raises:
            QueueFull: It may not.
        """
        self._waited = True
        line, queue = self._line, self._queue
        if line.count >= queue.max_calls:
            raise self._rejecting(
                f"{line.count} calls already wait, and {self.inside} are under way. Send fewer at "
                "once, or raise Queue.max_calls."
            )
        if line.count and line.size_bytes + size_bytes > queue.max_bytes:
            raise self._rejecting(
                f"Requests of {line.size_bytes / 1e6:.1f} MB already wait, and this one has "
                f"{size_bytes / 1e6:.1f} MB. Send fewer at once, or raise Queue.max_bytes."
            )
        _, reply_s, turn_s, until_s = self._limiter.recent
        wait_s = (ahead + 1) * turn_s
        now_s = self._now()
        left_s = deadline_s - now_s
        if wait_s + reply_s > left_s and turn_s and now_s <= until_s:
            raise self._rejecting(
                f"{ahead} calls wait ahead of this one and {self.places} run at once: its turn "
                f"would come in about {shown_s(wait_s)} and its reply take {shown_s(reply_s)} "
                f"more, but it has {shown_s(left_s)}. Send fewer at once, allow a longer "
                "timeout, or give the endpoint more concurrency."
            )

    def _too_late(self, deadline_s: float) -> QueueFull | None:
        """Under the guard: why a call whose turn has come is not sent after all."""
        now_s = self._now()
        left_s = deadline_s - now_s
        _, reply_s, _, until_s = self._limiter.recent
        if left_s >= reply_s or not reply_s or now_s > until_s:
            return None
        return self._rejecting(
            f"Its turn came with {shown_s(left_s)} left, and replies take "
            f"{shown_s(reply_s)}: it was not sent. Send fewer at once, allow a longer timeout, "
            "or give the endpoint more concurrency."
        )

    def _rejecting(self, text: str) -> QueueFull:
        self._rejected += 1
        return _refusal(text)

    # ------------------------------------------------------------------ figures

    @property
    @abstractmethod
    def inside(self) -> int:
        """Calls admitted now."""

    @property
    def waiting(self) -> int:
        """Calls in the line now."""
        return self._line.count

    def stats(self) -> ConcurrencyStats:
        """The limit, and who is before and behind it."""
        return ConcurrencyStats(
            self.places, self.inside, self.waiting, self._limiter.throttles, self._rejected
        )
