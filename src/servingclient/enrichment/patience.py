"""How long an API's replies usually take, and what a try without one says. Pure.

A caller may allow less time than the API usually takes; that says nothing of the API, and must not
close it to everybody. So a time-out tells something only when the try had at least twice the mean
time of the replies so far. By Markov's inequality at most half of the replies of an API that works
take longer, which is less than opens the breaker (``Breaker.failure_ratio``).
"""

from __future__ import annotations

from typing import Final

_TIMES_USUAL: Final = 2.0
_NEWEST: Final = 1.0 / 8.0
"""Weight of the newest reply in the mean: as TCP smooths its round trips (RFC 6298)."""
_UNKNOWN_S: Final = 0.1
"""What a try must have had while no reply has come: an API that hangs from the start must be
noticed, and one that works answers a look-up by then."""


class Patience:
    """What is usual of one API. Threads may lose each other's reply to the mean, which is no harm.

    Args:
        longest_s: A try that had so long tells something, whatever is usual.
    """

    __slots__ = ("_longest_s", "_mean_s")

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self._mean_s: float | None = None

    def replied(self, took_s: float) -> None:
        """A good reply came."""
        mean_s = self._mean_s
        self._mean_s = took_s if mean_s is None else mean_s + _NEWEST * (took_s - mean_s)

    @property
    def enough_s(self) -> float:
        """Seconds a try must have had for its time-out to say something of the API."""
        mean_s = self._mean_s
        usual_s = _UNKNOWN_S if mean_s is None else _TIMES_USUAL * mean_s
        return min(usual_s, self._longest_s)
