"""The workspace's REST API, as far as a serving client reads it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from servingclient.emulator import metrics, openapi, security
from servingclient.emulator.state import WORKSPACE_ID
from servingclient.emulator.wire import Reply, error, json_reply

if TYPE_CHECKING:
    from servingclient.emulator.endpoints import Endpoint
    from servingclient.emulator.state import Workspace
    from servingclient.emulator.wire import Request

PREFIX = "/api/2.0/serving-endpoints"


def databricks_config(workspace: Workspace) -> Reply:
    """Return ``/.well-known/databricks-config``, which tells the SDK where to log in."""
    value = {
        "oidc_endpoint": f"{workspace.urls['workspace']}/oidc",
        "workspace_id": WORKSPACE_ID,
        "cloud": "AWS",
    }
    return json_reply(200, value)


def me(workspace: Workspace, request: Request) -> Reply:
    """Return who is calling, as ``current_user.me()`` of the SDK reads it."""
    refusal = security.check_control_plane(workspace, request)
    if refusal is not None:
        return refusal
    return json_reply(200, {"id": "1", "userName": workspace.client_id, "active": True})


def list_endpoints(workspace: Workspace, request: Request) -> Reply:
    """Return every endpoint in short."""
    refusal = security.check_control_plane(workspace, request)
    if refusal is not None:
        return refusal
    listed = [describe(workspace, endpoint) for endpoint in workspace.endpoints.values()]
    return json_reply(200, {"endpoints": listed})


def get_endpoint(workspace: Workspace, request: Request) -> Reply:
    """Answer ``GET /api/2.0/serving-endpoints/{name}``."""
    found = _find(workspace, request)
    return found if isinstance(found, Reply) else json_reply(200, describe(workspace, found))


def get_openapi(workspace: Workspace, request: Request) -> Reply:
    """Answer ``GET /api/2.0/serving-endpoints/{name}/openapi``; its refusals are a guess."""
    found = _find(workspace, request)
    if isinstance(found, Reply):
        return found
    spec = found.spec
    if spec.state != "READY":
        return error(400, "BAD_REQUEST", f"Endpoint '{spec.name}' is not in the READY state.")
    if spec.schema is None:
        message = f"The model served by endpoint '{spec.name}' has no signature."
        return error(400, "BAD_REQUEST", message)
    base_url = workspace.endpoint_url(found).removesuffix("/invocations")
    return json_reply(200, openapi.document(spec, spec.schema, base_url))


def get_metrics(workspace: Workspace, request: Request) -> Reply:
    """Answer ``GET /api/2.0/serving-endpoints/{name}/metrics``."""
    found = _find(workspace, request)
    if isinstance(found, Reply):
        return found
    said = found.spec.metrics
    text = metrics.render(found, time.monotonic()) if said is None else said.encode()
    return Reply(200, text, metrics.CONTENT_TYPE)


def endpoint_name(path: str) -> str:
    """Return the endpoint that a path of this API is about."""
    return path[len(PREFIX) + 1 :].partition("/")[0]


def _find(workspace: Workspace, request: Request) -> Endpoint | Reply:
    """Return the endpoint a read is about, or the refusal."""
    refusal = security.check_control_plane(workspace, request)
    if refusal is not None:
        return refusal
    name = endpoint_name(request.path)
    endpoint = workspace.endpoints.get(name)
    if endpoint is None:
        message = f"Endpoint with name '{name}' does not exist."
        return error(404, "RESOURCE_DOES_NOT_EXIST", message)
    if not endpoint.spec.describable:
        message = f"User does not have permission 'View' on endpoint '{name}'."
        return error(403, "PERMISSION_DENIED", message)
    return endpoint


def describe(workspace: Workspace, endpoint: Endpoint) -> dict[str, Any]:
    """Return the description of one endpoint, with the fields a client relies on."""
    spec = endpoint.spec
    value: dict[str, Any] = {
        "name": spec.name,
        "id": endpoint.id,
        "creator": workspace.client_id,
        "creation_timestamp": endpoint.created_ms,
        "last_updated_timestamp": endpoint.created_ms,
        "state": {
            "ready": "READY" if spec.state == "READY" else "NOT_READY",
            "config_update": "NOT_UPDATING",
        },
        "config": _config(endpoint),
        "permission_level": spec.permission,
        "route_optimized": spec.route_optimized,
        "task": "agent/v1/chat" if spec.kind == "agent" else None,
    }
    if spec.route_optimized:
        url = workspace.endpoint_url(endpoint)
        query_info = {"endpoint_url": url, "authorization_details": authorization_details(endpoint)}
        value["endpoint_url"] = url
        value["data_plane_info"] = {"query_info": query_info}
    return value


def authorization_details(endpoint: Endpoint) -> str:
    """Return what a token request must name, as the JSON *string* the service gives."""
    return json.dumps(
        [
            {
                "type": "workspace_permission",
                "object_type": "serving-endpoints",
                "object_path": f"/serving-endpoints/{endpoint.id}",
                "actions": ["query_inference_endpoint"],
            }
        ]
    )


def _config(endpoint: Endpoint) -> dict[str, Any]:
    spec, slots = endpoint.spec, endpoint.capacity.slots
    traffic = spec.traffic()
    size: dict[str, Any] = {"workload_size": "Small"}
    if slots is not None:
        size = {
            "min_provisioned_concurrency": spec.slots,
            "max_provisioned_concurrency": max(spec.max_slots or 0, spec.slots or 0, slots),
        }
    entities = [
        {
            "name": name,
            "entity_name": f"main.default.{spec.name}",
            "entity_version": "1",
            "workload_type": "CPU",
            "scale_to_zero_enabled": spec.cold_start_s > 0,
            "state": {"deployment": "DEPLOYMENT_READY", "deployment_state_message": ""},
            **size,
        }
        for name in traffic
    ]
    routes = [
        {"served_model_name": name, "served_entity_name": name, "traffic_percentage": share}
        for name, share in traffic.items()
    ]
    return {
        "served_entities": entities,
        "traffic_config": {"routes": routes},
        "config_version": 1,
    }
