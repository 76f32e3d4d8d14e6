"""What the OpenAI client is told: predictions, events and errors in the form it reads."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from servingclient._prediction import Prediction
from servingclient.errors import (
    AuthError,
    BadRequest,
    ConfigError,
    ConnectionFailed,
    DeadlineExceeded,
    NotFound,
    PayloadError,
    PermissionDenied,
    QueueFull,
    ServerError,
    ServingError,
    StreamError,
    Throttled,
    TokenRefreshError,
)
from servingclient.integrations.openai.asked import NotAsked

_EVENTS = (("content-type", "text/event-stream"),)
DONE = b"data: [DONE]\n\n"

_ANSWERED = (AuthError, BadRequest, NotFound, ServerError, Throttled)
"""Errors that tell what the service answered; the OpenAI client raises by the status."""


def whole(prediction: Prediction) -> httpx.Response:
    """A complete reply."""
    headers = _told(prediction.request_id)
    if prediction.served_model is not None:
        headers["served-model-name"] = prediction.served_model
    headers["content-type"] = "application/json"
    content = orjson.dumps(prediction.predictions)
    return httpx.Response(200, headers=headers, content=content)


def begun(stream: Any, request_id: str | None) -> httpx.Response:
    """The head of a stream; ``stream`` gives its bytes."""
    return httpx.Response(200, headers={**_told(request_id), **dict(_EVENTS)}, stream=stream)


def event(value: Any) -> bytes:
    """One event of a stream."""
    return b"data: %b\n\n" % orjson.dumps(value)


def broken(error: StreamError) -> bytes:
    """The event of a stream that broke; the OpenAI client raises ``APIError`` with its words."""
    return event({"error": {"message": str(error), "type": "stream_error", "code": None}})


def refusal(error: NotAsked) -> httpx.Response:
    """What becomes of a request that no serving endpoint answers."""
    return _error(error.status, str(error), "invalid_request_error", None)


def told(error: ServingError, request: httpx.Request) -> httpx.Response:
    """A failed call as the reply whose status says what happened.

    Raises:
        ConfigError: The client was set up wrongly; nothing was sent.
        httpx.TransportError: There is no reply to show. The error is its cause.
    """
    status = _status(error)
    if status is not None:
        return _error(status, str(error), type(error).__name__, error.request_id)
    if isinstance(error, ConfigError):
        raise error
    raise _not_answered(error, request) from error


def _status(error: ServingError) -> int | None:
    if isinstance(error, PayloadError):
        return 400  # as the endpoint would answer it
    if isinstance(error, TokenRefreshError):
        return None  # its status is that of the login
    if isinstance(error, PermissionDenied):
        return 403
    if isinstance(error, AuthError):
        return 401  # also where the service says 403: the OpenAI client has a name for each
    if isinstance(error, _ANSWERED) and error.status_code is not None:
        return error.status_code
    return None


def _not_answered(error: ServingError, request: httpx.Request) -> httpx.TransportError:
    if isinstance(error, QueueFull):
        return httpx.PoolTimeout(str(error), request=request)
    if isinstance(error, DeadlineExceeded):
        return httpx.ReadTimeout(str(error), request=request)
    if isinstance(error, (ConnectionFailed, TokenRefreshError)):
        return httpx.ConnectError(str(error), request=request)
    return httpx.RemoteProtocolError(str(error), request=request)


def _error(status: int, message: str, kind: str, request_id: str | None) -> httpx.Response:
    content = orjson.dumps({"error": {"message": message, "type": kind, "code": None}})
    headers = {
        **_told(request_id),
        "content-type": "application/json",
        "x-should-retry": "false",  # whatever max_retries says: it was retried already
    }
    return httpx.Response(status, headers=headers, content=content)


def _told(request_id: str | None) -> dict[str, str]:
    return {} if request_id is None else {"x-request-id": request_id}
