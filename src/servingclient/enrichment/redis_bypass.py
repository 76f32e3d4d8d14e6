"""Whether a shared cache is asked or left alone. Pure: no clock, no lock of its own.

Not the breaker of the API calls: that one needs twenty calls to judge and lets callers make its
probes. Here one time-out is enough, since a caller has paid the whole budget for it and a cache can
always be done without; and no caller probes, somebody behind them does.
"""

from __future__ import annotations

from servingclient._ports import Guard

_FAILURES_IN_A_ROW = 3
"""So many quick failures before it is left alone; each costs its caller next to nothing."""
_FIRST_PAUSE_S = 0.1
"""Until the first probe: a stall of this process looks like a slow server, and is over by then."""
_LONGEST_PAUSE_S = 10.0
"""Between probes at most; one that fails costs nobody anything."""
_TRIED_AND_TRUE = 50
"""Good answers after which a return counts as one: until then the pause goes on doubling, so that a
server that answers probes and not callers delays ever fewer of them."""
_PROBE_S = 5.0
"""A probe that has not reported by then, say because it was lost in a fork, is made again."""


class Bypass:
    """The state of one shared cache.

    Args:
        guard: Makes a few lines atomic.
    """

    __slots__ = (
        "_failures",
        "_generation",
        "_good",
        "_guard",
        "_next_probe_s",
        "_pause_s",
        "bypassed",
    )

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._generation = 0
        self._failures = 0
        self._good = _TRIED_AND_TRUE
        self._pause_s = _FIRST_PAUSE_S
        self._next_probe_s = 0.0
        self.bypassed: bool = False

    def admit(self) -> int | None:
        """The pass of an operation, to be handed to what tells its end; None: leave it alone."""
        return None if self.bypassed else self._generation

    def succeeded(self, generation: int) -> None:
        """An operation was answered."""
        if generation == self._generation:
            self._failures = 0
            self._good += 1

    def failed(self, generation: int, now_s: float, *, late: bool) -> bool:
        """An operation was not answered, or not in time.

        Returns:
            Whether the cache is left alone from now on, because of this one.
        """
        with self._guard:
            if generation != self._generation or self.bypassed:
                return False
            self._failures += 1
            if not late and self._failures < _FAILURES_IN_A_ROW:
                return False
            longer_s = _FIRST_PAUSE_S if self._good >= _TRIED_AND_TRUE else self._pause_s * 2
            self._leave(min(longer_s, _LONGEST_PAUSE_S), now_s)
            return True

    def _leave(self, pause_s: float, now_s: float) -> None:
        self._generation += 1
        self.bypassed = True
        self._pause_s = pause_s
        self._next_probe_s = now_s + pause_s

    def probe_due(self, now_s: float) -> bool:
        """Whether to look now if it is back. True once: whoever asks has to look."""
        with self._guard:
            if not self.bypassed or now_s < self._next_probe_s:
                return False
            self._next_probe_s = now_s + _PROBE_S
            return True

    def probed(self, now_s: float, *, ok: bool) -> None:
        """A probe has ended."""
        with self._guard:
            if not self.bypassed:
                return
            if ok:
                self.bypassed = False
                self._failures = self._good = 0
            else:
                self._leave(min(self._pause_s * 2, _LONGEST_PAUSE_S), now_s)
