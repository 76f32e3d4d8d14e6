"""What a workspace says about an endpoint, and the paths that follow from it. Pure.

Source: ``GET /api/2.0/serving-endpoints/{name}`` (databricks-sdk ``ServingEndpointDetailed``).
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

import orjson

from servingclient.errors import ConfigError

MIB = 1024 * 1024
CUSTOM_MODEL_LIMIT_BYTES = 16 * MIB
"""Largest request to a custom model (Databricks, model serving limits)."""
SMALL_LIMIT_BYTES = 4 * MIB
"""The same for agents, foundation models and external models."""

_SMALL_TASKS = ("agent/", "llm/")
_SIZES = {"small": 4, "medium": 16, "large": 64}
_ID = re.compile(r"[A-Za-z0-9-]{1,128}")
_INVOCATIONS = "/invocations"


class Description(NamedTuple):
    """One endpoint as its workspace describes it.

    Attributes:
        id: The service's own id, which changes when the endpoint is created again.
        url: Its own URL when it is route-optimized, as sent and not yet checked; else None.
        details: ``authorization_details`` a token for that URL needs; else None.
        task: Kind of task, such as ``llm/v1/chat``; None for most custom models.
        max_request_bytes: Largest request by the service's documentation.
        provisioned_concurrency: Most requests it works on at one time, or None.
        ready: Whether it serves; None when not said.
        scale_to_zero: Whether one of its models may scale to zero; None when not said.
        updating: Word of the service for a change of it under way or failed; None when there is
            none.
        workload_type: Hardware, such as ``CPU``; None when not said, or where models differ.
    """

    id: str | None
    url: str | None
    details: str | None
    task: str | None
    max_request_bytes: int
    provisioned_concurrency: int | None
    ready: bool | None
    scale_to_zero: bool | None = None
    updating: str | None = None
    workload_type: str | None = None


UNDESCRIBED = Description(None, None, None, None, CUSTOM_MODEL_LIMIT_BYTES, None, None)
"""Stands in where the description may not be read: the endpoint is called the standard way."""


def read_description(body: bytes) -> Description | None:
    """The description in ``body``; None when it is none (a login page, another API)."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(value, dict) or not ("name" in value or "state" in value or "id" in value):
        return None
    entities = _entities(value)
    endpoint_id, task = _text(value, "id"), _text(value, "task")
    url, details = _own_route(value, endpoint_id)
    small = (task or "").startswith(_SMALL_TASKS) or any(
        entity.get("external_model") or entity.get("foundation_model") for entity in entities
    )
    ready = _text(_dict(value, "state"), "ready")
    return Description(
        endpoint_id,
        url,
        details,
        task,
        SMALL_LIMIT_BYTES if small else CUSTOM_MODEL_LIMIT_BYTES,
        _concurrency(entities),
        None if ready is None else ready == "READY",
        _scale_to_zero(entities),
        _updating(_text(_dict(value, "state"), "config_update")),
        _workload_type(entities),
    )


def description_path(name: str) -> str:
    """Path of the description of endpoint ``name`` (already checked)."""
    return f"/api/2.0/serving-endpoints/{name}"


def schema_path(name: str) -> str:
    """Path of the OpenAPI description of endpoint ``name`` (already checked)."""
    return f"{description_path(name)}/openapi"


def metrics_path(name: str) -> str:
    """Path of the figures of endpoint ``name`` (already checked)."""
    return f"{description_path(name)}/metrics"


def standard_path(name: str) -> str:
    """Path of calls on the workspace's own host."""
    return f"/serving-endpoints/{name}{_INVOCATIONS}"


def served_model_path(path: str, served_model: str) -> str:
    """The path past the traffic split, to one served model (name already checked).

    Raises:
        ConfigError: The endpoint's own URL has a form for which none is documented.
    """
    if not path.endswith(_INVOCATIONS):
        raise ConfigError(
            "served_model cannot be chosen on this endpoint: its own URL does not end in "
            "/invocations. Call it without served_model."
        )
    return f"{path[: -len(_INVOCATIONS)]}/served-models/{served_model}{_INVOCATIONS}"


def _own_route(value: dict[str, Any], endpoint_id: str | None) -> tuple[str | None, str | None]:
    """URL and ``authorization_details`` of a route-optimized endpoint."""
    if value.get("route_optimized") is not True:
        return None, None
    query = _dict(_dict(value, "data_plane_info"), "query_info")
    url = _text(query, "endpoint_url") or _text(value, "endpoint_url")
    if url is None:  # still being created: not addressable yet, the standard way will say so
        return None, None
    details = query.get("authorization_details")
    if isinstance(details, list):  # documented as a JSON string; take what was surely meant
        details = _as_text(details)
    if not isinstance(details, str):
        details = _documented_details(endpoint_id)
    return url, details


def _as_text(value: list[Any]) -> str | None:
    try:
        return json.dumps(value)
    except RecursionError:  # read by orjson, which goes deeper
        return None


def _documented_details(endpoint_id: str | None) -> str | None:
    if endpoint_id is None or not _ID.fullmatch(endpoint_id):
        return None
    permission = {
        "type": "workspace_permission",
        "object_type": "serving-endpoints",
        "object_path": f"/serving-endpoints/{endpoint_id}",
        "actions": ["query_inference_endpoint"],
    }
    return json.dumps([permission])


def _concurrency(entities: list[dict[str, Any]]) -> int | None:
    """Sum over the served entities; a size counts as the most it scales to."""
    total = 0
    for entity in entities:
        most = entity.get("max_provisioned_concurrency")
        if not isinstance(most, int) or isinstance(most, bool):
            most = _SIZES.get((_text(entity, "workload_size") or "").lower(), 0)
        total += max(most, 0)
    return total or None


def _scale_to_zero(entities: list[dict[str, Any]]) -> bool | None:
    said = [one.get("scale_to_zero_enabled") for one in entities]
    if any(one is True for one in said):
        return True
    return False if said and all(one is False for one in said) else None


def _updating(word: str | None) -> str | None:
    return None if word == "NOT_UPDATING" else word


def _workload_type(entities: list[dict[str, Any]]) -> str | None:
    found = {_text(one, "workload_type") for one in entities}
    return found.pop() if len(found) == 1 else None


def _entities(value: dict[str, Any]) -> list[dict[str, Any]]:
    config = _dict(value, "config")
    found = config.get("served_entities") or config.get("served_models")
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _dict(value: dict[str, Any], key: str) -> dict[str, Any]:
    found = value.get(key)
    return found if isinstance(found, dict) else {}


def _text(value: dict[str, Any], key: str) -> str | None:
    found = value.get(key)
    return found if isinstance(found, str) and found else None
