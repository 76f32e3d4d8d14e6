"""One endpoint's grants: had, kept, renewed, refused, moved. Both colours, virtual time."""

from __future__ import annotations

import logging
import threading

import pytest

from servingclient._types import FaultKind, WireFault
from servingclient.auth.endpoint import UNDESCRIBED
from servingclient.errors import (
    AuthError,
    ConfigError,
    ConnectionFailed,
    PermissionDenied,
    RouteOptimizedRequiresOAuth,
    ServingError,
    TLSError,
    TokenRefreshError,
    UntrustedEndpointError,
)
from servingclient.settings import Payload, Settings, Token
from tests.auth.world import OWN_HOST, World, fault, own_url, reply

DENIED = {"error_code": "PERMISSION_DENIED", "message": "User lacks 'View' on endpoint."}
BAD_TOKEN = {"error_code": 403, "message": "Invalid access token. [ReqId: 1]"}


def bearer(grant: object) -> str | None:
    return dict(grant.target.headers).get("Authorization")  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------- first calls


def test_a_fixed_token_costs_one_description_and_no_login(world: World) -> None:
    access = world.access(token="dapi-1")
    grant = world.obtain(access)
    assert str(grant.target.origin) == "https://ws.cloud.databricks.com"
    assert grant.target.path == "/serving-endpoints/m/invocations"
    assert bearer(grant) == "Bearer dapi-1"
    assert not grant.route_optimized
    assert [one.path for one in world.wire.seen] == ["/api/2.0/serving-endpoints/m"]
    assert world.wire.reads[0].header("Authorization") == "Bearer dapi-1"
    assert world.wire.reads[0].header("Content-Type") is None


def test_a_service_principal_signs_in_once_for_the_workspace(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)
    assert bearer(grant) == "Bearer tok-1"
    assert [one.path for one in world.wire.seen] == [
        "/oidc/v1/token",
        "/api/2.0/serving-endpoints/m",
    ]
    login = world.wire.logins[0]
    assert login.form == {"grant_type": "client_credentials", "scope": "all-apis"}
    assert login.header("Authorization") == "Basic aWQ6czNjcmV0"
    assert login.header("Content-Type") == "application/x-www-form-urlencoded"


def test_a_route_optimized_endpoint_gets_its_own_host_and_token(world: World) -> None:
    world.wire.description = own_url()
    access = world.access()
    grant = world.obtain(access)
    assert grant.target.origin.host == OWN_HOST
    assert grant.target.path == "/12/serving-endpoints/m/invocations"
    assert grant.route_optimized
    assert bearer(grant) == "Bearer tok-2"
    assert world.wire.logins[1].form["authorization_details"] == '[{"id": "e1"}]'
    # logins go to the workspace, whatever the endpoint's own host is
    assert {one.target.origin.host for one in world.wire.seen} == {"ws.cloud.databricks.com"}


def test_the_next_call_finds_the_same_grant_without_a_request(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)
    assert world.ready(access) is grant
    assert len(world.wire.seen) == 2


def test_a_served_model_has_its_own_path_on_both_kinds_of_host(world: World) -> None:
    access = world.access()
    standard = world.obtain(access, "m-2")
    assert standard.target.path == "/serving-endpoints/m/served-models/m-2/invocations"
    assert world.ready(access, "m-2") is standard
    world.wire.description = own_url()
    own = world.obtain(world.access(), "m-2")
    assert own.target.path == "/12/serving-endpoints/m/served-models/m-2/invocations"


@pytest.mark.parametrize("name", ["../x", "a/b", "a?b", "..", "", "a b", "ä"])
def test_a_served_model_cannot_change_the_path(world: World, name: str) -> None:
    access = world.access()
    with pytest.raises(ConfigError, match="served_model"):
        world.obtain(access, name)
    assert world.wire.seen == []


def test_what_the_endpoint_is_decides_the_size_limit(world: World) -> None:
    assert world.obtain(world.access()).max_request_bytes == 16 * 1024 * 1024
    world.wire.description = {"name": "m", "task": "agent/v1/chat"}
    assert world.obtain(world.access()).max_request_bytes == 4 * 1024 * 1024
    world.settings = Settings(payload=Payload(max_request_bytes=1000))
    assert world.obtain(world.access()).max_request_bytes == 1000


