"""The ``Wire`` port over httpx transports: a user's own, a proxy's, or stock httpx while patched.

The transport's ``handle_request`` is called directly, never an httpx client's ``request``: nothing
follows redirects, keeps cookies, reads ``.netrc`` or the environment, or logs a URL. Only while
httpx is patched (see ``patched``) does a request pass through an httpx client, which is told to do
none of these either, because some mocks replace a method of the client.

What httpx leaves out is added here: a deadline over the whole exchange, bounded decoding with
checked gzip and, in ``async_httpx_wire``, cancellation that cannot damage httpx's pool.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, NoReturn

import httpx

from servingclient._types import FaultKind, Origin, RawHeaders, Reply, Target, WireFault
from servingclient.errors import ConfigError
from servingclient.settings import Settings
from servingclient.transport import faults, patched
from servingclient.transport.addresses import Refuses
from servingclient.transport.async_httpx_wire import AsyncHttpxWire
from servingclient.transport.httpx_judged import judge
from servingclient.transport.httpx_lifeline import Lifeline, Watchdog
from servingclient.transport.httpx_plan import (
    Body,
    Plan,
    is_stock,
    no_cookies,
    proxy_transport,
    quiet_loggers,
    reply,
)

__all__ = ["AsyncHttpxWire", "HttpxStream", "HttpxWire", "is_stock"]

_inherited: list[Any] = []
"""What belongs to the parent of a forked process: closing or collecting it would reach there."""


class HttpxWire:
    """Blocking. Methods are ``async def`` that never suspend: ``_step.run`` steps them.

    httpx chooses among its own connections, so ``max_idle_s`` has no effect here.

    Args:
        transport: The transport; closed by ``close``.
        settings: Time-outs and limits.
        stock: The transport is httpx's own (see ``httpx_plan.is_stock``).
        remake: Makes the transport again in a forked child; without it a transport with
            connections is refused there.
    """

    def __init__(
        self,
        transport: httpx.BaseTransport,
        settings: Settings,
        *,
        stock: bool,
        remake: Callable[[], httpx.BaseTransport] | None = None,
    ) -> None:
        if not isinstance(transport, httpx.BaseTransport):
            raise ConfigError(
                f"transport= is of type {type(transport).__name__}; a blocking client takes a "
                "blocking httpx transport, an async client an async one."
            )
        quiet_loggers()
        self._transport = transport
        self._remake = remake
        self._plan = Plan(settings, transport, stock=stock)
        self._closed = False
        self._start()

    @classmethod
    def of_settings(cls, settings: Settings, refuses: Refuses | None = None) -> HttpxWire:
        """Over a stock transport with the proxy and certificates of ``settings``.

        Args:
            settings: These.
            refuses: Judges the addresses a host's name leads to; None takes any.
        """

        def make() -> httpx.HTTPTransport:
            made = proxy_transport(settings)
            if refuses is not None:
                judge(made, refuses)
            return made

        return cls(make(), settings, stock=True, remake=make)

    def lanes(self) -> None:
        """No figures: the transport keeps its connections to itself."""

    def __repr__(self) -> str:
        return f"over {type(self._transport).__name__}"

    def _start(self) -> None:
        self._pid = os.getpid()
        self._client: httpx.Client | None = None
        self._lines: set[Lifeline] = set()
        self._watchdog = Watchdog()

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        """See ``_ports.Wire.send``."""
        del max_idle_s
        line, request = self._prepare(target, body, deadline_s)
        response: httpx.Response | None = None
        try:
            response = self._handle(request)
            first_byte_s = time.monotonic()
            decoder = self._head(response, line, target.origin)
            arriving = self._read(response, target.origin, deadline_s)
            data = b"".join(piece for some in arriving for piece in decoder.pieces(some))
            decoder.finish()
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            self._raise(error, target.origin, line)
        finally:
            self._over(line, response)
        return reply(response, data, line, first_byte_s)

    async def open(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> HttpxStream:
        """See ``_ports.Wire.open``."""
        del max_idle_s
        line, request = self._prepare(target, body, deadline_s)
        response: httpx.Response | None = None
        opened = False
        try:
            response = self._handle(request)
            decoder = self._head(response, line, target.origin)
            opened = True
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            self._raise(error, target.origin, line)
        finally:
            if not opened:
                self._over(line, response)
        self._watchdog.unwatch(line)
        self._plan.allow_gaps(request)
        return HttpxStream(self, response, decoder, line, target.origin)

    def _prepare(
        self, target: Target, body: bytes, deadline_s: float
    ) -> tuple[Lifeline, httpx.Request]:
        if self._pid != os.getpid():
            self._after_fork()
        if self._closed:
            raise WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        line = self._plan.line(self._transport)
        request = self._plan.request(target, body, deadline_s, line, line.trace)
        self._lines.add(line)
        self._watchdog.watch(line, deadline_s)
        return line, request

    def _handle(self, request: httpx.Request) -> httpx.Response:
        if not patched.sync_patched():
            return self._transport.handle_request(request)
        if self._client is None:
            self._client = httpx.Client(
                transport=self._transport, trust_env=False, cookies=no_cookies()
            )
        return self._client.send(request, stream=True, follow_redirects=False)

    def _head(self, response: httpx.Response, line: Lifeline, origin: Origin) -> Body:
        line.arrived(response.extensions.get("network_stream"))
        return self._plan.body(response, origin)

    def _read(self, response: httpx.Response, origin: Origin, deadline_s: float) -> Iterator[bytes]:
        received_bytes = 0
        for data in _stream(response):
            received_bytes += len(data)
            yield data
            if time.monotonic() > deadline_s:  # for transports whose socket is out of reach
                raise faults.timed_out(origin, received_bytes)

    def _raise(self, error: Exception, origin: Origin, line: Lifeline) -> NoReturn:
        fault = self._plan.fault(error, origin, line)
        if fault is error:
            raise error
        raise fault from error

    def _over(self, line: Lifeline, response: httpx.Response | None) -> None:
        """Let go of the connection; the line first, for the connection may be lent at once."""
        self._watchdog.unwatch(line)
        line.over()
        self._lines.discard(line)
        if response is not None:
            try:
                _stream(response).close()
            except (httpx.HTTPError, OSError):  # the reply is whole, or its fault already known
                pass

    def _after_fork(self) -> None:
        """In a forked child the parent's connections would hand out the parent's replies."""
        if self._remake is not None:
            _inherited.append((self._transport, self._client))
            self._transport = self._remake()
        elif self._plan.pooled:
            raise ConfigError(
                "this client's httpx transport was made before the process forked; the child would "
                "share its connections with the parent. Make the client in the child."
            )
        self._start()

    async def warm(self, origin: Origin, count: int, deadline_s: float) -> None:
        """Nothing: httpx opens connections when they are needed and not before."""

    def close(self) -> None:
        """End what runs and close the transport."""
        self._closed = True
        if self._pid != os.getpid():
            return
        for line in list(self._lines):
            line.end("closed")
        self._watchdog.stop()
        self._transport.close()


def _stream(response: httpx.Response) -> httpx.SyncByteStream:
    stream = response.stream
    if not isinstance(stream, httpx.SyncByteStream):
        raise TypeError(f"the transport answered with an async {type(stream).__name__}")
    return stream


class HttpxStream:
    """A reply that is read in pieces; holds its connection until it is closed."""

    def __init__(
        self,
        wire: HttpxWire,
        response: httpx.Response,
        decoder: Body,
        line: Lifeline,
        origin: Origin,
    ) -> None:
        self.status: int = response.status_code
        self.headers: RawHeaders = response.headers.raw
        self._wire = wire
        self._response: httpx.Response | None = response
        self._decoder = decoder
        self._line = line
        self._origin = origin

    async def chunks(self, deadline_s: float = math.inf) -> AsyncGenerator[bytes, None]:
        """See ``_ports.StreamedReply.chunks``."""
        if self._response is None:
            return
        if deadline_s < math.inf:
            self._wire._watchdog.watch(self._line, deadline_s)  # noqa: SLF001
        try:
            for data in _stream(self._response):
                for piece in self._decoder.pieces(data):
                    if piece:
                        yield piece
            self._decoder.finish()
        except Exception as error:  # noqa: BLE001 - raised again as what it means
            self._wire._raise(error, self._origin, self._line)  # noqa: SLF001
        await self.aclose()

    async def aclose(self) -> None:
        """Give the connection back; httpx drops it when the reply was not read to its end."""
        response, self._response = self._response, None
        if response is not None:
            self._wire._over(self._line, response)  # noqa: SLF001
