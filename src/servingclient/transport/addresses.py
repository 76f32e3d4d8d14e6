"""Host names to addresses, with a wait that can be abandoned."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import threading
import time
from typing import Any

from servingclient._types import Origin

Address = tuple[int, Any]
"""Address family, and what ``socket.connect`` takes for it."""


def _literal(origin: Origin) -> list[Address] | None:
    """The address a host is, where it is one: no look-up, no thread."""
    try:
        version = ipaddress.ip_address(origin.host).version
    except ValueError:
        return None
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return [(family, (origin.host, origin.port))]


def _look_up(origin: Origin) -> list[Address]:
    try:
        found = socket.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    except UnicodeError:
        raise socket.gaierror(socket.EAI_NONAME, "no valid host name") from None
    return [(family, address) for family, _, _, _, address in found]


def resolve(origin: Origin, deadline_s: float) -> list[Address]:
    """Addresses of the host, looked up in a thread: ``getaddrinfo`` knows no time-out.

    Raises:
        OSError: The name does not resolve.
        TimeoutError: The look-up took too long; its thread is left to itself.
    """
    if (literal := _literal(origin)) is not None:
        return literal
    answer: list[list[Address] | OSError] = []

    def ask() -> None:
        try:
            answer.append(_look_up(origin))
        except OSError as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True, name="servingclient-resolve")
    thread.start()
    thread.join(max(0.0, deadline_s - time.monotonic()))
    if not answer:
        raise TimeoutError
    if isinstance(answer[0], OSError):
        raise answer[0]
    return answer[0]


async def resolve_async(origin: Origin) -> list[Address]:
    """The same on an event loop; whoever awaits it may stop waiting at any time.

    Raises:
        OSError: The name does not resolve.
    """
    literal = _literal(origin)
    if literal is not None:
        return literal
    return await asyncio.get_running_loop().run_in_executor(None, _look_up, origin)
