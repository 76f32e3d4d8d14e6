"""Requests, replies and errors of lanes in httpx's terms, for ``httpx_lanes``."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple, NoReturn

import httpx

from servingclient._types import FaultKind, Origin, RawHeaders, WireFault
from servingclient.errors import ConfigError, QueueFull
from servingclient.transport.exchange import request_head

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_LEFT_OUT = frozenset({b"host", b"content-length", b"transfer-encoding", b"accept-encoding"})
_NOT_SPOKEN = frozenset({b"upgrade", b"expect", b"te", b"trailer"})
MIB = 1 << 20
FOREVER_S = 365 * 86400.0  # what "no time-out" becomes: sockets and timers want a number


class Times(NamedTuple):
    """Time-outs of one request, in seconds, from httpx's ``timeout`` extension."""

    connect: float
    read: float
    write: float
    pool: float

    def write_s(self, size: int) -> float:
        """For a whole body: httpx's time-out is per write, so one is allowed per MiB."""
        return self.write * math.ceil((size + 1) / MIB)


def times_of(request: httpx.Request, connect_s: float) -> Times:
    """The time-outs of a request; ``connect_s`` where it says nothing of connecting."""
    given: dict[str, float | None] = request.extensions.get("timeout", {})

    def seconds(name: str, otherwise: float) -> float:
        value = given.get(name)
        return otherwise if value is None else value

    return Times(
        seconds("connect", connect_s),
        seconds("read", FOREVER_S),
        seconds("write", FOREVER_S),
        seconds("pool", FOREVER_S),
    )


def origin_of(url: httpx.URL) -> Origin:
    """Where a request goes."""
    port = url.port or (443 if url.scheme == "https" else 80)
    return Origin(url.scheme, url.raw_host.decode("ascii"), port)


def is_spoken(request: httpx.Request) -> bool:
    """Whether lanes can carry the request as it is."""
    if request.method not in _METHODS or request.url.scheme not in ("http", "https"):
        return False
    if request.headers.get("host", "").encode() != request.url.netloc:
        return False
    return not any(name.lower() in _NOT_SPOKEN for name, _ in request.headers.raw)


def head_of(request: httpx.Request, origin: Origin, size: int) -> bytes:
    """The request's head; gzip is the only coding that the reply may use.

    Raises:
        httpx.LocalProtocolError: A header may not be sent.
    """
    headers = [
        (name.decode("latin-1"), value.decode("latin-1"))
        for name, value in request.headers.raw
        if name.lower() not in _LEFT_OUT
    ]
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers.append(("Accept-Encoding", "gzip"))
    path = request.url.raw_path.decode("ascii")
    try:
        head = request_head(request.method, origin, path, headers)
    except ValueError as error:
        raise httpx.LocalProtocolError(str(error), request=request) from None
    if size or request.method in ("POST", "PUT", "PATCH"):
        head += b"Content-Length: %d\r\n" % size
    return head + b"\r\n"


def response(status: int, headers: RawHeaders, stream: Any) -> httpx.Response:
    """A reply; the lane has undone gzip, so the headers must not announce it again."""
    coded = any(name.lower() == b"content-encoding" for name, _ in headers)
    gone = (b"content-encoding", b"content-length") if coded else ()
    kept = [(name, value) for name, value in headers if name.lower() not in gone]
    return httpx.Response(
        status, headers=kept, stream=stream, extensions={"http_version": b"HTTP/1.1"}
    )


def not_admitted(error: WireFault | QueueFull) -> httpx.TransportError:
    """The error of a request that got no place."""
    if isinstance(error, WireFault) and error.kind is FaultKind.CLOSED:
        return httpx.ConnectError(error.detail)
    return httpx.PoolTimeout(str(error))


def not_connected(error: WireFault | ConfigError, deadline_s: float) -> httpx.TransportError:
    """The error of a request that got no connection."""
    if isinstance(error, ConfigError):
        return httpx.UnsupportedProtocol(str(error))
    if time.monotonic() >= deadline_s:
        return httpx.ConnectTimeout(error.detail)
    return httpx.ConnectError(error.detail)


def raise_as_httpx(fault: WireFault) -> NoReturn:
    """Raise what httpx raises for a fault after the connection was made."""
    kind = fault.kind
    if kind is FaultKind.TIMEOUT:
        raise httpx.ReadTimeout(fault.detail) from fault
    if kind in (FaultKind.CORRUPT, FaultKind.TOO_LARGE):
        raise httpx.DecodingError(fault.detail) from fault
    if kind is FaultKind.CLOSED:
        raise httpx.ReadError(fault.detail) from fault
    raise httpx.RemoteProtocolError(fault.detail) from fault
