"""Shared requests as a user meets them: both doors, the emulator, real sockets."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from servingclient import (
    AsyncServingClient,
    BadRequest,
    BatchScatterError,
    ClientClosedError,
    ConfigError,
    Prediction,
    QueueFull,
    ServingClient,
    ServingError,
    Settings,
    WrongLoopError,
)
from servingclient.emulator import Emulator, RequestRecord, faults
from servingclient.emulator.faults import Shape
from servingclient.settings import Batching, Concurrency, Payload, Queue, Retry
from tests.doors.kit import Door, errors, invocations, pat, principal

Make = Callable[..., Any]


def rows(*ids: int) -> list[dict[str, Any]]:
    return [{"id": one, "b": 0.5} for one in ids]


def batching(**limits: Any) -> Settings:
    return Settings(batching=Batching(**limits), retry=Retry(throttled_base_s=0.01))


def content(record: RequestRecord) -> Any:
    return json.loads(record.body or b"")


@pytest.fixture
def model(emulator: Emulator) -> Emulator:
    """A model of one slot that gives each row's id back, and raises at 13."""
    emulator.add_endpoint("echo", echo="id", poison=13, slots=1, queue=64, service_time_s=0.02)
    return emulator


def outcomes_of(client_calls: list[Prediction | BaseException]) -> list[Any]:
    return [one.predictions if isinstance(one, Prediction) else one for one in client_calls]


# -- sharing ---------------------------------------------------------------------------------------


def test_many_callers_share_few_requests_and_get_their_own(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching())
    calls = ({"inputs": rows(n, 1000 + n)} for n in range(100, 164))
    outcomes = door.many(client, calls)
    assert errors(outcomes) == []
    assert outcomes_of(outcomes) == [[n, 1000 + n] for n in range(100, 164)]
    posts = invocations(model)
    assert len(posts) < 32
    stats = client.stats().batching
    assert stats.calls == 64
    assert stats.rows == 128
    assert stats.batches == len(posts)
    assert stats.waiting == 0


def test_a_route_optimized_endpoint_shares_too(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint(
        "fast", echo="id", slots=1, queue=64, service_time_s=0.02, route_optimized=True
    )
    client = door.open("fast", principal(emulator), batching())
    outcomes = door.many(client, ({"inputs": rows(n)} for n in range(32)))
    assert outcomes_of(outcomes) == [[n] for n in range(32)]
    assert len(invocations(emulator)) < 32


def test_all_forms_of_input_share_by_what_they_look_like_sent(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching())
    forms: list[Any] = [
        rows(1),
        pd.DataFrame({"id": [2], "b": [0.5]}),
        {"id": np.array([3]), "b": np.array([0.5])},
        {"dataframe_split": {"columns": ["id", "b"], "data": [[4, 0.5]]}},
    ] * 8
    outcomes = door.many(client, ({"inputs": one} for one in forms))
    assert outcomes_of(outcomes) == [[1], [2], [3], [4]] * 8
    assert len(invocations(model)) < 32


def test_one_bad_row_is_one_callers_error(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching(max_in_flight=1))
    outcomes = door.many(client, ({"inputs": rows(n)} for n in range(24)))
    failed = {n: one for n, one in enumerate(outcomes) if isinstance(one, BaseException)}
    assert list(failed) == [13]
    assert isinstance(failed[13], BadRequest)
    good = [one.predictions for one in outcomes if isinstance(one, Prediction)]
    assert good == [[n] for n in range(24) if n != 13]


@pytest.mark.parametrize("shape", ["short", "long", "dict", "columns", "scalar"])
def test_R42_a_reply_of_another_shape_is_everybodys_error(
    door: Door, model: Emulator, shape: Shape
) -> None:
    client = door.open("echo", pat(model), batching(max_in_flight=1, max_wait_s=5.0))
    door.predict(client, rows(0))
    model.script("echo", faults.slow(0.1), faults.misshapen(shape))
    outcomes = door.many(client, ({"inputs": rows(n)} for n in range(1, 9)))
    alone = [one for one in outcomes if isinstance(one, Prediction)]
    assert len(alone) == 1, "the one that found a free slot"
    assert {type(one) for one in errors(outcomes)} == {BatchScatterError}
    assert len(errors(outcomes)) == 7


def test_a_busy_endpoint_is_asked_again_once_for_all(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching(max_in_flight=1, max_wait_s=5.0))
    door.predict(client, rows(0))
    model.script("echo", faults.slow(0.1), faults.throttled())
    outcomes = door.many(client, ({"inputs": rows(n)} for n in range(1, 9)))
    assert outcomes_of(outcomes) == [[n] for n in range(1, 9)]
    assert len(invocations(model)) == 1 + 3


def test_R7_beyond_the_bound_calls_are_refused_at_once(door: Door, model: Emulator) -> None:
    settings = batching(max_in_flight=1, max_wait_s=60.0, max_batch_rows=1000)
    client = door.open("echo", pat(model), settings.replace(queue=Queue(max_calls=100)))
    door.predict(client, rows(0))
    model.script("echo", faults.slow(0.5))
    count = 300 if door.colour == "sync" else 10_000
    began_s = time.monotonic()
    outcomes = door.many(client, ({"inputs": rows(n)} for n in range(count)))
    refused = errors(outcomes)
    assert {type(one) for one in refused} <= {QueueFull, BadRequest}
    full = [one for one in refused if isinstance(one, QueueFull)]
    assert len(full) >= count - 102
    assert sum(isinstance(one, Prediction) for one in outcomes) >= 100
    assert time.monotonic() - began_s < 10.0


# -- settings --------------------------------------------------------------------------------------


def test_sharing_is_off_unless_asked_for(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model))
    door.predict(client, rows(1))
    assert client.stats().batching is None