def test_headers_of_the_user_go_to_the_endpoint_only(world: World) -> None:
    world.settings = Settings(headers=(("X-Team", "fraud"), ("user-agent", "mine/2")))
    grant = world.obtain(world.access())
    headers = dict(grant.target.headers)
    assert headers["X-Team"] == "fraud"
    assert headers["user-agent"] == "mine/2"
    assert "User-Agent" not in headers
    assert all(one.header("X-Team") is None for one in world.wire.seen)


# ----------------------------------------------------------------------------- one login for all


def test_A2_two_calls_told_of_one_dead_token_both_go_on_with_the_next(world: World) -> None:
    """A fixed token that is exchanged: it cannot be renewed, what it is exchanged for can."""
    world.wire.description = own_url()
    access = world.access(token="eyJh.eyJi.sig")
    dead = world.obtain(access)
    assert access.reject(dead)
    assert bearer(world.obtain(access)) != bearer(dead)
    assert access.reject(dead)  # the slower call hears of it only now
    assert bearer(world.grant(access)) != bearer(dead)


def test_a_refused_fixed_token_is_not_tried_again(world: World) -> None:
    access = world.access(token="dapi-1")
    assert not access.reject(world.obtain(access))


def test_64_callers_over_an_expiry_cost_one_login(world: World) -> None:
    access = world.access()
    world.obtain(access)
    world.clock.time_s += 4000
    grants = world.together(64, lambda: access.obtain(None, world.clock.now() + 5))
    assert {bearer(one) for one in grants} == {"Bearer tok-2"}
    assert len(world.wire.logins) == 2
    assert world.wire.most_in_flight == 1


def test_a2_64_callers_with_a_refused_token_cost_one_login(world: World) -> None:
    access = world.access()
    old = world.obtain(access)

    async def refused_then_again() -> object:
        assert access.reject(old)
        return access.ready(None, world.clock.now()) or await access.obtain(
            None, world.clock.now() + 5
        )

    grants = world.together(64, refused_then_again)
    assert {bearer(one) for one in grants} == {"Bearer tok-2"}
    assert len(world.wire.logins) == 2


# ------------------------------------------------------------------------ A1: the login hangs


def test_a1_fresh_token_nothing_is_asked(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)
    world.wire.always_token = fault(FaultKind.TIMEOUT)
    world.clock.time_s += 200
    assert world.ready(access) is grant
    world.settle()
    assert len(world.wire.logins) == 1


def test_a1_stale_token_serves_at_once_while_the_login_hangs(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)
    held, hold = world.hold()
    world.wire.token_steps.append(held)
    world.clock.time_s += 2500
    for _ in range(50):
        assert world.ready(access) is grant
    world.until(hold.reached)
    world.clock.time_s += 1000  # inside the margin now, and still hanging
    assert world.ready(access) is grant
    assert len(world.wire.logins) == 2
    hold.let_go()
    world.settle()
    world.clock.time_s += 2
    assert bearer(world.ready(access)) == "Bearer tok-2"


def test_a1_expired_all_fail_by_their_deadline_on_one_connection(world: World) -> None:
    access = world.access()
    world.obtain(access)
    held, hold = world.hold(fault(FaultKind.TIMEOUT))
    world.wire.always_token = held
    world.clock.time_s += 4000
    outcomes = world.together(16, lambda: access.obtain(None, world.clock.now() + 0.1))
    assert [type(one) for one in outcomes] == [TokenRefreshError] * 16
    assert len({id(one) for one in outcomes}) == 16
    assert "ws.cloud.databricks.com" in str(outcomes[0])
    assert len(world.wire.logins) == 2
    hold.let_go()
    world.settle()


def test_a1_a_login_that_never_answers_is_tried_once_and_named(world: World) -> None:
    world.wire.always_token = fault(FaultKind.TIMEOUT)
    access = world.access()
    before_s = world.clock.now()
    with pytest.raises(TokenRefreshError, match=r"ws\.cloud\.databricks\.com.*timeout") as caught:
        world.obtain(access)
    assert world.clock.now() - before_s == pytest.approx(5.0)
    assert caught.value.retryable
    assert len(world.wire.logins) == 1


