"""The production client for Databricks Model Serving.

from servingclient import ServingClient

with ServingClient("fraud-model") as client:
    print(client.predict(frame).predictions)
"""

from __future__ import annotations

import logging

from servingclient._async_client import AsyncServingClient
from servingclient._client import ServingClient
from servingclient._ports import AttemptEnded, CallEnded, Observer
from servingclient._prediction import Prediction
from servingclient._stream import AsyncStream, Stream
from servingclient._types import Attempt, Timing
from servingclient._version import __version__
from servingclient.errors import (
    AuthError,
    BadRequest,
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
from servingclient.settings import Payload, Pool, Queue, Retry, Settings, Tls, Token

__all__ = [
    "AsyncServingClient",
    "AsyncStream",
    "Attempt",
    "AttemptEnded",
    "AuthError",
    "BadRequest",
    "CallEnded",
    "ClientClosedError",
    "ConfigError",
    "ConnectionFailed",
    "ConnectionLost",
    "DeadlineExceeded",
    "NotFound",
    "Observer",
    "Payload",
    "PayloadError",
    "PayloadTooLarge",
    "PermissionDenied",
    "Pool",
    "Prediction",
    "Queue",
    "QueueFull",
    "ResponseFormatError",
    "ResponseTooLarge",
    "Retry",
    "RouteOptimizedRequiresOAuth",
    "ServerError",
    "ServingClient",
    "ServingError",
    "Settings",
    "Stream",
    "StreamError",
    "TLSError",
    "Throttled",
    "Timing",
    "Tls",
    "Token",
    "TokenRefreshError",
    "UnexpectedRedirect",
    "UntrustedEndpointError",
    "WrongLoopError",
    "__version__",
]

logging.getLogger("servingclient").addHandler(logging.NullHandler())
