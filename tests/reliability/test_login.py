"""A1: a login service that hangs, while the token is good and after it ended."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import replace

import pytest

from servingclient import AuthError, DeadlineExceeded, Prediction, Settings
from servingclient.emulator import Emulator, faults
from servingclient.settings import Token
from tests.doors.kit import ROW, SUM, Door, errors, invocations, principal
from tests.stopwatch import Stopwatch

TTL_S = 1.6
RULES = Token(
    refresh_jitter_s=0.0,
    margin_s=0.0,
    try_timeout_s=0.4,
    timeout_s=0.8,
    cooldown_s=0.1,
    cooldown_cap_s=0.2,
)


def pause(door: Door, until_s: float) -> None:
    """Nothing until then; an event loop goes on, and with it what runs behind the calls."""
    left_s = max(0.0, until_s - time.monotonic())
    if door.colour == "sync":
        threading.Event().wait(left_s)
    else:
        door.run(asyncio.sleep(left_s))


def logins_within(watch: Stopwatch) -> float:
    """The most that there are if one follows the other, since each hangs as long as it may."""
    return 1 + (watch.elapsed_s + watch.machine_s) / RULES.try_timeout_s


@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
def test_A1_a_hung_login(door: Door, emulator: Emulator, endpoint: str) -> None:
    emulator.token_ttl_s = TTL_S
    client = door.open(endpoint, principal(emulator), Settings(token=RULES))
    door.predict(client)
    left_s = client.stats().token.left_s
    ends_s = time.monotonic() + left_s
    emulator.token_always(faults.hang())
    asked = emulator.token_requests

    # from half of its life on it is renewed behind the calls, which must not notice
    pause(door, ends_s - TTL_S / 2)
    judged: list[Prediction | BaseException] = []
    with Stopwatch() as watch:
        while time.monotonic() < ends_s:
            outcomes = door.many(client, [{"inputs": [ROW], "timeout": 5.0}])
            if time.monotonic() < ends_s:  # or the token may have ended under the call
                judged += outcomes
            pause(door, min(ends_s, time.monotonic() + 0.02))
    assert errors(judged) == []
    assert {one.timing.token_s for one in judged if isinstance(one, Prediction)} <= {0.0}
    assert emulator.token_requests > asked
    assert emulator.token_requests - asked <= logins_within(watch), "one login at a time"

    # past its end every call fails by its own deadline, and they share one login
    asked, sent = emulator.token_requests, len(invocations(emulator))
    with Stopwatch() as watch:
        outcomes = door.many(client, ({"inputs": [ROW], "timeout": 0.5} for _ in range(16)))
    assert watch.took_s <= 0.5 + 0.25
    assert len(errors(outcomes)) == 16
    assert {isinstance(one, (AuthError, DeadlineExceeded)) for one in outcomes} == {True}
    assert emulator.token_requests - asked <= logins_within(watch)
    assert len(invocations(emulator)) == sent

    # and it heals within 2 s
    emulator.token_always(None)
    emulator.token_ttl_s = 3600.0
    with Stopwatch() as watch:
        while errors(door.many(client, [{"inputs": [ROW], "timeout": 1.0}])):
            assert watch.took_s <= 2.0
        assert door.predict(client).predictions == [SUM]
    assert watch.took_s <= 2.0


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
    with Stopwatch() as watch:
        while errors(door.many(client, [{"inputs": [ROW]}])):
            assert watch.took_s <= 2 * RULES.cooldown_cap_s
    assert door.predict(client).predictions == [SUM]