def test_a1_failures_are_told_at_once_until_the_cool_down_is_over(world: World) -> None:
    world.wire.always_token = reply(503)
    access = world.access()
    with pytest.raises(TokenRefreshError):
        world.obtain(access)
    asked = len(world.wire.logins)
    first, second = (_error(world, access) for _ in range(2))
    assert len(world.wire.logins) == asked
    assert first is not second
    world.wire.always_token = None
    world.clock.time_s += 1.1
    assert bearer(world.obtain(access)) == "Bearer tok-1"


def _error(world: World, access: object) -> ServingError:
    with pytest.raises(TokenRefreshError, match="503") as caught:
        world.obtain(access)  # type: ignore[arg-type]
    return caught.value


def test_row_19_heals_within_two_seconds_of_the_end_of_a_long_outage(world: World) -> None:
    access = world.access()
    world.obtain(access)
    world.wire.always_token = reply(500)
    failures = 0
    for _ in range(4000):  # past the end of the token, a call every second
        world.clock.time_s += 1.0
        try:
            world.grant(access)
        except TokenRefreshError:
            failures += 1
        world.settle()
    assert failures > 0
    world.wire.always_token = None
    healed_s = 0.0
    while True:
        world.clock.time_s += 0.5
        healed_s += 0.5
        try:
            world.grant(access)
            break
        except TokenRefreshError:
            pass
    assert healed_s <= 2.0


def test_row_19_while_the_token_lives_no_call_fails_and_tries_thin_out(world: World) -> None:
    access = world.access()
    world.obtain(access)
    world.wire.always_token = reply(500)
    for _ in range(3590):
        world.clock.time_s += 1.0
        assert world.ready(access) is not None
        world.settle()
    # each renewal is at most 3 tries; doubling to 60 s leaves some 26 of them in 20 min
    assert len(world.wire.logins) - 1 <= 3 * 30


def test_in_the_margin_a_call_waits_for_a_new_token_but_takes_the_old_one_if_there_is_none(
    world: World,
) -> None:
    access = world.access()
    world.obtain(access)
    world.clock.time_s = old_end = 1000 + 3600 - 45  # nobody called in the stale window
    assert world.ready(access) is None
    world.wire.always_token = reply(500)
    assert bearer(world.obtain(access)) == "Bearer tok-1"
    assert world.clock.now() - old_end < 2.0
    world.wire.always_token = None
    world.clock.time_s += 2.0
    assert world.ready(access) is not None
    world.settle()
    world.clock.time_s += 1.1
    assert bearer(world.ready(access)) == "Bearer tok-2"


# ------------------------------------------- databricks-sdk's test_refreshable.py, over the port

NOT_AHEAD = Settings(token=Token(refresh_ahead_s=0.0, refresh_jitter_s=0.0, endpoint_ttl_s=1e6))


@pytest.mark.parametrize(
    ("after_s", "at_hand", "logins"),
    [
        pytest.param(0.0, True, 1, id="test_disable_async_fresh_does_not_refresh"),
        pytest.param(3539.0, True, 1, id="test_disable_async_stale_does_not_refresh"),
        pytest.param(3601.0, False, 2, id="test_disable_async_expired_does_refresh"),
    ],
)
def test_without_renewal_ahead(world: World, after_s: float, at_hand: bool, logins: int) -> None:
    world.settings = NOT_AHEAD
    access = world.access()
    world.obtain(access)
    world.clock.time_s += after_s
    assert (world.ready(access) is not None) is at_hand
    world.grant(access)
    world.settle()
    assert len(world.wire.logins) == logins


def test_disable_async_no_token_does_refresh(world: World) -> None:
    world.settings = NOT_AHEAD
    access = world.access()
    assert world.ready(access) is None
    assert bearer(world.obtain(access)) == "Bearer tok-1"


