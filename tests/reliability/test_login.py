"""A1: a login service that hangs, while the token is good and after it ended."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from servingclient import AuthError, DeadlineExceeded, Settings
from servingclient.emulator import Emulator, faults
from servingclient.settings import Token
from tests.doors.kit import ROW, SUM, Door, errors, invocations, principal

TTL_S = 1.6
RULES = Token(
    refresh_jitter_s=0.0,
    margin_s=0.0,
    try_timeout_s=0.4,
    timeout_s=0.8,
    cooldown_s=0.1,
    cooldown_cap_s=0.2,
)


WAIT_S = 0.1
"""Longer than a busy machine holds up a call, shorter than a login is waited for."""


def slowest(door: Door, client: Any, count: int) -> tuple[float, float]:
    """Of some calls the longest, and the longest wait for a token in one of them."""
    took = [door.predict(client).timing for _ in range(count)]
    return max(one.total_s for one in took), max(one.token_s for one in took)


@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
def test_A1_a_hung_login(door: Door, emulator: Emulator, endpoint: str) -> None:
    emulator.token_ttl_s = TTL_S
    client = door.open(endpoint, principal(emulator), Settings(token=RULES))
    door.predict(client)
    ends_s = time.monotonic() + TTL_S
    emulator.token_always(faults.hang())
    asked = emulator.token_requests

    # from half of its life on it is renewed behind the calls, which must not notice
    while emulator.token_requests == asked:
        door.predict(client)
    took_s, waited_s = slowest(door, client, 50)
    assert time.monotonic() < ends_s, "too slow a machine to tell"
    assert waited_s == 0.0
    assert took_s <= WAIT_S
    assert emulator.token_requests - asked <= 2, "one login at a time"

    # past its end every call fails by its own deadline, and they share one login
    while time.monotonic() < ends_s:
        door.predict(client, timeout=5.0) if time.monotonic() < ends_s - 0.1 else None
    asked, sent = emulator.token_requests, len(invocations(emulator))
    began_s = time.monotonic()
    outcomes = door.many(client, ({"inputs": [ROW], "timeout": 0.5} for _ in range(16)))
    assert time.monotonic() - began_s <= 0.5 + 0.25
    assert len(errors(outcomes)) == 16
    assert {isinstance(one, (AuthError, DeadlineExceeded)) for one in outcomes} == {True}
    assert emulator.token_requests - asked <= 2
    assert len(invocations(emulator)) == sent

    # and it heals within 2 s
    emulator.token_always(None)
    emulator.token_ttl_s = 3600.0
    began_s = time.monotonic()
    while errors(door.many(client, [{"inputs": [ROW], "timeout": 1.0}])):
        assert time.monotonic() - began_s <= 2.0
    assert door.predict(client).predictions == [SUM]
    assert time.monotonic() - began_s <= 2.0


def test_A1_a_login_that_never_answers_is_one_connection(door: Door, emulator: Emulator) -> None:
    emulator.token_always(faults.hang())
    client = door.open("demo-fast", principal(emulator), Settings(token=RULES))
    outcomes = door.many(client, ({"inputs": [ROW], "timeout": 0.3} for _ in range(32)))
    assert len(errors(outcomes)) == 32
    assert {isinstance(one, (AuthError, DeadlineExceeded)) for one in outcomes} == {True}
    assert emulator.token_requests == 1
    assert emulator.connections["workspace"] == 1
    assert invocations(emulator) == []


def test_A2_tokens_refused_for_good(door: Door, emulator: Emulator) -> None:
    """2 POSTs for the first call; one of the next tells that renewing is no cure; then none."""
    rules = Settings(token=replace(RULES, cooldown_s=30.0, cooldown_cap_s=60.0))
    client = door.open("demo", principal(emulator), rules)
    door.predict(client)
    emulator.always("demo", faults.invalid_token(401))
    logins, sent = emulator.token_requests, len(invocations(emulator))

    (first,) = door.many(client, [{"inputs": [ROW]}])
    assert isinstance(first, AuthError)
    assert [attempt.status for attempt in first.attempts] == [401, 401]
    assert len(invocations(emulator)) - sent == 2
    assert emulator.token_requests - logins == 1

    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(50)))
    assert {isinstance(one, AuthError) for one in outcomes} == {True}
    assert emulator.token_requests - logins == 1
    sent = len(invocations(emulator))
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(50)))
    assert {isinstance(one, AuthError) for one in outcomes} == {True}
    assert len(invocations(emulator)) == sent
    assert emulator.token_requests - logins == 1


def test_A2_it_heals_after_the_pause(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator), Settings(token=RULES))
    emulator.always("demo", faults.invalid_token(403))
    assert len(errors(door.many(client, ({"inputs": [ROW]} for _ in range(4))))) == 4
    emulator.clear("demo")
    began_s = time.monotonic()
    while errors(door.many(client, [{"inputs": [ROW]}])):
        assert time.monotonic() - began_s <= 2 * RULES.cooldown_cap_s
    assert door.predict(client).predictions == [SUM]
