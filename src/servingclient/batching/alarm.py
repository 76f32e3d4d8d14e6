"""One timer for many deadlines.

A timer per waiting call costs 2 us. With equal time-outs this one is set once per time-out.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Alarm:
    """Rings at the nearest instant it was set to, on the running loop; then it has to be set anew.

    Args:
        now: The clock of these instants.
        ring: What to do.
    """

    __slots__ = ("_now", "_ring", "_timer", "at_s")

    def __init__(self, now: Callable[[], float], ring: Callable[[], None]) -> None:
        self._now = now
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None
        self.at_s: float = math.inf

    def set(self, at_s: float) -> None:
        """Ring at this instant, if no nearer one is set."""
        if at_s >= self.at_s:
            return
        self.stop()
        self.at_s = at_s
        # by its distance: the loop's clock need not be ours
        delay_s = max(0.0, at_s - self._now())
        self._timer = asyncio.get_running_loop().call_later(delay_s, self._due)

    def stop(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self.at_s = None, math.inf

    def _due(self) -> None:
        self._timer, self.at_s = None, math.inf
        self._ring()
