"""When a token is used, when it is renewed, and when to try again. Pure: time is an argument.

::

    asked                       stale                 due            end
      |---------- FRESH ----------|------ STALE --------|--- margin ---|  EXPIRED
      |  served                   |  served, renewed    |  (see below) |
      |                           |  behind the calls   |              |

In the margin the service may refuse the token, so a call waits for a new one. Once renewing has
been tried there (or still runs), waiting again would turn a slow login into slow calls: the old
token then serves until its real end, and the service has the last word.

All instants are seconds of the monotonic clock: a wall clock that jumps (daylight saving, NTP) must
not make a dead token look alive.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

from servingclient.auth.secret import SecretHeaders
from servingclient.errors import ServingError
from servingclient.settings import Token as Rules

SHORT_LIVED_STALE = 0.92
"""Part of its life after which a short-lived token (at most twice the margin) is renewed. Half its
life, as for others, would log in twice as often as needed: 5 s tokens must cost at most 135 logins
in 10 min."""
SHORT_LIVED_DUE = 0.98
"""Part of its life for which a short-lived token is used; a fixed margin would be all of it."""
LEASE_SHARE = 0.25
"""Most of its remaining life for which a borrowed token (databricks-sdk renews it, we only ask) is
held before it is asked for again."""
_JITTER_SHARE = 0.1
"""Most of a token's life that jitter takes away."""


class Freshness(Enum):
    """What to do with a token."""

    FRESH = "fresh"
    """Use it."""
    STALE = "stale"
    """Use it, and renew it behind the calls."""
    EXPIRED = "expired"
    """Wait for another."""


class Span(NamedTuple):
    """The instants of one token, see the chart above."""

    stale_s: float
    due_s: float
    end_s: float


FOR_EVER = Span(math.inf, math.inf, math.inf)


def plan(asked_s: float, lifetime_s: float, rules: Rules, chance: float) -> Span:
    """When a token of our own is renewed.

    Args:
        asked_s: Instant before the request for it was sent; its life is counted from there.
        lifetime_s: ``expires_in`` of the reply, in seconds.
        rules: The settings.
        chance: A random number in [0, 1), so that a fleet does not log in at one instant.
    """
    end_s = asked_s + lifetime_s
    if lifetime_s <= 2 * rules.margin_s:
        return Span(
            asked_s + SHORT_LIVED_STALE * lifetime_s, asked_s + SHORT_LIVED_DUE * lifetime_s, end_s
        )
    jitter_s = chance * min(rules.refresh_jitter_s, _JITTER_SHARE * lifetime_s)
    ahead_s = min(lifetime_s / 2, rules.refresh_ahead_s) + jitter_s
    due_s = end_s - rules.margin_s
    return Span(min(end_s - ahead_s, due_s), due_s, end_s)


def lease(asked_s: float, lifetime_s: float, lease_s: float) -> Span:
    """When a borrowed token is asked for again; whoever lends it keeps its own margin."""
    end_s = asked_s + lifetime_s
    return Span(asked_s + min(lease_s, LEASE_SHARE * lifetime_s), end_s, end_s)


class Token:
    """One credential as header lines, and what is known of it.

    Attributes:
        number: Later asked for is larger; never used twice in one client.
        headers: Header lines that carry it.
        span: Its instants.
        refused: The service would not have it; set once, never taken back.
    """

    __slots__ = ("headers", "number", "refused", "span")

    def __init__(self, number: int, headers: SecretHeaders, span: Span) -> None:
        self.number = number
        self.headers = headers
        self.span = span
        self.refused = False

    def usable(self, now_s: float) -> bool:
        """Whether the service may still take it."""
        return not self.refused and now_s < self.span.end_s

    def freshness(self, now_s: float, *, tried: bool) -> Freshness:
        """What to do; ``tried`` when renewing it runs or has failed."""
        if not self.usable(now_s) or (now_s >= self.span.due_s and not tried):
            return Freshness.EXPIRED
        return Freshness.STALE if now_s >= self.span.stale_s else Freshness.FRESH

    def __repr__(self) -> str:
        return f"Token(number={self.number}, {self.span}, refused={self.refused})"


class TokenState:
    """One kind of token over time: the one in use, and what failed since.

    Only one thread or task at a time puts and fails (the single flight); ``refuse`` may come from
    any thread: it marks the token itself, so it can never hit a newer one.
    """

    __slots__ = ("_error", "_failed_s", "_failures", "_final", "_rules", "_token")

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._token: Token | None = None
        self._error: ServingError | None = None
        self._failures = 0
        self._failed_s = -math.inf
        self._final = False

    @property
    def token(self) -> Token | None:
        """The token last put, whatever its state."""
        return self._token

    @property
    def failing(self) -> bool:
        """Whether the last renewal failed."""
        return self._failures > 0

    def put(self, token: Token) -> bool:
        """Use ``token`` from now on, unless one that was asked for later is here already."""
        if self._token is not None and token.number <= self._token.number:
            return False
        self._token = token
        self._failures, self._error = 0, None
        return True

    def fail(self, error: ServingError, now_s: float, *, final: bool = False) -> None:
        """Remember that renewing failed; ``final`` when asking again the same way cannot help."""
        self._failures += 1
        self._failed_s, self._error, self._final = now_s, error, final

    def refuse(self, number: int) -> bool:
        """The service refused the token ``number``: never use it again. False if it is another."""
        token = self._token
        if token is None or token.number != number:
            return False
        token.refused = True
        return True

    def usable(self, now_s: float) -> Token | None:
        """The token, if the service may still take it."""
        token = self._token
        return token if token is not None and token.usable(now_s) else None

    def next_try_s(self, now_s: float) -> float:
        """Instant before which renewing is not tried again; minus infinity after no failure.

        The pause doubles while an old token serves, and after a refusal, which asking often does
        not cure. Without a token it stays short: then users wait for the login service to be back.
        """
        if self._failures == 0:
            return -math.inf
        doublings = 0
        if self._final or self.usable(now_s) is not None:
            doublings = min(self._failures - 1, 32)
        pause_s = min(self._rules.cooldown_s * float(2**doublings), self._rules.cooldown_cap_s)
        return self._failed_s + pause_s

    def cooling(self, now_s: float) -> ServingError | None:
        """The last failure, while it is too early to try again."""
        return self._error if now_s < self.next_try_s(now_s) else None
