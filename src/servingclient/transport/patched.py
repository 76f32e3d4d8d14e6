"""Notices that httpx has been patched: by a mock (respx, pytest-httpx, vcrpy) or by tracing.

These tools replace methods of httpx or httpcore and would never see a request that goes over lanes.
So each call asks here first, and goes through stock httpx when a method is not the original::

    if patched.sync_patched():
        return await stock.send(...)        # a PatchedWire of httpx_wire

The question costs about 0.1 us, and httpx is never imported for it: what nobody has imported
nobody has patched.

Three methods a colour are watched, which covers every tool that claims to work on any client:

========================================  ==================================================
``httpx.HTTPTransport.handle_request``    pytest-httpx, OpenTelemetry
``httpcore.ConnectionPool.handle_request`` respx by default, vcrpy
``httpx.Client._transport_for_url``       ``respx.mock(using="httpx")``, pook
========================================  ==================================================

OpenTelemetry's patch counts only where it would do something: it leaves alone what a client of ours
follows itself.

Tools that wrap ``httpx.Client.send`` (Sentry, ddtrace) are not followed: they are often switched on
for a whole service without a thought for this client, which would then be thirty times slower.
"""

from __future__ import annotations

import sys
from types import FunctionType
from typing import Any, NamedTuple

_Known = tuple[Any, Any, Any, Any, Any, Any, bool]
"""Transport class, its original; pool class, its original; client class, its original; whether
httpcore was loaded when they were learned."""


class _Colour(NamedTuple):
    """Names of one colour's classes and methods."""

    transport: str
    pool: str
    client: str
    handle: str
    enter: str


_SYNC = _Colour("HTTPTransport", "ConnectionPool", "Client", "handle_request", "__enter__")
_ASYNC = _Colour(
    "AsyncHTTPTransport",
    "AsyncConnectionPool",
    "AsyncClient",
    "handle_async_request",
    "__aenter__",
)
_ROUTE = "_transport_for_url"  # private to httpx: may vanish, and then cannot be patched either

_known_sync: _Known | None = None
_known_async: _Known | None = None


def sync_patched() -> bool:
    """Whether requests of sync httpx clients are being intercepted in this process."""
    global _known_sync  # noqa: PLW0603 - a cache; assigning it is atomic
    known = _known_sync
    if known is None or (not known[6] and "httpcore" in sys.modules):
        if "httpx" not in sys.modules:
            return False
        known = _known_sync = _learn(_SYNC)
        if known is None:
            return _is_patched(_SYNC) and not _keeps_still(_SYNC)
    transport, handle, pool, pooled, client, route, _ = known
    return (
        transport.handle_request is not handle
        or pool.handle_request is not pooled
        or client._transport_for_url is not route  # noqa: SLF001
    ) and not _keeps_still(_SYNC)


def async_patched() -> bool:
    """Whether requests of async httpx clients are being intercepted in this process."""
    global _known_async  # noqa: PLW0603 - a cache; assigning it is atomic
    known = _known_async
    if known is None or (not known[6] and "httpcore" in sys.modules):
        if "httpx" not in sys.modules:
            return False
        known = _known_async = _learn(_ASYNC)
        if known is None:
            return _is_patched(_ASYNC) and not _keeps_still(_ASYNC)
    transport, handle, pool, pooled, client, route, _ = known
    return (
        transport.handle_async_request is not handle
        or pool.handle_async_request is not pooled
        or client._transport_for_url is not route  # noqa: SLF001
    ) and not _keeps_still(_ASYNC)


class _NotThere:
    """Stands for a class or method that does not exist, so that the comparison holds."""

    handle_request = None
    handle_async_request = None
    _transport_for_url = None


def _learn(colour: _Colour) -> _Known | None:
    """The originals of a colour; None while one of them is patched or httpx is half imported."""
    classes = _classes(colour)
    if classes is None or _is_patched(colour):
        return None
    transport, pool, client = classes
    if not hasattr(client, _ROUTE):
        client = _NotThere
    return (
        transport,
        getattr(transport, colour.handle),
        pool,
        getattr(pool, colour.handle),
        client,
        getattr(client, _ROUTE),
        pool is not _NotThere,
    )


def _classes(colour: _Colour) -> tuple[Any, Any, Any] | None:
    httpx = sys.modules.get("httpx")
    httpcore = sys.modules.get("httpcore")  # httpx loads it with its first transport
    transport = getattr(httpx, colour.transport, None)
    pool = _NotThere if httpcore is None else getattr(httpcore, colour.pool, None)
    client = getattr(httpx, colour.client, None)
    if transport is None or pool is None or client is None:
        return None
    return transport, pool, client


def _is_patched(colour: _Colour) -> bool:
    """Judge the methods as they are now; for patches made before anyone could look."""
    classes = _classes(colour)
    if classes is None:
        return False
    transport, pool, client = classes
    return not (
        _is_original(transport, colour.handle, colour.enter)
        and (pool is _NotThere or _is_original(pool, colour.handle, colour.enter))
        and (not hasattr(client, _ROUTE) or _is_original(client, _ROUTE, colour.enter))
    )


def _keeps_still(colour: _Colour) -> bool:
    """Whether the only patch is OpenTelemetry's, and it is told to leave what runs now alone.

    It is where a client follows its calls itself (``integrations/opentelemetry``): they go over
    lanes then. Asked only while something is patched.
    """
    tracing: Any = sys.modules.get("opentelemetry.context")
    key = getattr(tracing, "_SUPPRESS_HTTP_INSTRUMENTATION_KEY", None)
    classes = _classes(colour)
    if key is None or not tracing.get_value(key) or classes is None:
        return False
    transport, pool, client = classes
    found = getattr(transport, colour.handle)
    wrapper = getattr(found, "_self_wrapper", None)  # of wrapt
    module = getattr(getattr(wrapper, "func", wrapper), "__module__", None) or ""
    return (
        module.startswith("opentelemetry.")
        and _is_written_with(getattr(found, "__wrapped__", None), transport, colour)
        and (pool is _NotThere or _is_original(pool, colour.handle, colour.enter))
        and (not hasattr(client, _ROUTE) or _is_original(client, _ROUTE, colour.enter))
    )


def _is_written_with(found: Any, owner: Any, colour: _Colour) -> bool:
    """Whether what a wrapper wraps is the method its class was written with."""
    neighbour = getattr(owner, colour.enter, None)
    return (
        type(found) is FunctionType
        and type(neighbour) is FunctionType
        and found.__code__.co_filename == neighbour.__code__.co_filename
    )


def _is_original(owner: Any, name: str, sibling: str) -> bool:
    """Whether a method is the one its class was written with.

    A wrapper copies names and docstring but not its code, so the code must come from the same file
    as that of a sibling method which no tool has reason to patch. (Comparing with the module's
    ``__file__`` would fail in frozen applications.)
    """
    found, neighbour = getattr(owner, name, None), getattr(owner, sibling, None)
    return (
        type(found) is FunctionType  # wrapt's proxies pass isinstance and copy even __code__
        and type(neighbour) is FunctionType
        and found.__code__.co_filename == neighbour.__code__.co_filename
        and found.__code__.co_name == name
    )
