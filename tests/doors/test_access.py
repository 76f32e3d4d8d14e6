"""Signing in, and what becomes of refused tokens, moved endpoints and unreadable descriptions."""

from __future__ import annotations

import time

import pytest

from servingclient import (
    AuthError,
    NotFound,
    PermissionDenied,
    Prediction,
    RouteOptimizedRequiresOAuth,
    Settings,
    TokenRefreshError,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Concurrency, Pool, Token
from tests.doors.kit import ROW, SUM, Door, Who, errors, invocations, pat, principal

CALLS = 64


def kinds(emulator: Emulator, kind: str) -> int:
    return sum(record.kind == kind for record in emulator.requests)


@pytest.mark.parametrize("who", [pat, principal], ids=["pat", "principal"])
def test_a_standard_endpoint_is_called_on_the_workspace(
    door: Door, emulator: Emulator, who: type
) -> None:
    client = door.open("demo", who(emulator))
    assert door.predict(client).predictions == [SUM]
    (record,) = invocations(emulator)
    assert (record.host, record.path) == ("workspace", "/serving-endpoints/demo/invocations")


def test_a_route_optimized_endpoint_is_called_on_its_own_host(
    door: Door, emulator: Emulator
) -> None:
    client = door.open("demo-fast", principal(emulator))
    for _ in range(3):
        assert door.predict(client).predictions == [SUM]
    assert {record.host for record in invocations(emulator)} == {"serving"}
    assert kinds(emulator, "describe") == 1
    assert emulator.token_requests <= 2


@pytest.mark.parametrize("describable", [False, True])
def test_an_unreadable_description_means_the_standard_way(
    door: Door, emulator: Emulator, describable: bool
) -> None:
    # CAN QUERY does not include reading the description
    emulator.add_endpoint("shy", describable=describable)
    client = door.open("shy", pat(emulator))
    for _ in range(3):
        assert door.predict(client).predictions == [SUM]
    assert kinds(emulator, "describe") == 1


def test_a_description_that_is_not_found_means_the_standard_way(
    door: Door, emulator: Emulator
) -> None:
    # a gateway in front of the workspace may know invocations only
    emulator.describe_always(faults.answer(404, b'{"error_code": "RESOURCE_DOES_NOT_EXIST"}'))
    client = door.open("demo", pat(emulator))
    assert door.predict(client).predictions == [SUM]


def test_a_wrong_name_is_not_found(door: Door, emulator: Emulator) -> None:
    client = door.open("no-such", pat(emulator))
    with pytest.raises(NotFound, match="no-such") as caught:
        door.predict(client)
    error = caught.value
    assert error.status_code == 404
    assert error.elapsed_s
    assert [a.status for a in error.attempts] == [404]
    assert "name" in str(error)


def test_A3_a_pat_is_refused_on_a_route_optimized_endpoint(door: Door, emulator: Emulator) -> None:
    client = door.open("demo-fast", pat(emulator))
    with pytest.raises(RouteOptimizedRequiresOAuth, match="client_id and client_secret") as caught:
        door.predict(client)
    assert invocations(emulator) == []
    assert caught.value.endpoint == "demo-fast"
    with pytest.raises(RouteOptimizedRequiresOAuth):
        door.predict(client)
    assert kinds(emulator, "describe") == 1, "asked once, told from then on"


def test_A3_a_recreated_endpoint_heals(door: Door, emulator: Emulator) -> None:
    client = door.open("demo-fast", principal(emulator))
    door.predict(client)
    emulator.recreate_endpoint("demo-fast")
    prediction = door.predict(client)
    assert prediction.predictions == [SUM]
    assert [a.status for a in prediction.attempts] == [404, 200]
    assert kinds(emulator, "describe") == 2, "one GET heals it"
    assert door.predict(client).attempts[0].status == 200


def test_A3_many_calls_heal_with_one_look(door: Door, emulator: Emulator) -> None:
    client = door.open("demo-fast", principal(emulator))
    door.predict(client)
    emulator.recreate_endpoint("demo-fast")
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(32)))
    assert errors(outcomes) == []
    assert kinds(emulator, "describe") == 2


def test_A3_a_call_that_hears_of_it_late_heals_too(door: Door, emulator: Emulator) -> None:
    # its 404 comes when the description was read again and the new token is still on its way
    client = door.open("demo-fast", principal(emulator))
    door.predict(client)
    gone = b'{"error_code": "404", "message": "gone"}'
    emulator.script(
        "demo-fast",
        faults.answer(404, gone, delay_s=0.05, executed=True),
        faults.answer(404, gone, delay_s=0.2, executed=True),
    )
    emulator.token_always(faults.slow(0.4))

    def recreate() -> None:
        assert emulator.wait_for(lambda: emulator.executions("demo-fast").total() == 3)
        emulator.recreate_endpoint("demo-fast")

    outcomes = door.many(client, [{"inputs": [ROW]}, {"inputs": [ROW]}], recreate)
    assert errors(outcomes) == []
    assert kinds(emulator, "describe") == 2


