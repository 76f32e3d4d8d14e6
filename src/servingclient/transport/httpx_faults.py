"""httpx's exceptions in the terms of the resend table."""

from __future__ import annotations

import ssl

import httpx

from servingclient._types import FaultKind, Origin, Sent, WireFault
from servingclient.errors import ServingError
from servingclient.transport import faults
from servingclient.transport.httpx_lifeline import Lifeline

_UNFINISHED = (ssl.SSLWantReadError, ssl.SSLWantWriteError)  # anyio was just handling one
_NO_HTTP = ("illegal status line", "Transfer-Encoding", "status_code should be", "SWITCH_UPGRADE")
"""Words of h11 about what is no reply to this request at all."""


def fault_of(error: Exception, origin: Origin, line: Lifeline, *, stock: bool) -> Exception:
    """The fault that ``error`` means; itself when the wire has no part in it (an assertion).

    Args:
        error: What the transport raised.
        origin: Where the request was going.
        line: What is known of the exchange.
        stock: The transport is httpx's own. Others raise connect errors for requests that were
            sent (one calls a stalled reply ``ConnectTimeout``), so nothing they say counts as
            "never sent".
    """
    if isinstance(error, (WireFault, ServingError)):
        return error
    if line.ended_by == "closed":
        return faults.client_closed(origin)
    if line.ended_by == "deadline":
        return late(origin, line)
    if isinstance(error, AssertionError):
        return error
    return _of_stock(error, origin, line) if stock else _of_foreign(error, origin)


def late(origin: Origin, line: Lifeline) -> WireFault:
    """The deadline came before the end of the reply."""
    sent: Sent = "no" if line.certainly_unsent else "maybe"
    return WireFault(FaultKind.TIMEOUT, "no complete reply in time", sent=sent, host=origin.host)


def _of_stock(error: Exception, origin: Origin, line: Lifeline) -> Exception:
    host = origin.host
    if isinstance(error, httpx.PoolTimeout):
        detail = "no connection of the httpx transport became free in time"
        return WireFault(FaultKind.TIMEOUT, detail, sent="no", host=host)
    if isinstance(error, httpx.ConnectTimeout):
        return faults.dial_fault(TimeoutError(), origin)
    if isinstance(error, (httpx.ConnectError, httpx.UnsupportedProtocol)):
        return _not_connected(error, origin)
    if isinstance(error, httpx.ProxyError):
        detail = f"the proxy refused: {error}"
        return WireFault(FaultKind.NOT_CONNECTED, detail, sent="no", host=host)
    if isinstance(error, httpx.TimeoutException):
        return WireFault(
            FaultKind.TIMEOUT, f"no complete reply in time ({error})", sent="maybe", host=host
        )
    if isinstance(error, httpx.DecodingError):
        return WireFault(FaultKind.CORRUPT, str(error), sent="yes", host=host)
    if isinstance(error, httpx.RemoteProtocolError) and any(t in str(error) for t in _NO_HTTP):
        return WireFault(FaultKind.UNREADABLE, str(error), sent="maybe", host=host)
    if isinstance(error, httpx.RemoteProtocolError) and _never_looked_at(error, line):
        detail = "the server ended the HTTP/2 connection before it took the request (GOAWAY)"
        return WireFault(FaultKind.CUT_OFF, detail, sent="no", host=host)
    if isinstance(error, httpx.TransportError):
        return faults.lost(
            origin,
            reused=line.reused,
            received_bytes=int(line.head_done),
            detail=str(error) or type(error).__name__,
        )
    return error


def _never_looked_at(error: Exception, line: Lifeline) -> bool:
    """Whether a GOAWAY named a last stream that comes before ours (RFC 9113 section 6.8).

    httpcore resends such a request by itself, but not where it learns of the frame while sending.
    """
    reasons = error.__cause__.args if error.__cause__ is not None else ()
    last = getattr(reasons[0], "last_stream_id", None) if reasons else None
    return last is not None and line.stream_id is not None and line.stream_id > last


def _not_connected(error: Exception, origin: Origin) -> WireFault:
    cause = _root(error)
    if cause is None:
        return WireFault(FaultKind.NOT_CONNECTED, str(error), sent="no", host=origin.host)
    return faults.dial_fault(cause, origin)


_MOST_CAUSES = 16


def _root(error: BaseException) -> OSError | None:
    """The system's own error below httpx's, httpcore's and anyio's; a TLS error comes first."""
    found: OSError | None = None
    at: BaseException | None = error
    for _ in range(_MOST_CAUSES):  # a mock's error that is raised again and again can be its own
        if at is None:
            break
        if isinstance(at, ssl.SSLError):
            if not isinstance(at, _UNFINISHED):
                return at
        elif isinstance(at, OSError) and (found is None or at.errno is not None):
            found = at
        at = _beneath(at)
    return found


def _beneath(error: BaseException) -> BaseException | None:
    """What led to ``error``.

    Its context counts only where httpcore dropped the cause (``raise exc from None``): elsewhere it
    also holds what a caller was handling.
    """
    several = getattr(error, "exceptions", None)  # a host with several addresses
    if several:
        return several[0]  # type: ignore[no-any-return]
    if error.__cause__ is None and type(error).__module__.startswith("httpcore"):
        return error.__context__
    return error.__cause__


def _of_foreign(error: Exception, origin: Origin) -> WireFault:
    slow = isinstance(error, (httpx.TimeoutException, TimeoutError))
    kind = FaultKind.TIMEOUT if slow else FaultKind.CUT_OFF
    detail = f"the transport failed: {type(error).__name__} {error}".rstrip()
    return WireFault(kind, detail, sent="maybe", host=origin.host)
