"""Who shares a request with whom, and when it leaves."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servingclient import QueueFull
from servingclient.settings import Queue, Retry
from tests.batching.world import Company, VirtualTasks, rows, settings_of

Make = Callable[..., Company]


def test_a_lone_call_goes_at_once_and_as_it_is(make: Make) -> None:
    company = make()
    caller = company.call(rows(1.0))
    assert company.request(0).body == (
        b'{"dataframe_split":{"columns":["id","b"],"data":[[1.0,0.5]]}}'
    )
    company.request(0).echo()
    company.ended(caller)
    assert caller.got == [1.0]
    assert company.batcher.stats().releases == {"idle": 1}


def test_the_next_free_slot_takes_all_who_wait(make: Make) -> None:
    company = make()
    company.busy()
    waiting = [company.call(rows(float(n), n + 0.5)) for n in range(3)]
    assert len(company.requests) == 1
    company.request(0).echo()
    request = company.request(1)
    assert request.ids == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5], "the oldest first"
    request.echo()
    company.ended(*waiting)
    assert [caller.got for caller in waiting] == [[0.0, 0.5], [1.0, 1.5], [2.0, 2.5]]
    stats = company.batcher.stats()
    assert stats.releases == {"idle": 1, "slot": 1}
    assert (stats.calls, stats.rows, stats.batches, stats.waiting) == (4, 7, 2, 0)
    assert stats.batch_rows == {1: 1, 8: 1}


def test_a_request_takes_all_who_came_until_it_has_its_place(make: Make) -> None:
    company = make(max_in_flight=2)
    company.busy()
    company.room = False
    first = company.call(rows(1.0))  # a slot is free, the gate is full
    company.settle(lambda: company.at_gate == 1)
    second = company.call(rows(2.0))
    assert company.batcher.stats().waiting == 2
    company.open_gate()
    assert company.request(1).ids == [1.0, 2.0]
    company.requests[0].echo()
    company.requests[1].echo()
    company.ended(first, second)
    assert [first.got, second.got] == [[1.0], [2.0]]


def test_values_have_the_same_json_in_company_as_alone(make: Make) -> None:
    # whole numbers stay whole beside decimals, floats keep their last digit
    company = make()
    company.busy()
    given: list[Any] = [
        [{"id": 1, "b": 0.1}],
        pd.DataFrame({"id": [2], "b": np.array([0.1], dtype="f4")}),
        {"id": [3.0], "b": [True]},
        {"dataframe_split": {"columns": ["id", "b"], "data": [[4, "5"]]}},
    ]
    waiting = [company.call(one) for one in given]
    company.request(0).echo()
    assert company.request(1).body == (
        b'{"dataframe_split":{"columns":["id","b"],"data":[[1,0.1],[2,0.1],[3.0,true],[4,"5"]]}}'
    )
    company.requests[1].echo()
    company.ended(*waiting)


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": [{"id": 2.0, "c": 0.5}]},
        {"inputs": [{"b": 0.5, "id": 2.0}]},
        {"inputs": rows(2.0), "params": {"k": 1}},
        {"inputs": rows(2.0), "served_model": "new"},
        {"inputs": rows(2.0), "idempotent": False},
        {"inputs": rows(2.0), "priority": 2},
    ],
    ids=["columns", "order", "params", "served model", "idempotent", "priority"],
)
def test_only_what_fits_one_request_shares_it(make: Make, other: dict[str, Any]) -> None:
    company = make()
    company.busy()
    same = [company.call(rows(1.0)), company.call(rows(3.0))]
    apart = company.call(**other)
    company.request(0).echo()
    assert company.request(1).ids == [1.0, 3.0]
    company.requests[1].echo()
    company.request(2).reply(["apart"])
    company.ended(*same, apart)
    assert [caller.got for caller in same] == [[1.0], [3.0]]
    assert apart.got == ["apart"]


def test_params_travel_with_the_rows_that_share_them(make: Make) -> None:
    company = make()
    company.busy()
    for value in (1.0, 2.0):
        company.call(rows(value), params={"k": [{"y": [1]}]})
    company.request(0).echo()
    assert company.request(1).content == {
        "dataframe_split": {"columns": ["id", "b"], "data": [[1.0, 0.5], [2.0, 0.5]]},
        "params": {"k": [{"y": [1]}]},
    }
    company.requests[1].echo()


def test_lists_and_arrays_share_by_their_first_axis(make: Make) -> None:
    company = make()
    company.busy()
    waiting = [company.call([[1, 2], [3, 4]]), company.call(np.array([[5, 6]]))]
    company.request(0).echo()
    assert company.request(1).content == {"inputs": [[1, 2], [3, 4], [5, 6]]}
    company.requests[1].reply([3, 7, 11])
    company.ended(*waiting)
    assert [caller.got for caller in waiting] == [[3, 7], [11]]


ALONE: dict[str, dict[str, Any]] = {
    "request id": {"inputs": rows(1.0), "client_request_id": "mine"},
    "labels": {"inputs": rows(1.0), "usage_context": {"team": "risk"}},
    "chat": {"inputs": {"messages": [{"role": "user", "content": "hi"}]}},
    "tensors by name": {"inputs": {"x": np.eye(2)}},
    "records": {"inputs": {"dataframe_records": [{"a": 1}]}},
    "objects": {"inputs": {"instances": [{"a": 1}]}},
    "index": {"inputs": {"dataframe_split": {"columns": ["a"], "index": [0], "data": [[1]]}}},
    "index last": {"inputs": {"dataframe_split": {"columns": ["a"], "data": [[1]], "index": [7]}}},
    "data first": {"inputs": {"dataframe_split": {"data": [[1]], "columns": ["a"]}}},
    "levels": {"inputs": {"dataframe_split": {"columns": [["a", "b"]], "data": [[1]]}}},
    "more beside": {"inputs": {"inputs": [1], "signature_name": "x"}},
    "as many rows as fit": {"inputs": rows(*range(8))},
    "as many bytes as fit": {"inputs": [{"id": "x" * 500}]},
}


@pytest.mark.parametrize("name", ALONE)
def test_what_cannot_share_goes_by(make: Make, name: str) -> None:
    company = make(max_batch_rows=8, max_batch_bytes=500)
    lone = company.busy()
    caller = company.call(**ALONE[name])
    request = company.request(1)  # it waits for no slot
    request.reply("as it is")
    company.ended(caller)
    assert caller.got == "as it is" if name != "chat" else caller.got
    assert company.batcher.stats().releases == {"idle": 1, "alone": 1}
    company.requests[0].echo()
    company.ended(*lone)


def test_a_complete_batch_needs_no_slot(make: Make) -> None:
    company = make(max_batch_rows=4)
    lone = company.busy()
    waiting = [company.call(rows(float(n))) for n in range(4)]
    assert company.request(1).ids == [0.0, 1.0, 2.0, 3.0]
    company.requests[0].echo()
    company.requests[1].echo()
    company.ended(*lone, *waiting)
    assert company.batcher.stats().releases == {"idle": 1, "rows": 1}


def test_no_request_has_more_rows_than_allowed(make: Make) -> None:
    company = make(max_batch_rows=4)
    lone = company.busy()
    waiting = [company.call(rows(*map(float, range(n, n + 3)))) for n in range(0, 15, 3)]
    company.answer_all()
    assert max(company.sizes) <= 4
    assert [caller.got for caller in waiting] == [[n, n + 1, n + 2] for n in range(0, 15, 3)]
    company.ended(*lone)


def test_no_request_has_more_bytes_than_allowed(make: Make) -> None:
    company = make(max_batch_bytes=400)
    company.busy()
    waiting = [company.call([{"id": n, "text": "x" * 100}]) for n in range(7)]
    company.answer_all()
    assert max(len(request.body) for request in company.requests) <= 400
    assert [caller.got for caller in waiting] == [[n] for n in range(7)]
    assert company.batcher.stats().releases["bytes"] >= 1


def test_free_slots_get_their_share_of_who_waits(make: Make) -> None:
    company = make(max_in_flight=3)
    lone = company.busy()
    company.room = False
    waiting = [company.call(rows(0.0))]
    company.settle(lambda: company.at_gate == 1)
    waiting += [company.call(rows(float(n))) for n in range(1, 4)]
    company.open_gate()
    assert [company.request(number).ids for number in (1, 2)] == [[0.0, 1.0], [2.0, 3.0]]
    for request in company.requests:
        request.echo()
    company.ended(*lone, *waiting)


def test_callers_answered_together_come_back_together() -> None:
    # one by one the first would take the free slots, and the others wait for them
    company = VirtualTasks(settings_of(max_in_flight=2))
    lone = company.busy(2)
    waiting = [company.call(rows(float(n))) for n in range(6)]
    company.requests[0].echo()
    company.request(2).echo()
    company.requests[1].echo()
    company.ended(*lone, *waiting)
    again = [company.start(partial(company.predict, rows(float(n)))) for n in range(6)]
    company.callers += again
    assert [company.request(number).ids for number in (3, 4)] == [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]
    company.answer_all()
    company.advance(0.001)
    company.call(rows(9.0))
    assert company.batcher.stats().releases["idle"] == 3, "on their own again"
    company.answer_all()
    company.end()


def test_nobody_waits_longer_than_max_wait_for_a_slot(make: Make) -> None:
    company = make(max_wait_s=0.01)
    lone = company.busy()
    waiting = [company.call(rows(1.0)), company.call(rows(2.0))]
    request = company.request(1)  # though the only slot is taken
    request.echo()
    if len(company.requests[1].ids) == 1:  # the second came a moment too late for it
        company.request(2).echo()
    company.ended(*waiting)
    assert "wait" in company.batcher.stats().releases
    company.requests[0].echo()
    company.ended(*lone)


def test_who_is_left_over_is_not_forgotten(make: Make) -> None:
    # two complete requests leave one behind; no slot becomes free for it
    company = make(max_batch_rows=4, max_wait_s=0.01)
    lone = company.busy()
    waiting = [company.call(rows(*map(float, range(n, n + 3)))) for n in range(0, 9, 3)]
    for number in (1, 2, 3):
        company.request(number).echo()
    company.ended(*waiting)
    assert [caller.got for caller in waiting] == [[n, n + 1, n + 2] for n in range(0, 9, 3)]
    assert company.batcher.stats().releases == {"idle": 1, "rows": 2, "wait": 1}
    company.requests[0].echo()
    company.ended(*lone)


def test_who_is_left_over_by_a_request_that_had_a_slot_is_not_forgotten(make: Make) -> None:
    company = make(max_batch_rows=4, max_in_flight=2, max_wait_s=0.01)
    lone = company.busy()
    company.room = False
    first = company.call(rows(0.0, 1.0, 2.0))
    company.settle(lambda: company.at_gate == 1)
    second = company.call(rows(3.0, 4.0, 5.0))  # they think they go together
    company.open_gate()
    assert company.request(1).ids == [0.0, 1.0, 2.0]
    assert company.request(2).ids == [3.0, 4.0, 5.0]
    for request in company.requests:
        request.echo()
    company.ended(first, second, *lone)


def test_who_is_left_over_when_the_oldest_leaves_is_not_forgotten(make: Make) -> None:
    company = make(max_wait_s=0.03)
    lone = company.busy()
    company.call(rows(1.0), timeout_s=0.01)
    patient = company.call(rows(2.0))
    assert company.request(1).ids == [2.0]
    company.requests[1].echo()
    company.ended(patient)
    company.requests[0].echo()
    company.ended(*lone)


def test_the_more_urgent_go_first(make: Make) -> None:
    company = make()
    company.busy()
    for priority in (2, 1, 0):
        company.call(rows(float(priority)), priority=priority)
    company.request(0).echo()
    for number in (1, 2, 3):
        company.request(number).echo()
    assert [request.ids for request in company.requests[1:]] == [[0.0], [1.0], [2.0]]


def test_one_waiting_too_many_is_refused_at_once(make: Make) -> None:
    company = make(settings_of().replace(queue=Queue(max_calls=3)))
    company.busy()
    waiting = [company.call(rows(float(n))) for n in range(3)]
    other = company.call(rows(9.0), params={"k": 1})  # the bound is one for all groups
    assert isinstance(other.error, QueueFull)
    assert other.error.retryable
    assert "3 calls" in str(other.error)
    assert company.told[-1].error == "QueueFull"
    company.answer_all()
    assert [caller.got for caller in waiting] == [[0.0], [1.0], [2.0]]


def test_copies_share_requests_unless_their_rules_differ(make: Make) -> None:
    company = make()
    patient = company.copy_with(company.settings.replace(timeout_s=99.0))
    other = company.copy_with(company.settings.replace(retry=Retry(max_attempts=1)))
    company.busy()
    shared = [company.call(rows(1.0)), company.call(rows(2.0), through=patient, timeout_s=99.0)]
    apart = company.call(rows(3.0), through=other)
    company.request(0).echo()
    company.request(1).echo()
    company.request(2).echo()
    company.ended(*shared, apart)
    assert [request.ids for request in company.requests[1:]] == [[1.0, 2.0], [3.0]]


def test_R22_the_input_may_be_changed_while_it_waits(make: Make) -> None:
    company = make()
    company.busy()
    given = rows(1.0)
    caller = company.call(given)
    given[0]["id"] = 2.0
    company.request(0).echo()
    assert company.request(1).ids == [1.0]
    company.requests[1].echo()
    company.ended(caller)


def test_a_bad_input_fails_alone_before_anything(make: Make) -> None:
    company = make()
    company.busy()
    bad = company.call([{"id": float("nan"), "b": 1.0}])
    good = company.call(rows(1.0))
    assert type(bad.error).__name__ == "PayloadError"
    company.answer_all()
    assert good.got == [1.0]
