"""A call that succeeds at once: the hot path, and what it leaves out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import tenacity

from servingclient import Attempt, PayloadError, PayloadTooLarge, ResponseFormatError, ServerError
from servingclient._types import FaultKind
from servingclient._watching import CallEnded
from tests.story.world import (
    BUSY,
    ENDPOINT,
    GOOD,
    ROWS,
    START_S,
    TIMEOUT_S,
    TOKEN,
    Answer,
    Breaks,
    FakeWorld,
)

Make = Callable[..., FakeWorld]


@pytest.fixture
def loops(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every retry loop that is made."""
    made: list[object] = []
    real = tenacity.AsyncRetrying.__init__

    def counting(self: Any, *args: Any, **options: Any) -> None:
        made.append(self)
        real(self, *args, **options)

    monkeypatch.setattr(tenacity.AsyncRetrying, "__init__", counting)
    return made


def test_a_good_call_never_enters_the_retry_loop(make: Make, loops: list[object]) -> None:
    # tenacity around each call would cost more than the rest of the call
    assert make().predict().predictions == [3.5]
    assert loops == []


def test_a_failed_first_try_enters_it_once(make: Make, loops: list[object]) -> None:
    # the control of the test above: the counter does count
    make(steps=[BUSY, BUSY, Answer()]).predict()
    assert len(loops) == 1


def test_a_good_call_is_one_request_and_no_wait(make: Make) -> None:
    world = make()
    prediction = world.predict()
    (sent,) = world.sends
    assert sent.body == b'{"dataframe_split":{"columns":["a","b"],"data":[[1.5,2]]}}'
    assert sent.deadline_s == START_S + TIMEOUT_S
    assert world.slept == []
    assert world.inside == 0
    assert world.most_inside == 1
    assert prediction.attempts == (Attempt(200, 0.0, None, pytest.approx(0.1), None),)


def test_a_good_call_credits_the_quota(make: Make) -> None:
    # successes fund the retries; without this a brown-out would never end (section 2)
    world = make()
    world.quota.take(100)
    world.predict()
    assert world.quota.available == 401


def test_the_parts_of_the_time_add_up(make: Make) -> None:
    # what is shown to users as timing must be all of the call and nothing twice
    world = make(
        steps=[BUSY, Answer(takes_s=0.3, connect_s=0.05)], queue_s=[0.7, 0.2], token_s=0.4, rand=0.5
    )
    timing = world.predict().timing
    assert timing.queue_s == pytest.approx(0.9)
    assert timing.token_s == pytest.approx(0.4)
    assert timing.backoff_s == pytest.approx(0.5)
    assert timing.connect_s == 0.05
    assert timing.first_byte_s == pytest.approx(0.3)
    assert timing.encode_s == timing.decode_s == 0.0
    assert timing.total_s == pytest.approx(0.9 + 0.4 + 0.5 + 0.1 + 0.3)
    assert timing.total_s == pytest.approx(world.now_s - START_S)


def test_each_try_has_a_time_of_its_own(make: Make) -> None:
    # neither the backoff nor another try is part of it, also where it failed in the queue
    world = make(steps=[BUSY, Answer(takes_s=0.3)], queue_s=[], rand=0.5)
    prediction = world.predict()
    assert [a.duration_s for a in prediction.attempts] == pytest.approx([0.1, 0.3])
    assert [a.wait_s for a in prediction.attempts] == pytest.approx([0.0, 0.5])


def test_a_retry_that_ends_in_the_queue_is_timed_from_its_own_start(make: Make) -> None:
    world = make(steps=[BUSY, Answer()], rand=0.5)
    calls = 0
    real = world.try_enter

    def full_the_second_time() -> bool:
        nonlocal calls
        calls += 1
        if calls == 2:
            world.queue_s.append(99.0)
        return real()

    world.try_enter = full_the_second_time  # type: ignore[method-assign]
    with pytest.raises(TimeoutError) as caught:
        world.predict(timeout_s=4.0)
    attempts = caught.value.attempts  # type: ignore[attr-defined]
    assert [a.duration_s for a in attempts] == pytest.approx([0.1, 4.0 - 0.1 - 0.5])


def test_observers_learn_of_a_good_call(make: Make) -> None:
    # metrics come from here, so every figure must be right
    world = make(steps=[Answer(takes_s=0.25)], queue_s=[0.5])
    world.predict()
    assert world.events == [
        CallEnded(ENDPOINT, 200, None, pytest.approx(0.75), pytest.approx(0.5), 1, 58, len(GOOD))
    ]


