"""Classification: which row of the resend table a failed try belongs to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient._types import ErrorDetail, FaultKind, WireFault
from servingclient.policies.failure import FailureClass, classify_fault, classify_reply
from servingclient.policies.retry import RESEND
from servingclient.policies.retry_after import NO_HINT, Hint
from tests.policies.cases import fault, reply

C = FailureClass

TEXTS_OF_BAD_TOKENS = [  # protocol 1.3 and 2.2: as the service words them
    (403, "403", "Invalid access token. [ReqId: 1c8f]"),
    (403, None, "Token is expiring within 30 seconds. (token expired)"),
    (403, "403", "Token is expiring within 30 seconds."),
    (403, "OIDCTokenAuthenticatorInvalidScope", ""),
    (403, None, "OIDCTokenAuthenticatorInvalidScope"),
    (401, None, ""),
    (401, None, "Token is expired"),
    (401, "UNAUTHENTICATED", "Missing authorization details"),
    (400, None, "io.jsonwebtoken.ExpiredJwtException: JWT expired at 2023-09-29T16:26:37Z"),
]


@pytest.mark.parametrize(("status", "code", "message"), TEXTS_OF_BAD_TOKENS)
def test_a2_a_bad_token_is_known_by_status_and_text(status, code, message):
    assert reply(status, code=code, message=message).cls is C.TOKEN


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (403, "PERMISSION_DENIED", "User does not have permission 'Query' on endpoint."),
        (403, None, "PERMISSION_DENIED: grant expired"),
        (403, "PERMISSION_DENIED", "Invalid access token."),
        (403, None, ""),
        (403, "403", "Source IP is blocked by the workspace's access list"),
        (400, "BAD_REQUEST", "column 'expired' is missing"),
        (400, None, "Invalid access token"),
        (404, None, "token expired"),
    ],
)
def test_a2_no_refresh_for_anything_else(status, code, message):
    assert reply(status, code=code, message=message).cls is C.FATAL


@pytest.mark.parametrize(
    ("status", "cls", "sent"),
    [
        (200, C.FATAL, "yes"),
        (204, C.FATAL, "yes"),
        (301, C.FATAL, "maybe"),
        (308, C.FATAL, "maybe"),
        (400, C.FATAL, "maybe"),  # the model's own exceptions come as 400
        (401, C.TOKEN, "no"),
        (403, C.FATAL, "no"),
        (404, C.FATAL, "no"),
        (408, C.AMBIGUOUS, "maybe"),
        (413, C.FATAL, "no"),
        (415, C.FATAL, "no"),
        (422, C.FATAL, "maybe"),
        (429, C.REFUSED, "no"),
        (499, C.FATAL, "maybe"),
        (500, C.AMBIGUOUS, "maybe"),
        (501, C.FATAL, "maybe"),
        (502, C.AMBIGUOUS, "maybe"),
        (503, C.AMBIGUOUS, "maybe"),
        (504, C.AMBIGUOUS, "maybe"),
        (505, C.FATAL, "maybe"),
        (511, C.FATAL, "maybe"),
        (529, C.AMBIGUOUS, "maybe"),  # unknown 5xx count as 500
    ],
)
def test_r3_each_status_has_its_class(status, cls, sent):
    failure = reply(status)
    assert (failure.cls, failure.sent, failure.status) == (cls, sent, status)


@pytest.mark.parametrize(
    ("header", "in_body_s", "cls", "hint"),
    [
        ("2", None, C.COME_BACK, Hint(2.0, refuse=False)),
        (None, 15.0, C.COME_BACK, Hint(15.0, refuse=False)),
        ("2", 15.0, C.COME_BACK, Hint(2.0, refuse=False)),  # the header is nearer to the truth
        ("soon", 15.0, C.COME_BACK, Hint(15.0, refuse=False)),
        ("3600", None, C.COME_BACK, Hint(3600.0, refuse=True)),
        ("0", None, C.AMBIGUOUS, NO_HINT),
        ("soon", None, C.AMBIGUOUS, NO_HINT),
        (None, None, C.AMBIGUOUS, NO_HINT),
    ],
)
def test_r4_a_503_comes_back_only_with_a_usable_hint(header, in_body_s, cls, hint):
    failure = reply(503, header, in_body_s=in_body_s)
    assert (failure.cls, failure.hint) == (cls, hint)


def test_r4_a_429_keeps_its_class_with_any_hint():
    assert {reply(429, text).cls for text in (None, "2", "3600", "soon")} == {C.REFUSED}
    assert reply(429, in_body_s=15.0).hint == Hint(15.0, refuse=False)
    assert reply(429, "61", cap_s=60.0).hint == Hint(61.0, refuse=True)


def test_r4_a_date_is_read_against_the_reply_s_own():
    then, now = "Fri, 29 Sep 2023 16:26:57 GMT", "Fri, 29 Sep 2023 16:26:37 GMT"
    found = classify_reply(503, then, now, ErrorDetail(None, ""), cap_s=60.0, route_optimized=False)
    assert (found.cls, found.hint.wait_s) == (C.COME_BACK, 20.0)


@pytest.mark.parametrize(
    ("code", "sent"),
    [
        (None, "no"),
        ("404", "no"),
        ("ENDPOINT_NOT_FOUND", "no"),
        ("RESOURCE_DOES_NOT_EXIST", "maybe"),  # also what a model that ran may raise
    ],
)
def test_a3_only_the_endpoint_s_own_host_moves(code, sent):
    moved = reply(404, code=code, own_host=True)
    assert (moved.cls, moved.sent) == (C.MOVED, sent)
    assert reply(404, code=code).cls is C.FATAL


@pytest.mark.parametrize(
    ("kind", "sent", "cls"),
    [
        (FaultKind.NOT_CONNECTED, "no", C.NEVER_SENT),
        (FaultKind.TLS, "no", C.FATAL),
        (FaultKind.STALE, "maybe", C.STALE),
        (FaultKind.CUT_OFF, "maybe", C.AMBIGUOUS),
        (FaultKind.CUT_OFF, "yes", C.AMBIGUOUS),
        (FaultKind.CUT_OFF, "no", C.NEVER_SENT),
        (FaultKind.TIMEOUT, "maybe", C.SLOW),
        (FaultKind.TIMEOUT, "yes", C.SLOW),
        (FaultKind.TIMEOUT, "no", C.NEVER_SENT),  # the queue
        (FaultKind.UNREADABLE, "yes", C.FATAL),
        (FaultKind.CORRUPT, "yes", C.AMBIGUOUS),
        (FaultKind.TOO_LARGE, "yes", C.FATAL),
        (FaultKind.CLOSED, "maybe", C.FATAL),
    ],
)
def test_r3_each_fault_has_its_class(kind, sent, cls):
    failure = fault(kind, sent)
    assert (failure.cls, failure.sent) == (cls, sent)
    assert (failure.status, failure.hint) == (None, NO_HINT)


def test_every_fault_and_every_class_has_a_row():
    assert {fault(kind).cls for kind in FaultKind} <= set(RESEND)
    assert set(RESEND) == set(FailureClass)


@pytest.mark.parametrize(
    ("status", "cause"),
    [(429, "429 Too Many Requests"), (503, "503 Service Unavailable"), (529, "status 529")],
)
def test_the_cause_of_a_reply_names_status_and_reason(status, cause):
    assert reply(status).cause == cause


def test_the_cause_of_a_fault_holds_the_system_s_words():
    refused = WireFault(FaultKind.NOT_CONNECTED, "connection refused", sent="no", host="h")
    assert classify_fault(refused).cause == "not connected: connection refused"
    assert fault(FaultKind.STALE).cause == "reused connection broke"


@given(
    st.integers(-1, 1000),
    st.none() | st.text(),
    st.none() | st.text(),
    st.builds(ErrorDetail, st.none() | st.text(), st.text(), st.none() | st.floats()),
    st.booleans(),
)
def test_any_reply_is_classified(status, header, date, detail, own_host):
    found = classify_reply(status, header, date, detail, cap_s=60.0, route_optimized=own_host)
    assert found.cls in RESEND
    assert found.hint.wait_s is None or 0.0 < found.hint.wait_s <= 1e9
