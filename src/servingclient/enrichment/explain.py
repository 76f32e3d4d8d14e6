"""From what happened to the error a user of an external API sees. Pure.

A message names the API and the template, never a value that was put into it.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from servingclient import errors
from servingclient._types import ErrorDetail, FaultKind, Reply, WireFault
from servingclient.policies.failure import Failure

_LONGEST_WORDS: Final = 200


def fault_error(
    fault: WireFault, what: str, *, spent_s: float, limit_bytes: int
) -> errors.ServingError:
    """The error of a try that got no complete reply.

    Args:
        fault: What the wire knows.
        what: Method, template and API.
        spent_s: Seconds since the call began.
        limit_bytes: Largest reply that is taken.
    """
    error = _FAULTS[fault.kind](fault, what, spent_s, limit_bytes)
    error.sent = fault.sent
    return error


def asks_itself(what: str) -> errors.ConfigError:
    """For a function that wants its own value for the same arguments: it would wait for ever."""
    return errors.ConfigError(
        f"{what} asks for the very value it is to make. Let it ask for another one, or call the "
        "function that was decorated."
    )


def _not_connected(fault: WireFault, what: str, _s: float, _b: int) -> errors.ServingError:
    error = errors.ConnectionFailed(
        f"{what}: no connection to {fault.host}: {fault.detail}. Nothing was sent. Check base_url "
        "and that this machine may reach it (network, firewall)."
    )
    error.retryable = True
    return error


def _tls(fault: WireFault, what: str, _s: float, _b: int) -> errors.ServingError:
    return errors.TLSError(
        f"{what}: TLS with {fault.host} failed: {fault.detail}. Nothing was sent. For a private "
        "certificate authority pass EnrichmentSettings(tls=Tls(ca_file=...))."
    )


def _lost(fault: WireFault, what: str, _s: float, _b: int) -> errors.ServingError:
    error = errors.ConnectionLost(
        f"{what}: the connection was lost: {fault.detail}. The API may have done what was asked, "
        "so send it again only if that does no harm."
    )
    error.ambiguous = fault.sent != "no"
    error.retryable = None
    return error


def _timeout(fault: WireFault, what: str, spent_s: float, _b: int) -> errors.ServingError:
    error = errors.DeadlineExceeded(
        f"{what}: {fault.detail}, after {spent_s:.2f} s. Allow more time (timeout=), or look why "
        "the API is slow or calls wait for their turn."
    )
    error.stopped_by = "deadline"
    error.retryable = None
    return error


def _unreadable(fault: WireFault, what: str, _s: float, _b: int) -> errors.ServingError:
    return errors.ResponseFormatError(
        f"{what}: the reply cannot be read: {fault.detail}. Is something other than the API "
        "answering, a proxy or a login page?"
    )


def _too_large(_fault: WireFault, what: str, _s: float, limit_bytes: int) -> errors.ServingError:
    return too_large(what, None, limit_bytes)


def _closed(fault: WireFault, what: str, _s: float, _b: int) -> errors.ServingError:
    return errors.ClientClosedError(f"{what}: {fault.detail}. Keep it open while calls run.")


def closed(what: str) -> errors.ServingError:
    """The client was closed before the call could leave."""
    return fault_error(
        WireFault(FaultKind.CLOSED, "the client is closed", sent="no"),
        what,
        spent_s=0.0,
        limit_bytes=0,
    )


_FAULTS: Final = {
    FaultKind.NOT_CONNECTED: _not_connected,
    FaultKind.NO_NAME: _not_connected,
    FaultKind.TLS: _tls,
    FaultKind.STALE: _lost,
    FaultKind.CUT_OFF: _lost,
    FaultKind.TIMEOUT: _timeout,
    FaultKind.UNREADABLE: _unreadable,
    FaultKind.CORRUPT: _unreadable,
    FaultKind.TOO_LARGE: _too_large,
    FaultKind.CLOSED: _closed,
}


def reply_error(
    reply: Reply, detail: ErrorDetail, failure: Failure, what: str
) -> errors.ServingError:
    """The error of a reply other than a good one."""
    error = _of_status(reply, detail, what)
    error.status_code = reply.status
    error.sent = failure.sent
    if isinstance(error, (errors.Throttled, errors.ServerError)):
        error.retryable = True
        error.retry_after_s = failure.hint.wait_s
        if error.retry_after_s is not None:
            error.args = (f"{error} It asked for a wait of {error.retry_after_s:g} s.",)
    return error


def _of_status(reply: Reply, detail: ErrorDetail, what: str) -> errors.ServingError:
    status, said = reply.status, _said(detail)
    if status == 304:
        return errors.ResponseFormatError(
            f"{what}: the API answered that nothing has changed (304), to a request that did not "
            "ask for that. Is a proxy between answering in its place?"
        )
    if 300 <= status <= 399:
        return _redirect(reply, what)
    if status >= 500 or status == 408:
        return errors.ServerError(
            f"{what}: the API failed ({status}){said} Ask its operator if that goes on."
        )
    if status == 401:
        return errors.AuthError(
            f"{what}: the API did not accept the credential ({status}){said} Check auth= and "
            "whether it is still valid."
        )
    if status == 403:
        return errors.PermissionDenied(
            f"{what}: the API denies access ({status}){said} Check what the credential may do."
        )
    if status in (404, 410):
        return errors.NotFound(
            f"{what}: the API has nothing there ({status}){said} Check template and base_url."
        )
    if status == 413:
        return errors.PayloadTooLarge(
            f"{what}: the API refuses a request of that size ({status}){said} Send fewer keys at "
            "once."
        )
    if status == 429:
        return errors.Throttled(
            f"{what}: the API is at its limit for you ({status}){said} Ask less often: a longer "
            "ttl, RateLimit(calls_per_s=...), or a loader that asks for many keys at once."
        )
    if status >= 400:
        return errors.BadRequest(
            f"{what}: the API refused the request ({status}){said} Check path, parameters and body "
            "against its documentation."
        )
    return errors.ResponseFormatError(
        f"{what}: the API answered {status} where a whole JSON value was expected{said}"
    )


def _said(detail: ErrorDetail) -> str:
    """The API's words, made the end of a sentence."""
    words = detail.message.strip().rstrip(".")[:_LONGEST_WORDS]
    code = f" [{detail.code}]" if detail.code and detail.code not in words else ""
    return f": {words}{code}." if words else f"{code}."