def test_multiple_calls_dont_start_many_threads(world: World) -> None:
    access = world.access()
    world.obtain(access)
    held, hold = world.hold()
    world.wire.token_steps.append(held)
    world.clock.time_s += 2500
    for _ in range(100):
        world.ready(access)
        world.clock.time_s += 1.0
    world.until(hold.reached)
    ours = [t for t in threading.enumerate() if t.name.startswith("servingclient-")]
    assert len(ours) == (2 if world.colour == "sync" else 0)
    hold.let_go()
    world.settle()
    assert bearer(world.ready(access)) == "Bearer tok-2"
    assert len(world.wire.logins) == 2


# --------------------------------------------------------------------- small retries, one layer


@pytest.mark.parametrize(
    "step",
    [
        reply(500),
        reply(502, b"<html>"),
        reply(429),
        *map(fault, (FaultKind.NOT_CONNECTED, FaultKind.STALE, FaultKind.CUT_OFF)),
    ],
)
def test_a_quick_failure_is_tried_again(world: World, step: object) -> None:
    world.wire.token_steps += [step, step]  # type: ignore[list-item]
    assert bearer(world.obtain(world.access())) == "Bearer tok-1"
    assert len(world.wire.logins) == 3
    expected = [0.0, 0.0] if isinstance(step, WireFault) else [1e9, 1e9]
    assert [min(one.max_idle_s, 1e9) for one in world.wire.logins[1:]] == expected
    assert all(pause <= 0.4 for pause in world.clock.slept)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 302])
def test_a_refusal_is_not_tried_again(world: World, status: int) -> None:
    world.wire.always_token = reply(status, {"error": "invalid_client", "error_description": "no"})
    with pytest.raises(
        TokenRefreshError, match=f"answered {status} .*invalid_client: no"
    ) as caught:
        world.obtain(world.access())
    assert caught.value.status_code == status
    assert len(world.wire.logins) == 1


def test_a_refused_principal_is_asked_about_ever_less_often(world: World) -> None:
    world.wire.always_token = reply(401, {"error": "invalid_client"})
    access = world.access()
    for _ in range(600):
        world.clock.time_s += 1.0
        with pytest.raises(TokenRefreshError):
            world.obtain(access)
    assert len(world.wire.logins) <= 6 + 600 / 60 + 1


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (FaultKind.NOT_CONNECTED, ConnectionFailed),
        (FaultKind.TLS, TLSError),
        (FaultKind.CUT_OFF, TokenRefreshError),
        (FaultKind.UNREADABLE, TokenRefreshError),
    ],
)
def test_what_broke_decides_the_error(
    world: World, kind: FaultKind, error: type[ServingError]
) -> None:
    world.wire.always_token = fault(kind)
    with pytest.raises(error, match=r"ws\.cloud\.databricks\.com") as caught:
        world.obtain(world.access())
    assert type(caught.value) is error
    assert len(world.wire.logins) == (1 if kind in (FaultKind.TLS, FaultKind.UNREADABLE) else 3)


# ---------------------------------------------------------------------------------- refused


def test_reject_drops_that_token_and_no_newer_one(world: World) -> None:
    access = world.access()
    old = world.obtain(access)
    assert access.reject(old)
    assert world.ready(access) is None
    new = world.obtain(access)
    assert new.token > old.token
    assert access.reject(old)  # a late call still holds the old one
    assert world.ready(access) is new
    assert len(world.wire.logins) == 2


@pytest.mark.parametrize("description", [{"name": "m", "id": "e0"}, own_url()])
def test_a2_tokens_refused_for_good_cost_a_login_a_pause(
    world: World, description: dict[str, object]
) -> None:
    world.wire.description = description
    access = world.access()
    assert access.reject(world.obtain(access))
    second = world.obtain(access)
    logins = len(world.wire.logins)
    assert access.reject(second)
    for _ in range(50):
        assert world.ready(access) is None
        with pytest.raises(AuthError, match="refused 2 tokens in a row"):
            world.obtain(access)
    assert len(world.wire.logins) == logins
    world.clock.time_s += 1.0
    third = world.obtain(access)
    assert len(world.wire.logins) == logins + 1
    assert access.reject(third)
    world.clock.time_s += 1.9
    with pytest.raises(AuthError, match=r"refused 3 tokens in a row.* 0\.1 s"):
        world.obtain(access)
    world.clock.time_s += 0.1
    healed = world.obtain(access)
    assert world.ready(access) is healed
    assert len(world.wire.logins) == logins + 2


