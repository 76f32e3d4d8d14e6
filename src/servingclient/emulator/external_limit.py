"""How the external API limits its callers, and the ways it may tell them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

if TYPE_CHECKING:
    from collections.abc import Callable

LimitHeaders = Literal[
    "none", "retry_after", "ietf", "ietf_07", "ietf_03", "x_seconds", "x_epoch", "x_rate_epoch"
]
LIMIT_HEADERS: tuple[str, ...] = get_args(LimitHeaders)


class Standing(NamedTuple):
    """How a caller stands after one more request."""

    refused: bool
    left: int
    reset_s: float
    """Seconds until the next window."""


class Window:
    """So many requests in a window of fixed length; it begins with the first request in it."""

    def __init__(self) -> None:
        """Start before any request."""
        self._ends_s = -math.inf
        self._used = 0

    def take(self, limit: int, window_s: float, now_s: float) -> Standing:
        """Count a request, and say whether it is one too many."""
        if now_s >= self._ends_s:
            self._ends_s = now_s + window_s
            self._used = 0
        refused = self._used >= limit
        self._used += not refused
        reset_s = min(window_s, self._ends_s - now_s)  # (now + 3600) - now may be a bit above 3600
        return Standing(refused, limit - self._used, reset_s)


def headers(
    style: LimitHeaders, limit: int, window_s: float, standing: Standing, wall_s: float
) -> tuple[tuple[str, str], ...]:
    """Return the header lines of a reply; each style tells in its own way and no other."""
    if style == "none" or (style == "retry_after" and not standing.refused):
        return ()
    return _STYLES[style](limit, math.ceil(window_s), standing, wall_s)


def _retry_after(_: int, __: int, standing: Standing, ___: float) -> tuple[tuple[str, str], ...]:
    return (("retry-after", str(math.ceil(standing.reset_s))),)


def _ietf(limit: int, window: int, standing: Standing, _: float) -> tuple[tuple[str, str], ...]:
    return (
        ("ratelimit", f'"default";r={standing.left};t={math.ceil(standing.reset_s)}'),
        ("ratelimit-policy", f'"default";q={limit};w={window}'),
    )


def _ietf_07(limit: int, window: int, standing: Standing, _: float) -> tuple[tuple[str, str], ...]:
    reset = math.ceil(standing.reset_s)
    return (
        ("ratelimit", f"limit={limit}, remaining={standing.left}, reset={reset}"),
        ("ratelimit-policy", f"{limit};w={window}"),
    )


def _three(
    family: str, *, since_1970: bool
) -> Callable[[int, int, Standing, float], tuple[tuple[str, str], ...]]:
    def lines(limit: int, _: int, standing: Standing, wall_s: float) -> tuple[tuple[str, str], ...]:
        reset = math.ceil(standing.reset_s + (wall_s if since_1970 else 0.0))
        return (
            (f"{family}-limit", str(limit)),
            (f"{family}-remaining", str(standing.left)),
            (f"{family}-reset", str(reset)),
        )

    return lines


_STYLES = {
    "retry_after": _retry_after,
    "ietf": _ietf,
    "ietf_07": _ietf_07,
    "ietf_03": _three("ratelimit", since_1970=False),
    "x_seconds": _three("x-ratelimit", since_1970=False),
    "x_epoch": _three("x-ratelimit", since_1970=True),
    "x_rate_epoch": _three("x-rate-limit", since_1970=True),
}