def _redirect(reply: Reply, what: str) -> errors.ServingError:
    try:
        host = urlsplit(reply.header(b"location") or "").hostname
    except ValueError:
        host = None
    where = f" to {host}" if host else ""
    return errors.UnexpectedRedirect(
        f"{what}: the API answered with a redirect ({reply.status}){where}, which is not followed: "
        "it would carry the credential elsewhere. Correct base_url, or log in if that is what it "
        "asks for."
    )


def too_large(what: str, size_bytes: int | None, limit_bytes: int) -> errors.ResponseTooLarge:
    """The reply is larger than a value may be."""
    found = "more" if size_bytes is None else f"{size_bytes:,}"
    error = errors.ResponseTooLarge(
        f"{what}: the reply has {found} bytes, and {limit_bytes:,} are taken. Ask for less, or "
        "raise EnrichmentSettings.max_value_bytes."
    )
    error.limit_bytes = limit_bytes
    return error


def not_json(what: str, size_bytes: int, content_type: str | None) -> errors.ResponseFormatError:
    """A good status with a body that is no JSON."""
    kind = f" of type {content_type.split(';')[0][:40]!r}" if content_type else ""
    return errors.ResponseFormatError(
        f"{what}: the reply is no JSON ({size_bytes:,} bytes{kind}). Is something other than the "
        "API answering, a proxy or a login page?"
    )


def circuit_open(what: str, retry_after_s: float) -> errors.CircuitOpen:
    """The breaker refuses the call."""
    error = errors.CircuitOpen(
        f"{what}: the API failed too often lately, so it is left alone for another "
        f"{retry_after_s:.1f} s; nothing was sent. Look whether it is down; the rules are "
        "EnrichmentSettings.breaker."
    )
    error.retry_after_s = retry_after_s
    error.retryable = True
    return error


def too_fast(what: str, wait_s: float, left_s: float, *, asked: bool) -> errors.Throttled:
    """The rate limit would hold the call up for longer than it has; ``asked`` by the API."""
    if asked:
        who = "the API asked for a pause (Retry-After or its rate limit), so it can leave"
        more = "or allow more time (timeout=)"
    else:
        who = "the rate limit lets it leave"
        more = "allow more time (timeout=), or raise RateLimit.calls_per_s if the API takes more"
    error = errors.Throttled(
        f"{what}: {who} in {wait_s:.2f} s, but it has {max(0.0, left_s):.2f} s; nothing was sent. "
        f"Ask less often, {more}."
    )
    error.retry_after_s = wait_s
    error.retryable = True
    return error


def out_of_time(
    what: str, timeout_s: float, tries: int, last: errors.ServingError
) -> errors.DeadlineExceeded:
    """The wait for the next try would outlast the call; ``last`` becomes its cause."""
    count = "1 try" if tries == 1 else f"{tries} tries"
    error = errors.DeadlineExceeded(
        f"{what}: {count} did not succeed, and the wait for the next does not fit "
        f"{timeout_s:.2f} s; the last one: {type(last).__name__}. The cause says more."
    )
    error.sent, error.status_code = last.sent, last.status_code
    error.retryable, error.stopped_by = last.retryable, "deadline"
    error.request_id, error.attempts = last.request_id, last.attempts
    return error
