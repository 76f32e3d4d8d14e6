"""The production client for Databricks Model Serving.

from servingclient import ServingClient

with ServingClient("fraud-model") as client:
    print(client.predict(frame).predictions)
"""

from __future__ import annotations

import logging
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
from servingclient.enrichment.async_client import AsyncEnrichmentClient
from servingclient.enrichment.auth import ApiKey, Basic, Bearer, HeaderProvider
from servingclient.enrichment.client import EnrichmentClient
from servingclient.enrichment.loader import AsyncLoader, Loader
from servingclient.enrichment.values import Enriched
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
    from servingclient.enrichment.redis import RedisCache
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


def __getattr__(name: str) -> typing.Any:
    """What few need, made known when asked for: the transports import httpx (60 ms)."""
    if name == "RedisCache":
        from servingclient.enrichment.redis import RedisCache

        return RedisCache
    if name in ("LaneTransport", "AsyncLaneTransport"):
        from servingclient.transport import httpx_lanes

        return getattr(httpx_lanes, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
