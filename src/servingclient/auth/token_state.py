"""When a token is used, when it is renewed, and when to try again. Pure: time is an argument.

::

    asked                       stale                 due            end
      |---------- FRESH ----------|------ STALE --------|--- margin ---|  EXPIRED
      |  served                   |  served, renewed    |  (see below) |
      |                           |  behind the calls   |              |

In the margin the service may refuse the token, so a call waits for a new one. Once renewing has
been tried there (or still runs), waiting again would turn a slow login into slow calls: the old
token then serves until its real end, and the service has the last word.

Where the endpoint refuses a fresh token, and had refused the one before, logging in again is no
cure: then there is a pause, as after a failed login.

All instants are seconds of the monotonic clock: a wall clock that jumps (daylight saving, NTP) must
not make a dead token look alive.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import NamedTuple

from servingclient.auth.secret import SecretHeaders
from servingclient.errors import AuthError, ServingError
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


class Refusal(NamedTuple):
    """The endpoint would not have a token.

    Attributes:
        at_s: When it said so first.
        in_a_row: How many tokens it refused without a good one between, this one included.
    """

    at_s: float
    in_a_row: int


class Token:
    """One credential as header lines, and what is known of it.

    Attributes:
        number: Later asked for is larger; never used twice in one client.
        headers: Header lines that carry it.
        span: Its instants.
        since_s: When it was first at hand.
        refusal: The endpoint would not have it; set once, never taken back.
        dropped: Something else would not, which says nothing about the endpoint; likewise.
        before: The refusal of the last token before it that was not dropped.
    """

    __slots__ = ("before", "dropped", "headers", "number", "refusal", "since_s", "span")

    def __init__(
        self, number: int, headers: SecretHeaders, span: Span, since_s: float = 0.0
    ) -> None:
        self.since_s: float = since_s
        self.number: int = number
        self.headers: SecretHeaders = headers
        self.span: Span = span
        self.refusal: Refusal | None = None
        self.dropped: bool = False
        self.before: Refusal | None = None

    @property
    def refused(self) -> bool:
        """Whether somebody would not have it."""
        return self.dropped or self.refusal is not None

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
        old = self._token
        if old is not None and token.number <= old.number:
            return False
        if old is not None:
            token.before = old.before if old.dropped else old.refusal
        self._token = token
        self._failures, self._error = 0, None
        return True

    def fail(self, error: ServingError, now_s: float, *, final: bool = False) -> None:
        """Remember that renewing failed; ``final`` when asking again the same way cannot help."""
        self._failures += 1
        self._failed_s, self._error, self._final = now_s, error, final

    def refuse(self, number: int, now_s: float) -> bool:
        """The endpoint refused the token ``number``: never use it again. False if it is another."""
        token = self._token
        if token is None or token.number != number:
            return False
        if token.refusal is None:
            token.refusal = Refusal(now_s, 1 + self._refused_before(token, now_s))
        return True

    def drop(self, number: int) -> None:
        """Somebody else refused the token ``number``: never use it again.

        Calls with it may have been good, so it makes no pause however often it happens.
        """
        token = self._token
        if token is not None and token.number == number:
            token.dropped = True

    def _refused_before(self, token: Token, now_s: float) -> int:
        """How many refusals led to this one.

        None when it is no more than a token revoked, or refused near its end for its age: that a
        new one cures. The span is twice the longest pause, else each pause would end the row.
        """
        before = token.before
        if before is None or now_s >= token.span.stale_s:
            return 0
        recent = now_s - before.at_s <= 2 * self._rules.cooldown_cap_s
        return before.in_a_row if recent else 0

    def usable(self, now_s: float) -> Token | None:
        """The token, if the service may still take it."""
        token = self._token
        return token if token is not None and token.usable(now_s) else None

    def next_try_s(self, now_s: float) -> float:
        """Instant before which renewing is not tried again; minus infinity after no failure.

        The pause doubles while an old token serves, and after a refusal, which asking often does
        not cure. Without a token it stays short: then users wait for the login service to be back.
        """
        next_s = -math.inf
        if self._failures > 0:
            lasting = self._final or self.usable(now_s) is not None
            next_s = self._failed_s + self._pause_s(self._failures if lasting else 1)
        refusal = self._token.refusal if self._token is not None else None
        if refusal is not None and refusal.in_a_row > 1:  # the first is what renewing is for
            next_s = max(next_s, refusal.at_s + self._pause_s(refusal.in_a_row - 1))
        return next_s

    def _pause_s(self, times: int) -> float:
        doubled_s = self._rules.cooldown_s * float(2 ** min(times - 1, 32))
        return min(doubled_s, self._rules.cooldown_cap_s)

    def cooling(self, now_s: float) -> ServingError | None:
        """Why there is no renewal now: the last failure, while it is too early to try again."""
        next_s = self.next_try_s(now_s)
        if now_s >= next_s:
            return None
        return self._error if self._error is not None else self._refused_again(next_s - now_s)

    def _refused_again(self, left_s: float) -> AuthError:
        refusal = self._token.refusal if self._token is not None else None
        times = refusal.in_a_row if refusal is not None else 0
        return AuthError(
            f"The endpoint refused {times} tokens in a row, each soon after it was issued. Another "
            "login would not cure that: check that the principal is active, belongs to this "
            "workspace, and has CAN QUERY on the endpoint. The next login is tried in "
            f"{left_s:.1f} s."
        )