def test_a_copy_may_keep_to_itself(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching())
    apart = client.with_options(batching=None)
    door.predict(client, rows(1))
    door.predict(apart, rows(2))
    assert client.stats().batching.calls == 1
    with pytest.raises(ConfigError, match="batching"):
        apart.with_options(batching=Batching())
    with pytest.raises(ConfigError, match="batching"):
        client.with_options(batching=Batching(max_batch_rows=8))


def test_copies_with_other_time_outs_share(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching(max_in_flight=1, max_wait_s=5.0))
    door.predict(client, rows(0))
    model.script("echo", faults.slow(0.1))
    copies = [client.with_options(timeout_s=10.0 + n) for n in range(8)]
    if door.colour == "sync":
        threads = [threading.Thread(target=one.predict, args=(rows(1),)) for one in copies]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    else:

        async def all_of_them() -> None:
            await asyncio.gather(*(one.predict(rows(1)) for one in copies))

        door.run(all_of_them())
    assert client.stats().batching.calls == 9
    assert len(invocations(model)) == 1 + 2


@pytest.mark.parametrize(
    ("slots", "processes", "limits", "expected"),
    [
        (16, 1, {}, 16),
        (16, 4, {}, 4),
        (2, 8, {}, 1),
        (16, 1, {"max_in_flight": 3}, 3),
        (None, 1, {}, 4),
    ],
)
def test_callers_gather_when_what_is_provisioned_is_busy(
    door: Door,
    emulator: Emulator,
    slots: int | None,
    processes: int,
    limits: dict[str, int],
    expected: int,
) -> None:
    emulator.add_endpoint("sized", slots=slots)
    settings = batching(**limits).replace(concurrency=Concurrency(client_processes=processes))
    client = door.open("sized", pat(emulator), settings)
    door.predict(client)
    assert client._parts.batcher._slots() == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_batch_rows", 0),
        ("max_batch_rows", 1.5),
        ("max_batch_bytes", 0),
        ("max_wait_s", -1),
        ("max_wait_s", float("nan")),
        ("max_in_flight", 0),
    ],
)
def test_R34_limits_that_make_no_sense(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"Batching.{name}"):
        Batching(**{name: value})


# -- life ------------------------------------------------------------------------------------------


def test_closing_ends_those_who_wait_and_lets_those_finish_that_are_under_way(
    door: Door, model: Emulator
) -> None:
    client = door.open("echo", pat(model), batching(max_in_flight=1, max_wait_s=60.0))
    door.predict(client, rows(0))
    model.script("echo", faults.slow(0.5))

    def wait_then_close() -> None:
        assert model.wait_for(lambda: len(invocations(model)) == 2)
        client.close()

    calls = ({"inputs": rows(n)} for n in range(1, 9))
    if door.colour == "sync":
        outcomes = door.many(client, calls, wait_then_close)
    else:

        async def scenario() -> list[Prediction | BaseException]:
            tasks = [asyncio.ensure_future(client.predict(**one)) for one in calls]
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, model.wait_for, lambda: len(invocations(model)) == 2)
            await client.aclose()
            return await asyncio.gather(*tasks, return_exceptions=True)

        outcomes = door.run(scenario())
    assert isinstance(outcomes[0], Prediction) or door.colour == "sync"
    sent = sum(len(row["dataframe_split"]["data"]) for row in map(content, invocations(model)))
    assert sum(isinstance(one, Prediction) for one in outcomes) == sent - 1
    assert {type(one) for one in errors(outcomes)} <= {ClientClosedError}
    with pytest.raises(ClientClosedError):
        door.predict(client, rows(1))


