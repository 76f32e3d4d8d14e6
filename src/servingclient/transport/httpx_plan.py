"""What both colours of the httpx wire do alike: build requests, check heads, decode bodies."""

from __future__ import annotations

import importlib.util
import logging
import ssl
import time
from collections.abc import Iterator
from typing import Any

import httpx

from servingclient._types import FaultKind, Origin, Reply, Target, WireFault
from servingclient.errors import ConfigError
from servingclient.settings import Pool, Settings
from servingclient.transport.httpx_faults import fault_of, late
from servingclient.transport.httpx_lifeline import Lifeline
from servingclient.transport.inflate import Inflater, too_large
from servingclient.transport.pool import check_security
from servingclient.transport.readiness import LONGEST_WAIT_S
from servingclient.transport.tls import ssl_context

_STOCK = (
    httpx.HTTPTransport,
    httpx.AsyncHTTPTransport,
    httpx.MockTransport,
    httpx.ASGITransport,
    httpx.WSGITransport,
)
_POOLED = (httpx.HTTPTransport, httpx.AsyncHTTPTransport)
_CANCELLABLE = (httpx.MockTransport, httpx.ASGITransport)
_DIALS = frozenset({FaultKind.NOT_CONNECTED, FaultKind.NO_NAME})
_SLICE_BYTES = 4096
_VERSIONS = (b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2")


def is_stock(transport: object) -> bool:
    """Whether ``transport`` is exactly one of httpx's own, whose exceptions mean what they say."""
    return type(transport) in _STOCK


def proxy_transport(settings: Settings) -> httpx.HTTPTransport:
    """A stock transport with the proxy and certificates of ``settings``, and nobody else's."""
    return httpx.HTTPTransport(**transport_options(settings))


def async_proxy_transport(settings: Settings) -> httpx.AsyncHTTPTransport:
    """``proxy_transport`` for asyncio."""
    return httpx.AsyncHTTPTransport(**transport_options(settings))


def transport_options(settings: Settings) -> dict[str, Any]:
    """What httpx's transports are made with, so that the environment has no say."""
    context = ssl_context(settings.tls)
    pool = settings.pool
    limits = httpx.Limits(
        max_connections=pool.httpx_calls,
        max_keepalive_connections=pool.httpx_calls,
        keepalive_expiry=pool.keepalive_s if settings.idempotent else pool.keepalive_unsafe_s,
    )
    return {
        "verify": context,
        "trust_env": False,
        "limits": limits,
        "proxy": _proxy(settings.proxy, context),
    }


def _proxy(address: str | None, context: ssl.SSLContext) -> httpx.Proxy | None:
    if address is None:
        return None
    if address.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise ConfigError(
            "Settings.proxy is a SOCKS proxy, which needs `pip install httpx[socks]`."
        )
    try:
        url = httpx.URL(address)
        # Without a context of its own an https proxy gets one that obeys SSLKEYLOGFILE.
        return httpx.Proxy(url, ssl_context=context if url.scheme == "https" else None)
    except (httpx.InvalidURL, ValueError):
        raise ConfigError(
            "Settings.proxy is no proxy URL; write http://host:port or https://host:port."
        ) from None


def no_cookies() -> httpx.Cookies:
    """A jar that keeps nothing."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    return httpx.Cookies(CookieJar(DefaultCookiePolicy(allowed_domains=[])))


def quiet_loggers() -> None:
    """Keep URLs (httpx at INFO) and headers (httpcore, hpack at DEBUG) out of the log.

    A level that the application has set itself stands.
    """
    for name in ("httpx", "httpcore", "hpack"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)


class Plan:
    """How exchanges over one transport are made.

    Attributes:
        pooled: The transport is httpx's own and has connections.
        cancellable: A cancel may be delivered into it.
    """

    def __init__(self, settings: Settings, transport: object, *, stock: bool) -> None:
        self._tls = settings.tls
        self._stock = stock
        self._proxied = settings.proxy is not None
        self.settings: Pool = settings.pool
        self.pooled: bool = stock and isinstance(transport, _POOLED)
        self.cancellable: bool = isinstance(transport, _CANCELLABLE)

    def line(self, transport: object) -> Lifeline:
        """The hold on one exchange."""
        return Lifeline(getattr(transport, "_pool", None) if self.pooled else None)

    def request(
        self, target: Target, body: bytes, deadline_s: float, line: Lifeline, trace: object
    ) -> httpx.Request:
        """The request, tied to ``line``, with time-outs that end at the deadline."""
        origin = target.origin
        check_security(origin, self._tls)
        left_s = min(deadline_s - time.monotonic(), LONGEST_WAIT_S)
        if left_s <= 0:
            raise late(origin, line)
        timeout = dict.fromkeys(("read", "write", "pool"), left_s)
        timeout["connect"] = min(self.settings.connect_timeout_s, left_s)
        request = httpx.Request(
            target.method,
            f"{origin}{target.path}",
            headers=list(target.headers),
            content=body,
            extensions={"timeout": timeout, "trace": trace},
        )
        line.extensions = request.extensions
        return request

    def allow_gaps(self, request: httpx.Request) -> None:
        """From its head on, a stream is bounded by the gap between two pieces."""
        request.extensions["timeout"]["read"] = self.settings.stream_idle_s

    def body(self, response: httpx.Response, origin: Origin) -> Body:
        """Check the head of the reply; what is returned decodes its body.

        Raises:
            WireFault: It is no reply that an endpoint sends.
        """
        version = response.extensions.get("http_version", b"HTTP/1.1")
        if version not in _VERSIONS or not 200 <= response.status_code <= 599:
            shown = version.decode("latin-1")
            raise _unreadable(f"status {response.status_code} in {shown}", origin)
        size = sum(len(name) + len(value) + 4 for name, value in response.headers.raw)
        if size > self.settings.max_head_bytes:
            detail = f"the head of the reply exceeds {self.settings.max_head_bytes} bytes"
            raise WireFault(FaultKind.CUT_OFF, detail, sent="maybe", host=origin.host)
        coding = response.headers.get("content-encoding", "").strip().lower()
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise _unreadable(f"content encoding {coding[:40]!r}, which nobody asked for", origin)
        return Body(self.settings.max_reply_bytes, zipped="gzip" in coding)

    def fault(self, error: Exception, origin: Origin, line: Lifeline) -> Exception:
        """What to raise for ``error``."""
        fault = fault_of(error, origin, line, stock=self._stock)
        if self._proxied and isinstance(fault, WireFault) and fault.kind in _DIALS:
            # it dials the proxy and nobody else: to look at the host would be to look astray
            fault.detail = f"Settings.proxy: {fault.detail}"
        return fault


def _unreadable(what: str, origin: Origin) -> WireFault:
    return WireFault(FaultKind.UNREADABLE, what, sent="maybe", host=origin.host)


class Body:
    """Counts and decodes one body."""

    __slots__ = ("_inflater", "_limit", "_size")

    def __init__(self, limit_bytes: int, *, zipped: bool) -> None:
        self._limit = limit_bytes
        self._size = 0
        self._inflater = Inflater(limit_bytes) if zipped else None

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """Decode what arrived, a little at a time: 64 KB of gzip can hold 64 MB.

        Raises:
            WireFault: It is no gzip, or too much.
        """
        self._size += len(data)
        if self._size > self._limit:
            raise too_large(self._limit)
        inflater = self._inflater
        if inflater is None:
            yield data
            return
        for start in range(0, len(data), _SLICE_BYTES):
            yield inflater.feed(data[start : start + _SLICE_BYTES])

    def finish(self) -> None:
        """The body has ended.

        Raises:
            WireFault: Its gzip has not.
        """
        if self._inflater is not None:
            self._inflater.finish()


def reply(response: httpx.Response, body: bytes, line: Lifeline, first_byte_s: float) -> Reply:
    """The finished reply."""
    status, headers = response.status_code, response.headers.raw
    return Reply(status, headers, body, line.sent_s, first_byte_s, line.connect_s)
