"""The paths of invocations, and the answers where there is nothing to invoke."""

from __future__ import annotations

from typing import TYPE_CHECKING

from servingclient.emulator import json_text
from servingclient.emulator.state import WORKSPACE_ID
from servingclient.emulator.wire import Reply, error, json_reply

if TYPE_CHECKING:
    from servingclient.emulator.endpoints import Endpoint
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import HostName, Request

_OPENAI = frozenset(
    {
        "/serving-endpoints/chat/completions",
        "/serving-endpoints/completions",
        "/serving-endpoints/embeddings",
    }
)
"""What an OpenAI client asks whose base URL is the one of databricks-sdk's
``get_open_ai_client``."""

NO_ENDPOINT = (
    "The given endpoint does not exist, please retry after checking the specified model and "
    "version deployment exists."
)


def find(
    workspace: Workspace, host: HostName, path: str
) -> tuple[Endpoint | None, str | None] | None:
    """Read the path of an invocation: its endpoint, if that exists, and the served model.

    Returns:
        ``None`` when the path is not one of an invocation on this host at all.
    """
    parts = path.split("/")[1:]
    endpoint_id = None
    if host == "serving":
        if len(parts) < 2 or parts[1] != WORKSPACE_ID:
            return None
        endpoint_id, parts = parts[0], parts[2:]
    if len(parts) not in {3, 5} or parts[0] != "serving-endpoints" or parts[-1] != "invocations":
        return None
    served_model = None
    if len(parts) == 5:
        if parts[2] != "served-models":
            return None
        served_model = parts[3]
    endpoint = workspace.endpoints.get(parts[1])
    if endpoint is not None and endpoint_id is not None:
        lives_here = endpoint.spec.route_optimized and endpoint.id == endpoint_id
        endpoint = endpoint if lives_here else None
    if (
        endpoint is not None
        and served_model is not None
        and served_model not in endpoint.spec.traffic()
    ):
        endpoint = None
    return endpoint, served_model


def find_by_model(
    workspace: Workspace, request: Request
) -> tuple[Endpoint | None, str | None] | None:
    """Read a request of an OpenAI client, whose ``model`` names the endpoint.

    Returns:
        As ``find``.
    """
    if request.host != "workspace" or request.path not in _OPENAI:
        return None
    try:
        body = json_text.loads(request.body)
    except (ValueError, RecursionError):
        body = None
    model = body.get("model") if isinstance(body, dict) else None
    return (workspace.endpoints.get(model) if isinstance(model, str) else None), None


def not_found() -> Reply:
    """Return the 404 for an endpoint that does not exist."""
    return error(404, "ENDPOINT_NOT_FOUND", NO_ENDPOINT)


def not_allowed() -> Reply:
    """Return the 405 of the model server."""
    return json_reply(405, {"detail": "Method Not Allowed"})
