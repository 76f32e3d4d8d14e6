"""One number over everything: the instant at which the call is over.

A call has one deadline; a single try may have a nearer one. gRPC A6: the deadline spans all tries.
"""

from __future__ import annotations


def attempt_deadline(
    call_deadline_s: float, attempt_timeout_s: float | None, now_s: float
) -> float:
    """Instant at which one try that starts now gives up: its own limit, or the call's if nearer."""
    if attempt_timeout_s is None:
        return call_deadline_s
    return min(call_deadline_s, now_s + attempt_timeout_s)
