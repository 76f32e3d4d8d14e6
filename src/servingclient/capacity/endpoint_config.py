"""A plan as JSON for the serving-endpoints API."""

from __future__ import annotations

from typing import Any

from servingclient.auth.origin import check_endpoint_name
from servingclient.capacity.sizes import Range, size_name


def served_entity(
    scaling: Range, *, entity_name: str, entity_version: str, workload_type: str
) -> dict[str, Any]:
    """One served entity: a size with a name where one scales just so, otherwise least and most.

    The API takes one or the other, never both.
    """
    name = size_name(scaling)
    size: dict[str, Any] = {
        "min_provisioned_concurrency": scaling.least,
        "max_provisioned_concurrency": scaling.most,
    }
    return {
        "entity_name": entity_name,
        "entity_version": entity_version,
        "workload_type": workload_type,
        **({"workload_size": name} if name else size),
        "scale_to_zero_enabled": False,
    }


def create_body(endpoint: str, entity: dict[str, Any], *, optimized: bool) -> dict[str, Any]:
    """For ``POST /api/2.0/serving-endpoints``: only creation can switch route optimization on.

    Raises:
        ConfigError: The name cannot be one of an endpoint.
    """
    return {
        "name": check_endpoint_name(endpoint),
        "config": {"served_entities": [entity]},
        "route_optimized": optimized,
    }


def update_body(entity: dict[str, Any]) -> dict[str, Any]:
    """For ``PUT /api/2.0/serving-endpoints/{name}/config``."""
    return {"served_entities": [entity]}
