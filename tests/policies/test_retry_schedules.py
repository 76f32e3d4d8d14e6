"""Any schedule of failures (R5, R6): virtual time, seeded chance."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from servingclient.policies.quota import Quota
from servingclient.policies.retry import Action, Progress, backoff_s, settle
from servingclient.settings import Retry
from tests.policies.cases import ALL, ask, hinted, reply

FREE = {Action.RESEND_NEW_LANE, Action.RENEW_TOKEN, Action.RERESOLVE}


def one_call(chance: random.Random, settings: Retry, quota: Quota) -> int:
    """Play one call against random failures; check every promise on the way. Returns its sends."""
    total_s = chance.choice([0.01, 0.2, 2.0, 30.0, 300.0])
    idempotent = chance.random() < 0.7
    now_s, progress, sends, free = 0.0, Progress(), 0, []
    while True:
        sends += 1
        now_s += chance.expovariate(5.0)  # the try itself; its own deadline is the lane's
        if chance.random() < 0.1:
            settle(progress, quota, settings)
            return sends
        failure = chance.choice(ALL)
        if chance.random() < 0.3:
            asked_s = chance.expovariate(0.1)
            failure = hinted(failure, asked_s, refuse=asked_s > settings.retry_after_cap_s)
        left_s = max(total_s - now_s, 0.0)
        advice = ask(
            failure,
            progress,
            settings=settings,
            quota=quota,
            idempotent=idempotent,
            remaining_s=left_s,
            rand=chance.random(),
        )
        assert 0 <= quota.available <= settings.quota_capacity
        if advice.action is Action.STOP:
            assert (advice.wait_s, advice.cost, advice.counted) == (0.0, 0, False)
            return sends
        assert idempotent or failure.sent == "no"
        assert 0.0 <= advice.wait_s < left_s
        if not advice.counted:
            assert (advice.action in FREE, advice.wait_s, advice.cost) == (True, 0.0, 0)
            free.append(advice.action)
        progress = progress.after(advice)
        assert len(free) == len(set(free))
        assert progress.tries <= settings.max_attempts
        assert sends < settings.max_attempts + len(FREE)
        now_s += advice.wait_s


def some_settings(chance: random.Random) -> Retry:
    return Retry(
        max_attempts=chance.randint(1, 8),
        backoff_base_s=chance.choice([0.0, 0.05, 1.0]),
        backoff_cap_s=chance.choice([0.0, 0.2, 8.0, 20.0]),
        retry_after_cap_s=chance.choice([0.0, 5.0, 60.0]),
        retry_after_window_s=chance.choice([None, 0.0, 5.0]),
        jitter=chance.choice([0.0, 0.5, 1.0]),
        retry_after_jitter=chance.choice([0.0, 0.1, 1.0]),
        quota_capacity=chance.choice([1, 30, 500]),
        retry_cost=chance.choice([0, 5, 14]),
        retry_read_timeout=chance.random() < 0.5,
    )


def test_r5_r6_no_sleep_past_the_deadline_in_10000_schedules():
    chance = random.Random(6)
    sends = 0
    for _ in range(2000):
        settings = some_settings(chance)
        quota = Quota(settings.quota_capacity)
        sends += sum(one_call(chance, settings, quota) for _ in range(5))
    assert sends > 13_000  # so that the schedules did retry


@given(st.integers(0, 2**32))
def test_r5_r6_no_sleep_past_the_deadline_in_any_schedule(seed):
    chance = random.Random(seed)
    settings = some_settings(chance)
    one_call(chance, settings, Quota(settings.quota_capacity))


def test_r6_a_call_ends_by_its_deadline_when_every_try_does():
    # gRPC A6: what remains is handed to each try, so waits and tries together fit the total.
    chance = random.Random(5)
    for _ in range(1000):
        now_s, progress, quota = 0.0, Progress(), Quota(500)
        while True:
            now_s = min(now_s + chance.expovariate(1.0), 5.0)
            advice = ask(
                chance.choice(ALL[:5]),
                progress,
                quota=quota,
                remaining_s=max(5.0 - now_s, 0.0),
                rand=chance.random(),
            )
            if advice.action is Action.STOP:
                break
            progress = progress.after(advice)
            now_s += advice.wait_s
        assert now_s <= 5.0


def test_r1_full_jitter_is_uniform():
    # botocore's test: 10,000 draws at attempt 10, each 1 s bin within 20 % of its share.
    chance = random.Random(10)
    settings = Retry.aws_standard_v21()
    draws = [backoff_s(10, 0.05, settings, chance.random()) for _ in range(10_000)]
    bins = [sum(low <= draw < low + 1 for draw in draws) for low in range(20)]
    assert sum(bins) == 10_000
    assert all(400 <= count <= 600 for count in bins)


def test_r4_a_crowd_told_to_wait_comes_back_later_and_spread():
    chance = random.Random(4)
    told = hinted(reply(429), 2.0)
    backs = [ask(told, rand=chance.random()).wait_s for _ in range(1000)]
    assert min(backs) >= 2.0
    bins = [
        sum(low <= back - 2.0 < low + 0.02 for back in backs) for low in (i / 50 for i in range(10))
    ]
    assert sum(bins) == 1000
    assert max(bins) <= 1.5 * 100