def test_A3_an_endpoint_that_was_deleted_is_not_found(door: Door, emulator: Emulator) -> None:
    client = door.open("demo-fast", principal(emulator))
    door.predict(client)
    emulator.remove_endpoint("demo-fast")
    with pytest.raises(NotFound):
        door.predict(client)
    looked = kinds(emulator, "describe")
    for _ in range(3):
        with pytest.raises(NotFound):
            door.predict(client)
    assert kinds(emulator, "describe") <= looked + 1, "once per minute, not once per call"


# -- tokens ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
def test_A2_64_calls_over_an_expiry(door: Door, emulator: Emulator, endpoint: str) -> None:
    # the token ends while the calls run: 0 user errors, 1 refresh
    emulator.token_ttl_s = 0.4
    rules = Token(refresh_ahead_s=0.0, refresh_jitter_s=0.0, margin_s=0.0)
    settings = Settings(token=rules, pool=Pool(max_lanes=8))
    client = door.open(endpoint, principal(emulator), settings)
    door.predict(client)
    before, began_s = emulator.token_requests, time.monotonic()
    emulator.token_ttl_s = 3600.0
    emulator.always(endpoint, faults.slow(0.08))  # eight at a time: 0.64 s in all
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(CALLS)))
    assert errors(outcomes) == []
    assert time.monotonic() - began_s > 0.5, "they did run over the expiry"
    assert emulator.token_requests - before == 1


def test_A2_a_token_in_its_last_seconds_is_replaced(door: Door, emulator: Emulator) -> None:
    # "Token is expiring within 30 seconds": the service's margin is larger than ours
    client = door.open("demo-fast", principal(emulator))
    door.predict(client)
    before = emulator.token_requests
    emulator.script("demo-fast", faults.expiring_token())
    prediction = door.predict(client)
    assert [a.status for a in prediction.attempts] == [403, 200]
    assert emulator.token_requests - before == 1


@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
@pytest.mark.parametrize("status", [401, 403])
def test_row_20_a_revoked_token_with_64_in_flight(
    door: Door, emulator: Emulator, endpoint: str, status: int
) -> None:
    # one refresh, at most 128 POSTs, no error
    emulator.change(expired_status=status)
    settings = Settings(concurrency=Concurrency(initial_calls=CALLS))
    client = door.open(endpoint, principal(emulator), settings)
    door.predict(client)
    before = emulator.token_requests
    emulator.revoke_tokens()
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(CALLS)))
    assert errors(outcomes) == []
    assert emulator.token_requests - before == 1
    assert len(invocations(emulator)) - 1 <= 128
    assert all(
        [a.status for a in one.attempts] in ([200], [status, 200])
        for one in outcomes
        if isinstance(one, Prediction)
    )


def test_A2_a_token_refused_for_good_is_two_posts(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator))
    door.predict(client)
    emulator.always("demo", faults.invalid_token(401))
    with pytest.raises(AuthError) as caught:
        door.predict(client)
    assert [a.status for a in caught.value.attempts] == [401, 401]
    assert len(invocations(emulator)) == 3


def test_an_expired_login_says_so(door: Door, emulator: Emulator) -> None:
    # a fixed token cannot be renewed: told at the first refusal, with what to do
    client = door.open("demo", Who(emulator.host, {"token": "dapi00112233445566778899"}))
    with pytest.raises(AuthError, match="Log in again") as caught:
        door.predict(client)
    error = caught.value
    assert error.status_code in {401, 403}
    assert error.endpoint == "demo"
    assert error.elapsed_s is not None
    assert len(invocations(emulator)) <= 1


def test_a_wrong_client_secret_says_so(door: Door, emulator: Emulator) -> None:
    arguments = {"client_id": emulator.client_id, "client_secret": "wrong-canary-secret"}
    client = door.open("demo", Who(emulator.host, arguments))
    with pytest.raises(TokenRefreshError) as caught:
        door.predict(client)
    assert "wrong-canary-secret" not in str(caught.value)
    assert invocations(emulator) == []
    assert caught.value.endpoint == "demo"
    assert caught.value.elapsed_s is not None


def test_a_missing_permission_is_final(door: Door, emulator: Emulator) -> None:
    emulator.change_endpoint("demo", permission="CAN_VIEW")
    client = door.open("demo", principal(emulator))
    with pytest.raises(PermissionDenied, match="CAN QUERY"):
        door.predict(client)
    assert len(invocations(emulator)) == 1
    assert emulator.token_requests == 1


def test_a_login_that_fails_once_is_repeated(door: Door, emulator: Emulator) -> None:
    emulator.token_script(faults.plain(503), faults.reset())
    client = door.open("demo", principal(emulator))
    assert door.predict(client).predictions == [SUM]
