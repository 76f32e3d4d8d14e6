"""From a failed try to the error a user sees: what happened, with figures, then what to do."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from servingclient import errors
from servingclient._types import ErrorDetail, FaultKind, Reply, Sent, WireFault

_LARGE_BODY_BYTES: Final = 1024 * 1024
_TOO_LARGE_TEXT: Final = "Request size cannot exceed"  # the service answers 400 with it
_ADDRESS_TEXTS: Final = ("ip acl", "ip access list")


def shown_s(seconds: float) -> str:
    """A time in words: milliseconds below one second, so that a short one does not read as 0.00."""
    if seconds >= 1.0:
        return f"{seconds:.2f} s"
    ms = 1000 * max(0.0, seconds)
    return f"{ms:.0f} ms" if ms >= 10 or ms == 0.0 else f"{ms:.1f} ms"


def fault_error(
    fault: WireFault,
    endpoint: str,
    body_bytes: int,
    *,
    spent_s: float,
    in_time: bool,
    seen: Sent = "no",
) -> errors.ServingError:
    """The error of a try that got no complete reply.

    Args:
        fault: What the wire knows.
        endpoint: Name of the endpoint.
        body_bytes: Size of the request.
        spent_s: Seconds since the call began.
        in_time: The call itself had time left: it was the limit of a single try.
        seen: Whether the endpoint may have seen an earlier try.
    """
    if fault.kind is FaultKind.TIMEOUT:
        error = _timeout(fault, endpoint, spent_s, in_time=in_time, seen=seen)
        error.sent = fault.sent
        return error
    make = _FAULTS[fault.kind]
    error = make(fault, endpoint, body_bytes)
    error.sent = fault.sent
    return error


def _not_connected(fault: WireFault, _endpoint: str, _bytes: int) -> errors.ServingError:
    error = errors.ConnectionFailed(
        f"No connection to {fault.host}: {fault.detail}. Nothing was sent. Check the host name and "
        "that this machine may reach it (network, firewall, private link)."
    )
    error.retryable = True
    return error


def _tls(fault: WireFault, _endpoint: str, _bytes: int) -> errors.ServingError:
    return errors.TLSError(
        f"TLS with {fault.host} failed: {fault.detail}. Nothing was sent and it was not tried "
        "again. For a private certificate authority pass Settings(tls=Tls(ca_file=...))."
    )


def _lost(fault: WireFault, endpoint: str, body_bytes: int) -> errors.ServingError:
    hint = ""
    if body_bytes > _LARGE_BODY_BYTES:
        hint = (
            f" The request had {body_bytes / 1e6:.1f} MB: the service also hangs up on requests "
            "above its size limit; send fewer rows at a time."
        )
    error = errors.ConnectionLost(
        f"The connection to {fault.host or endpoint!r} was lost: {fault.detail}. The endpoint may "
        f"have run the request, so send it again only if that does no harm.{hint}"
    )
    error.ambiguous = fault.sent != "no"
    error.retryable = None
    return error


def _timeout(
    fault: WireFault, endpoint: str, spent_s: float, *, in_time: bool, seen: Sent
) -> errors.ServingError:
    unsent = "Nothing was sent" if seen == "no" else "Nothing more was sent"
    limit = "Pool.attempt_timeout_s" if in_time else "timeout_s"
    advice = (
        f"The endpoint may be running it still: raise {limit}, or see whether the model or its "
        "queue is slow."
        if fault.sent != "no"
        else f"{unsent}: allow more time ({limit}); where calls wait for their turn, "
        "send fewer at once, or give the endpoint more concurrency."
    )
    error = errors.DeadlineExceeded(
        f"{endpoint!r}: {fault.detail}, after {shown_s(spent_s)}. {advice}"
    )
    error.stopped_by = None if in_time else "deadline"
    error.retryable = None
    return error


def _unreadable(fault: WireFault, _endpoint: str, _bytes: int) -> errors.ServingError:
    return errors.ResponseFormatError(
        f"The reply of {fault.host or 'the server'} cannot be read: {fault.detail}. Is something "
        "other than a serving endpoint answering, a proxy or a login page?"
    )


def _too_large(fault: WireFault, _endpoint: str, _bytes: int) -> errors.ServingError:
    return errors.ResponseTooLarge(
        f"{fault.detail[:1].upper()}{fault.detail[1:]}. Send fewer rows at a time, or raise "
        "Pool.max_reply_bytes."
    )


def _closed(fault: WireFault, _endpoint: str, _bytes: int) -> errors.ServingError:
    return errors.ClientClosedError(
        f"{fault.detail[:1].upper()}{fault.detail[1:]}. Keep it open while calls run."
    )


_FAULTS: Final = {
    FaultKind.NOT_CONNECTED: _not_connected,
    FaultKind.NO_NAME: _not_connected,
    FaultKind.TLS: _tls,
    FaultKind.STALE: _lost,
    FaultKind.CUT_OFF: _lost,
    FaultKind.UNREADABLE: _unreadable,
    FaultKind.CORRUPT: _unreadable,
    FaultKind.TOO_LARGE: _too_large,
    FaultKind.CLOSED: _closed,
}


def reply_error(
    reply: Reply, detail: ErrorDetail, endpoint: str, body_bytes: int, retry_after_s: float | None
) -> errors.ServingError:
    """The error of a reply other than a good one."""
    error = _of_status(reply, detail, endpoint, body_bytes)
    error.status_code = reply.status
    if isinstance(error, (errors.Throttled, errors.ServerError)):
        error.retry_after_s = retry_after_s
        if retry_after_s is not None:
            error.args = (f"{error} It asked for a wait of {retry_after_s:g} s.",)
    return error


def _of_status(
    reply: Reply, detail: ErrorDetail, endpoint: str, body_bytes: int
) -> errors.ServingError:
    status = reply.status
    if status == 413 or _TOO_LARGE_TEXT in detail.message:
        return _refused_size(status, detail, body_bytes)
    if status in _BY_STATUS:
        return _BY_STATUS[status](status, detail, endpoint)
    if 300 <= status <= 399:
        return _redirect(reply, endpoint)
    if status >= 500:
        return _server(status, detail, endpoint)
    if status >= 400:
        return _bad_request(status, detail, endpoint)
    return errors.ResponseFormatError(
        f"{endpoint!r} answered {status} instead of 200 with predictions. Is something other than "
        "a serving endpoint answering?"
    )


def _said(detail: ErrorDetail) -> str:
    """The service's words, made the end of a sentence."""
    words = detail.message.strip().rstrip(".")
    code = f" [{detail.code}]" if detail.code and detail.code not in words else ""
    return f": {words}{code}." if words else f"{code}."


