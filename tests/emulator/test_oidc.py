"""Logins: who gets which token."""

from __future__ import annotations

import json

import pytest

from servingclient.emulator import Emulator, faults
from tests.emulator.peer import call_fast, connected, post, read, token_for, token_request

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


def test_discovery_leads_to_the_token_endpoint(emu: Emulator) -> None:
    config = read(emu, "/.well-known/databricks-config").json()
    assert config["oidc_endpoint"] == f"{emu.host}/oidc"
    metadata = read(emu, "/oidc/.well-known/oauth-authorization-server").json()
    assert metadata["token_endpoint"] == f"{emu.host}/oidc/v1/token"


def test_client_credentials(emu: Emulator) -> None:
    granted = token_request(emu).json()
    assert granted["token_type"] == "Bearer"
    assert granted["expires_in"] == 3600
    assert granted["scope"] == "all-apis"
    assert "authorization_details" not in granted


def test_the_life_of_a_token_can_be_cut_short(emu: Emulator) -> None:
    emu.token_ttl_s = 2.0
    assert emu.token_ttl_s == emu.settings.token_ttl_s == 2.0
    assert token_request(emu).json()["expires_in"] == 2
    emu.token_ttl_s = 0.25
    assert token_request(emu).json()["expires_in"] == 0.25


def test_credentials_may_be_in_the_form(emu: Emulator) -> None:
    form = f"grant_type=client_credentials&client_id={emu.client_id}&client_secret="
    with connected(emu) as peer:
        for secret, status in ((emu.client_secret, 200), ("wrong", 401)):
            body = (form + secret).encode()
            peer.send(post(emu, path="/oidc/v1/token", value=body, authorization=None))
            assert peer.answer().status == status


def test_a_wrong_secret_is_an_invalid_client(emu: Emulator) -> None:
    with connected(emu) as peer:
        body = b"grant_type=client_credentials"
        for authorization in ("Basic bm9wZTpub3Bl", "Basic abc", None):
            peer.send(post(emu, path="/oidc/v1/token", value=body, authorization=authorization))
            answer = peer.answer()
            assert (answer.status, answer.json()["error"]) == (401, "invalid_client")


def test_a_token_for_an_endpoint_repeats_its_details(emu: Emulator) -> None:
    details = emu.authorization_details("demo-fast")
    assert (
        token_request(emu, authorization_details=details).json()["authorization_details"] == details
    )


@pytest.mark.parametrize(
    "details",
    [
        "no json",
        "{}",
        "[]",
        '[{"type": "workspace_permission"}]',
        "[1]",
        '[{"type":"x","object_type":"serving-endpoints","object_path":"/","actions":["a"]}]',
    ],
)
def test_malformed_details_are_refused(emu: Emulator, details: str) -> None:
    answer = token_request(emu, authorization_details=details)
    assert (answer.status, answer.json()["error"]) == (400, "invalid_authorization_details")


def test_an_unknown_action_is_refused(emu: Emulator) -> None:
    details = json.loads(emu.authorization_details("demo-fast"))
    details[0]["actions"] = ["delete_everything"]
    assert token_request(emu, authorization_details=json.dumps(details)).status == 400


def test_details_of_an_endpoint_one_may_not_query_are_refused(emu: Emulator) -> None:
    details = emu.authorization_details("demo-fast")
    emu.change_endpoint("demo-fast", permission="CAN_VIEW")
    answer = token_request(emu, authorization_details=details)
    assert answer.status == 400
    assert answer.json() == {
        "error": "invalid_authorization_details",
        "error_description": "User is not authorized to the requested authorizations",
    }


def test_an_unknown_scope_is_refused(emu: Emulator) -> None:
    answer = token_request(emu, scope="all-apis everything")
    assert answer.status == 400
    assert answer.json() == {
        "error": "invalid_scope",
        "error_description": "Invalid scope: everything",
    }


def test_an_unknown_grant_is_refused(emu: Emulator) -> None:
    assert token_request(emu, grant_type="password").json()["error"] == "unsupported_grant_type"


def test_jwt_bearer_turns_a_control_plane_token_into_one_for_an_endpoint(emu: Emulator) -> None:
    details = emu.authorization_details("demo-fast")
    assertion = token_request(emu).json()["access_token"]
    granted = token_request(
        emu, grant_type=JWT_BEARER, assertion=assertion, authorization_details=details
    ).json()
    assert call_fast(emu, token=granted["access_token"]).status == 200


def test_jwt_bearer_without_a_scope_gives_a_token_serving_refuses(emu: Emulator) -> None:
    granted = token_request(
        emu,
        grant_type=JWT_BEARER,
        scope="",
        assertion=token_request(emu).json()["access_token"],
        authorization_details=emu.authorization_details("demo-fast"),
    ).json()
    assert granted["scope"] == ""
    refused = call_fast(emu, token=granted["access_token"])
    assert refused.status == 403
    assert "OIDCTokenAuthenticatorInvalidScope" in refused.message
    emu.change(refuse_empty_scope=False)
    assert call_fast(emu, token=granted["access_token"]).status == 200


def test_jwt_bearer_checks_its_assertion(emu: Emulator) -> None:
    expired = token_request(emu).json()["access_token"]
    emu.revoke_tokens()
    for assertion in ("made-up", expired):
        answer = token_request(emu, grant_type=JWT_BEARER, assertion=assertion)
        assert (answer.status, answer.json()["error"]) == (400, "invalid_grant")


def test_token_exchange_takes_the_personal_access_token(emu: Emulator) -> None:
    details = emu.authorization_details("demo-fast")
    granted = token_request(
        emu, grant_type=EXCHANGE, subject_token=emu.token, authorization_details=details
    ).json()
    assert call_fast(emu, token=granted["access_token"]).status == 200
    refused = token_request(emu, grant_type=EXCHANGE, subject_token="made-up")
    assert refused.json()["error"] == "invalid_grant"


@pytest.mark.parametrize(
    ("fault", "status", "text"),
    [
        (faults.html(502), 502, "<title>502 Bad Gateway</title>"),
        (faults.access_denied(), 403, "are not assigned to the client"),
        (faults.invalid_scope(), 400, "Invalid scope: all-apis"),
        (faults.invalid_authorization_details(), 400, "not authorized to the requested"),
        (faults.ip_access_list(), 403, "blocked by Databricks IP ACL"),
        (faults.empty(503), 503, ""),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_scripted_refusals(emu: Emulator, fault: faults.Fault, status: int, text: str) -> None:
    emu.token_script(fault)
    answer = token_request(emu)
    assert answer.status == status
    assert text in answer.body.decode()
    assert token_request(emu).status == 200


def test_a_login_may_hang(emu: Emulator) -> None:
    emu.token_script(faults.hang())
    with connected(emu) as peer:
        peer.send(post(emu, path="/oidc/v1/token", value=b"grant_type=client_credentials"))
        assert emu.wait_for(lambda: emu.token_requests == 1)
        peer.sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.sock.recv(1)
    assert emu.requests[-1].status is None


def test_a_standing_fault_holds_until_it_is_lifted(emu: Emulator) -> None:
    emu.token_always(faults.empty(503))
    assert [token_request(emu).status for _ in range(3)] == [503] * 3
    emu.token_always(None)
    assert token_request(emu).status == 200


def test_token_requests_are_counted(emu: Emulator) -> None:
    for _ in range(3):
        token_for(emu, "demo-fast")
    assert emu.token_requests == 3
    assert [record.kind for record in emu.requests] == ["token"] * 3