def test_observers_learn_of_each_failed_try_and_of_the_end(make: Make) -> None:
    world = make(steps=[BUSY, Breaks(FaultKind.CUT_OFF), Answer()])
    world.predict()
    assert world.statuses == [429, None]
    (end,) = world.ended
    assert (end.status, end.error, end.attempts) == (200, None, 3)
    assert [event.reason for event in world.failed] == ["429", "ambiguous"]


def test_observers_learn_of_an_answer_that_cannot_be_used(make: Make) -> None:
    world = make(steps=[Answer(200, b'{"predictions": [')])
    with pytest.raises(ResponseFormatError):
        world.predict()
    (failed,) = world.failed
    assert (failed.attempt.status, failed.reason) == (200, "unfit")


def test_a_refused_input_sends_nothing_and_takes_no_place(make: Make) -> None:
    world = make()
    with pytest.raises(PayloadError) as caught:
        world.predict([{"a": float("nan")}])
    assert caught.value.endpoint == ENDPOINT
    assert world.sends == []
    assert world.most_inside == 0
    assert world.fetches == 0


def test_an_oversize_body_is_refused_before_sending(make: Make) -> None:
    # input 20: the service hangs up on it, or answers after the whole upload
    world = make(max_request_bytes=50)
    with pytest.raises(PayloadTooLarge) as caught:
        world.predict()
    error = caught.value
    assert (error.size_bytes, error.limit_bytes) == (58, 50)
    assert error.endpoint == ENDPOINT
    assert error.attempts == ()
    assert error.sent == "no"
    assert world.sends == []
    assert world.inside == 0
    assert world.ended[0].error == "PayloadTooLarge"


def test_a_body_at_the_limit_is_sent(make: Make) -> None:
    assert make(max_request_bytes=58).predict().predictions == [3.5]


@pytest.mark.parametrize(
    ("body", "error_class"),
    [
        (b"<html>login</html>", ResponseFormatError),
        (b"", ResponseFormatError),
        (b'{"predictions": [1.', ResponseFormatError),
        (b'{"other": 1}', ResponseFormatError),
        (b'{"error_code": "INTERNAL", "message": "broke"}', ServerError),
    ],
)
def test_a_reply_that_is_no_prediction_tells_all_it_knows(
    make: Make, body: bytes, error_class: type[Exception]
) -> None:
    # the brief of every error: request id, attempts and elapsed time as attributes
    world = make(steps=[Answer(body=body, headers=(("x-request-id", "r-9"),), takes_s=0.2)])
    with pytest.raises(error_class) as caught:
        world.predict()
    error = caught.value
    assert error.status_code == 200  # type: ignore[attr-defined]
    assert error.request_id == "r-9"  # type: ignore[attr-defined]
    assert error.sent == "yes"  # type: ignore[attr-defined]
    assert error.elapsed_s == pytest.approx(0.2)  # type: ignore[attr-defined]
    (attempt,) = error.attempts  # type: ignore[attr-defined]
    assert (attempt.status, attempt.request_id) == (200, "r-9")
    assert attempt.cause
    assert attempt.duration_s == pytest.approx(0.2)
    assert len(world.sends) == 1, "what was answered is not asked again"
    assert world.ended[0].attempts == 1
    assert world.inside == 0


def test_an_error_inside_a_good_reply_shows_no_token(make: Make) -> None:
    # input 55 with status 200: the reply repeats what we sent
    body = b'{"error_code": "X", "message": "bad credential %s given"}' % TOKEN.encode()
    with pytest.raises(ServerError) as caught:
        make(steps=[Answer(body=body)]).predict()
    assert TOKEN not in str(caught.value)


def test_the_served_model_is_asked_for(make: Make) -> None:
    world = make()
    world.predict(served_model="b")
    assert world.sends[0].target.path == "/serving-endpoints/b/invocations"


def test_idle_connections_are_reused_as_the_call_allows(make: Make) -> None:
    # T2: a call that must not run twice takes no connection that may have died unnoticed
    world = make()
    world.predict(idempotent=True)
    world.predict(idempotent=False)
    assert [sent.max_idle_s for sent in world.sends] == [float("inf"), 5.0]


def test_inputs_are_encoded_once(make: Make) -> None:
    # input 22: what the caller changes meanwhile never reaches the wire
    rows: list[dict[str, Any]] = [dict(ROWS[0])]
    world = make(steps=[BUSY, Answer()])
    real = world.sleep

    async def sleep(seconds: float) -> None:
        rows[0]["a"] = 99.0
        await real(seconds)

    world.sleep = sleep  # type: ignore[method-assign]
    world.predict(rows)
    assert world.sends[0].body == world.sends[1].body