def _bad_request(status: int, detail: ErrorDetail, endpoint: str) -> errors.ServingError:
    return errors.BadRequest(
        f"{endpoint!r} refused the request ({status}){_said(detail)} Check the input against the "
        "model's signature: column names, types, and missing values."
    )


def _unauthenticated(status: int, detail: ErrorDetail, endpoint: str) -> errors.ServingError:
    return errors.AuthError(
        f"{endpoint!r} did not accept the credential ({status}){_said(detail)} Log in again, or "
        "check that token or client secret belong to this workspace and are still valid."
    )


def _forbidden(status: int, detail: ErrorDetail, endpoint: str) -> errors.ServingError:
    text = f"{detail.code} {detail.message}".lower()
    if "token" in text and "permission_denied" not in text:
        return _unauthenticated(status, detail, endpoint)
    if any(known in text for known in _ADDRESS_TEXTS):
        return errors.PermissionDenied(
            f"{endpoint!r} may not be queried from here ({status}){_said(detail)} Ask for this "
            "machine's address to be put on the workspace's IP access list."
        )
    return errors.PermissionDenied(
        f"The credential may not query {endpoint!r} ({status}){_said(detail)} Ask for CAN QUERY on "
        "it."
    )


def _not_found(status: int, detail: ErrorDetail, endpoint: str) -> errors.ServingError:
    return errors.NotFound(
        f"There is no {endpoint!r} to query ({status}){_said(detail)} Check the endpoint's name, "
        "the served model's name and the workspace."
    )


def _throttled(status: int, detail: ErrorDetail, endpoint: str) -> errors.ServingError:
    error = errors.Throttled(
        f"{endpoint!r} is at its limit ({status}){_said(detail)} Raise its provisioned "
        "concurrency, send less at once, or allow more time (timeout_s) while it scales up."
    )
    error.retryable = True
    return error


def _server(status: int, detail: ErrorDetail, endpoint: str) -> errors.ServingError:
    error = errors.ServerError(
        f"{endpoint!r} failed ({status}){_said(detail)} The model may have run. If it goes on, see "
        "the endpoint's logs and state."
    )
    error.retryable = True
    return error


def _redirect(reply: Reply, endpoint: str) -> errors.ServingError:
    location = reply.header(b"location") or ""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    where = f" to {host}" if host else ""
    return errors.UnexpectedRedirect(
        f"{endpoint!r} answered with a redirect ({reply.status}){where}, which is not followed: it "
        "would carry data and credential elsewhere. Check host; a login page often answers so."
    )


def _refused_size(status: int, detail: ErrorDetail, body_bytes: int) -> errors.ServingError:
    error = errors.PayloadTooLarge(
        f"The service refused {body_bytes:,} bytes ({status}){_said(detail)} client.map(...) "
        "splits them by rows."
    )
    error.size_bytes = body_bytes
    return error


_BY_STATUS: Final = {
    401: _unauthenticated,
    403: _forbidden,
    404: _not_found,
    408: _server,
    429: _throttled,
}


def deadline_error(
    endpoint: str, timeout_s: float, tries: int, last: errors.ServingError
) -> errors.DeadlineExceeded:
    """The error when the next wait would outlast the call; ``last`` becomes its cause."""
    count = "1 try" if tries == 1 else f"{tries} tries"
    error = errors.DeadlineExceeded(
        f"{endpoint!r}: {count} did not succeed, and the wait for the next does not fit "
        f"timeout_s={timeout_s:g}; the last one: "
        f"{type(last).__name__}. The cause says more; allow more time if it was throttling."
    )
    error.sent = last.sent
    error.status_code = last.status_code
    error.retryable = last.retryable
    error.stopped_by = "deadline"
    return error


def stream_text(fault: WireFault, endpoint: str, spent_s: float) -> str:
    """What to say of a stream that broke ``spent_s`` after its call began."""
    return (
        f"The stream of {endpoint!r} broke after {shown_s(spent_s)}: {fault.detail}. What was "
        "received before stands; it is "
        "not sent again, since the model has run in part. For slow models raise Pool.stream_idle_s."
    )
