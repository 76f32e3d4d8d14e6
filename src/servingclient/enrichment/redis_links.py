"""What the story of a Redis cache needs of connections. One class per colour."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, Protocol

Command = tuple[str | bytes | int, ...]

MOST_LINKS = 16
"""Connections of one cache in one process. An operation holds one for the time of a round trip, so
these carry tens of thousands of operations a second; redis-py itself is the limit, at 100 µs each.
"""
DIAL_S = 2.0
"""How long connecting may take behind the callers, who wait for it no longer than their budget:
name look-up, TLS and login over a distance take longer than that, and still succeed."""


class Refused(NamedTuple):
    """A command that the server answered with an error.

    Attributes:
        code: Its first word, such as ``NOPERM``.
    """

    code: str


class LinkFault(Exception):  # noqa: N818 - as WireFault: what happened to a connection
    """Commands were not answered. Never leaves the cache.

    Args:
        what: What happened, without anything secret.
        late: The deadline came first.
    """

    def __init__(self, what: str, *, late: bool = False) -> None:
        super().__init__(what)
        self.late = late


class Links(Protocol):
    """Connections to one Redis server. A connection whose exchange did not end well is closed."""

    async def run(self, commands: Sequence[Command], deadline_s: float) -> list[Any]:
        """Send all commands at once and read their replies, in one round trip.

        Returns:
            A reply for each command; :class:`Refused` where it is an error.

        Raises:
            LinkFault: They were not all answered by then. Some may have been carried out.
        """

    def behind(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` behind the callers."""

    async def aclose(self) -> None:
        """Close all connections."""
