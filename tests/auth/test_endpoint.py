"""What a workspace's description of an endpoint says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.auth.description import Asked, Reading
from servingclient.auth.endpoint import (
    UNDESCRIBED,
    Description,
    read_description,
    served_model_path,
)
from servingclient.errors import ConfigError
from servingclient.settings import Token as Rules

URL = "https://e1.serving.cloud.databricks.com/12/serving-endpoints/m/invocations"
DETAILS = '[{"type":"workspace_permission"}]'


def read(value: Any) -> Description:
    found = read_description(json.dumps(value).encode())
    assert found is not None
    return found


def own(**query: object) -> dict[str, Any]:
    info = {"endpoint_url": URL, "authorization_details": DETAILS} | query
    return {
        "name": "m",
        "id": "e1",
        "route_optimized": True,
        "endpoint_url": URL,
        "data_plane_info": {"query_info": info},
    }


def test_a_route_optimized_endpoint() -> None:
    found = read(own())
    assert (found.id, found.url, found.details) == ("e1", URL, DETAILS)


def test_the_flag_decides_not_the_address() -> None:
    for flag in (False, None, "true", 1):
        found = read(own() | {"route_optimized": flag})
        assert (found.url, found.details) == (None, None)


def test_the_address_may_stand_at_the_top_only() -> None:
    assert read(own(endpoint_url=None)).url == URL
    no_url = own(endpoint_url=None) | {"endpoint_url": None}
    assert read(no_url).url is None


def test_details_that_are_no_string() -> None:
    assert read(own(authorization_details=[{"a": 1}])).details == '[{"a": 1}]'
    built = json.loads(read(own(authorization_details=None)).details or "")
    assert built == [
        {
            "type": "workspace_permission",
            "object_type": "serving-endpoints",
            "object_path": "/serving-endpoints/e1",
            "actions": ["query_inference_endpoint"],
        }
    ]
    assert read(own(authorization_details=None) | {"id": "../x"}).details is None


@pytest.mark.parametrize(
    ("value", "limit_mib"),
    [
        ({"name": "m"}, 16),
        ({"name": "m", "task": None}, 16),
        ({"name": "m", "task": "agent/v1/chat"}, 4),
        ({"name": "m", "task": "agent/v1/responses"}, 4),
        ({"name": "m", "task": "llm/v1/embeddings"}, 4),
        ({"name": "m", "config": {"served_entities": [{"external_model": {"name": "x"}}]}}, 4),
        ({"name": "m", "config": {"served_entities": [{"foundation_model": {"name": "x"}}]}}, 4),
        ({"name": "m", "config": {"served_entities": [{"entity_name": "a.b.c"}]}}, 16),
    ],
)
def test_the_size_limit(value: dict[str, Any], limit_mib: int) -> None:
    assert read(value).max_request_bytes == limit_mib * 1024 * 1024


@pytest.mark.parametrize(
    ("entities", "expected"),
    [
        ([{"max_provisioned_concurrency": 16, "min_provisioned_concurrency": 4}], 16),
        ([{"workload_size": "Small"}], 4),
        ([{"workload_size": "Medium"}, {"workload_size": "Large"}], 80),
        ([{"max_provisioned_concurrency": 8}, {"workload_size": "Small"}], 12),
        ([{"max_provisioned_concurrency": True}], None),
        ([{"max_provisioned_concurrency": "8"}], None),
        ([{"max_provisioned_concurrency": -8}], None),
        ([{"workload_size": "Huge"}, 7, None], None),
        ([], None),
        ("x", None),
        (None, None),
    ],
)
def test_provisioned_concurrency(entities: object, expected: int | None) -> None:
    found = read({"name": "m", "config": {"served_entities": entities}})
    assert found.provisioned_concurrency == expected
    old = read({"name": "m", "config": {"served_models": entities}})
    assert old.provisioned_concurrency == expected


def test_whether_it_is_ready() -> None:
    assert read({"name": "m", "state": {"ready": "READY"}}).ready is True
    assert read({"name": "m", "state": {"ready": "NOT_READY"}}).ready is False
    assert read({"name": "m"}).ready is None


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b"7", b"null", b"{}", b'{"error":1}', b"\xff"]
)
def test_what_is_no_description(raw: bytes) -> None:
    assert read_description(raw) is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 10**9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "name",
                    "id",
                    "config",
                    "served_entities",
                    "route_optimized",
                    "data_plane_info",
                    "query_info",
                    "endpoint_url",
                    "authorization_details",
                    "state",
                    "ready",
                    "task",
                    "workload_size",
                    "max_provisioned_concurrency",
                    "external_model",
                ]
            ),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(_json)
def test_any_json_is_a_description_or_none(value: object) -> None:
    found = read_description(json.dumps(value).encode())
    assert found is None or found.max_request_bytes > 0


def test_paths_past_the_traffic_split() -> None:
    path = served_model_path("/12/serving-endpoints/m/invocations", "m-2")
    assert path == "/12/serving-endpoints/m/served-models/m-2/invocations"
    with pytest.raises(ConfigError, match="served_model"):
        served_model_path("/12/serving-endpoints/m/other", "m-2")


# ------------------------------------------------------------------------------- reading again

KNOWN = Asked(
    200, Description("e1", URL, DETAILS, None, 1, None, None), token_refused=False, outage=False
)
UNREADABLE = Asked(403, None, token_refused=False, outage=False)
DOWN = Asked(503, None, token_refused=False, outage=True)


def test_it_is_due_at_first_and_then_after_its_time() -> None:
    reading = Reading(Rules())
    assert reading.due(0.0) is None
    assert reading.take(KNOWN, 0.0) is KNOWN.description
    assert reading.due(299.9) is KNOWN.description
    assert reading.due(300.0) is None


def test_outages_are_asked_about_after_growing_pauses() -> None:
    reading = Reading(Rules())
    now_s, pauses = 0.0, []
    for _ in range(8):
        assert reading.take(DOWN, now_s) is UNDESCRIBED
        pauses.append(reading.again_s - now_s)
        now_s = reading.again_s
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]
    reading.take(KNOWN, now_s)
    assert reading.again_s == now_s + 300


def test_what_worked_is_kept_unless_its_address_was_found_wrong() -> None:
    reading = Reading(Rules())
    reading.take(KNOWN, 0.0)
    assert reading.take(UNREADABLE, 300.0) is KNOWN.description
    assert reading.take(DOWN, 400.0) is KNOWN.description
    reading.force()
    assert reading.due(401.0) is None
    assert reading.take(DOWN, 401.0) is KNOWN.description
    assert not reading.forced
    reading.force()
    assert reading.take(UNREADABLE, 500.0) is UNDESCRIBED
