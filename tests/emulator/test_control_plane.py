"""What the workspace says about its endpoints."""

from __future__ import annotations

import json

from servingclient.emulator import Emulator, faults
from tests.emulator.peer import call, call_fast, connected, get, post, read, token_for

PREFIX = "/api/2.0/serving-endpoints"


def test_a_standard_endpoint(emu: Emulator) -> None:
    value = read(emu, f"{PREFIX}/demo", emu.token).json()
    assert value["name"] == "demo"
    assert value["id"] == emu.endpoint_id("demo")
    assert value["route_optimized"] is False
    assert value["state"] == {"ready": "READY", "config_update": "NOT_UPDATING"}
    assert value["permission_level"] == "CAN_MANAGE"
    assert not value.keys() & {"endpoint_url", "data_plane_info"}


def test_a_route_optimized_one_says_where_it_is_and_what_to_ask_for(emu: Emulator) -> None:
    value = read(emu, f"{PREFIX}/demo-fast", emu.token).json()
    query_info = value["data_plane_info"]["query_info"]
    assert value["route_optimized"] is True
    assert value["endpoint_url"] == query_info["endpoint_url"] == emu.endpoint_url("demo-fast")
    assert value["endpoint_url"].startswith(emu.serving_host)
    assert isinstance(query_info["authorization_details"], str)
    assert json.loads(query_info["authorization_details"]) == [
        {
            "type": "workspace_permission",
            "object_type": "serving-endpoints",
            "object_path": f"/serving-endpoints/{value['id']}",
            "actions": ["query_inference_endpoint"],
        }
    ]


def test_the_configuration_shows_size_and_traffic(emu: Emulator) -> None:
    emu.add_endpoint("sized", slots=4, max_slots=16, served_models={"new": 10, "old": 90})
    config = read(emu, f"{PREFIX}/sized", emu.token).json()["config"]
    assert config["traffic_config"]["routes"] == [
        {"served_model_name": name, "served_entity_name": name, "traffic_percentage": share}
        for name, share in (("new", 10), ("old", 90))
    ]
    for entity in config["served_entities"]:
        assert entity["state"]["deployment"] == "DEPLOYMENT_READY"
        assert entity["min_provisioned_concurrency"] == 4
        assert entity["max_provisioned_concurrency"] == 16


def test_the_list(emu: Emulator) -> None:
    listed = read(emu, PREFIX, emu.token).json()["endpoints"]
    assert [endpoint["name"] for endpoint in listed] == ["demo", "demo-fast"]


def test_the_list_wants_credentials(emu: Emulator) -> None:
    assert read(emu, PREFIX).status == 401


def test_where_a_standard_endpoint_is_called(emu: Emulator) -> None:
    assert emu.endpoint_url("demo") == f"{emu.host}/serving-endpoints/demo/invocations"


def test_paths_that_are_nearly_invocations(emu: Emulator) -> None:
    for path in ("/serving-endpoints/demo/x/y/invocations", "/serving-endpoints/demo"):
        with connected(emu) as peer:
            peer.send(post(emu, path=path))
            assert peer.answer().status == 404
    assert not emu.executions("demo")


def test_an_unknown_endpoint(emu: Emulator) -> None:
    answer = read(emu, f"{PREFIX}/nope", emu.token)
    assert (answer.status, answer.json()["error_code"]) == (404, "RESOURCE_DOES_NOT_EXIST")


def test_a_description_may_be_forbidden_while_calls_work(emu: Emulator) -> None:
    emu.change_endpoint("demo", describable=False)
    answer = read(emu, f"{PREFIX}/demo", emu.token)
    assert (answer.status, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert call(emu).status == 200


def test_an_unknown_api(emu: Emulator) -> None:
    for path in ("/api/2.0/clusters/list", f"{PREFIX}/demo/nothing"):
        answer = read(emu, path, emu.token)
        assert (answer.status, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")


def test_descriptions_can_be_scripted(emu: Emulator) -> None:
    emu.describe_script(faults.throttled(kind="control_plane"), faults.html(502))
    first = read(emu, f"{PREFIX}/demo", emu.token)
    assert (first.status, "concurrent limit of 60 requests" in first.message) == (429, True)
    assert read(emu, f"{PREFIX}/demo", emu.token).status == 502
    emu.describe_always(faults.empty(503))
    assert read(emu, f"{PREFIX}/demo", emu.token).status == 503
    emu.describe_always(None)
    assert read(emu, f"{PREFIX}/demo", emu.token).status == 200
    assert {record.endpoint for record in emu.requests} == {"demo"}


def test_a_recreated_endpoint_moves(emu: Emulator) -> None:
    old_url, old_id = emu.endpoint_url("demo-fast"), emu.endpoint_id("demo-fast")
    old_token = token_for(emu, "demo-fast")
    emu.recreate_endpoint("demo-fast")
    assert emu.endpoint_id("demo-fast") != old_id
    answer = call(emu, url=old_url, token=token_for(emu, "demo-fast"))
    assert (answer.status, answer.json()["error_code"]) == (404, "ENDPOINT_NOT_FOUND")
    assert call_fast(emu, token=old_token).status == 403
    assert call_fast(emu).status == 200


def test_a_removed_endpoint_is_gone(emu: Emulator) -> None:
    emu.remove_endpoint("demo")
    answer = call(emu)
    assert answer.json() == {
        "error_code": "ENDPOINT_NOT_FOUND",
        "message": "The given endpoint does not exist, please retry after checking the specified "
        "model and version deployment exists.",
    }
    assert answer.status == 404


def test_the_data_plane_has_no_control_plane(emu: Emulator) -> None:
    with connected(emu, emu.serving_host) as peer:
        for path in (f"{PREFIX}/demo-fast", "/", "/a/b/c"):
            peer.send(get(path, emu.token))
            answer = peer.answer()
            assert (answer.status, answer.json()) == (404, {"detail": "Not Found"})


def test_a_standard_endpoint_is_not_on_the_data_plane(emu: Emulator) -> None:
    workspace_id = emu.endpoint_url("demo-fast").split("/")[4]
    long_path = f"/{emu.endpoint_id('demo')}/{workspace_id}/serving-endpoints/demo/invocations"
    with connected(emu, emu.serving_host) as peer:
        for path in ("/serving-endpoints/demo/invocations", long_path):
            peer.send(post(emu, path=path))
            assert peer.answer().status == 404


def test_get_on_an_invocation_is_not_allowed(emu: Emulator) -> None:
    answer = read(emu, "/serving-endpoints/demo/invocations", emu.token)
    assert (answer.status, answer.json()) == (405, {"detail": "Method Not Allowed"})


def test_me(emu: Emulator) -> None:
    path = "/api/2.0/preview/scim/v2/Me"
    assert read(emu, path, emu.token).json()["userName"] == emu.client_id
    assert read(emu, path).status == 401
