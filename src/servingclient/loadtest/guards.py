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

_LAST_S: Final = 5
"""Seconds in which calls must fail for a trial to be broken off. Over all of it, a good half minute
would hide a bad one; over one second, a hiccup would end it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a test may cost."""

    max_calls: int = 1_000_000
    """Calls at most, all trials together."""
    max_throttled_share: float = 0.5
    """Share answered 429, of the calls that ended in the last 5 seconds, beyond which it is broken
    off: more tells nothing new, and other clients of the endpoint pay for it."""
    max_error_share: float = 0.5
    """The same for any other failure."""
    min_calls: int = 50
    """With fewer calls no share is judged; where the last 5 seconds have fewer, those before them
    are counted too."""
    max_refusals: int = 5
    """Calls refused for what they are (credential, payload, name) until it is broken off."""

    def __post_init__(self) -> None:
        shares = (self.max_throttled_share, self.max_error_share)
        if not all(0.0 < share <= 1.0 for share in shares):
            raise ConfigError("Limits: shares lie above 0 and at most at 1.")
        if min(self.max_calls, self.min_calls, self.max_refusals) < 1:
            raise ConfigError("Limits: counts are at least 1.")


def refused(
    limits: Limits, calls: int, errors: Counter[str], first: str | None = None
) -> str | None:
    """Why sending more of the same is of no use, for no fault of the endpoint; None to go on.

    Args:
        limits: What is allowed.
        calls: Calls that ended so far in this trial.
        errors: How many of them failed, by class of the error.
        first: Which input was refused first, and what the error says; None where that is not known.
    """
    refusals = sum(errors[name] for name in REFUSALS)
    if refusals < limits.max_refusals and (not refusals or refusals < calls):
        return None
    worst = max(REFUSALS, key=lambda name: errors[name])
    told = "" if first is None else f". The first was {first}"
    return f"{refusals} of {calls} calls were refused ({worst}); more would be too{told}"


class Ends:
    """The calls of a trial by the second in which they ended.

    Not by the second in which they were due: of the latest of those only the quick calls have ended
    yet, and a refusal is quicker than an answer.

    Attributes:
        calls: Calls that ended so far.
        errors: How many of them failed, by class of the error.
    """

    __slots__ = ("_seconds", "calls", "errors")

    def __init__(self) -> None:
        self._seconds: dict[int, tuple[int, Counter[str]]] = {}
        self.calls: int = 0
        self.errors: Counter[str] = Counter()

    def take(self, at_s: float, calls: int, errors: Counter[str]) -> None:
        """Count calls that have just ended.

        Args:
            at_s: Seconds from the start of the trial.
            calls: How many.
            errors: How many of them failed, by class of the error.
        """
        self.calls += calls
        self.errors.update(errors)
        before, failed = self._seconds.get(int(at_s), (0, Counter[str]()))
        self._seconds[int(at_s)] = (before + calls, failed + errors)

    def last(self, until_s: float, least_calls: int) -> tuple[int, Counter[str]]:
        """Those of the last 5 seconds, or of as many more as hold enough calls.

        Args:
            until_s: Calls that ended later do not count: when none is begun any more, it is the
                slow ones that are left.
            least_calls: So many are enough.
        """
        calls, errors = 0, Counter[str]()
        known = sorted((at for at in self._seconds if at < until_s), reverse=True)
        for at in known:
            if at <= known[0] - _LAST_S and calls >= least_calls:
                break
            calls += self._seconds[at][0]
            errors += self._seconds[at][1]
        return calls, errors


def failing(limits: Limits, calls: int, errors: Counter[str]) -> str | None:
    """Why the endpoint is to be spared: it throttles or fails too many calls; None to go on.

    Args:
        limits: What is allowed.
        calls: Calls that ended lately.
        errors: How many of them failed, by class of the error.
    """
    if calls < limits.min_calls:
        return None
    throttled = errors["Throttled"]
    if throttled > limits.max_throttled_share * calls:
        return f"{throttled / calls:.0%} of the last {calls:,} calls were answered 429"
    failed = errors.total() - throttled
    if failed > limits.max_error_share * calls:
        return f"{failed / calls:.0%} of the last {calls:,} calls failed"
    return None
