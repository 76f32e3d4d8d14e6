"""Tokens and addresses that are refused: one renewal, one replay, no quota."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servingclient import AuthError, NotFound, PermissionDenied, TokenRefreshError
from tests.story.world import (
    BUSY,
    ENDPOINT,
    TOKEN,
    TOKEN_401,
    TOKEN_403,
    Answer,
    FakeWorld,
    Step,
    refused,
)

Make = Callable[..., FakeWorld]

GONE = refused(404, "404", "endpoint does not exist")
EXPIRING = refused(403, "403", "Token is expiring within 30 seconds. (token expired)")


@pytest.mark.parametrize("idempotent", [True, False])
@pytest.mark.parametrize("refusal", [TOKEN_401, TOKEN_403, EXPIRING], ids=["401", "403", "soon"])
def test_a_refused_token_is_renewed_once_and_the_call_replayed(
    make: Make, refusal: Step, idempotent: bool
) -> None:
    # the front end refused it, the model did not run: also a call that must not run twice is sent
    world = make(steps=[refusal, Answer()])
    prediction = world.predict(idempotent=idempotent)
    assert world.rejected == [1]
    assert world.fetches == 1
    assert world.slept == []
    assert world.quota.available == 500
    statuses = [a.status for a in prediction.attempts]
    assert statuses == [refusal.status, 200]  # type: ignore[union-attr]
    assert prediction.timing.token_s == pytest.approx(0.5)


def test_a_token_refused_twice_is_an_auth_error(make: Make) -> None:
    # A2: permanent 401 means 2 POSTs per call
    world = make(steps=[TOKEN_401])
    with pytest.raises(AuthError) as caught:
        world.predict()
    assert len(world.sends) == len(caught.value.attempts) == 2
    assert world.rejected == [1]
    assert caught.value.status_code == 401
    assert caught.value.sent == "no"
    assert world.quota.available == 500


def test_the_renewal_is_no_counted_try(make: Make) -> None:
    world = make(steps=[BUSY, TOKEN_401, BUSY, BUSY, Answer()])
    prediction = world.predict(timeout_s=30.0)
    assert [a.status for a in prediction.attempts] == [429, 401, 429, 429, 200]
    assert world.slept == pytest.approx([1.0, 2.0, 4.0])


def test_a_fixed_token_cannot_be_renewed(make: Make) -> None:
    world = make(steps=[TOKEN_401], renewable=False)
    with pytest.raises(AuthError) as caught:
        world.predict()
    assert len(world.sends) == 1
    assert len(caught.value.attempts) == 1
    assert caught.value.stopped_by is None
    assert "Log in again" in str(caught.value)


def test_permission_denied_is_final(make: Make) -> None:
    # no token would help: asking for another only loads the login service
    world = make(steps=[refused(403, "PERMISSION_DENIED", "no 'Query' permission, token is fine")])
    with pytest.raises(PermissionDenied):
        world.predict()
    assert world.rejected == []
    assert len(world.sends) == 1


def test_a_renewal_that_fails_is_the_error(make: Make) -> None:
    world = make(steps=[TOKEN_401], token_error=None)
    world.token_error = TokenRefreshError("No token from the workspace.")
    with pytest.raises(TokenRefreshError) as caught:
        world.predict()
    assert [a.status for a in caught.value.attempts] == [401]
    assert caught.value.endpoint == ENDPOINT
    assert world.inside == 0


def test_a_renewal_takes_of_the_calls_time(make: Make) -> None:
    world = make(steps=[TOKEN_401, Answer()])
    with pytest.raises(TimeoutError):
        world.predict(timeout_s=0.3)
    assert len(world.sends) == 1
    assert world.now_s <= 1000.3


def test_an_endpoint_that_moved_is_found_again_once(make: Make) -> None:
    # A3: re-created endpoints have another host
    world = make(steps=[GONE, Answer()], route_optimized=True)
    prediction = world.predict(idempotent=False)
    assert [sent.target.origin.host for sent in world.sends] == ["host0", "host1"]
    assert world.quota.available == 500
    assert [a.status for a in prediction.attempts] == [404, 200]


def test_an_endpoint_that_is_gone_is_not_looked_for_twice(make: Make) -> None:
    world = make(steps=[GONE], route_optimized=True, movable=5)
    with pytest.raises(NotFound) as caught:
        world.predict()
    assert len(world.sends) == len(caught.value.attempts) == 2


def test_an_address_just_read_is_not_read_again(make: Make) -> None:
    world = make(steps=[GONE], route_optimized=True, movable=0)
    with pytest.raises(NotFound):
        world.predict()
    assert len(world.sends) == 1


def test_a_standard_endpoint_does_not_move(make: Make) -> None:
    world = make(steps=[GONE], route_optimized=False)
    with pytest.raises(NotFound):
        world.predict()
    assert len(world.sends) == 1
    assert world.movable == 1


def test_each_free_resend_has_its_own_turn(make: Make) -> None:
    world = make(steps=[TOKEN_401, GONE, Answer()], route_optimized=True)
    prediction = world.predict()
    assert [a.status for a in prediction.attempts] == [401, 404, 200]
    assert world.quota.available == 500


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500, 503])
def test_an_echoed_token_is_not_shown(make: Make, status: int) -> None:
    # input 55: an error body that repeats our own header
    step = refused(status, "X", f"request had {TOKEN} and Bearer {TOKEN}")
    with pytest.raises(Exception) as caught:
        make(steps=[step]).predict()
    error: BaseException | None = caught.value
    while error is not None:
        assert TOKEN not in f"{error} {error!r} {error.__dict__}"
        error = error.__cause__
