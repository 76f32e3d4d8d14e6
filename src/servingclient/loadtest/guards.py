"""When a load test is broken off. Pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from servingclient.errors import ConfigError

REFUSALS: Final = frozenset(
    {
        "AuthError",
        "BadRequest",
        "ConfigError",
        "NotFound",
        "PayloadError",
        "PayloadTooLarge",
        "PermissionDenied",
        "RouteOptimizedRequiresOAuth",
        "SchemaMismatch",
        "TokenRefreshError",
        "UnexpectedRedirect",
        "UntrustedEndpointError",
    }
)
"""Errors that sending more of the same cannot cure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a test may cost."""

    max_calls: int = 1_000_000
    """Calls at most, all trials together."""
    max_throttled_share: float = 0.5
    """Share of the calls of a second answered 429 beyond which it is broken off: more tells
    nothing new, and other clients of the endpoint pay for it."""
    max_error_share: float = 0.5
    """The same for any other failure."""
    min_calls: int = 50
    """With fewer calls no share is judged."""
    max_refusals: int = 5
    """Calls refused for what they are (credential, payload, name) until it is broken off."""

    def __post_init__(self) -> None:
        shares = (self.max_throttled_share, self.max_error_share)
        if not all(0.0 < share <= 1.0 for share in shares):
            raise ConfigError("Limits: shares lie above 0 and at most at 1.")
        if min(self.max_calls, self.min_calls, self.max_refusals) < 1:
            raise ConfigError("Limits: counts are at least 1.")


def broken_off(limits: Limits, calls: int, errors: Counter[str]) -> str | None:
    """Why to stop now; None to go on.

    Args:
        limits: What is allowed.
        calls: Calls that ended so far in this trial.
        errors: How many of them failed, by class of the error.
    """
    refusals = sum(errors[name] for name in REFUSALS)
    if refusals >= limits.max_refusals or (refusals and refusals == calls):
        worst = max(REFUSALS, key=lambda name: errors[name])
        return f"{refusals} of {calls} calls were refused ({worst}); more would be too"
    if calls < limits.min_calls:
        return None
    throttled = errors["Throttled"]
    if throttled > limits.max_throttled_share * calls:
        return f"{throttled / calls:.0%} of the calls were answered 429"
    failed = errors.total() - throttled
    if failed > limits.max_error_share * calls:
        return f"{failed / calls:.0%} of the calls failed"
    return None
