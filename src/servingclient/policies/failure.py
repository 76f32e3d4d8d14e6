"""What a failed try was, in the terms of the resend table (:mod:`servingclient.policies.retry`)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus
from typing import Final

from servingclient._types import ErrorDetail, FaultKind, Sent, WireFault
from servingclient.policies.compression import NO_STATUS
from servingclient.policies.retry_after import NO_HINT, Hint, hint_of, parse_retry_after


class FailureClass(Enum):
    """Kinds of failure that are treated alike."""

    NEVER_SENT = "never_sent"
    """Name look-up, refusal, connect time-out, no connection free in time."""
    REFUSED = "refused"
    """429: turned away unprocessed."""
    COME_BACK = "come_back"
    """503 that says when to come back."""
    STALE = "stale"
    """A reused connection closed before a single byte of the reply."""
    AMBIGUOUS = "ambiguous"
    """Cut off, or a failure of the service: the request may have run."""
    SLOW = "slow"
    """Sent, and no complete reply in time: the request may be running now."""
    TOKEN = "token"  # noqa: S105 - a word, not a secret
    """The token is no longer good: renew it once."""
    CODING = "coding"
    """The endpoint does not take requests compressed: send it plain once."""
    MOVED = "moved"
    """The endpoint's own host does not know it: read its address again once."""
    FATAL = "fatal"
    """Sending the same again cannot help."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed try.

    Attributes:
        cls: Its kind.
        status: HTTP status of the reply; None when no complete reply came.
        hint: How long the server asked to wait.
        cause: What happened, in a few words, for ``Attempt.cause``.
        sent: Whether the model may have run the request. ``"no"`` also where the front end
            refused it: only then is it resent when running it twice would do harm.
    """

    cls: FailureClass
    status: int | None
    hint: Hint
    cause: str
    sent: Sent


# ------------------------------------------------------------------------------------------ replies

# The front end's own answers: the model was not run.
_REFUSALS: Final = frozenset({401, 403, 404, 413, 415, 429})

# 5xx that say something lasting. Any other 5xx, known or not, counts as 500 (RFC 9110 section 15).
_LASTING: Final = frozenset({501, 505, 511})

# 403 was seen for tokens that are invalid, expired, about to expire, or without scope:
# n8n-io/n8n#34147, databricks-vscode#583, databricks-sdk-py#362, databricks-ai-search 0.81.
_TOKEN_TEXTS: Final = ("invalid access token", "expired", "token is expiring", "invalidscope")

# Codes of a 404 that the front end gives. A model may answer 404 too, with MLflow's codes, and by
# then it has run.
_FRONT_END_404: Final = frozenset({None, "404", "ENDPOINT_NOT_FOUND"})


def classify_reply(
    status: int,
    headers_retry_after: str | None,
    reply_date: str | None,
    detail: ErrorDetail,
    *,
    cap_s: float,
    route_optimized: bool,
    coding_refusals: frozenset[int] = NO_STATUS,
) -> Failure:
    """Say what a reply other than a good one means.

    Args:
        status: HTTP status.
        headers_retry_after: Value of the Retry-After header, if there is one.
        reply_date: Value of the Date header, if there is one.
        detail: What the body says.
        cap_s: Longest Retry-After that is honoured, in seconds.
        route_optimized: Whether the reply came from the endpoint's own host.
        coding_refusals: Statuses that refuse the request's compression; none where it went plain.
    """
    hint = parse_retry_after(headers_retry_after, reply_date=reply_date, cap_s=cap_s)
    if hint.wait_s is None:
        hint = hint_of(detail.retry_after_s, cap_s=cap_s)
    cls = _class_of(status, hint, detail, route_optimized=route_optimized)
    if cls is FailureClass.FATAL and status in coding_refusals:
        cls = FailureClass.CODING
    cause = _reason(status)
    if cls is FailureClass.TOKEN:
        cause += ", token refused"
    return Failure(cls, status, hint, cause, _reply_sent(status, detail))


def _class_of(
    status: int, hint: Hint, detail: ErrorDetail, *, route_optimized: bool
) -> FailureClass:
    if status == 429:
        return FailureClass.REFUSED
    if status == 503 and hint.wait_s is not None:
        return FailureClass.COME_BACK
    if status == 408 or (500 <= status <= 599 and status not in _LASTING):
        return FailureClass.AMBIGUOUS
    if _says_token_is_bad(status, detail):
        return FailureClass.TOKEN
    if status == 404 and route_optimized:
        return FailureClass.MOVED
    return FailureClass.FATAL


def _says_token_is_bad(status: int, detail: ErrorDetail) -> bool:
    if status == 401:
        return True
    text = f"{detail.code} {detail.message}".lower()
    if status == 400:  # Azure once answered so (databrickslabs/splunk-integration#55)
        return "expiredjwtexception" in text
    if status != 403 or "permission_denied" in text:  # a good token without CAN QUERY is final
        return False
    return any(known in text for known in _TOKEN_TEXTS)


def _reply_sent(status: int, detail: ErrorDetail) -> Sent:
    if 200 <= status <= 299:
        return "yes"
    if status == 404 and detail.code not in _FRONT_END_404:
        return "maybe"
    # 400 too: the service answers so for any exception in model code
    return "no" if status in _REFUSALS else "maybe"


def _reason(status: int) -> str:
    try:
        return f"{status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"status {status}"


# ------------------------------------------------------------------------------------------- faults

_FAULTS: Final[dict[FaultKind, tuple[FailureClass, str]]] = {
    FaultKind.NOT_CONNECTED: (FailureClass.NEVER_SENT, "not connected"),
    FaultKind.NO_NAME: (FailureClass.NEVER_SENT, "not connected"),
    FaultKind.TLS: (FailureClass.FATAL, "TLS refused"),
    FaultKind.STALE: (FailureClass.STALE, "reused connection broke"),
    FaultKind.CUT_OFF: (FailureClass.AMBIGUOUS, "connection broke"),
    FaultKind.TIMEOUT: (FailureClass.SLOW, "time-out"),
    FaultKind.UNREADABLE: (FailureClass.FATAL, "unreadable reply"),
    FaultKind.CORRUPT: (FailureClass.AMBIGUOUS, "corrupt reply"),
    FaultKind.TOO_LARGE: (FailureClass.FATAL, "reply too large"),
    FaultKind.CLOSED: (FailureClass.FATAL, "client closed"),
}


def classify_fault(fault: WireFault) -> Failure:
    """Say what a request without a complete reply means."""
    cls, words = _FAULTS[fault.kind]
    if fault.sent == "no" and cls in (FailureClass.AMBIGUOUS, FailureClass.SLOW):
        cls = FailureClass.NEVER_SENT  # timed out in the queue, or cut off before the first byte
    cause = f"{words}: {fault.detail}" if fault.detail else words
    return Failure(cls, None, NO_HINT, cause, fault.sent)