def test_closing_ends_shared_requests_that_hang(door: Door, model: Emulator) -> None:
    settings = batching(max_in_flight=1, max_wait_s=0.01).replace(close_timeout_s=0.2)
    client = door.open("echo", pat(model), settings)
    door.predict(client, rows(0))
    model.always("echo", faults.hang())

    def wait_then_close() -> None:
        assert model.wait_for(lambda: len(invocations(model)) >= 3)
        client.close()

    calls = ({"inputs": rows(n)} for n in range(1, 9))
    if door.colour == "sync":
        outcomes = door.many(client, calls, wait_then_close)
    else:

        async def scenario() -> list[Prediction | BaseException]:
            tasks = [asyncio.ensure_future(client.predict(**one)) for one in calls]
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, model.wait_for, lambda: len(invocations(model)) >= 3)
            await client.aclose()
            return await asyncio.gather(*tasks, return_exceptions=True)

        outcomes = door.run(scenario())
    assert {type(one) for one in outcomes} == {ClientClosedError}


def test_T5_one_client_over_many_loops(model: Emulator) -> None:
    who = pat(model)
    client = AsyncServingClient("echo", host=who.host, **who.arguments, settings=batching())

    async def crowd(first: int) -> list[list[int]]:
        made = await asyncio.gather(*(client.predict(rows(first + n)) for n in range(20, 28)))
        return [one.predictions for one in made]

    for round_ in range(5):
        first = 100 * round_
        assert asyncio.run(crowd(first)) == [[first + n] for n in range(20, 28)]
    asyncio.run(client.aclose())


def test_a_second_running_loop_is_refused(model: Emulator) -> None:
    who = pat(model)
    settings = batching(max_in_flight=1, max_wait_s=60.0)
    client = AsyncServingClient("echo", host=who.host, **who.arguments, settings=settings)
    found: list[BaseException] = []

    def elsewhere() -> None:
        async def call() -> None:
            with pytest.raises(WrongLoopError) as caught:
                await client.predict(rows(3))
            found.append(caught.value)

        asyncio.run(call())

    async def scenario() -> None:
        await client.predict(rows(0))
        model.script("echo", faults.slow(0.3))
        calls = [asyncio.ensure_future(client.predict(rows(n))) for n in (1, 2)]
        await asyncio.sleep(0.05)
        await asyncio.get_running_loop().run_in_executor(None, elsewhere)
        await asyncio.gather(*calls)
        await client.aclose()

    asyncio.run(scenario())
    assert len(found) == 1


def test_T4_a_forked_child_shares_with_its_own(model: Emulator) -> None:
    # forked while calls wait for company: they are the parent's, and the child is not held up
    script = Path(__file__).with_name("forking.py")
    for colour in ("sync", "async"):
        model.script("echo", faults.ok(), faults.slow(0.5))  # so that two of three have to wait
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script), colour, model.host, model.token],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
        found = json.loads(done.stdout)
        assert found == {"child": [[n] for n in range(100, 116)], "parent": [[1], [2], [3]]}


def test_errors_name_the_endpoint_and_the_time_it_took(door: Door, model: Emulator) -> None:
    client = door.open("echo", pat(model), batching(max_in_flight=1, max_wait_s=5.0))
    door.predict(client, rows(0))
    model.script("echo", faults.slow(0.1), faults.permission_denied())
    outcomes = door.many(client, ({"inputs": rows(n)} for n in range(1, 6)))
    failed = [one for one in errors(outcomes) if isinstance(one, ServingError)]
    assert len(failed) == 4
    for error in failed:
        assert error.endpoint == "echo"
        assert error.elapsed_s is not None
        assert error.elapsed_s >= 0.05


def test_the_doors_close_what_they_opened(model: Emulator) -> None:
    who = pat(model)
    with ServingClient("echo", host=who.host, **who.arguments, settings=batching()) as client:
        assert client.predict(rows(5)).predictions == [5]
    assert model.wait_for(lambda: model.open_connections["workspace"] == 0)


def test_waiting_for_a_signature_is_no_time_of_encoding(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("typed", schema={"a": "double"})
    settings = Settings(batching=Batching(), payload=Payload(prune=True))
    client = door.open("typed", pat(emulator), settings)
    timing = door.predict(client, [{"a": 1.0}]).timing
    assert timing.encode_s < timing.token_s
