"""Host names to addresses, with a wait that can be abandoned."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from servingclient._types import Origin

Address = tuple[int, Any]
"""Address family, and what ``socket.connect`` takes for it."""

Refuses = Callable[[str], "str | None"]
"""Says why an address may not be connected to; None where it may."""


class AddressRefused(OSError):  # noqa: N818 - says what happened
    """A host's name leads only to addresses that may not be connected to."""


def _permitted(found: list[Address], refuses: Refuses | None) -> list[Address]:
    """The addresses that may be connected to: a name can be made to lead anywhere."""
    if refuses is None:
        return found
    judged = [(one, refuses(one[1][0])) for one in found]
    permitted = [one for one, reason in judged if reason is None]
    if judged and not permitted:
        raise AddressRefused(f"the name leads to {judged[0][1]}")
    return permitted


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


def resolve(origin: Origin, deadline_s: float, refuses: Refuses | None = None) -> list[Address]:
    """Addresses of the host, looked up in a thread: ``getaddrinfo`` knows no time-out.

    Raises:
        OSError: The name does not resolve, or ``refuses`` holds for all it leads to.
        TimeoutError: The look-up took too long; its thread is left to itself.
    """
    if (literal := _literal(origin)) is not None:
        return _permitted(literal, refuses)
    answers: list[_Answer] = []
    thread = _ask(origin, answers.append)
    thread.join(max(0.0, deadline_s - time.monotonic()))
    if not answers:
        raise TimeoutError
    return _permitted(_found(answers[0]), refuses)


async def resolve_async(origin: Origin, refuses: Refuses | None = None) -> list[Address]:
    """The same on an event loop; whoever awaits it may stop waiting at any time.

    Not in the loop's executor: ``asyncio.run`` waits at its end for what still hangs there.

    Raises:
        OSError: The name does not resolve, or ``refuses`` holds for all it leads to.
    """
    if (literal := _literal(origin)) is not None:
        return _permitted(literal, refuses)
    loop = asyncio.get_running_loop()
    answered: asyncio.Future[_Answer] = loop.create_future()

    def take(answer: _Answer) -> None:
        if not answered.done():
            answered.set_result(answer)

    def tell(answer: _Answer) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever waited
            loop.call_soon_threadsafe(take, answer)

    _ask(origin, tell)
    return _permitted(_found(await answered), refuses)


_Answer = list[Address] | OSError


def _ask(origin: Origin, tell: Callable[[_Answer], None]) -> threading.Thread:
    def ask() -> None:
        try:
            answer: _Answer = _look_up(origin)
        except OSError as error:
            answer = error.with_traceback(None)
        tell(answer)

    thread = threading.Thread(target=ask, daemon=True, name="servingclient-resolve")
    thread.start()
    return thread


def _found(answer: _Answer) -> list[Address]:
    if isinstance(answer, OSError):
        # One of its own: what is raised holds the frames of the call, and these hold the answer.
        raise type(answer)(*answer.args)
    return answer
