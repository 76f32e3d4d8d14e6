"""What is kept of one answer. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer as it lies in a cache. Instants are those of this process's monotonic clock.

    Attributes:
        value: What the API answered, decoded; None for a negative one.
        stored_s: Instant at which the origin gave it. A shared cache converts to and from wall
            clock time, and takes a stamp from the future for now.
        fresh_s: Seconds from then for which it is fresh, jitter taken off.
        revalidate_s: Seconds beyond those for which it is given out while a new one is fetched.
        on_error_s: Seconds beyond ``fresh_s`` for which it is given out when there is no other.
        took_s: Seconds the origin took: decides how early it is fetched anew.
        size_bytes: Its size as it arrived.
        negative: The API said that there is no such thing.
        etag: Validator for a conditional request, or None.
        tags: Names it can be invalidated by.
    """

    value: Any
    stored_s: float
    fresh_s: float
    revalidate_s: float
    on_error_s: float
    took_s: float
    size_bytes: int
    negative: bool = False
    etag: str | None = None
    tags: tuple[str, ...] = ()
