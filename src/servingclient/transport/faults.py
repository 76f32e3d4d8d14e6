"""The system's errors in the terms of the resend table. Pure but for the exception classes."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from servingclient._types import FaultKind, Origin, WireFault
from servingclient.transport.addresses import AddressRefused


def dial_fault(error: Exception, origin: Origin) -> WireFault:
    """Why no connection was made. Nothing was sent."""
    if isinstance(error, WireFault):
        return error
    if isinstance(error, ssl.SSLCertVerificationError):
        return _fault(FaultKind.TLS, f"certificate refused: {error.verify_message}", origin)
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        detail = "the server closed the connection during the TLS handshake"
        return _fault(FaultKind.NOT_CONNECTED, detail, origin)
    if isinstance(error, ssl.SSLError):
        reason = (error.reason or str(error)).replace("_", " ").lower()
        return _fault(FaultKind.TLS, f"TLS failed: {reason}", origin)
    if isinstance(error, AddressRefused):
        return _fault(FaultKind.NOT_CONNECTED, str(error), origin)
    if isinstance(error, socket.gaierror):
        return _fault(FaultKind.NO_NAME, f"the name does not resolve ({error.strerror})", origin)
    if isinstance(error, TimeoutError):
        return _fault(FaultKind.NOT_CONNECTED, "no answer to the connection in time", origin)
    if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
        detail = "this process may open no more files (see ulimit -n)"
        return _fault(FaultKind.NOT_CONNECTED, detail, origin)
    if isinstance(error, ConnectionResetError):
        # A reset in the middle of a TLS handshake: the request was not sent.
        return _fault(FaultKind.NOT_CONNECTED, "the connection was reset while it opened", origin)
    number = getattr(error, "errno", None)
    # The system's words: asyncio puts its own, with the address, in their place.
    detail = os.strerror(number).lower() if number else type(error).__name__
    return _fault(FaultKind.NOT_CONNECTED, detail, origin)


def _fault(kind: FaultKind, detail: str, origin: Origin) -> WireFault:
    return WireFault(kind, detail, sent="no", host=origin.host)


def lost(origin: Origin, *, reused: bool, received_bytes: int, detail: str) -> WireFault:
    """A connection that broke after sending began: stale if it was idle before and gave nothing."""
    kind = FaultKind.STALE if reused and received_bytes == 0 else FaultKind.CUT_OFF
    return WireFault(kind, detail, sent="maybe", host=origin.host)


def timed_out(origin: Origin, received_bytes: int) -> WireFault:
    """No complete reply in time."""
    got = f"{received_bytes} bytes of it had come" if received_bytes else "nothing had come"
    return WireFault(
        FaultKind.TIMEOUT, f"no complete reply in time; {got}", sent="maybe", host=origin.host
    )


def too_late(origin: Origin) -> WireFault:
    """The time was up before anything was sent."""
    return WireFault(
        FaultKind.TIMEOUT, "the time was up before anything was sent", sent="no", host=origin.host
    )


def client_closed(origin: Origin) -> WireFault:
    """The client was closed under a running exchange."""
    return WireFault(
        FaultKind.CLOSED, "the client was closed meanwhile", sent="maybe", host=origin.host
    )
