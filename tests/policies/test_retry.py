"""The resend table 1d row by row (R3), special resends, waits, and what stops retries (R4, R6)."""

from __future__ import annotations

import pytest

from servingclient._types import FaultKind
from servingclient.policies.quota import Quota
from servingclient.policies.retry import FIRST_TRY, Action, Advice, Progress, backoff_s, settle
from servingclient.settings import Retry
from tests.policies.cases import (
    ALL,
    AMBIGUOUS,
    COME_BACK,
    FATAL,
    MOVED,
    NEVER_SENT,
    REFUSED,
    SLOW,
    STALE,
    TOKEN,
    ask,
    drive,
    fault,
    hinted,
    reply,
)

NEVER = Advice(Action.STOP)
FRESH = Advice(Action.RESEND_NEW_LANE)
RENEW = Advice(Action.RENEW_TOKEN)
RERESOLVE = Advice(Action.RERESOLVE)


def retry(wait_s: float, cost: int, action: Action = Action.WAIT_AND_SEND) -> Advice:
    return Advice(action, wait_s, cost, counted=True)


# --------------------------------------------------------------------------------------- the table

TABLE = [  # failure, advice with idempotent=True, advice with idempotent=False
    ("never sent", NEVER_SENT, retry(0.05, 14), retry(0.05, 14)),
    ("queue", fault(FaultKind.TIMEOUT, "no"), retry(0.05, 14), retry(0.05, 14)),
    ("429", REFUSED, retry(1.0, 5), retry(1.0, 5)),
    ("503 with Retry-After", COME_BACK, retry(2.2, 5), NEVER),
    ("stale", STALE, FRESH, NEVER),
    ("cut off", fault(FaultKind.CUT_OFF), retry(0.05, 14), NEVER),
    ("corrupt", fault(FaultKind.CORRUPT, "yes"), retry(0.05, 14), NEVER),
    ("408", reply(408), retry(0.05, 14), NEVER),
    ("500", AMBIGUOUS, retry(0.05, 14), NEVER),
    ("502", reply(502), retry(0.05, 14), NEVER),
    ("503", reply(503), retry(0.05, 14), NEVER),
    ("504", reply(504), retry(0.05, 14), NEVER),
    ("slow", SLOW, NEVER, NEVER),
    ("400", FATAL, NEVER, NEVER),
    ("401", TOKEN, RENEW, RENEW),
    ("403", reply(403), NEVER, NEVER),
    ("403 bad token", reply(403, message="Invalid access token"), RENEW, RENEW),
    ("400 bad token", reply(400, message="ExpiredJwtException"), RENEW, NEVER),
    ("404", reply(404), NEVER, NEVER),
    ("404 own host", MOVED, RERESOLVE, RERESOLVE),
    ("413", reply(413), NEVER, NEVER),
    ("415", reply(415), NEVER, NEVER),
    ("422", reply(422), NEVER, NEVER),
    ("redirect", reply(307), NEVER, NEVER),
    ("TLS", fault(FaultKind.TLS, "no"), NEVER, NEVER),
    ("unreadable", fault(FaultKind.UNREADABLE, "yes"), NEVER, NEVER),
    ("too large", fault(FaultKind.TOO_LARGE, "yes"), NEVER, NEVER),
    ("closed", fault(FaultKind.CLOSED), NEVER, NEVER),
]


@pytest.mark.parametrize(
    ("failure", "advice", "idempotent"),
    [
        pytest.param(failure, row[i], i == 0, id=f"{name}-{'yes' if i == 0 else 'no'}")
        for name, failure, *row in TABLE
        for i in (0, 1)
    ],
)
def test_r3_table_1d(failure, advice, idempotent):
    quota = Quota(500)
    found = ask(failure, quota=quota, idempotent=idempotent)
    assert found == advice._replace(wait_s=pytest.approx(advice.wait_s))
    assert quota.available == 500 - advice.cost


