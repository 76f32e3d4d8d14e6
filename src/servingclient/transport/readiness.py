"""Waiting until a blocking socket can be read or written, whatever signals arrive meanwhile.

Python starts a read that a signal interrupted anew, with its whole time-out (PEP 475): under an
interval timer of 0.1 s a call of 0.5 s took 3.5. ``poll`` knows how much time has gone. Elsewhere
than on the main thread, which signals go to, a time-out of the kernel's on a blocking socket saves
a system call (2 us of 28); only a process that is stopped and goes on has it anew there, too.
"""

from __future__ import annotations

import _socket  # the module socket names gevent's class where that is in its place
import os
import select
import selectors
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

LONGEST_WAIT_S = 1e6
"""For one read or write: centuries do not fit into what the system takes."""

AT_ONCE: int = getattr(socket, "MSG_DONTWAIT", 0)
"""Flag of a send or read that does not wait. Windows has none: there sockets never block."""

main_thread = threading.main_thread().ident
"""The thread that signals go to."""


def _note_main_thread() -> None:
    """In a forked child it is the thread that forked."""
    global main_thread  # noqa: PLW0603 - there is one
    main_thread = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_main_thread)

_Selector = getattr(selectors, "PollSelector", selectors.SelectSelector)


def kernel_waits(sock: socket.socket) -> bool:
    """Whether a wait in ``sock`` is the kernel's, and its flags and time-outs are obeyed.

    The sockets that gevent and eventlet put in their place (Locust runs on gevent) never block:
    they wait in a loop of their own, which knows neither ``SO_RCVTIMEO`` nor ``MSG_DONTWAIT``.
    """
    return bool(AT_ONCE) and isinstance(sock, _socket.SocketType)


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


def timeval(seconds: float) -> bytes:
    """A kernel time-out for ``setsockopt``; zero would mean none at all."""
    seconds = min(seconds, LONGEST_WAIT_S)
    whole = int(seconds)
    return struct.pack("ll", whole, max(1, int((seconds - whole) * 1e6)))
