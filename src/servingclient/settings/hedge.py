"""A second request when the reply to the first is late."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, number, whole


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Hedge:
    """When a call that may be repeated is sent twice (Dean, Barroso: The Tail at Scale, 2013)."""

    quantile: float = 0.95
    """The second request leaves when the first has taken longer than this share of recent calls."""
    min_samples: int = 50
    """Recent calls that must be known before any call is hedged."""
    max_share: float = 0.05
    """Most hedges as a share of calls: the extra load is bounded by it. Hedges also pay the retry
    quota, so they end in an outage."""
    pause_s: float = 10.0
    """No hedges for so long after a reply that said the endpoint has no room (429, 503)."""

    def __post_init__(self) -> None:
        whole(self, "min_samples")
        number(self, "quantile", "max_share", above=True)
        number(self, "pause_s")
        if self.quantile >= 1.0 or self.max_share > 1.0:
            raise ConfigError("Hedge.quantile must lie below 1 and Hedge.max_share is at most 1.")