def test_r3_what_may_have_run_is_never_run_again_for_a_call_with_effects():
    # The rule behind the table: 8 kinds of fault, and no advice but STOP unless sent is "no".
    for failure in (*ALL, *(row[1] for row in TABLE)):
        if failure.sent != "no":
            assert ask(failure, idempotent=False) == NEVER


def test_r3_a_slow_reply_is_resent_only_when_asked():
    asked = Retry(retry_read_timeout=True)
    assert ask(SLOW, settings=asked) == retry(0.05, 14)
    assert ask(SLOW, settings=asked, idempotent=False) == NEVER


# --------------------------------------------------------------------------------- special resends


def test_r3_stale_once_free_then_like_any_cut_off():
    ended = drive([STALE] * 9)
    assert ended.advices == [
        FRESH,
        retry(0.05, 14, Action.RESEND_NEW_LANE),  # still on a new connection
        retry(0.1, 14, Action.RESEND_NEW_LANE),
        retry(0.2, 14, Action.RESEND_NEW_LANE),
        Advice(Action.STOP, stopped_by="attempts"),
    ]
    assert ended.progress.tries == 4


def test_a2_the_token_is_renewed_once():
    assert drive([TOKEN, TOKEN]).advices == [RENEW, NEVER]


def test_a3_the_address_is_read_again_once():
    assert drive([MOVED, MOVED]).advices == [RERESOLVE, NEVER]


@pytest.mark.parametrize("idempotent", [True, False])
def test_r3_special_resends_need_neither_attempts_nor_quota(idempotent):
    script = [TOKEN, MOVED, *([STALE] if idempotent else [])]
    ended = drive(script, settings=Retry(max_attempts=1), quota=Quota(0), idempotent=idempotent)
    assert ended.sends == 1 + len(script)
    assert ended.progress == Progress(1, 0, stale_used=idempotent, token_used=True, moved_used=True)


def test_r3_special_resends_come_on_top_of_the_attempts():
    ended = drive([REFUSED, STALE, REFUSED, TOKEN, REFUSED, MOVED, REFUSED])
    assert ended.sends == 4 + 3
    assert ended.advices[-1].stopped_by == "attempts"


def test_r6_a_special_resend_needs_time_too():
    for failure in (STALE, TOKEN, MOVED):
        assert ask(failure, remaining_s=0.0) == Advice(Action.STOP, stopped_by="deadline")


def test_a_stop_changes_no_progress():
    progress = Progress(tries=2, last_cost=14)
    assert progress.after(Advice(Action.STOP, stopped_by="quota")) is progress


# ------------------------------------------------------------------------------------- what stops


def test_r1_attempts_are_asked_before_quota():
    quota = Quota(0)
    last = Progress(tries=4)
    assert ask(AMBIGUOUS, last, quota=quota).stopped_by == "attempts"
    assert ask(AMBIGUOUS, quota=quota).stopped_by == "quota"


@pytest.mark.parametrize(
    ("failure", "remaining_s", "reason"),
    [
        (AMBIGUOUS, 0.05, "deadline"),
        (AMBIGUOUS, 0.0, "deadline"),
        (REFUSED, 1.0, "deadline"),
        (hinted(REFUSED, 5.0), 5.0, "retry_after"),
        (hinted(REFUSED, 3600.0, refuse=True), 1e9, "retry_after"),
        (hinted(REFUSED, 61.0), 1e9, "retry_after"),
        (hinted(REFUSED, 5.0, refuse=True), 1e9, "retry_after"),  # read with a nearer cap
        (hinted(AMBIGUOUS, 3600.0, refuse=True), 1e9, "retry_after"),
    ],
)
def test_r4_r6_no_wait_that_leads_nowhere(failure, remaining_s, reason):
    # The retry that is not made costs nothing: other calls may need the tokens.
    quota = Quota(500)
    found = ask(failure, quota=quota, remaining_s=remaining_s)
    assert found == Advice(Action.STOP, stopped_by=reason)
    assert quota.available == 500


def test_r4_a_refused_hint_leaves_a_call_with_effects_as_it_was():
    assert ask(hinted(COME_BACK, 3600.0, refuse=True), idempotent=False) == NEVER


