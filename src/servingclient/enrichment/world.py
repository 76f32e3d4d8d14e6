"""What the story of a value needs of the world: one class a colour behind each port. Pure."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from servingclient.enrichment.entry import Entry
from servingclient.enrichment.flight import Flights
from servingclient.enrichment.ports import SharedCache


class Behind(Protocol):
    """Runs actions behind the callers."""

    def start(self, action: Callable[[], Awaitable[None]]) -> bool:
        """Run it soon; False where too many wait already, or the client is closed."""


class Crew(Protocol):
    """Runs several jobs at once."""

    async def run(self, jobs: Sequence[Callable[[], Awaitable[None]]], most: int) -> None:
        """Run all, at most so many at once, until all have ended. They do not raise."""


@dataclass(frozen=True, slots=True)
class World:
    """What the story needs of the world.

    Attributes:
        now: The monotonic clock, in seconds.
        sleep: Waits.
        rand: A number in [0, 1).
        flights: What is being fetched now.
        behind: For new values behind the callers.
        crew: For several requests at once.
        shared: The shared cache, or None.
    """

    now: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]]
    rand: Callable[[], float]
    flights: Flights[Entry]
    behind: Behind
    crew: Crew
    shared: SharedCache | None
