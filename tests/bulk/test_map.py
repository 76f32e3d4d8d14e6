"""What a user gets from ``map``, through both doors, against the emulator on real sockets."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import numpy as np
import orjson
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient import (
    AsyncServingClient,
    BadRequest,
    BatchScatterError,
    Block,
    ConfigError,
    DeadlineExceeded,
    PayloadError,
    PayloadTooLarge,
    QueueFull,
    ServerError,
    ServingError,
    Settings,
    Throttled,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Bulk, Concurrency, Payload, Pool, Queue, Retry
from tests.bulk.kit import blocks, errors_of, mapped, rows_in, sent, until_error
from tests.doors.kit import Door, invocations, pat
from tests.scripted.server import eventually, eventually_async

N = 300
IDS = [float(n) for n in range(N)]
FRAME = pd.DataFrame({"id": IDS, "b": [0.5] * N})
TABLE = pa.table({"id": IDS, "b": [0.5] * N})


@pytest.fixture
def echo(emulator: Emulator) -> Emulator:
    """An emulator with an endpoint that gives back the first value of each row."""
    emulator.add_endpoint("echo", model=first_values)
    return emulator


def first_values(rows: Any) -> list[Any]:
    if isinstance(rows, dict):
        return list(next(iter(rows.values())))
    if isinstance(rows[0], list):
        return [row[0] for row in rows]
    return [
        next(iter(row.values()))
        if isinstance(row, dict)
        else row[0]
        if isinstance(row, list)
        else row
        for row in rows
    ]


INPUTS: dict[str, Callable[[], Any]] = {
    "pandas": lambda: FRAME,
    "polars": lambda: pl.DataFrame({"id": IDS, "b": [0.5] * N}),
    "table": lambda: TABLE,
    "batch": lambda: TABLE.to_batches()[0],
    "array": FRAME.to_numpy,
    "vector": lambda: np.array(IDS),
    "records": lambda: FRAME.to_dict("records"),
    "rows": lambda: FRAME.to_numpy().tolist(),
    "columns": lambda: {"id": IDS, "b": [0.5] * N},
    "series": lambda: {"id": FRAME["id"], "b": FRAME["b"]},
    "scalars": lambda: IDS,
    "generator of dicts": lambda: ({"id": n, "b": 0.5} for n in IDS),
    "generator of rows": lambda: ([n, 0.5] for n in IDS),
    "generator of tuples": lambda: ((n, 0.5) for n in IDS),
    "generator of arrays": lambda: (np.array([n, 0.5]) for n in IDS),
    "generator of frames": lambda: (FRAME[n : n + 70] for n in range(0, N, 70)),
    "generator of lists": lambda: (
        [{"id": n, "b": 0.5} for n in IDS[m : m + 7]] for m in range(0, N, 7)
    ),
    "iterator": lambda: map(float, range(N)),
    "reader of batches": lambda: pa.RecordBatchReader.from_batches(
        TABLE.schema, TABLE.to_batches(max_chunksize=70)
    ),
    "list of frames": lambda: [FRAME[:200], FRAME[200:]],
}


@pytest.mark.parametrize("form", INPUTS)
def test_every_input_is_scored_in_order(door: Door, echo: Emulator, form: str) -> None:
    client = door.open("echo", pat(echo))
    assert mapped(door, client, INPUTS[form](), rows_per_request=64, concurrency=4) == IDS
    parts = [rows_in(record) for record in sent(echo, "echo")]
    assert all(len(part) <= 64 for part in parts)
    assert sorted(itertools.chain(*parts)) == IDS, "each row was sent once"


async def test_an_asynchronous_generator_is_scored(echo: Emulator) -> None:
    async def rows() -> AsyncIterator[dict[str, float]]:
        for n in IDS:
            yield {"id": n, "b": 0.5}

    door = Door("async")
    async with door.kind("echo", host=echo.host, token=echo.token) as client:
        assert await client.map(rows(), rows_per_request=64).to_list() == IDS
    door.loop.close()


def test_order_holds_whatever_takes_long(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    echo.script("echo", *(faults.slow(n % 5 * 0.02) for n in range(20, 0, -1)))
    assert mapped(door, client, FRAME, rows_per_request=10, concurrency=8) == IDS


@pytest.mark.parametrize("empty", [[], {"a": []}, FRAME[:0], np.zeros((0, 2)), iter([])])
def test_no_rows_are_no_request(door: Door, echo: Emulator, empty: Any) -> None:
    client = door.open("echo", pat(echo))
    assert mapped(door, client, empty) == []
    assert echo.requests == []


def test_blocks_say_where_they_stand(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    found = blocks(door, client, FRAME[:25], rows_per_request=10)
    assert found == [Block(0, IDS[:10]), Block(10, IDS[10:20]), Block(20, IDS[20:25])]


def test_results_make_a_frame(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    frame = door.run(client.map(FRAME, rows_per_request=64).to_pandas())
    assert frame["prediction"].tolist() == IDS
    echo.script("echo", faults.answer(400, "{}"), *[faults.answer(400, "{}")] * 2)
    frame = door.run(client.map(FRAME[:2], rows_per_request=2, on_error="return").to_pandas())
    assert frame["prediction"].isna().all()
    assert [error.row for error in frame["error"]] == [0, 1]


def test_a_column_for_errors_displaces_none(door: Door, echo: Emulator) -> None:
    echo.add_endpoint("errs", model=lambda rows: [{"error": 0.5} for _ in rows])
    client = door.open("errs", pat(echo))
    frame = door.run(client.map(FRAME[:2]).to_pandas())
    assert frame["error"].tolist() == [0.5, 0.5]
    rows = {"id": [1.0, math.nan]}
    with pytest.raises(ValueError, match="column 'error' already"):
        door.run(client.map(rows, on_error="return").to_pandas())


def test_a_loop_may_go_from_rows_to_blocks(echo: Emulator) -> None:
    door = Door("sync")
    with door.kind("echo", host=echo.host, token=echo.token) as client:
        rows = client.map(FRAME[:30], rows_per_request=10)
        assert repr(rows) == "MapResult(at row 0; iterate to score on)"
        assert [next(rows), next(rows)] == IDS[:2]
        assert repr(rows) == "MapResult(at row 2; iterate to score on)"
        rest = list(rows.blocks())
        assert rest[0] == Block(2, IDS[2:10])
        assert [value for block in rest for value in block.predictions] == IDS[2:30]
        assert list(rows) == []
    door.loop.close()


async def test_an_asynchronous_loop_may_too(echo: Emulator) -> None:
    async with AsyncServingClient("echo", host=echo.host, token=echo.token) as client:
        rows = client.map(FRAME[:30], rows_per_request=10)
        assert [await anext(rows), await anext(rows)] == IDS[:2]
        assert repr(rows) == "AsyncMapResult(at row 2; iterate to score on)"
        assert await rows.to_list() == IDS[2:30]


# -- what arrives ----------------------------------------------------------------------------------


def test_arguments_arrive_with_every_request(door: Door, emulator: Emulator) -> None:
    def model(rows: Any, params: Any = None) -> Any:
        return [row["id"] * params["factor"] for row in rows]

    emulator.add_endpoint(
        "times", model={"old": model, "new": model}, served_models={"old": 100, "new": 0}
    )
    client = door.open("times", pat(emulator))
    found = mapped(
        door,
        client,
        FRAME[:25],
        params={"factor": 2.0},
        client_request_id="job-7",
        usage_context={"team": "risk"},
        served_model="new",
        rows_per_request=10,
    )
    assert found == [2 * n for n in IDS[:25]]
    records = sent(emulator, "times")
    assert sorted(str(record.client_request_id) for record in records) == [
        "job-7-0",
        "job-7-10",
        "job-7-20",
    ]
    assert {record.served_model for record in records} == {"new"}
    bodies = [orjson.loads(record.body or b"") for record in records]
    assert all(body["usage_context"] == {"team": "risk"} for body in bodies)


def test_nothing_is_read_or_sent_before_it_is_asked_for(door: Door, echo: Emulator) -> None:
    read = []

    def rows() -> Iterator[dict[str, float]]:
        for n in IDS:
            read.append(n)
            yield {"id": n, "b": 0.5}

    client = door.open("echo", pat(echo))
    result = client.map(rows(), rows_per_request=10, concurrency=2)
    assert read == []
    assert echo.requests == []
    first = door.run(anext(result)) if door.colour == "async" else next(result)
    assert first == 0.0
    # twice the requests at once, and one in reserve
    assert 10 <= len(read) <= 50
    door.run(result.aclose() if door.colour == "async" else result.close())
    assert len(read) <= 50


def test_requests_run_at_once_but_not_more_than_asked(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    door.predict(client, [{"id": 1.0}])
    echo.always("echo", faults.slow(0.03))
    mapped(door, client, FRAME, rows_per_request=10, concurrency=3)
    spans = [(r.received_at_s, r.decided_at_s) for r in sent(echo, "echo")[1:]]
    most = max(sum(a <= at < b for a, b in spans) for at, _ in spans)
    assert most <= 3


def test_requests_grow_while_answers_are_quick(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    many = pd.DataFrame({"id": np.arange(40_000.0), "b": 0.5})
    assert len(mapped(door, client, many, concurrency=2)) == 40_000
    sizes = [record.rows or 0 for record in sent(echo, "echo")]
    assert sizes[0] == 32
    assert max(sizes) == 5000


# -- sizes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_request", [None, 300])
def test_B5_no_request_exceeds_the_limit(
    door: Door, echo: Emulator, rows_per_request: int | None
) -> None:
    limit = 3000
    echo.change_endpoint("echo", max_request_bytes=limit)
    client = door.open("echo", pat(echo), Settings(payload=Payload(max_request_bytes=limit)))
    # rows of 10 bytes, then rows of 1,000: what was learned of the first misleads
    ids = ["x" * (10 if n < 150 else 1000) + str(n) for n in range(N)]
    assert mapped(door, client, {"id": ids}, rows_per_request=rows_per_request) == ids
    records = sent(echo, "echo")
    assert {record.status for record in records} == {200}
    assert all(record.request_bytes <= limit for record in records)


def test_B5_the_limit_of_the_endpoint_is_found_before_sending(door: Door, echo: Emulator) -> None:
    # 16 MiB: the job does not know, the call does
    client = door.open("echo", pat(echo))
    ids = [str(n) + "x" * 3_000_000 for n in range(6)]
    assert mapped(door, client, {"id": ids}, rows_per_request=6) == ids
    records = sent(echo, "echo")
    assert [record.rows for record in records] == [3, 3]
    assert all(record.request_bytes <= 16 * 1024 * 1024 for record in records)


def test_B5_one_row_too_large_fails_alone(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo), Settings(payload=Payload(max_request_bytes=3000)))
    ids = ["x" * 50] * 20
    ids[13] = "y" * 5000
    found = mapped(door, client, {"id": ids}, on_error="return")
    (failed,) = errors_of(found)
    assert failed == 13
    error = found[13]
    assert isinstance(error, PayloadTooLarge)
    assert error.row == 13
    assert error.limit_bytes == 3000
    assert str(error).startswith("Row 13: ")
    assert all("y" * 5000 not in rows_in(record) for record in sent(echo, "echo"))


def test_B5_a_refusal_for_size_is_divided_too(door: Door, echo: Emulator) -> None:
    # a limit nobody told: the service answers 400 that the request is too large
    echo.change_endpoint("echo", max_request_bytes=2000)
    client = door.open("echo", pat(echo), Settings(describe=False))
    ids = ["x" * 100] * 40
    assert mapped(door, client, {"id": ids}, rows_per_request=40) == ids


# -- rows that fail --------------------------------------------------------------------------------


@pytest.mark.parametrize("poisoned", [0, 5, 15])
def test_B3_one_bad_row_in_16_costs_9_requests(
    door: Door, emulator: Emulator, poisoned: int
) -> None:
    emulator.add_endpoint("echo", echo="id", poison=-1.0)
    client = door.open("echo", pat(emulator))
    ids = IDS[:16]
    ids[poisoned] = -1.0
    found = mapped(door, client, {"id": ids}, rows_per_request=16, on_error="return")
    assert list(errors_of(found)) == [poisoned]
    assert [n for n in found if not isinstance(n, ServingError)] == [n for n in ids if n >= 0]
    assert len(sent(emulator, "echo")) <= 9
    error = found[poisoned]
    assert isinstance(error, BadRequest)
    assert error.row == poisoned
    assert error.status_code == 400
    assert error.endpoint == "echo"
    assert str(error).startswith(f"Row {poisoned}: ")
    assert error.__traceback__ is None
    assert client.stats().retry_quota == 500, "dividing is no retry"


def test_B3_all_bad_in_16_cost_31_requests(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("echo", echo="id", poison=-1.0)
    client = door.open("echo", pat(emulator))
    found = mapped(door, client, {"id": [-1.0] * 16}, rows_per_request=16, on_error="return")
    assert [error.row for error in found] == list(range(16))
    assert len(sent(emulator, "echo")) <= 31


def test_B3_an_input_that_is_all_bad_is_not_sent_twice_over(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("echo", echo="id", poison=-1.0)
    client = door.open("echo", pat(emulator))
    found = mapped(
        door,
        client,
        {"id": [-1.0] * 4096},
        rows_per_request=1024,
        concurrency=1,
        on_error="return",
    )
    assert [error.row for error in found] == list(range(4096))
    # 1 + 4 log2(1024) + 64 for the first piece, 1 + 2 log2(1024) + 2 for each further
    assert len(sent(emulator, "echo")) == 105 + 3 * 23
    assert "not tried alone" in str(found[1000])
    assert "not tried alone" not in str(found[0])


def test_B3_scattered_bad_rows_are_all_found(door: Door, emulator: Emulator) -> None:
    # far more than the first allowance: what goes through earns what is needed
    emulator.add_endpoint("echo", echo="id", poison=-1.0)
    client = door.open("echo", pat(emulator))
    ids = [-1.0 if n % 20 == 7 else float(n) for n in range(2000)]
    found = mapped(door, client, {"id": ids}, rows_per_request=1000, on_error="return")
    assert list(errors_of(found)) == list(range(7, 2000, 20))
    assert [n for n in found if not isinstance(n, ServingError)] == [n for n in ids if n >= 0]


def test_the_first_row_that_failed_is_raised_after_those_before_it(
    door: Door, emulator: Emulator
) -> None:
    emulator.add_endpoint("echo", echo="id", poison=-1.0)
    client = door.open("echo", pat(emulator))
    ids = [-1.0 if n in (137, 139, 250) else float(n) for n in range(N)]
    seen, error = until_error(door, client, {"id": ids}, rows_per_request=50)
    assert seen == ids[:137]
    assert isinstance(error, BadRequest)
    assert error.row == 137


def test_rows_that_cannot_be_sent_fail_alone_and_before_sending(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    ids = np.array(IDS)
    ids[[7, 50, 51]] = np.nan
    found = mapped(door, client, {"id": ids}, rows_per_request=100, on_error="return")
    assert list(errors_of(found)) == [7, 50, 51]
    assert [n for n in found if not isinstance(n, ServingError)] == [n for n in ids if n == n]  # noqa: PLR0124
    assert [record.rows for record in sent(echo, "echo")].count(97) == 1, "the others go together"
    assert len(sent(echo, "echo")) == 3
    error = found[50]
    assert isinstance(error, PayloadError)
    assert (error.row, error.column) == (50, "id")
    assert str(error).startswith("Row 50, column 'id': The value is NaN")
    seen, raised = until_error(door, client, {"id": ids}, rows_per_request=100)
    assert seen == IDS[:7]
    assert str(raised) == str(found[7])


def test_rows_of_another_form_fail_alone_wherever_requests_begin(
    door: Door, echo: Emulator
) -> None:
    client = door.open("echo", pat(echo))
    rows: list[Any] = [{"id": n, "b": 0.5} for n in IDS[:40]]
    rows[10] = {"id": 10.0, "c": 0.5}  # first of its request
    rows[25] = {"id": 25.0}
    rows[26] = {"id": 26.0, "b": 0.5, "c": 1}
    rows[33] = [33.0, 0.5]
    found = mapped(door, client, iter(rows), rows_per_request=10, on_error="return")
    assert list(errors_of(found)) == [10, 25, 26, 33]
    assert "Row 10, column 'b': The row lacks this column" in str(found[10])
    assert "Row 26, column 'c': The row has this column" in str(found[26])
    assert "Row 33: The row is a list among dicts" in str(found[33])
    assert len(sent(echo, "echo")) == 4


def test_a_column_that_cannot_be_sent_fails_its_rows(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo))
    found = mapped(door, client, {"id": np.array([1j] * 20)}, on_error="return")
    assert len(errors_of(found)) == 20
    assert "complex" in str(found[3])
    assert echo.requests == []


@pytest.mark.parametrize("shape", ["short", "long", "dict", "columns", "scalar"])
def test_a_reply_that_is_not_row_by_row_fails_its_rows_alone(
    door: Door, echo: Emulator, shape: Any
) -> None:
    client = door.open("echo", pat(echo))
    echo.script("echo", faults.ok(), faults.misshapen(shape))
    found = mapped(door, client, FRAME[:30], rows_per_request=10, concurrency=1, on_error="return")
    assert list(errors_of(found)) == list(range(10, 20))
    assert isinstance(found[15], BatchScatterError)
    assert found[15].rows == 10
    assert found[15].request_id
    assert found[:10] + found[20:] == IDS[:10] + IDS[20:30]


def test_other_failures_fail_their_request_alone_after_retries(door: Door, echo: Emulator) -> None:
    retry = Retry(max_attempts=2, backoff_base_s=0.01)
    client = door.open("echo", pat(echo), Settings(retry=retry))
    echo.script("echo", faults.ok(), *[faults.plain(500)] * 2)
    found = mapped(door, client, FRAME[:30], rows_per_request=10, concurrency=1, on_error="return")
    assert list(errors_of(found)) == list(range(10, 20))
    assert isinstance(found[12], ServerError)
    assert len(found[12].attempts) == 2
    assert [error.row for error in found[10:20]] == list(range(10, 20)), "each has its own"
    assert str(found[12]).startswith("Rows 10 to 19: 'echo' failed (500)")


def test_urgent_calls_go_before_those_of_a_job(door: Door, echo: Emulator) -> None:
    # one place: the job's calls wait for it, and a call that comes later is served before them
    settings = Settings(pool=Pool(max_lanes=1), concurrency=Concurrency(min_calls=1))
    client = door.open("echo", pat(echo), settings)
    echo.script("echo", faults.slow(0.5))  # the first is under way while the others line up
    order: list[int] = []

    async def tasks() -> None:
        job = asyncio.ensure_future(
            client.map(FRAME[:40], rows_per_request=10, concurrency=4).to_list()
        )
        assert await eventually_async(lambda: client.stats().concurrency.waiting == 3)
        await client.predict([{"id": 1.0}], priority="critical")
        order.append(len(sent(echo, "echo")))
        assert await job == IDS[:40]

    def threads() -> None:
        results: list[Any] = []
        job = threading.Thread(
            target=lambda: results.extend(
                client.map(FRAME[:40], rows_per_request=10, concurrency=4)
            )
        )
        job.start()
        assert eventually(lambda: client.stats().concurrency.waiting == 3)
        client.predict([{"id": 1.0}], priority="critical")
        order.append(len(sent(echo, "echo")))
        job.join()
        assert results == IDS[:40]

    door.run(tasks()) if door.colour == "async" else threads()
    assert order[0] <= 3, "the one under way, and at most one more whose turn had come"


def test_what_is_throttled_is_tried_again(door: Door, echo: Emulator) -> None:
    retry = Retry(max_attempts=11, throttled_base_s=0.01)
    client = door.open("echo", pat(echo), Settings(retry=retry))
    echo.script("echo", *[faults.throttled(), faults.ok()] * 10)
    assert mapped(door, client, FRAME, rows_per_request=20, concurrency=4) == IDS


def test_a_job_waits_while_the_queue_is_full(door: Door, echo: Emulator) -> None:
    settings = Settings(
        pool=Pool(max_lanes=1), queue=Queue(max_calls=0), concurrency=Concurrency(min_calls=1)
    )
    client = door.open("echo", pat(echo), settings)
    echo.always("echo", faults.slow(0.02))
    assert mapped(door, client, FRAME[:60], rows_per_request=10, concurrency=3) == IDS[:60]


def test_a_job_waits_no_longer_for_the_queue_than_for_an_answer(door: Door, echo: Emulator) -> None:
    settings = Settings(
        pool=Pool(max_lanes=1), queue=Queue(max_calls=0), concurrency=Concurrency(min_calls=1)
    )
    client = door.open("echo", pat(echo), settings)
    door.predict(client, [{"id": 1.0}])
    echo.always("echo", faults.slow(0.6))
    options = {"timeout": 0.25, "on_error": "return", "concurrency": 2, "rows_per_request": 10}
    found = mapped(door, client, FRAME[:20], **options)
    assert {type(error) for error in found} == {QueueFull, DeadlineExceeded}
    assert echo.wait_for(lambda: len(sent(echo, "echo")) == 2), "or the next test sees its end"


def test_answers_that_take_too_long_make_requests_smaller(door: Door, echo: Emulator) -> None:
    client = door.open("echo", pat(echo), Settings(retry=Retry(max_attempts=1)))
    echo.script("echo", faults.execution_timeout(), faults.execution_timeout())
    found = mapped(door, client, FRAME[:100], concurrency=1, on_error="return")
    assert [n for n in found if not isinstance(n, ServingError)] == IDS[len(errors_of(found)) : 100]
    assert len(errors_of(found)) <= 64
    assert 8 in [record.rows for record in sent(echo, "echo")]


def test_throttling_that_lasts_is_the_error_of_its_rows(door: Door, echo: Emulator) -> None:
    retry = Retry(max_attempts=2, throttled_base_s=0.01)
    client = door.open("echo", pat(echo), Settings(retry=retry))
    echo.always("echo", faults.throttled())
    found = mapped(door, client, FRAME[:20], rows_per_request=10, on_error="return")
    assert {type(error) for error in found} == {Throttled}


def test_an_input_that_fails_fails_after_what_was_read(door: Door, echo: Emulator) -> None:
    def rows() -> Iterator[dict[str, float]]:
        for n in IDS[:137]:
            yield {"id": n, "b": 0.5}
        raise OSError("the cursor is gone")

    client = door.open("echo", pat(echo))
    seen, error = until_error(door, client, rows(), rows_per_request=50)
    assert seen == IDS[:137]
    assert isinstance(error, OSError)


# -- arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"rows_per_request": 0},
        {"rows_per_request": 1.5},
        {"rows_per_request": True},
        {"concurrency": 0},
        {"concurrency": "8"},
        {"on_error": "ignore"},
        {"on_error": None},
        {"progress": "bar"},
        {"checkpoint": 7},
        {"checkpoint": ""},
        {"checkpoint": b"x"},
        {"timeout": 0},
        {"idempotent": "no"},
        {"priority": "low"},
        {"priority": None},
        {"params": [1]},
        {"client_request_id": 7},
        {"usage_context": {"a": 1}},
        {"usage_context": "a"},
        {"served_model": 3},
    ],
    ids=str,
)
def test_a_wrong_argument_is_refused_at_once(
    door: Door, echo: Emulator, wrong: dict[str, Any]
) -> None:
    client = door.open("echo", pat(echo))
    rows = iter([{"id": 1.0}])
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        client.map(rows, **wrong)
    assert next(rows) == {"id": 1.0}, "nothing was read"
    assert echo.requests == []


@pytest.mark.parametrize(
    "wrong",
    ["text", None, 5, pd.Series(IDS), {"inputs": [[1.0]]}, {"a": [1], "b": [1, 2]}],
    ids=str,
)
def test_a_wrong_input_is_refused_at_once(door: Door, echo: Emulator, wrong: Any) -> None:
    client = door.open("echo", pat(echo))
    with pytest.raises(PayloadError):
        client.map(wrong)
    with pytest.raises(PayloadError):
        client.map(FRAME, params={"a": object()})
    assert invocations(echo) == []


def test_settings_say_how_much_goes_at_once(door: Door, echo: Emulator) -> None:
    bulk = Bulk(max_request_rows=40, max_in_flight=1)
    client = door.open("echo", pat(echo), Settings(bulk=bulk))
    assert mapped(door, client, FRAME) == IDS
    assert max(record.rows or 0 for record in sent(echo, "echo")) == 40
