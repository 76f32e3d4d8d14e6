"""What callers get of an external API."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

Source = Literal["origin", "fresh", "stale", "negative"]


class Enriched(NamedTuple):
    """One answer of an external API.

    Attributes:
        value: What it answered, as the standard JSON types; None where there is no such thing.
        age_s: Seconds since the API gave it.
        source: ``"origin"``: asked for just now. ``"fresh"``: kept, and within its time.
            ``"stale"``: kept and past its time, because a new one is being fetched or cannot be
            had. ``"negative"``: the API says, or said a moment ago, that there is no such thing.
    """

    value: Any
    age_s: float
    source: Source

    @property
    def found(self) -> bool:
        """Whether there is such a thing."""
        return self.source != "negative"
