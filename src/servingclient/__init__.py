"""The production client for Databricks Model Serving.

from servingclient import ServingClient

with ServingClient("fraud-model") as client:
    print(client.predict(frame).predictions)
"""

from __future__ import annotations

import importlib
import logging
import types
import typing

from servingclient._async_client import AsyncServingClient
from servingclient._client import ServingClient
from servingclient._prediction import Prediction
from servingclient._stats import (
    BatchingStats,
    ConcurrencyStats,
    EnrichmentStats,
    HedgingStats,
    LaneStats,
    TokenStats,
)
from servingclient._stream import AsyncStream, Stream
from servingclient._types import Attempt, Timing
from servingclient._version import __version__
from servingclient._watching import AttemptEnded, CallEnded, Observer
from servingclient.bulk.results import AsyncMapResult, Block, MapResult
from servingclient.errors import (
    AuthError,
    BadRequest,
    BatchScatterError,
    CheckpointError,
    CircuitOpen,
    ClientClosedError,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    PayloadError,
    PayloadTooLarge,
    PermissionDenied,
    QueueFull,
    ResponseFormatError,
    ResponseTooLarge,
    RouteOptimizedRequiresOAuth,
    SchemaMismatch,
    ServerError,
    ServingError,
    StreamError,
    Throttled,
    TLSError,
    TokenRefreshError,
    UnexpectedRedirect,
    UntrustedEndpointError,
    WrongLoopError,
)
from servingclient.payload.report import Explanation
from servingclient.settings import (
    Batching,
    Breaker,
    Bulk,
    Caching,
    Concurrency,
    EnrichmentSettings,
    Hedge,
    Payload,
    Pool,
    Priority,
    Queue,
    RateLimit,
    Retry,
    Settings,
    Tls,
    Token,
)
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.traffic import Traffic

if typing.TYPE_CHECKING:
    from servingclient.enrichment.async_client import AsyncEnrichmentClient
    from servingclient.enrichment.auth import ApiKey, Basic, Bearer, HeaderProvider
    from servingclient.enrichment.client import EnrichmentClient
    from servingclient.enrichment.loader import AsyncLoader, Loader
    from servingclient.enrichment.redis import RedisCache
    from servingclient.enrichment.values import Enriched
    from servingclient.transport.httpx_lanes import AsyncLaneTransport, LaneTransport

__all__ = [
    "ApiKey",
    "AsyncEnrichmentClient",
    "AsyncLaneTransport",
    "AsyncLoader",
    "AsyncMapResult",
    "AsyncServingClient",
    "AsyncStream",
    "Attempt",
    "AttemptEnded",
    "AuthError",
    "BadRequest",
    "Basic",
    "BatchScatterError",
    "Batching",
    "BatchingStats",
    "Bearer",
    "Block",
    "Breaker",
    "Bulk",
    "Caching",
    "CallEnded",
    "CheckpointError",
    "CircuitOpen",
    "ClientClosedError",
    "Concurrency",
    "ConcurrencyStats",
    "ConfigError",
    "ConnectionFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "EndpointFigures",
    "Enriched",
    "EnrichmentClient",
    "EnrichmentSettings",
    "EnrichmentStats",
    "Explanation",
    "HeaderProvider",
    "Hedge",
    "HedgingStats",
    "LaneStats",
    "LaneTransport",
    "Loader",
    "MapResult",
    "NotFound",
    "Observer",
    "Payload",
    "PayloadError",
    "PayloadTooLarge",
    "PermissionDenied",
    "Pool",
    "Prediction",
    "Priority",
    "Queue",
    "QueueFull",
    "RateLimit",
    "RedisCache",
    "ResponseFormatError",
    "ResponseTooLarge",
    "Retry",
    "RouteOptimizedRequiresOAuth",
    "SchemaMismatch",
    "ServerError",
    "ServingClient",
    "ServingError",
    "Settings",
    "Stats",
    "Stream",
    "StreamError",
    "TLSError",
    "Throttled",
    "Timing",
    "Tls",
    "Token",
    "TokenRefreshError",
    "TokenStats",
    "Traffic",
    "UnexpectedRedirect",
    "UntrustedEndpointError",
    "WrongLoopError",
    "__version__",
]

logging.getLogger("servingclient").addHandler(logging.NullHandler())


_LATER: typing.Final = types.MappingProxyType(
    {
        **dict.fromkeys(("ApiKey", "Basic", "Bearer", "HeaderProvider"), "enrichment.auth"),
        **dict.fromkeys(("AsyncLoader", "Loader"), "enrichment.loader"),
        "AsyncEnrichmentClient": "enrichment.async_client",
        "EnrichmentClient": "enrichment.client",
        "Enriched": "enrichment.values",
        "RedisCache": "enrichment.redis",
        **dict.fromkeys(("AsyncLaneTransport", "LaneTransport"), "transport.httpx_lanes"),
    }
)
"""What not everybody needs, and where it is: enrichment costs 20 ms, the transports import httpx,
60 ms."""


def __getattr__(name: str) -> typing.Any:
    """Import what was asked for, once."""
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(f"{__name__}.{module}"), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
