"""One number over everything: the instant at which the call is over.

A call has one deadline; a single try may have a nearer one. gRPC A6: the deadline spans all tries.
"""

from __future__ import annotations


def remaining(deadline_s: float, now_s: float) -> float:
    """Seconds left until ``deadline_s``, at least 0.0. Both are instants of one clock."""
    return max(deadline_s - now_s, 0.0)


def attempt_deadline(
    call_deadline_s: float, attempt_timeout_s: float | None, now_s: float
) -> float:
    """Instant at which one try that starts now gives up: its own limit, or the call's if nearer."""
    if attempt_timeout_s is None:
        return call_deadline_s
    return min(call_deadline_s, now_s + attempt_timeout_s)
