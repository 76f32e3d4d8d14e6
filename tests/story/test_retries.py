"""Again, and after how long: what the policies advise is what is done."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from servingclient import (
    BadRequest,
    ClientClosedError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    NotFound,
    PermissionDenied,
    QueueFull,
    ResponseFormatError,
    ResponseTooLarge,
    ServerError,
    ServingError,
    Throttled,
    TLSError,
    UnexpectedRedirect,
)
from servingclient._beside import warmup
from servingclient._types import FaultKind, WireFault
from tests.story.world import (
    BUSY,
    CUT_OFF,
    ENDPOINT,
    NO_REPLY,
    NOT_CONNECTED,
    STALE,
    START_S,
    Answer,
    Breaks,
    FakeWorld,
    Step,
    refused,
    with_retry,
)

Make = Callable[..., FakeWorld]


def fails(world: FakeWorld, **options: object) -> ServingError:
    with pytest.raises(ServingError) as caught:
        world.predict(**options)  # type: ignore[arg-type]
    assert world.inside == 0, "a failed call keeps no place"
    return caught.value


# -- waits, quota, tries ---------------------------------------------------------------------------


def test_waits_are_those_advised(make: Make) -> None:
    # full jitter with the highest draw: the base doubles
    world = make(steps=[CUT_OFF, CUT_OFF, CUT_OFF, Answer()])
    prediction = world.predict()
    assert world.slept == pytest.approx([0.05, 0.1, 0.2])
    assert [a.wait_s for a in prediction.attempts] == pytest.approx([0.0, 0.05, 0.1, 0.2])
    assert [a.status for a in prediction.attempts] == [None, None, None, 200]
    assert prediction.attempts[0].cause == "connection broke: as scripted"
    assert prediction.attempts[-1].cause is None


def test_no_wait_is_slept_when_chance_says_zero(make: Make) -> None:
    world = make(steps=[CUT_OFF, Answer()], rand=0.0)
    world.predict()
    assert world.slept == []


def test_a_success_after_retries_refunds_the_last_cost(make: Make) -> None:
    # botocore's table: 500 -> 486 -> 472, then the last 14 come back
    world = make(steps=[CUT_OFF, CUT_OFF, Answer()])
    world.predict()
    assert world.quota.available == 486


def test_a_failed_call_refunds_nothing(make: Make) -> None:
    world = make(steps=[CUT_OFF])
    error = fails(world)
    assert isinstance(error, ConnectionLost)
    assert error.stopped_by == "attempts"
    assert len(error.attempts) == len(world.sends) == 4
    assert world.quota.available == 500 - 3 * 14


def test_throttled_tries_cost_less_and_wait_longer(make: Make) -> None:
    world = make(steps=[BUSY])
    error = fails(world)
    assert isinstance(error, Throttled)
    assert world.slept == pytest.approx([1.0, 2.0, 4.0])
    assert world.quota.available == 500 - 3 * 5
    assert error.retryable is True
    assert error.status_code == 429


def test_an_empty_quota_ends_the_call(make: Make) -> None:
    # R1: in an outage clients must stop multiplying the load
    world = make(steps=[CUT_OFF])
    world.quota.take(490)
    error = fails(world)
    assert error.stopped_by == "quota"
    assert len(world.sends) == 1
    assert world.quota.available == 10


@pytest.mark.parametrize("most", [1, 2, 5])
def test_tries_are_bounded(make: Make, most: int) -> None:
    world = make(steps=[CUT_OFF], settings=with_retry(max_attempts=most))
    error = fails(world)
    assert len(world.sends) == len(error.attempts) == most
    assert error.stopped_by == "attempts"


def test_each_try_may_be_bounded(make: Make) -> None:
    # attempt_timeout_s is a limit within the call's deadline, never beyond
    settings = with_retry(retry_read_timeout=True)
    settings = settings.replace(pool=type(settings.pool)(attempt_timeout_s=3.0))
    world = make(steps=[NO_REPLY, NO_REPLY, Answer()], settings=settings)
    world.predict(timeout_s=7.0)
    limits = [sent.deadline_s - sent.at_s for sent in world.sends]
    assert limits == pytest.approx([3.0, 3.0, 7.0 - 6.0 - 0.15])


# -- Retry-After -----------------------------------------------------------------------------------


def busy(hint: str) -> Answer:
    return refused(429, "BUSY", headers=(("retry-after", hint),))


def test_a_hint_is_waited_for(make: Make) -> None:
    world = make(steps=[busy("2"), Answer()], rand=0.0)
    world.predict()
    assert world.slept == [2.0]


def test_a_hint_within_the_reply_is_waited_for(make: Make) -> None:
    body = b'{"error": {"message": "slow down", "retry_after": 3}}'
    world = make(steps=[Answer(429, body), Answer()], rand=0.0)
    world.predict()
    assert world.slept == [3.0]


@pytest.mark.parametrize(("hint", "timeout_s"), [("3600", 9000.0), ("61", 9000.0), ("20", 10.0)])
def test_a_hint_too_long_fails_at_once(make: Make, hint: str, timeout_s: float) -> None:
    # R4: above the cap, or above what is left of the call
    world = make(steps=[busy(hint)])
    error = fails(world, timeout_s=timeout_s)
    assert isinstance(error, Throttled)
    assert error.retry_after_s == float(hint)
    assert error.stopped_by == "retry_after"
    assert error.__cause__ is None
    assert world.slept == []
    assert len(world.sends) == 1
    assert world.now_s == pytest.approx(START_S + 0.1)


def test_a_hint_with_503_is_reported_too(make: Make) -> None:
    world = make(steps=[refused(503, "X", headers=(("retry-after", "100"),))])
    error = fails(world)
    assert isinstance(error, ServerError)
    assert error.retry_after_s == 100.0
    assert error.stopped_by == "retry_after"


@pytest.mark.parametrize("hint", ["-5", "nan", "inf", "1_000", "+5", "٥", "soon", ""])  # noqa: RUF001
def test_a_bad_hint_counts_as_none(make: Make, hint: str) -> None:
    # input 56: asyncio.sleep(nan) never returns
    step = Answer(429, b"{}", (("retry-after", hint.encode().decode("latin-1")),))
    world = make(steps=[step, Answer()])
    world.predict()
    assert world.slept == pytest.approx([1.0])


# -- the deadline ----------------------------------------------------------------------------------


def test_a_wait_that_would_outlast_the_call_is_not_begun(make: Make) -> None:
    # R6: raise at once, with the last failure as cause
    world = make(steps=[BUSY])
    error = fails(world, timeout_s=2.5)
    assert isinstance(error, DeadlineExceeded)
    assert isinstance(error.__cause__, Throttled)
    assert error.stopped_by == "deadline"
    assert error.status_code == 429
    assert error.sent == "no"
    assert error.retryable is True
    assert world.slept == pytest.approx([1.0])
    assert world.now_s < START_S + 2.5
    assert [a.status for a in error.attempts] == [429, 429]
    assert error.__cause__.attempts == error.attempts
    assert error.elapsed_s == pytest.approx(1.2)


def test_no_reply_in_time_is_not_sent_again(make: Make) -> None:
    # R3: the model may be running; asking again multiplies load and wait
    world = make(steps=[NO_REPLY])
    error = fails(world)
    assert isinstance(error, DeadlineExceeded)
    assert len(world.sends) == 1
    assert error.sent == "maybe"
    assert error.retryable is None
    assert error.stopped_by == "deadline"
    assert error.elapsed_s == pytest.approx(10.0)
    assert error.__cause__ is None


def test_waiting_in_the_queue_counts(make: Make) -> None:
    world = make(queue_s=[99.0])
    error = fails(world)
    assert isinstance(error, DeadlineExceeded)
    assert world.sends == []
    assert error.sent == "no"
    assert error.stopped_by == "deadline"
    assert world.now_s == START_S + 10.0


@pytest.mark.parametrize(
    ("first", "sent", "said"),
    [
        (CUT_OFF, "maybe", "Nothing more was sent"),
        (refused(502), "maybe", "Nothing more was sent"),
        (BUSY, "no", "Nothing was sent"),
        (NOT_CONNECTED, "no", "Nothing was sent"),
    ],
)
def test_what_an_earlier_try_did_is_not_forgotten_in_the_queue(
    make: Make, first: Step, sent: str, said: str
) -> None:
    # the first try gets its place at once, the second none in time
    world = make(steps=[first], queue_s=[0.0, 99.0])
    error = fails(world)
    assert isinstance(error, DeadlineExceeded)
    assert len(world.sends) == 1
    assert error.sent == sent
    assert said in str(error)


def test_a_full_queue_does_not_undo_an_earlier_try(make: Make) -> None:
    world = make(steps=[CUT_OFF])

    async def full(*_: object, **__: object) -> None:
        raise QueueFull("too many wait")

    def once() -> bool:
        world.try_enter, world.enter = (lambda: False), full  # type: ignore[method-assign]
        world._entered()
        return True

    world.try_enter = once  # type: ignore[method-assign]
    error = fails(world)
    assert isinstance(error, QueueFull)
    assert len(world.sends) == 1
    assert error.sent == "maybe"


def test_waiting_for_a_token_counts(make: Make) -> None:
    world = make(token_s=99.0)
    error = fails(world)
    assert isinstance(error, DeadlineExceeded)
    assert world.sends == []
    assert error.sent == "no"
    assert world.now_s == START_S + 10.0


def test_what_is_left_of_the_call_is_handed_to_each_try(make: Make) -> None:
    world = make(steps=[BUSY, BUSY, Answer()], queue_s=[1.0], token_s=0.5)
    world.predict()
    assert {sent.deadline_s for sent in world.sends} == {START_S + 10.0}


# -- what is never resent --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("step", "error_class"),
    [
        (refused(400, "BAD_REQUEST"), BadRequest),
        (refused(422, "BAD_REQUEST"), BadRequest),
        (refused(403, "PERMISSION_DENIED", "no CAN QUERY; token ok"), PermissionDenied),
        (refused(404, "ENDPOINT_NOT_FOUND"), NotFound),
        (refused(501), ServerError),
        (Answer(307, b"", (("location", "https://elsewhere.example/x"),)), UnexpectedRedirect),
        (Answer(204, b""), ResponseFormatError),
        (Answer(206, b"{}"), ResponseFormatError),
        (Breaks(FaultKind.TLS, "no"), TLSError),
        (Breaks(FaultKind.UNREADABLE), ResponseFormatError),
        (Breaks(FaultKind.TOO_LARGE), ResponseTooLarge),
        (Breaks(FaultKind.CLOSED, "no"), ClientClosedError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
@pytest.mark.parametrize("idempotent", [True, False])
def test_some_failures_are_final(
    make: Make, step: Step, error_class: type[ServingError], idempotent: bool
) -> None:
    world = make(steps=[step])
    error = fails(world, idempotent=idempotent)
    assert type(error) is error_class
    assert len(world.sends) == len(error.attempts) == 1
    assert error.stopped_by is None
    assert error.__cause__ is None
    assert error.endpoint == ENDPOINT
    assert world.quota.available == 500
    assert world.slept == []


def test_a_full_queue_is_told_at_once(make: Make) -> None:
    world = make(queue_full=True)
    error = fails(world)
    assert isinstance(error, QueueFull)
    assert error.endpoint == ENDPOINT
    assert error.attempts == ()
    assert world.now_s == START_S


def test_a_closed_client_says_so(make: Make) -> None:
    world = make()
    world.closed = True
    error = fails(world)
    assert isinstance(error, ClientClosedError)
    assert error.sent == "no"
    assert world.sends == []


# -- table 1d, row by row --------------------------------------------------------------------------

YES, NO = True, False

TABLE = [
    # what happened                                     idempotent  otherwise  cost
    ("never_sent", NOT_CONNECTED, YES, YES, 14),
    ("never_sent_cut", Breaks(FaultKind.CUT_OFF, "no"), YES, YES, 14),
    ("never_sent_slow", Breaks(FaultKind.TIMEOUT, "no"), YES, YES, 14),
    ("refused", BUSY, YES, YES, 5),
    ("come_back", refused(503, "X", headers=(("retry-after", "1"),)), YES, NO, 5),
    ("stale", STALE, YES, NO, 0),
    ("ambiguous_cut", CUT_OFF, YES, NO, 14),
    ("ambiguous_500", refused(500), YES, NO, 14),
    ("ambiguous_502", Answer(502, b"<html><h1>502</h1></html>"), YES, NO, 14),
    ("ambiguous_503", refused(503), YES, NO, 14),
    ("ambiguous_504", Answer(504, b"Request processing time exceeded limit"), YES, NO, 14),
    ("ambiguous_599", refused(599), YES, NO, 14),
    ("ambiguous_corrupt", Breaks(FaultKind.CORRUPT), YES, NO, 14),
    ("slow", Breaks(FaultKind.TIMEOUT), NO, NO, 14),
    ("never_400", refused(400), NO, NO, 0),
    ("never_413", refused(413), NO, NO, 0),
    ("never_415", refused(415), NO, NO, 0),
    ("never_tls", Breaks(FaultKind.TLS, "no"), NO, NO, 0),
]


@pytest.mark.parametrize(("name", "step", "idempotent", "otherwise", "cost"), TABLE)
def test_table_1d(
    make: Make, name: str, step: Step, idempotent: bool, otherwise: bool, cost: int
) -> None:
    for given, resent in ((True, idempotent), (False, otherwise)):
        world = make(steps=[step, Answer()])
        if resent:
            assert world.predict(idempotent=given).predictions == [3.5]
            assert len(world.sends) == 2
            # the last cost came back; that the retry took it shows when it fails again
            again = make(steps=[step, refused(400)])
            fails(again, idempotent=given)
            assert again.quota.available == 500 - cost
        else:
            fails(world, idempotent=given)
            assert len(world.sends) == 1
            assert world.quota.available == 500


@pytest.mark.parametrize(("step", "sent"), [(CUT_OFF, "maybe"), (STALE, "maybe")])
def test_what_may_have_run_is_marked_so(make: Make, step: Step, sent: str) -> None:
    error = fails(make(steps=[step]), idempotent=False)
    assert isinstance(error, ConnectionLost)
    assert error.ambiguous is True
    assert error.sent == sent
    assert error.retryable is None


def test_slow_is_resent_only_when_asked(make: Make) -> None:
    settings = with_retry(retry_read_timeout=True)
    slow = Breaks(FaultKind.TIMEOUT)
    assert make(steps=[slow, Answer()], settings=settings).predict().predictions == [3.5]
    fails(make(steps=[slow, Answer()], settings=settings), idempotent=False)


# -- stale -----------------------------------------------------------------------------------------


def test_stale_is_resent_at_once_on_a_new_connection(make: Make) -> None:
    # T2: the idle limit of a front end must not be a user's error, nor cost quota
    world = make(steps=[STALE, Answer()])
    world.quota.take(500)
    prediction = world.predict()
    assert [sent.max_idle_s for sent in world.sends] == [float("inf"), 0.0]
    assert world.slept == []
    assert [a.wait_s for a in prediction.attempts] == [0.0, 0.0]
    assert prediction.attempts[0].cause == "reused connection broke: as scripted"


def test_the_free_resend_is_made_once(make: Make) -> None:
    world = make(steps=[STALE])
    error = fails(world)
    assert isinstance(error, ConnectionLost)
    assert len(world.sends) == 5, "one free resend beside the four tries"
    assert [s.max_idle_s for s in world.sends] == [float("inf"), 0.0, 0.0, 0.0, 0.0]
    assert world.quota.available == 500 - 3 * 14


def test_other_calls_reuse_again(make: Make) -> None:
    # what one call met is no reason for the next to pay for a connection
    world = make(steps=[STALE, Answer()])
    world.predict()
    world.predict()
    assert [s.max_idle_s for s in world.sends] == [float("inf"), 0.0, float("inf")]


# -- warm-up ---------------------------------------------------------------------------------------


def test_warmup_gets_token_and_connections(make: Make) -> None:
    world = make(token_s=0.2)
    world.run(warmup(world.story, 5.0))
    assert world.fetches == 1
    assert world.warmed == [4]


def test_a_failed_warmup_is_a_typed_error(make: Make) -> None:
    world = make()
    world.warm_fault = WireFault(FaultKind.NOT_CONNECTED, "refused", sent="no", host="h")
    with pytest.raises(ConnectionFailed) as caught:
        world.run(warmup(world.story, 5.0))
    assert caught.value.endpoint == ENDPOINT
    assert caught.value.sent == "no"
    assert caught.value.elapsed_s is not None
