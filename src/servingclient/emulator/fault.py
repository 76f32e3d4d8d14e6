"""What a fault is, and the queue in which scripted ones wait for their request."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from servingclient.emulator.delivery import PLAIN, Delivery

if TYPE_CHECKING:
    from collections.abc import Callable

    from servingclient.emulator.wire import Reply, Request


@dataclass(frozen=True, slots=True)
class Fault:
    """One deviation from a good answer, applied in the order of its fields."""

    name: str
    """What it is called in the log of requests."""
    runs: bool = False
    """Whether the request is processed (the model runs, the token is issued) before the fault
    shows."""
    answer: Callable[[Request], Reply] | None = field(default=None, repr=False)
    """The reply in place of the endpoint's own."""
    reshape: Callable[[Reply], Reply] | None = field(default=None, repr=False)
    """A change of the reply."""
    delay_s: float = 0.0
    """Wait before the reply."""
    delivery: Delivery = PLAIN
    """How the reply is sent."""


def checked(fault: object) -> Fault:
    """The fault itself.

    Raises:
        TypeError: when it is none; a test would otherwise see good answers, or hang.
    """
    if isinstance(fault, Fault):
        return fault
    name = getattr(fault, "__name__", None)
    hint = f"call it: faults.{name}()" if callable(fault) and name else "see emulator.faults"
    raise TypeError(f"a fault is needed, not {type(fault).__name__}; {hint}")


class FaultQueue:
    """Scripted faults, consumed one by one, and a standing one behind them."""

    def __init__(self) -> None:
        """Start without any."""
        self._script: deque[Fault] = deque()
        self.standing: Fault | None = None

    def script(self, faults: tuple[Fault, ...]) -> None:
        """Append faults."""
        self._script.extend(map(checked, faults))

    def stand(self, fault: Fault | None) -> None:
        """Set the standing fault; ``None`` ends it."""
        self.standing = None if fault is None else checked(fault)

    def take(self) -> Fault | None:
        """Return the fault for the next request, ``None`` for a good answer."""
        if self._script:
            fault = self._script.popleft()
            return None if fault.name == "ok" else fault
        return self.standing

    def clear(self) -> None:
        """Remove all."""
        self._script.clear()
        self.standing = None

    def __len__(self) -> int:
        return len(self._script)