def test_an_exchange_that_is_refused_stays_the_error(world: World) -> None:
    world.wire.description = own_url()
    access = world.access()
    world.wire.always_token = reply(403, {"error": "access_denied"})
    for _ in range(5):
        with pytest.raises(TokenRefreshError, match="access_denied"):
            world.obtain(access)
        world.clock.time_s += 61.0


def test_a_fixed_token_cannot_be_renewed_and_stays(world: World) -> None:
    access = world.access(token="dapi-1")
    grant = world.obtain(access)
    assert not access.reject(grant)
    assert world.ready(access) is grant


def test_the_own_token_of_an_endpoint_is_renewed_without_the_workspaces(world: World) -> None:
    world.wire.description = own_url()
    access = world.access()
    old = world.obtain(access)
    assert access.reject(old)
    assert bearer(world.obtain(access)) == "Bearer tok-3"
    assert len(world.wire.reads) == 1


def test_a_flight_that_began_before_the_refusal_does_not_bring_the_refused_token(
    world: World,
) -> None:
    access = world.access()
    old = world.obtain(access)
    world.clock.time_s += 301  # the description is due, the token is fresh
    held, hold = world.hold(reply(200, world.wire.description))
    world.wire.describe_steps.append(held)
    assert world.ready(access) is old
    world.until(hold.reached)
    assert access.reject(old)
    waiting = world.start(lambda: access.obtain(None, world.clock.now() + 5))
    hold.let_go()
    assert bearer(waiting()) == "Bearer tok-2"


def test_a_token_refused_while_its_successor_waits_for_the_description_is_not_handed_out(
    world: World,
) -> None:
    access = world.access()
    old = world.obtain(access)
    world.clock.time_s += 2500  # token and description are due: the new token reads the description
    held, hold = world.hold(reply(200, world.wire.description))
    world.wire.describe_steps.append(held)
    assert world.ready(access) is old
    world.until(hold.reached)
    assert len(world.wire.logins) == 2
    assert access.reject(old)
    assert world.ready(access) is None
    waiting = world.start(lambda: access.obtain(None, world.clock.now() + 5))
    hold.let_go()
    assert bearer(waiting()) == "Bearer tok-2"


def test_a_token_refused_while_it_is_looked_at_is_not_handed_out(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)

    class Refusing:
        def start(self, action: object) -> None:
            access.reject(grant)

        async def close(self) -> None:
            pass

    access._ports = access._ports._replace(background=Refusing())
    world.clock.time_s += 2500
    assert world.ready(access) is None


def test_a_token_that_is_dead_on_arrival_is_asked_for_once_more(world: World) -> None:
    async def slow() -> object:
        world.clock.time_s += 10
        return world.wire.good_token()

    world.wire.lifetime_s = 5
    world.wire.token_steps += [slow, slow]  # type: ignore[list-item]
    assert bearer(world.obtain(world.access())) is not None


def test_grants_for_served_models_are_bounded(world: World) -> None:
    access = world.access()
    world.obtain(access)
    for n in range(1000):
        grant = world.obtain(access, f"m-{n}")
        assert grant.target.path.endswith(f"/m-{n}/invocations")
    assert access._book is not None
    assert len(access._book.grants) == 256


# ------------------------------------------------------------------------------- description


@pytest.mark.parametrize(
    "step",
    [
        reply(403, DENIED),
        reply(404, {"error_code": "ENDPOINT_NOT_FOUND", "message": "..."}),
        reply(404, b"<html>nothing here</html>"),
        reply(405),
        reply(302),
        reply(200, b"<html>log in</html>"),
        reply(200, [1]),
        reply(503),
        fault(FaultKind.TIMEOUT),
        fault(FaultKind.NOT_CONNECTED),
        fault(FaultKind.TOO_LARGE),
    ],
)
def test_without_a_description_calls_go_the_standard_way(world: World, step: object) -> None:
    world.wire.always_describe = step  # type: ignore[assignment]
    access = world.access()
    grant = world.obtain(access)
    assert grant.target.path == "/serving-endpoints/m/invocations"
    assert bearer(grant) == "Bearer tok-1"
    assert access.description is UNDESCRIBED


