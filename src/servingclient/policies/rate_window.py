"""The window in which an API counts, as far as it tells of it. Pure: time is an argument."""

from __future__ import annotations

import math
from typing import Final

from servingclient.policies.rate_headers import Told

SAME_WINDOW_S: Final = 1.5
"""Two resets that lie no further apart are the same: they come in whole seconds."""
ON_ITS_WAY_S: Final = 0.05
"""A window often begins with the first request in it, at the API: so long after it was sent."""


class TheirWindow:
    """How much more an API takes until its window ends, and what it takes in the next ones.

    What it said last counts, and the calls that were let go since. When a window has ended the next
    one is counted from its limit, where that and the window's length are known; else nothing is
    known until a reply tells.

    Args:
        longest_s: A reset or window beyond it is not believed in: the API is asked again by then.

    Attributes:
        left: Calls until the reset; None while nothing is known.
    """

    __slots__ = ("_heard", "_length_s", "_limit", "_longest_s", "_reset_s", "left")

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self.left: int | None = None
        self._reset_s = -math.inf
        self._limit: int | None = None
        self._length_s: float | None = None
        self._heard = False

    @property
    def calls_per_s(self) -> float | None:
        """What it takes in the long run."""
        return self._limit / self._length_s if self._limit and self._length_s else None

    def earliest(self, go_s: float) -> float:
        """When a call that wants to leave at ``go_s`` may."""
        return max(go_s, self._reset_s) if self.left == 0 else go_s

    def take(self, go_s: float) -> None:
        """Count a call that leaves then, not before ``earliest``."""
        if self.left is None:
            return
        if go_s >= self._reset_s:
            self._next(go_s)
        if self.left is not None:
            self.left -= 1

    def _next(self, go_s: float) -> None:
        """Begin a window. The second one in which the API told nothing is none."""
        length_s = self._longest_s + 1.0 if self._length_s is None else self._length_s
        if length_s <= self._longest_s and (go_s == self._reset_s or self._heard):
            self.left = self._limit
            self._reset_s = go_s + length_s + ON_ITS_WAY_S
            self._heard = False
        else:
            self.left = None

    def told(self, told: Told, now_s: float, unseen: int) -> bool:
        """Heed what a reply told.

        Args:
            told: It.
            now_s: The clock.
            unseen: Calls under way, which it does not know of.

        Returns:
            Whether to leave the API alone until the reset that it told, another than the one that
            is counted to.
        """
        self._note_length(told)
        left, reset_s = told.left, told.reset_s
        running = self.left is not None and now_s < self._reset_s
        if left is None or reset_s is None:
            if told.limit is None or told.window_s is None or told.window_s > self._longest_s:
                return False
            if running:
                self._heard = True
                return False
            left, reset_s = max(0, told.limit - 1), told.window_s
        until_s = now_s + min(reset_s, self._longest_s)
        if not running or until_s > self._reset_s + SAME_WINDOW_S:
            self.left, self._reset_s = max(0, left - unseen), until_s
            self._heard = True
        elif until_s >= self._reset_s - SAME_WINDOW_S:
            # replies overtake each other, and those still under way are counted already
            self.left = min(self.left or 0, left)
            if not self._heard:  # so far its end was our guess
                self._reset_s = max(self._reset_s, until_s)
                self._heard = True
        else:
            return left == 0
        return False

    def _note_length(self, told: Told) -> None:
        if told.limit is None:
            return
        if told.window_s is not None:
            self._length_s = told.window_s
        elif told.reset_s:  # at least as long as the longest way to its end, and whole seconds
            known_s = self._length_s if told.limit == self._limit else None
            self._length_s = max(float(math.ceil(told.reset_s)), known_s or 0.0)
        self._limit = told.limit