# ------------------------------------------------------------------------------------------- waits


@pytest.mark.parametrize(
    ("rand", "share", "wait_s"),
    [(0.0, 1.0, 0.0), (0.5, 1.0, 0.1), (1.0, 1.0, 0.2), (0.0, 0.0, 0.2), (0.5, 0.5, 0.15)],
)
def test_r1_jitter_is_a_share_of_the_backoff(rand, share, wait_s):
    assert backoff_s(3, 0.05, Retry(jitter=share), rand) == pytest.approx(wait_s)


def test_r1_backoff_never_overflows():
    endless = Retry(max_attempts=10**9)
    assert backoff_s(10**9, 0.05, endless, 1.0) == 8.0
    assert backoff_s(10**9, 0.0, endless, 1.0) == 0.0


@pytest.mark.parametrize(
    ("hint_s", "remaining_s", "rand", "wait_s"),
    [
        (2.0, 1e9, 0.0, 2.0),
        (2.0, 1e9, 1.0, 2.2),
        (60.0, 1e9, 1.0, 60.0),  # chance never leads beyond the cap
        (58.0, 1e9, 1.0, 60.0),
        (2.0, 2.1, 1.0, 2.05),  # half of what is left stays for the try
        (0.001, 1e9, 0.0, 0.001),  # as it is, also below the own backoff
    ],
)
def test_r4_a_hint_is_honoured_as_it_is_plus_chance(hint_s, remaining_s, rand, wait_s):
    found = ask(hinted(REFUSED, hint_s), remaining_s=remaining_s, rand=rand)
    assert found.wait_s == pytest.approx(wait_s)


@pytest.mark.parametrize(
    ("hint_s", "remaining_s", "found"),
    [
        (3600.0, 1e9, 5.05),  # AWS clamps also what we would refuse
        (3600.0, 5.0, "retry_after"),
        (0.01, 1e9, 0.05),
    ],
)
def test_r4_with_a_window_the_hint_stays_near_the_backoff(hint_s, remaining_s, found):
    failure = hinted(AMBIGUOUS, hint_s, refuse=hint_s > 60.0)
    advice = ask(failure, settings=Retry.aws_standard_v21(), remaining_s=remaining_s)
    assert (advice.stopped_by or pytest.approx(advice.wait_s)) == found


def test_r4_whole_numbers_are_numbers():
    whole = Retry(backoff_base_s=1, backoff_cap_s=8, retry_after_window_s=5, jitter=0)
    assert ask(hinted(AMBIGUOUS, 3), settings=whole) == retry(3, 14)
    assert ask(AMBIGUOUS, settings=whole) == retry(1, 14)


# --------------------------------------------------------------------------------------- afterwards


@pytest.mark.parametrize(
    ("script", "tokens"),
    [
        ([], 401),
        ([AMBIGUOUS], 400),
        ([AMBIGUOUS, AMBIGUOUS], 386),
        ([AMBIGUOUS, REFUSED], 386),
        ([STALE], 401),  # a free resend leaves the try a first one
        ([TOKEN, MOVED], 401),
        ([REFUSED, STALE], 400),  # the free resend hides no cost
    ],
)
def test_r1_success_gives_the_last_cost_back(script, tokens):
    quota = Quota(500)
    quota.take(100)
    settle(drive(script, quota=quota).progress, quota, Retry())
    assert quota.available == tokens


def test_r1_a_retry_without_cost_is_no_first_try():
    quota, free = Quota(500), Retry(retry_cost=0)
    quota.take(100)
    settle(drive([AMBIGUOUS], settings=free, quota=quota).progress, quota, free)
    assert quota.available == 400


def test_r1_failure_gives_nothing_back():
    quota = Quota(500)
    assert drive([AMBIGUOUS, FATAL], quota=quota).advices[-1] == NEVER
    assert quota.available == 486


def test_every_call_starts_clean():
    assert Progress() == FIRST_TRY
