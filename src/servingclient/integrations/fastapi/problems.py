"""What a service answers when a call failed: status, ``Retry-After``, and a body that teaches.

Bodies are problem details (RFC 9457). Our own texts name hosts, endpoints and what the endpoint
said, which may quote the input; they are for the service's log, and nothing of them is told here.
Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from servingclient import errors

MEDIA_TYPE: Final = "application/problem+json"
_SOON_S: Final = 1
"""Where nobody says how long to wait. databricks-sdk too takes 1 s when a 429 does not say."""
_LONGEST_S: Final = 60
"""Callers are sent away for no longer: a year in a Retry-After is somebody's mistake."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One failure, as its caller learns of it.

    Attributes:
        status: HTTP status.
        detail: What happened, and what to do.
        error: Name of the error's class, as in metrics and logs; None where there was no call.
        sent: Whether the model may have run: ``"no"``, ``"maybe"`` or ``"yes"``.
        retryable: Whether the same request can succeed later; None when unknown.
        retry_after_s: Seconds to wait before, for those that say so.
        request_id: Id the service gave the call.
        row: Position (from 0) of the row at fault.
    """

    status: int
    detail: str
    error: str | None = None
    sent: str | None = None
    retryable: bool | None = None
    retry_after_s: int | None = None
    request_id: str | None = None
    row: int | None = None

    def body(self) -> dict[str, Any]:
        """The members of RFC 9457, then ours; those that are not known are left out."""
        told = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
            "error": self.error,
            "sent": self.sent,
            "retryable": self.retryable,
            "retry_after_s": self.retry_after_s,
            "request_id": self.request_id,
            "row": self.row,
        }
        return {name: value for name, value in told.items() if value is not None}

    def headers(self) -> dict[str, str]:
        """Its header lines."""
        return {} if self.retry_after_s is None else {"retry-after": str(self.retry_after_s)}


_LATE: Final = (
    "The request's time ran out before there was an answer. Allow more time, or send less"
)
_OPERATOR: Final = (
    "The service cannot use its model, and sending again does not help: tell its operator."
)
_BROKEN: Final = "The model could not be reached, or did not answer as it should. Send again later."

_ANSWERS: Final[tuple[tuple[type[errors.ServingError], int, str], ...]] = (
    (errors.Throttled, 429, "The model is at its limit. Send again later, and fewer at once."),
    (
        errors.QueueFull,
        503,
        "More requests wait than can be answered in time. Send again later, or allow more time.",
    ),
    (errors.CircuitOpen, 503, "What predictions need is out of order. Send again later."),
    (errors.ClientClosedError, 503, "This instance of the service is ending. Send again."),
    (errors.TokenRefreshError, 503, "The service cannot sign in now. Send again later."),
    (errors.DeadlineExceeded, 504, f"{_LATE} at once."),
    (errors.PayloadTooLarge, 413, "The request is larger than the model takes: send fewer rows."),
    (
        errors.PayloadError,
        400,
        "The input cannot be sent to the model: check columns, types and missing values.",
    ),
    (
        errors.BadRequest,
        400,
        "The model refused the input: check columns, types and missing values.",
    ),
    (errors.AuthError, 502, _OPERATOR),
    (errors.NotFound, 502, _OPERATOR),
    (errors.UnexpectedRedirect, 502, _OPERATOR),
    (errors.TLSError, 502, _OPERATOR),
    (errors.ConfigError, 500, _OPERATOR),
    (errors.ServerError, 502, _BROKEN),
    (errors.ConnectionFailed, 502, _BROKEN),
    (errors.ConnectionLost, 502, _BROKEN),
    (errors.ResponseFormatError, 502, _BROKEN),
    (errors.ServingError, 500, "The service failed. Tell its operator."),
)
"""The first that fits counts, so classes stand before those they derive from."""

_WAITS: Final = frozenset({429, 503})


def problem_of(error: errors.ServingError) -> Problem:
    """What to answer for ``error``.

    A call that ran out of time because its endpoint was at its limit is told as the latter, which
    says when to come again.
    """
    if isinstance(error, errors.DeadlineExceeded) and isinstance(error.__cause__, errors.Throttled):
        error = error.__cause__
    status, detail = next((s, text) for kind, s, text in _ANSWERS if isinstance(error, kind))
    wait_s = getattr(error, "retry_after_s", None)
    if isinstance(error, errors.ServerError):
        if error.status_code == 504:
            status, detail = 504, "The model took longer than its endpoint allows. Send fewer rows."
        elif error.status_code == 503 and wait_s is not None:
            status, detail = 503, "The model has no room now. Send again later."
    return Problem(
        status,
        detail,
        error=type(error).__name__,
        sent=error.sent,
        retryable=error.retryable,
        retry_after_s=_whole(wait_s) if status in _WAITS else None,
        request_id=error.request_id,
        row=error.row,
    )


def late(sent: str) -> Problem:
    """A request whose time was over while no call of it was waited for."""
    return Problem(504, f"{_LATE}.", error="DeadlineExceeded", sent=sent)


def ending() -> Problem:
    """A request that the end of the service cut."""
    return Problem(
        503,
        "This instance of the service has ended, and the request with it. The model may have run: "
        "send again where that does no harm.",
        error="ClientClosedError",
        sent="maybe",
        retry_after_s=_SOON_S,
    )


def unreadable(text: str) -> Problem:
    """A request whose time limit cannot be read."""
    return Problem(400, f"{text} Nothing was done.", retryable=False)


def _whole(wait_s: float | None) -> int:
    if wait_s is None or not math.isfinite(wait_s):
        return _SOON_S
    return min(_LONGEST_S, max(_SOON_S, math.ceil(wait_s)))
