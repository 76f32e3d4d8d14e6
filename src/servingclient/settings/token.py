"""Tokens and endpoint descriptions."""

from __future__ import annotations

from dataclasses import dataclass

from servingclient.settings.checks import names_checked, number


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """OAuth tokens and endpoint descriptions."""

    refresh_ahead_s: float = 1200.0
    """A token is refreshed behind the calls from min(lifetime / 2, this) before its end."""
    refresh_jitter_s: float = 60.0
    """Up to this much earlier at random, so that a fleet does not log in at one instant."""
    margin_s: float = 60.0
    """A token with less than this left is not used, as long as it lived longer than twice this:
    the service refuses tokens with under 30 s left, and the SDK's own 40 s is thin."""
    try_timeout_s: float = 5.0
    """Longest single request to the token endpoint. The SDK has none: one hung login stops all."""
    timeout_s: float = 10.0
    """Longest refresh, with its retries."""
    cooldown_s: float = 1.0
    """Pause after a failed refresh, doubling to ``cooldown_cap_s``."""
    cooldown_cap_s: float = 60.0
    """Longest pause after failed refreshes."""
    endpoint_ttl_s: float = 300.0
    """How long an endpoint's description is trusted; then it is read again behind the calls."""
    reresolve_min_s: float = 60.0
    """Least time between two readings forced by a 404 or a name that no longer resolves."""

    def __post_init__(self) -> None:
        number(self, "refresh_ahead_s", "refresh_jitter_s", "margin_s", "reresolve_min_s")
        number(self, "try_timeout_s", "timeout_s", "endpoint_ttl_s", above=True)
        number(self, "cooldown_s", "cooldown_cap_s", above=True)
