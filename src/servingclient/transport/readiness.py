"""Waiting until a blocking socket can be read or written. Signals do not lengthen a wait."""

from __future__ import annotations

import select
import selectors
import socket
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

LONGEST_WAIT_S = 1e6
"""For one read or write: centuries do not fit into what the system takes."""

AT_ONCE: int = getattr(socket, "MSG_DONTWAIT", 0)
"""Flag of a send or read that does not wait. Windows has none: there sockets never block."""

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


class Descriptor(Protocol):
    """What stands for a socket."""

    def fileno(self) -> int: ...


D = TypeVar("D", bound=Descriptor)


def readable_check(sock: socket.socket) -> Callable[[float], object]:
    """A call that waits so many *milliseconds* for ``sock`` and is true if it can be read."""
    if not hasattr(select, "poll"):
        return lambda timeout_ms: select.select([sock], [], [], timeout_ms / 1e3)[0]
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return poll.poll


def await_room(sock: socket.socket, left_s: float) -> None:
    """Wait until ``sock`` takes bytes.

    Raises:
        TimeoutError: It took none in time.
    """
    with _Selector() as selector:
        selector.register(sock, selectors.EVENT_WRITE)
        if left_s <= 0.0 or not selector.select(min(left_s, LONGEST_WAIT_S)):
            raise TimeoutError


def await_any(waiting: Iterable[D], left_s: float) -> list[D]:
    """Those that can be read, once there is one; none when the time is up before."""
    with _Selector() as selector:
        for one in waiting:
            selector.register(one, selectors.EVENT_READ, data=one)
        events = selector.select(min(max(0.0, left_s), LONGEST_WAIT_S))
    return [key.data for key, _ in events]
