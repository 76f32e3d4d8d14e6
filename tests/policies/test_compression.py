"""Whether an endpoint takes gzip: what settles it, what does not, and what a refusal leads to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.policies.compression import Compression
from servingclient.policies.failure import FailureClass, classify_reply
from servingclient.policies.quota import Quota
from servingclient.policies.retry import Action, Progress, advise
from servingclient.settings import Retry
from tests.policies.cases import ErrorDetail

TRIAL = frozenset({400, 415})
LATER = frozenset({415})


def tried(*statuses: int | None) -> Compression:
    known = Compression()
    for status in statuses:
        assert known.admit(harmless=True) == TRIAL
        known.answered(status)
    return known


@pytest.mark.parametrize(
    ("statuses", "state"),
    [
        ([], "unknown"),
        ([200], "taken"),
        ([415], "refused"),
        ([400], "unknown"),
        ([400, 400, 400, 400], "unknown"),
        ([None, None, None, None], "unknown"),
        ([429, 429, 429, 429], "unknown"),
        ([500, 503], "unknown"),
        ([500, 429, 500, None, 502], "refused"),
        ([500, 500, 200], "taken"),
    ],
)
def test_what_settles_it(statuses: list[int | None], state: str) -> None:
    assert tried(*statuses).state == state


def test_one_call_tries_while_the_others_go_plain() -> None:
    known = Compression()
    assert known.admit(harmless=True) == TRIAL
    assert [known.admit(harmless=True) for _ in range(3)] == [frozenset()] * 3
    known.answered(200)
    assert known.admit(harmless=True) == LATER


def test_a_request_that_may_not_run_twice_is_never_the_first() -> None:
    assert Compression().admit(harmless=False) == frozenset()
    assert tried(200).admit(harmless=False) == LATER


def test_a_refusal_is_remembered() -> None:
    known = tried(200)
    known.refused()
    assert known.state == "refused"
    assert known.admit(harmless=True) == frozenset()
    assert "refused" in repr(known)


@given(st.lists(st.sampled_from([None, 200, 400, 401, 415, 429, 500, 503]), max_size=20))
def test_whatever_comes_a_state_is_left_only_by_what_settles_it(replies: list[int | None]) -> None:
    known, trials = Compression(), 0
    for status in replies:
        refusals = known.admit(harmless=True)
        if 400 in refusals:
            trials += 1
            known.answered(status)
    final = {"taken", "refused"}
    assert known.state in final | {"unknown"}
    if known.state not in final:
        assert trials == len(replies)


@pytest.mark.parametrize(
    ("status", "refusals", "cls"),
    [
        (415, TRIAL, FailureClass.CODING),
        (400, TRIAL, FailureClass.CODING),
        (415, LATER, FailureClass.CODING),
        (400, LATER, FailureClass.FATAL),
        (415, frozenset(), FailureClass.FATAL),
        (429, TRIAL, FailureClass.REFUSED),
        (500, TRIAL, FailureClass.AMBIGUOUS),
        (401, TRIAL, FailureClass.TOKEN),
    ],
)
def test_which_replies_refuse_the_compression(
    status: int, refusals: frozenset[int], cls: FailureClass
) -> None:
    said = ErrorDetail(None, "")
    failure = classify_reply(
        status, None, None, said, cap_s=60.0, route_optimized=False, coding_refusals=refusals
    )
    assert failure.cls is cls


def test_an_expired_token_that_shows_as_400_is_still_that() -> None:
    said = ErrorDetail("400", "io.jsonwebtoken.ExpiredJwtException")
    failure = classify_reply(
        400, None, None, said, cap_s=60.0, route_optimized=False, coding_refusals=TRIAL
    )
    assert failure.cls is FailureClass.TOKEN


@pytest.mark.parametrize(
    ("status", "idempotent", "resent"),
    [(415, True, True), (400, True, True), (415, False, True), (400, False, False)],
)
def test_it_is_sent_plain_once_at_once_and_free(
    status: int, idempotent: bool, resent: bool
) -> None:
    said = ErrorDetail(None, "")
    failure = classify_reply(
        status, None, None, said, cap_s=60.0, route_optimized=False, coding_refusals=TRIAL
    )
    quota, progress = Quota(500), Progress()
    options = {"idempotent": idempotent, "remaining_s": 9.0, "rand": 0.5}
    advice = advise(failure, progress, Retry(), quota, **options)
    assert (advice.action is Action.SEND_PLAIN) is resent
    assert (advice.wait_s, advice.cost, advice.counted, quota.available) == (0.0, 0, False, 500)
    again = advise(failure, progress.after(advice), Retry(), quota, **options)
    assert again.action is Action.STOP