def test_a_description_that_may_not_be_read_is_asked_for_every_five_minutes(world: World) -> None:
    world.wire.always_describe = reply(403, DENIED)
    access = world.access()
    world.obtain(access)
    for _ in range(590):
        world.clock.time_s += 1.0
        assert world.ready(access) is not None
        world.settle()
    assert len(world.wire.reads) == 2


def test_an_endpoint_made_a_minute_late_is_found_behind_the_calls(world: World) -> None:
    world.wire.describe_steps.append(reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"}))
    world.wire.description = own_url()
    access = world.access()
    assert not world.obtain(access).route_optimized
    world.clock.time_s += 61
    assert not world.ready(access).route_optimized
    world.settle()
    assert world.ready(access).route_optimized


@pytest.mark.parametrize("given", [{}, {"token": "dapi-1"}])
def test_an_endpoint_in_use_survives_a_refused_reading(world: World, given: dict[str, str]) -> None:
    access = world.access(**given)
    world.obtain(access)
    world.wire.always_describe = reply(401)
    for _ in range(10):
        world.clock.time_s += 100
        assert world.grant(access) is not None
        world.settle()


def test_an_address_that_becomes_untrusted_is_not_followed(world: World) -> None:
    access = world.access()
    old = world.obtain(access)
    world.wire.description = own_url()
    world.wire.description["data_plane_info"]["query_info"]["endpoint_url"] = "https://evil.com/x"
    world.clock.time_s += 301
    assert world.ready(access) is old
    world.settle()
    world.clock.time_s += 4000
    with pytest.raises(UntrustedEndpointError):
        world.obtain(access)


def test_after_an_outage_the_description_is_read_soon_behind_the_calls(world: World) -> None:
    world.wire.always_describe = reply(503)
    access = world.access()
    world.obtain(access)
    world.wire.always_describe = None
    world.wire.description = own_url()
    world.clock.time_s += 1.1
    assert world.ready(access) is not None
    world.settle()
    grant = world.ready(access)
    assert grant is not None
    assert grant.target.origin.host == OWN_HOST


def test_an_endpoint_once_described_keeps_its_description(world: World) -> None:
    world.wire.description = own_url()
    access = world.access()
    world.obtain(access)
    for step in (reply(503), reply(403, DENIED), fault(FaultKind.TIMEOUT), reply(200, b"<html>")):
        world.wire.always_describe = step
        world.clock.time_s += 301
        assert world.grant(access).target.origin.host == OWN_HOST
        world.settle()
        assert world.grant(access).target.origin.host == OWN_HOST


def test_the_description_is_read_again_behind_the_calls(world: World) -> None:
    access = world.access()
    grant = world.obtain(access)
    held, hold = world.hold(reply(200, own_url()))
    world.wire.describe_steps.append(held)
    world.clock.time_s += 299
    assert world.ready(access) is grant
    world.clock.time_s += 2
    assert world.ready(access) is grant
    world.until(hold.reached)
    assert world.ready(access) is grant
    hold.let_go()
    world.settle()
    changed = world.grant(access)
    assert changed.target.origin.host == OWN_HOST
    assert len(world.wire.reads) == 2


@pytest.mark.parametrize("step", [reply(401), reply(403, BAD_TOKEN)])
def test_a_token_refused_with_the_description_is_renewed_once(world: World, step: object) -> None:
    world.wire.describe_steps.append(step)  # type: ignore[arg-type]
    access = world.access()
    assert bearer(world.obtain(access)) == "Bearer tok-2"
    assert len(world.wire.reads) == 2


@pytest.mark.parametrize("given", [{}, {"token": "dapi-1"}])
def test_a_token_refused_again_is_final_and_not_asked_about_on_every_call(
    world: World, given: dict[str, str]
) -> None:
    world.wire.always_describe = reply(401)
    access = world.access(**given)
    for _ in range(20):
        with pytest.raises(AuthError, match=r"ws\.cloud\.databricks\.com refuses .* \(401\)"):
            world.obtain(access)
    assert len(world.wire.reads) == 2
    assert len(world.wire.logins) == (0 if given else 2)


def test_and_ever_less_often(world: World) -> None:
    world.wire.always_describe = reply(401)
    access = world.access()
    for logins, pause_s in ((2, 1.0), (4, 1.0), (6, 2.0), (8, 4.0)):
        for _ in range(2):
            with pytest.raises(AuthError, match=r"ws\.cloud\.databricks\.com refuses .* \(401\)"):
                world.obtain(access)
            assert len(world.wire.logins) == logins
            world.clock.time_s += pause_s / 2


def test_what_the_description_says_of_capacity_is_there_to_read(world: World) -> None:
    world.wire.description = {
        "name": "m",
        "config": {"served_entities": [{"workload_size": "Small"}, {"workload_size": "Medium"}]},
    }
    access = world.access()
    assert access.description is None
    world.obtain(access)
    assert access.description is not None
    assert access.description.provisioned_concurrency == 20


# ------------------------------------------------------------------------------ route-optimized


def test_a3_a_personal_access_token_is_refused_locally(world: World) -> None:
    world.wire.description = own_url()
    access = world.access(token="dapi-1")
    for _ in range(10):
        with pytest.raises(RouteOptimizedRequiresOAuth, match="client_id and client_secret"):
            world.obtain(access)
        world.clock.time_s += 5
    assert {one.target.origin.host for one in world.wire.seen} == {"ws.cloud.databricks.com"}
    assert len(world.wire.seen) == 1


def test_a3_an_oauth_token_given_as_token_is_exchanged_with_a_scope(world: World) -> None:
    world.wire.description = own_url()
    access = world.access(token="eyJh.eyJi.sig")
    grant = world.obtain(access)
    assert bearer(grant) == "Bearer tok-1"
    assert world.wire.logins[0].form == {
        "grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "assertion": "eyJh.eyJi.sig",
        "authorization_details": '[{"id": "e1"}]',
        "scope": "all-apis",
    }
    assert world.wire.logins[0].header("Authorization") is None
    assert access.reject(grant)  # the exchanged one can be had anew
    assert bearer(world.obtain(access)) == "Bearer tok-2"


def test_a_principal_without_can_query_is_told_so(world: World) -> None:
    world.wire.description = own_url()
    refusal = {
        "error": "invalid_authorization_details",
        "error_description": "User is not authorized to the requested authorizations",
    }
    world.wire.token_steps += [world.wire.good_token(), reply(400, refusal)]
    with pytest.raises(PermissionDenied, match="CAN QUERY"):
        world.obtain(world.access())


def test_a4_no_token_is_even_asked_for_where_the_address_is_not_trusted(world: World) -> None:
    world.wire.description = own_url()
    world.wire.description["data_plane_info"]["query_info"]["endpoint_url"] = (
        "https://e1.serving.cloud.databricks.com.evil.com/x/invocations"
    )
    access = world.access()
    for _ in range(3):
        with pytest.raises(UntrustedEndpointError, match=r"evil\.com"):
            world.obtain(access)
    assert len(world.wire.logins) == 1
    assert len(world.wire.reads) == 1


def test_a_trusted_host_may_be_named(world: World) -> None:
    world.settings = Settings(trusted_hosts=("gw.corp.example",))
    world.wire.description = own_url()
    world.wire.description["data_plane_info"]["query_info"]["endpoint_url"] = (
        "https://gw.corp.example:8443/m/invocations"
    )
    assert str(world.obtain(world.access()).target.origin) == "https://gw.corp.example:8443"


def test_a3_a_recreated_endpoint_heals_with_one_read(world: World) -> None:
    world.wire.description = own_url("e1")
    access = world.access()
    old = world.obtain(access)
    world.wire.description = own_url("e2")
    assert access.moved(old)
    assert world.ready(access) is None
    new = world.obtain(access)
    assert new.target.origin.host == "e2.serving.cloud.databricks.com"
    assert world.wire.logins[-1].form["authorization_details"] == '[{"id": "e2"}]'
    assert len(world.wire.reads) == 2


def test_a3_all_who_were_on_the_way_are_told_to_try_again(world: World) -> None:
    world.wire.description = own_url("e1")
    access = world.access()
    old = world.obtain(access)
    world.wire.description = own_url("e2")
    assert access.moved(old)
    assert access.moved(old)  # the reading is still to come
    new = world.obtain(access)
    assert access.moved(old)  # there is another address by now
    assert not access.moved(new)  # read a moment ago: it is really not there
    assert len(world.wire.reads) == 2
    world.clock.time_s += 61
    assert access.moved(new)


def test_only_an_address_that_was_described_can_have_moved(world: World) -> None:
    access = world.access()
    assert not access.moved(world.obtain(access))
    world.wire.always_describe = reply(404)
    access = world.access()
    assert not access.moved(world.obtain(access))


def test_an_endpoint_that_is_gone_is_called_the_standard_way(world: World) -> None:
    world.wire.description = own_url()
    access = world.access()
    old = world.obtain(access)
    world.wire.always_describe = reply(404, {"error_code": "RESOURCE_DOES_NOT_EXIST"})
    assert access.moved(old)
    assert world.obtain(access).target.origin.host == "ws.cloud.databricks.com"


# ------------------------------------------------------------------------------------- rest


def test_a_deadline_while_the_description_is_read_is_a_plain_time_out(world: World) -> None:
    held, hold = world.hold(reply(200, world.wire.description))
    world.wire.describe_steps.append(held)
    access = world.access(token="dapi-1")
    with pytest.raises(WireFault) as caught:
        world.obtain(access, within_s=0.05)
    assert (caught.value.kind, caught.value.sent) == (FaultKind.TIMEOUT, "no")
    hold.let_go()
    world.settle()
    assert world.ready(access) is not None  # what came too late for one call serves the next


@pytest.mark.parametrize("given", [{}, {"token": "dapi-1"}], ids=["login", "description"])
def test_a_deadline_amid_the_tries_at_a_host_that_refuses_tells_that(
    world: World, given: dict[str, str]
) -> None:
    held, hold = world.hold(fault(FaultKind.NOT_CONNECTED))
    steps = world.wire.describe_steps if given else world.wire.token_steps
    steps += [fault(FaultKind.NOT_CONNECTED), held]
    access = world.access(**given)
    obtained = world.start(lambda: access.obtain(None, world.clock.now() + 0.3))
    with pytest.raises(ConnectionFailed, match=r"^No connection to ws\.cloud.*: as scripted\."):
        obtained()
    hold.let_go()
    world.settle()


@pytest.mark.parametrize(
    "endpoint", ["../x", "a/b", "a?b", "a#b", "%2e%2e", "..\\x", "", ".", "x" * 300]
)
def test_26_an_endpoint_name_cannot_change_the_path(world: World, endpoint: str) -> None:
    with pytest.raises(ConfigError, match="plain name"):
        world.access(endpoint=endpoint)


def test_soak_5_s_tokens_cost_110_to_135_logins_in_10_min(world: World) -> None:
    world.settings = Settings(token=Token(endpoint_ttl_s=1e6))
    world.wire.lifetime_s = 5
    access = world.access()
    until_s = world.clock.now() + 600
    while world.clock.now() < until_s:
        grant = world.grant(access)
        number = int((bearer(grant) or "").removeprefix("Bearer tok-"))
        assert number >= 1
        world.settle()
        world.clock.time_s += 0.1
    assert 110 <= len(world.wire.logins) <= 135


def test_a5_the_log_names_no_secret(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    access = world.access()
    world.obtain(access)
    world.wire.always_token = reply(400, {"error": "x", "error_description": "s3cret tok-1"})
    world.clock.time_s += 4000
    with pytest.raises(TokenRefreshError):
        world.obtain(access)
    assert "token_renewed" in caplog.text
    assert "s3cret" not in caplog.text
