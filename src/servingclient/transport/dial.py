"""Opens lanes: name, address, TCP, TLS, all within one deadline."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time

from servingclient._types import Origin
from servingclient.transport import faults
from servingclient.transport.addresses import Address, Refuses, resolve
from servingclient.transport.exchange import Limits
from servingclient.transport.lane import Lane
from servingclient.transport.tls_session import TlsSession

_READ_BYTES = 64 * 1024


def dial(
    origin: Origin,
    context: ssl.SSLContext | None,
    limits: Limits,
    deadline_s: float,
    opening: set[socket.socket],
    refuses: Refuses | None = None,
) -> Lane:
    """Open a lane.

    Args:
        origin: Where to.
        context: TLS, or None for plain http.
        limits: Bounds of its replies.
        deadline_s: Instant at which to give up.
        opening: Holds its socket meanwhile, so that closing the client can shut it down.
        refuses: Judges the addresses the host's name leads to; None takes any.

    Raises:
        WireFault: ``NOT_CONNECTED`` or ``TLS``; nothing was sent.
    """
    started_s = time.monotonic()
    try:
        sock = _connect(resolve(origin, deadline_s, refuses), deadline_s, opening)
    except OSError as error:
        raise faults.dial_fault(error, origin) from None
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls = None if context is None else _shake_hands(sock, context, origin, deadline_s)
        sock.settimeout(None)
        lane = Lane(origin, sock, tls, limits)
    except OSError as error:
        sock.close()
        raise faults.dial_fault(error, origin) from None
    except BaseException:
        sock.close()
        raise
    finally:
        opening.discard(sock)
    lane.connect_s = time.monotonic() - started_s
    return lane


def _connect(
    addresses: list[Address], deadline_s: float, opening: set[socket.socket]
) -> socket.socket:
    """Try each address in turn, each with an equal share of the time left."""
    failure: OSError = OSError("the name has no address")
    for position, (family, address) in enumerate(addresses):
        try:
            sock = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:  # IPv6 may be switched off; the next address may be another kind
            failure = error
            continue
        opening.add(sock)
        try:
            sock.settimeout(_left(deadline_s) / (len(addresses) - position))
            sock.connect(address)
        except BaseException as error:
            opening.discard(sock)
            sock.close()
            if not isinstance(error, OSError):
                raise
            failure = error
        else:
            return sock
    try:
        raise failure
    finally:
        del failure  # its traceback holds this frame, and with it the request, until a collection


def _shake_hands(
    sock: socket.socket, context: ssl.SSLContext, origin: Origin, deadline_s: float
) -> TlsSession:
    tls = TlsSession(context, origin.host)
    data = b""
    while True:
        try:
            answer, done = tls.handshake(data)
        except ssl.SSLError:
            with contextlib.suppress(OSError):
                sock.send(tls.last_words())
            raise
        sock.settimeout(_left(deadline_s))
        if answer:
            sock.sendall(answer)
        if done:
            return tls
        data = sock.recv(_READ_BYTES)
        if not data:
            raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "closed during the handshake")


def _left(deadline_s: float) -> float:
    left = deadline_s - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
