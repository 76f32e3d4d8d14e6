"""What came of a request, taken apart: each caller gets its own, or all get the same error."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import (
    BadRequest,
    BatchScatterError,
    ConnectionLost,
    DeadlineExceeded,
    PayloadTooLarge,
    QueueFull,
    ServerError,
    ServingError,
    Throttled,
)
from servingclient.settings import Retry
from tests.batching.world import Caller, Company, Request, rows, settings_of

Make = Callable[..., Company]


def gathered(company: Company, count: int, **options: Any) -> tuple[list[Caller], Request]:
    """So many callers of one row each, and the request they share."""
    lone = company.busy()
    waiting = [company.call(rows(float(n)), **options) for n in range(count)]
    company.request(0).echo()
    company.ended(*lone)
    request = company.request(1)
    assert request.ids == list(range(count))
    return waiting, request


# -- B1, input 42 ----------------------------------------------------------------------------------

UNFIT: dict[str, Any] = {
    "one too few": [0.0, 1.0],
    "one too many": [0.0, 1.0, 2.0, 3.0],
    "none": [],
    "a dict of lists": {"label": [0, 1, 2]},
    "one value": 3.5,
    "text of that length": "abc",
    "null": None,
}


@pytest.mark.parametrize("name", UNFIT)
def test_B1_a_reply_that_is_no_value_a_row_is_nobodys(make: Make, name: str) -> None:
    company = make()
    waiting, request = gathered(company, 3)
    request.reply(UNFIT[name], x_request_id="r-1")
    company.ended(*waiting)
    errors = [caller.error for caller in waiting]
    assert {type(error) for error in errors} == {BatchScatterError}
    assert len({id(error) for error in errors}) == 3, "callers add to their errors"
    for error in errors:
        assert isinstance(error, BatchScatterError)
        assert (error.rows, error.request_id, error.status_code) == (3, "r-1", 200)
        assert (error.sent, error.endpoint, len(error.attempts)) == ("yes", "fraud", 1)
        assert "3 rows of 3 callers" in str(error)
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("name", UNFIT)
def test_a_single_caller_gets_what_came_whatever_it_is(make: Make, name: str) -> None:
    company = make()
    waiting, request = gathered(company, 1)
    request.reply(UNFIT[name])
    company.ended(*waiting)
    assert waiting[0].got == UNFIT[name]


def test_a_single_caller_of_several_rows_too(make: Make) -> None:
    company = make()
    company.busy()
    caller = company.call(rows(1.0, 2.0))
    company.request(0).echo()
    company.request(1).reply({"label": ["a", "b"]})
    company.ended(caller)
    assert caller.got == {"label": ["a", "b"]}


def test_a_reply_without_predictions_is_an_error_for_all(make: Make) -> None:
    company = make()
    waiting, request = gathered(company, 2)
    request.answer(200, {"error_code": "X", "message": "no"})
    company.ended(*waiting)
    assert [type(caller.error) for caller in waiting] == [ServerError] * 2
    assert [caller.error.status_code for caller in waiting] == [200] * 2  # type: ignore[attr-defined]


# -- B3: a bad row ---------------------------------------------------------------------------------


def serve(company: Company, callers: list[Caller], bad: set[float], status: int = 400) -> None:
    """A model that refuses a request with a bad row in it."""
    answered = 1
    while not all(caller.outcome is not None for caller in callers):
        company.settle(
            lambda at=answered: (
                len(company.requests) > at or all(caller.outcome is not None for caller in callers)
            )
        )
        for request in company.requests[answered:]:
            answered += 1
            if bad & set(request.ids):
                request.refuse(status)
            else:
                request.echo()


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("place", [0, 5, 15])
def test_B3_one_bad_row_in_16_fails_alone(make: Make, place: int, status: int) -> None:
    company = make()
    before = company.quota.available
    waiting, _ = gathered(company, 16)
    serve(company, waiting, {float(place)}, status)
    good = [n for n in range(16) if n != place]
    assert [waiting[n].got for n in good] == [[float(n)] for n in good]
    error = waiting[place].error
    assert isinstance(error, BadRequest)
    assert error.status_code == status
    posts = len(company.requests) - 1
    assert posts <= 9
    assert company.quota.available == before, "halves are no retries"
    assert company.slept == []
    # each knows of the tries that had its rows
    assert [attempt.status for attempt in error.attempts] == [status] * 5
    neighbour = waiting[place ^ 1].outcome
    assert [attempt.status for attempt in neighbour.attempts] == [status] * 4 + [200]  # type: ignore[union-attr]
    stats = company.batcher.stats()
    assert stats.releases == {"idle": 1, "slot": 1, "part": posts - 1}
    assert stats.batches == len(company.requests)


def test_halves_go_before_those_who_had_no_place_yet(make: Make) -> None:
    company = make()
    waiting, request = gathered(company, 2)
    company.room = False
    request.refuse(400)
    company.settle(lambda: company.at_gate == 1)
    assert company.came_again == [True]
    company.open_gate()
    company.answer_all()
    company.ended(*waiting)


def test_B3_all_bad_in_16_costs_31_requests_at_most(make: Make) -> None:
    company = make()
    waiting, _ = gathered(company, 16)
    serve(company, waiting, set(map(float, range(16))))
    assert {type(caller.error) for caller in waiting} == {BadRequest}
    assert len({id(caller.error) for caller in waiting}) == 16
    assert len(company.requests) - 1 <= 31


def test_the_rows_of_one_caller_are_not_parted(make: Make) -> None:
    company = make()
    company.busy()
    waiting = [company.call(rows(1.0, 2.0, 3.0)), company.call(rows(4.0, 5.0))]
    company.request(0).echo()
    serve(company, waiting, {2.0})
    assert isinstance(waiting[0].error, BadRequest)
    assert waiting[1].got == [4.0, 5.0]
    assert company.sizes[1:] == [5, 3, 2]


def test_what_may_not_run_twice_is_not_sent_in_halves(make: Make) -> None:
    # a model that raises at one row may have worked on those before it
    company = make()
    company.busy()
    waiting = [company.call(rows(float(n)), idempotent=False) for n in range(4)]
    company.request(0).echo()
    serve(company, waiting, {0.0})
    assert {type(caller.error) for caller in waiting} == {BadRequest}
    assert len(company.requests) == 2


@pytest.mark.parametrize("idempotent", [True, False])
def test_too_large_together_goes_in_halves_before_it_is_sent(make: Make, idempotent: bool) -> None:
    company = make()
    waiting: list[Caller] = []
    company.busy()
    company.max_request_bytes = 100
    waiting = [company.call(rows(float(n)), idempotent=idempotent) for n in range(8)]
    company.answer_all()
    assert [caller.got for caller in waiting] == [[float(n)] for n in range(8)]
    assert max(len(request.body) for request in company.requests) <= 100


def test_too_large_alone_is_an_error_alone(make: Make) -> None:
    company = make()
    company.busy()
    company.max_request_bytes = 100
    small, large = company.call(rows(1.0)), company.call(rows(*map(float, range(9))))
    company.answer_all()
    assert small.got == [1.0]
    assert isinstance(large.error, PayloadTooLarge)


# -- other errors ----------------------------------------------------------------------------------


def test_an_error_reaches_all_each_its_own_copy(make: Make) -> None:
    company = make(settings_of().replace(retry=Retry(max_attempts=1)))
    waiting, request = gathered(company, 3)
    request.answer(500, {"error_code": "INTERNAL_ERROR", "message": "no"}, x_request_id="r-9")
    company.ended(*waiting)
    errors = [caller.error for caller in waiting]
    assert {type(error) for error in errors} == {ServerError}
    assert len({id(error) for error in errors}) == 3
    for error in errors:
        assert isinstance(error, ServingError)
        assert error.request_id == "r-9"
        assert error.stopped_by == "attempts"
        assert error.elapsed_s is not None
        assert vars(pickle.loads(pickle.dumps(error))) == vars(error)
    tracebacks = {id(error.__traceback__) for error in errors}
    assert len(tracebacks) == 3


def test_the_cause_is_copied_too(make: Make) -> None:
    company = make(settings_of(timeout_s=0.5))
    waiting, request = gathered(company, 2, timeout_s=0.5)
    request.answer(429, {"error_code": "X", "message": "busy"}, retry_after="50")
    company.ended(*waiting)
    for caller in waiting:
        assert isinstance(caller.error, (DeadlineExceeded, Throttled))
    causes = [caller.error.__cause__ for caller in waiting]
    assert causes[0] is None or causes[0] is not causes[1]


def test_one_retry_serves_all(make: Make) -> None:
    company = make()
    before = company.quota.available
    waiting, request = gathered(company, 4)
    request.answer(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "busy"})
    company.request(2).echo()
    company.ended(*waiting)
    assert [caller.got for caller in waiting] == [[float(n)] for n in range(4)]
    assert company.failed_tries == [429]
    assert len(company.slept) == 1
    assert company.quota.available == before, "taken once, given back once"
    for caller in waiting:
        assert [attempt.status for attempt in caller.outcome.attempts] == [429, 200]  # type: ignore[union-attr]
        assert caller.outcome.timing.backoff_s > 0.0  # type: ignore[union-attr]


def test_what_an_earlier_try_did_is_not_forgotten(make: Make) -> None:
    # 502 after which the model may have run, then 429 for good: all callers learn of the first
    company = make(settings_of().replace(retry=Retry(max_attempts=2)))
    waiting, request = gathered(company, 3)
    request.answer(502, {"message": "bad gateway"})
    company.request(2).answer(429, {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "busy"})
    company.ended(*waiting)
    assert {type(caller.error) for caller in waiting} == {Throttled}
    assert {caller.error.sent for caller in waiting} == {"maybe"}  # type: ignore[union-attr]


def test_what_a_foreign_transport_raises_reaches_all(make: Make) -> None:
    company = make()
    waiting, request = gathered(company, 3)
    request.fail(ZeroDivisionError("a bug of its own"))
    company.ended(*waiting)
    assert {type(caller.error) for caller in waiting} == {ZeroDivisionError}
    assert len({id(caller.error) for caller in waiting}) == 3
    again = company.call(rows(1.0))
    company.request(2).echo()
    company.ended(again)
    assert again.got == [1.0]


class OddError(Exception):
    """One that cannot be copied."""

    def __init__(self, needed: str, also: str) -> None:
        super().__init__(f"{needed} {also}")


def test_a_foreign_error_that_cannot_be_copied_reaches_all_as_it_is(make: Make) -> None:
    company = make()
    waiting, request = gathered(company, 2)
    error = OddError("needed", "also")
    request.fail(error)
    company.ended(*waiting)
    assert [caller.error for caller in waiting] == [error, error]


def test_a_gate_that_refuses_does_not_stop_the_rest(make: Make) -> None:
    # the gate's own queue is full: among threads only the sender fails, another takes over
    company = make(max_in_flight=2)
    company.busy()
    company.gate_error = QueueFull("too many wait for a place")
    company.room = False
    refused = company.call(rows(1.0))
    company.ended(refused)
    assert isinstance(refused.error, QueueFull)
    after = company.call(rows(2.0))  # of the same group, and nobody is coming for it
    company.settle(lambda: company.at_gate == 1)
    company.open_gate()
    company.request(1).echo()
    company.requests[0].echo()
    company.ended(after)
    assert after.got == [2.0]


# -- what each caller is told ----------------------------------------------------------------------


def test_observers_hear_of_each_caller_once_and_not_of_the_request(make: Make) -> None:
    company = make()
    waiting, request = gathered(company, 3)
    request.echo()
    company.ended(*waiting)
    lone, *shared = company.told
    assert lone.reply_bytes == len(b'{"predictions":[-1.0]}')
    assert [(event.error, event.status, event.attempts) for event in shared] == [(None, 200, 1)] * 3
    body = len(b'{"dataframe_split":{"columns":["id","b"],"data":[[1.0,0.5]]}}')
    assert [event.request_bytes for event in shared] == [body] * 3
    assert sum(event.reply_bytes for event in shared) <= len(b'{"predictions":[0.0,1.0,2.0]}')


def test_observers_hear_of_each_callers_error(make: Make) -> None:
    company = make(settings_of().replace(retry=Retry(max_attempts=1)))
    waiting, request = gathered(company, 3)
    request.cut_off()
    company.ended(*waiting)
    assert {type(caller.error) for caller in waiting} == {ConnectionLost}
    assert [event.error for event in company.told[1:]] == ["ConnectionLost"] * 3
    assert company.failed_tries == [None], "one try failed, whoever waited for it"


def test_a_prediction_tells_how_long_its_rows_waited(make: Make) -> None:
    company = make()
    lone = company.busy()
    early = company.call(rows(1.0))
    late = company.call(rows(2.0))
    company.request(0).echo()
    company.request(1).reply([1.0, 2.0], served_model_name="m-1")
    company.ended(*lone, early, late)
    timings = [caller.outcome.timing for caller in (early, late)]  # type: ignore[union-attr]
    for timing in timings:
        assert 0.0 < timing.queue_s < timing.total_s
        assert timing.queue_s + timing.encode_s <= timing.total_s
    assert timings[0].queue_s > timings[1].queue_s
    assert early.outcome.served_model == "m-1"  # type: ignore[union-attr]
    assert "Prediction([1.0]" in repr(early.outcome)
