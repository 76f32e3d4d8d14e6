"""Which credentials open which door."""

from __future__ import annotations

from base64 import b64encode

import pytest

from servingclient.emulator import Emulator
from tests.emulator.peer import TWO_SUMS, call, call_fast, read, token_for, token_request

DETAILS_PATH = "/api/2.0/serving-endpoints/demo"


def oauth(emu: Emulator) -> str:
    return token_request(emu).json()["access_token"]


def test_a_pat_opens_a_standard_endpoint(emu: Emulator) -> None:
    assert call(emu).json() == TWO_SUMS


def test_basic_with_the_user_token_opens_it_too(emu: Emulator) -> None:
    for text, status in ((f"token:{emu.token}", 200), (f"me:{emu.token}", 401)):
        basic = b64encode(text.encode()).decode()
        assert call(emu, authorization=f"Basic {basic}").status == status


@pytest.mark.parametrize("value", ["Basic abc", "Digest x", "Bearer", "token"])
def test_other_schemes_are_no_credentials(emu: Emulator, value: str) -> None:
    assert call(emu, authorization=value).status == 401


def test_the_scheme_may_be_in_small_letters(emu: Emulator) -> None:
    assert call(emu, authorization=f"bearer {emu.token}").status == 200


def test_an_oauth_token_opens_a_standard_endpoint(emu: Emulator) -> None:
    assert call(emu, token=oauth(emu)).status == 200


def test_no_credentials_is_a_401(emu: Emulator) -> None:
    answer = call(emu, authorization=None)
    assert (answer.status, answer.json()["error_code"]) == (401, 401)


@pytest.mark.parametrize("status", [401, 403])
def test_a_pat_is_refused_on_a_route_optimized_endpoint(emu: Emulator, status: int) -> None:
    emu.change(pat_refusal_status=status)
    answer = call_fast(emu, token=emu.token)
    assert answer.status == status
    assert "Personal access tokens are not supported" in answer.message


def test_a_token_without_details_is_refused_there(emu: Emulator) -> None:
    answer = call_fast(emu, token=oauth(emu))
    assert (answer.status, answer.message) == (401, "Missing authorization details")


def test_a_token_for_the_endpoint_opens_it(emu: Emulator) -> None:
    assert call_fast(emu).json() == TWO_SUMS


@pytest.mark.parametrize("status", [401, 403])
def test_a_token_for_another_endpoint_is_refused(emu: Emulator, status: int) -> None:
    emu.change(wrong_endpoint_status=status)
    emu.add_endpoint("other", route_optimized=True)
    assert call_fast(emu, "other").status == 200
    assert call_fast(emu, "other", token=token_for(emu, "demo-fast")).status == status


def test_a_route_optimized_endpoint_is_refused_on_the_workspace(emu: Emulator) -> None:
    assert call(emu, "demo-fast").status == 400
    emu.change(off_workspace_status=404)
    assert call(emu, "demo-fast").status == 404


def test_an_older_one_answers_on_both(emu: Emulator) -> None:
    emu.add_endpoint("old", route_optimized=True, also_on_workspace=True)
    assert call(emu, "old").status == 200
    assert call_fast(emu, "old").status == 200


def test_a_made_up_token_is_a_403_with_an_integer_code(emu: Emulator) -> None:
    answer = call(emu, token="made-up")
    assert answer.status == 403
    assert answer.json()["error_code"] == 403
    assert answer.message.startswith("Invalid access token. [ReqId: ")


def test_the_401_variant(emu: Emulator) -> None:
    emu.change(expired_status=401)
    answer = call(emu, token="made-up")
    assert (answer.status, answer.json()["error_code"]) == (401, 401)
    assert "Token is expired" in answer.message


def test_revoked_tokens_end_in_mid_run(emu: Emulator) -> None:
    token = token_for(emu, "demo-fast")
    assert call_fast(emu, token=token).status == 200
    emu.revoke_tokens()
    assert call_fast(emu, token=token).status == 403
    assert call_fast(emu).status == 200


def test_a_token_expires(emu: Emulator) -> None:
    token = oauth(emu)
    assert call(emu, token=token).status == 200
    emu.token_ttl_s = 0.0
    assert call(emu, token=oauth(emu)).status == 403


def test_a_token_near_its_end_may_be_refused_early(emu: Emulator) -> None:
    emu.token_ttl_s = 20.0
    assert call(emu, token=oauth(emu)).status == 200
    emu.change(refuse_before_expiry_s=30.0)
    answer = call(emu, token=oauth(emu))
    assert answer.json() == {
        "error_code": 403,
        "message": "Token is expiring within 30 seconds. (token expired)",
    }


def test_without_can_query_every_token_is_denied(emu: Emulator) -> None:
    token = token_for(emu, "demo-fast")
    emu.change_endpoint("demo-fast", permission="CAN_VIEW")
    emu.change_endpoint("demo", permission="CAN_VIEW")
    for answer in (call(emu), call_fast(emu, token=token)):
        assert (answer.status, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_the_control_plane_wants_credentials_too(emu: Emulator) -> None:
    assert read(emu, DETAILS_PATH).status == 401
    assert read(emu, DETAILS_PATH, "made-up").status == 403
    assert read(emu, DETAILS_PATH, emu.token).status == 200
    assert read(emu, DETAILS_PATH, oauth(emu)).status == 200


def test_a_token_for_an_endpoint_does_not_open_the_control_plane(emu: Emulator) -> None:
    answer = read(emu, DETAILS_PATH, token_for(emu, "demo-fast"))
    assert (answer.status, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")


def test_a_refused_call_leaves_the_script_alone_and_runs_nothing(emu: Emulator) -> None:
    from servingclient.emulator import faults

    emu.script("demo", faults.throttled())
    assert call(emu, token="made-up", value={"inputs": [1], "client_request_id": "x"}).status == 403
    assert emu.requests[-1].client_request_id == "x"
    assert not emu.executions("demo")
    assert call(emu).status == 429
