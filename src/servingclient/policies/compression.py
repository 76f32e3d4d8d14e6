"""Whether an endpoint takes gzip, learned from one request: no source says that the service does.

One call at a time tries it while it is not known; all others go plain. A 415 settles it, and so
does a 400 when the same request then succeeds plain: MLflow's server takes the packed bytes for
JSON. A 400 alone says nothing, for the input may be at fault.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class _State(Enum):
    UNKNOWN = "unknown"
    TRYING = "trying"
    TAKEN = "taken"
    REFUSED = "refused"


_MOST_FAILED: Final = 3
"""Server errors to compressed requests after which it is left: older scoring servers answer 500."""

NO_STATUS: Final[frozenset[int]] = frozenset()
_OF_A_TRIAL: Final = frozenset({400, 415})
_LATER: Final = frozenset({415})


class Compression:
    """What is known of one endpoint. Threads may share it: at worst two calls try it at once."""

    __slots__ = ("_failed", "_state")

    def __init__(self) -> None:
        self._state = _State.UNKNOWN
        self._failed = 0

    @property
    def state(self) -> str:
        """``"unknown"``, ``"taken"`` or ``"refused"``."""
        return "unknown" if self._state is _State.TRYING else self._state.value

    def admit(self, *, harmless: bool) -> frozenset[int]:
        """Whether a request may go compressed now.

        Args:
            harmless: Sending the request twice does no harm. Only such a one is tried first.

        Returns:
            The statuses that would refuse the compression; empty when it is to go plain. A request
            for which 400 is among them is a trial, which :meth:`answered` must end.
        """
        if self._state is _State.TAKEN:
            return _LATER
        if self._state is _State.UNKNOWN and harmless:
            self._state = _State.TRYING
            return _OF_A_TRIAL
        return NO_STATUS

    def answered(self, status: int | None) -> None:
        """A trial ended: with a reply, or with None without one."""
        if status == 200:
            self._state = _State.TAKEN
            return
        self._failed += status is not None and status >= 500
        settled = status == 415 or self._failed >= _MOST_FAILED
        self._state = _State.REFUSED if settled else _State.UNKNOWN

    def refused(self) -> None:
        """A compressed request was refused, and the same succeeded plain."""
        self._state = _State.REFUSED

    def __repr__(self) -> str:
        return f"Compression({self.state})"
