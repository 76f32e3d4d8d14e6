"""What a request of the OpenAI client asks of a serving endpoint."""

from __future__ import annotations

from typing import Any, NamedTuple

import httpx
import orjson

from servingclient.auth.origin import check_endpoint_name
from servingclient.errors import ConfigError
from servingclient.payload.body import is_body

BASE_PATH = "/serving-endpoints"
"""Where databricks-sdk's own OpenAI client looks (its ``get_open_ai_client``)."""

_ROUTES = frozenset({"/chat/completions", "/completions", "/embeddings", "/responses"})


class Asked(NamedTuple):
    """One call.

    Attributes:
        endpoint: Name of the serving endpoint, which is the ``model`` of the request.
        body: The rest of the request's body.
        stream: Whether events are wanted.
        timeout_s: Seconds the caller allows; None leaves that to the settings.
    """

    endpoint: str
    body: dict[str, Any]
    stream: bool
    timeout_s: float | None


class NotAsked(Exception):  # noqa: N818 - an internal signal
    """The request is none that a serving endpoint answers. ``status`` is what it would say."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def read(request: httpx.Request, content: bytes, base_url: httpx.URL) -> Asked:
    """Read a request of the OpenAI client.

    Args:
        request: Method, URL and time-outs of it.
        content: Its body.
        base_url: The one the OpenAI client was made with.

    Raises:
        httpx.UnsupportedProtocol: It is for another host. Nothing is sent there.
        NotAsked: It asks for something else than a call of a model.
    """
    url = request.url
    if (url.scheme, url.host, url.port) != (base_url.scheme, base_url.host, base_url.port):
        raise httpx.UnsupportedProtocol(
            f"This client calls the serving endpoints of {base_url.host}, not {url.host}; leave "
            "base_url as it is, and make another client for another host.",
            request=request,
        )
    route = url.path.removeprefix(BASE_PATH)
    if request.method != "POST" or route not in _ROUTES:
        raise NotAsked(
            404,
            f"Serving endpoints answer chat.completions, completions, embeddings and responses; "
            f"there is no {request.method} {route[:80]}.",
        )
    if url.query:
        raise NotAsked(400, "Serving endpoints take no query parameters; leave extra_query out.")
    body = _body(content)
    endpoint = _endpoint(body.pop("model", None))
    stream = body.pop("stream", False) is True
    if not is_body(body):
        body["stream"] = stream  # lists alone would be taken for columns
    return Asked(endpoint, body, stream, _timeout_s(request))


def _endpoint(model: object) -> str:
    if not isinstance(model, str):
        raise NotAsked(400, "Name the serving endpoint in model=.")
    try:
        return check_endpoint_name(model)
    except ConfigError as error:
        raise NotAsked(404, f"There is no such model: {error}") from None


def _body(content: bytes) -> dict[str, Any]:
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        raise NotAsked(400, "Serving endpoints take JSON objects; files cannot be sent to them.")
    return body


def _timeout_s(request: httpx.Request) -> float | None:
    """``read`` is what OpenAI's ``timeout=30`` sets, as one of four; here it is for all."""
    limit_s = request.extensions.get("timeout", {}).get("read")
    return limit_s if isinstance(limit_s, (int, float)) else None
