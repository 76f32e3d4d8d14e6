"""What is asked of redis-py, in both colours: how a connection is made, and how its errors read.

Connections are used one by one, without redis-py's pools and retries: the pools connect in the
caller's time, with a limit for each step and none for a name look-up, and a retry would wait. What
is called are methods that redis-py's own clients build on: ``connect``, ``pack_commands``,
``send_packed_command``, ``read_response``, ``can_read`` and ``disconnect``.
"""

from __future__ import annotations

import asyncio
import inspect
from typing import Any, Final

from redis import exceptions
from redis.connection import AbstractConnection

from servingclient.enrichment.redis_links import LinkFault, Refused
from servingclient.enrichment.redis_url import Place
from servingclient.settings import Tls
from servingclient.transport.tls import ssl_context

_SAYS_NOTHING: Final[dict[str, Any]] = (
    {"driver_info": None}
    if "driver_info" in inspect.signature(AbstractConnection.__init__).parameters
    else {"lib_name": None, "lib_version": None}
)
"""At each connect redis-py tells the server its version, in two round trips more."""


def options(place: Place) -> dict[str, Any]:
    """Arguments of a connection."""
    made: dict[str, Any] = {
        "db": place.db,
        "username": place.username,
        "password": place.password,
        # RESP2 needs no greeting, and knows no messages that a server sends of its own accord
        "protocol": 2,
        **_SAYS_NOTHING,
    }
    if place.path:
        return made | {"path": place.path}
    return made | {"host": place.host, "port": place.port, "socket_keepalive": True}


def context_of(place: Place, ca_file: str | None) -> Any:
    """The TLS context, or None. redis-py would make one for each connection, which blocks an event
    loop for 21 ms each time.

    Raises:
        ConfigError: The CA file cannot be read.
    """
    return ssl_context(Tls(ca_file=ca_file), http=False) if place.tls else None


def fault_of(error: Exception) -> LinkFault:
    """``error`` of an exchange as a fault, by its kind alone: its text may quote values."""
    late = isinstance(error, (TimeoutError, asyncio.TimeoutError, exceptions.TimeoutError))
    what = (
        type(error).__name__
        if isinstance(error, (exceptions.RedisError, OSError))
        else "unreadable reply"
    )
    return LinkFault(what, late=late)


def refused(error: exceptions.ResponseError) -> Refused:
    """A server's error as a reply. redis-py takes the code off those it has classes for."""
    first = str(error).partition(" ")[0]
    return Refused(first if first.isupper() and first.isalpha() else type(error).__name__)
