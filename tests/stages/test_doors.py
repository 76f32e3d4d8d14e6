"""Stages as a user of either door meets them, over real sockets."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import orjson
import pandas as pd
import pytest

from servingclient import (
    AsyncServingClient,
    Batching,
    ClientClosedError,
    ConfigError,
    DeadlineExceeded,
    EnrichmentStats,
    ServingClient,
    Settings,
)
from servingclient.emulator import Emulator
from servingclient.telemetry.exported import figures
from tests.doors.kit import Door, invocations, pat

ROWS = [{"a": 1.0}, {"a": 2.0}]
CHAT = {"messages": [{"role": "user", "content": "one two"}]}


def enriched(rows: Any) -> Any:
    return [{**row, "b": 10.0} for row in rows]


def test_stages_around_a_prediction(door: Door, emulator: Emulator) -> None:
    client = door.open(
        "demo",
        pat(emulator),
        preprocess=lambda frame: frame.to_dict("records"),
        enrich=enriched,
        postprocess=lambda sums: [{"score": value / 100} for value in sums],
    )
    prediction = door.predict(client, pd.DataFrame(ROWS))
    assert prediction.predictions == [{"score": 0.11}, {"score": 0.12}]
    assert prediction.to_pandas()["score"].tolist() == [0.11, 0.12]
    timing = prediction.timing
    parts = (timing.preprocess_s, timing.enrich_s, timing.postprocess_s)
    assert all(part > 0.0 for part in parts)
    assert sum(parts) + timing.first_byte_s < timing.total_s
    assert client.stats().total.enrich_s.count == 1


def test_a_copy_has_stages_of_its_own(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), enrich=enriched)
    copy = client.with_options(enrich=None, postprocess=len, timeout_s=5.0)
    assert door.predict(copy, ROWS).predictions == 2
    assert copy.settings.timeout_s == 5.0
    assert door.predict(client, ROWS).predictions == [11.0, 12.0]
    assert door.predict(copy.with_options(postprocess=None), ROWS).predictions == [1.0, 2.0]
    with pytest.raises(ConfigError, match="postprocess must be a function"):
        client.with_options(postprocess="len")
    with pytest.raises(ConfigError, match="no option 'post_process'"):
        client.with_options(post_process=len)


def test_callers_share_requests_behind_their_own_stages(door: Door, emulator: Emulator) -> None:
    emulator.change_endpoint("demo", slots=1, queue=64, service_time_s=0.02)
    settings = Settings(batching=Batching(max_in_flight=1))
    client = door.open(
        "demo", pat(emulator), settings, enrich=enriched, postprocess=lambda values: values[0]
    )
    door.predict(client, [{"a": 0.0}])
    calls = [{"inputs": [{"a": float(n)}]} for n in range(24)]
    got = door.many(client, calls)
    assert [one.predictions for one in got] == [10.0 + n for n in range(24)]
    assert len(invocations(emulator)) < 24


def test_a_stream_has_the_stages_before_it(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("agent", kind="agent")
    client = door.open(
        "agent",
        pat(emulator),
        preprocess=lambda text: {"messages": [{"role": "user", "content": text}]},
    )
    events = door.events(client, "three four")
    words = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    assert words == "three four"
    with pytest.raises(ConfigError, match="whole predictions"):
        door.events(client.with_options(postprocess=len), "five")


def test_figures_of_apis_are_the_clients_too(door: Door, emulator: Emulator) -> None:
    class Api:
        def stats(self) -> EnrichmentStats:
            return EnrichmentStats("https://api.example", calls=3)

    client = door.open("demo", pat(emulator), apis=[Api()])
    assert client.stats().enrichment == (EnrichmentStats("https://api.example", calls=3),)
    assert client.with_options(apis=()).stats().enrichment == ()


def test_exporters_tell_of_stages_where_there_are_any(door: Door, emulator: Emulator) -> None:
    def fails(rows: Any) -> Any:
        raise KeyError("age")

    client = door.open(
        "demo", pat(emulator), preprocess=list, enrich=fails, on_enrichment_error="null"
    )
    door.predict(client, ROWS)
    told = figures(client.stats())
    assert told["stage.errors", ("demo", "enrich")] == 1
    assert ("stage.duration", ("demo", "preprocess")) in told
    assert ("stage.duration", ("demo", "enrich")) not in told
    plain = door.open("demo", pat(emulator))
    door.predict(plain, ROWS)
    assert not [name for name, _ in figures(plain.stats()) if name.startswith("stage.")]


def test_explain_tells_of_inputs_as_they_are_given(door: Door, emulator: Emulator) -> None:
    # it promises to run nothing and to score nothing
    ran: list[Any] = []
    client = door.open("demo", pat(emulator), preprocess=ran.append)
    assert door.run(client.explain(ROWS)).rows == 2
    assert ran == []


def test_a_closed_client_runs_no_stage(door: Door, emulator: Emulator) -> None:
    ran: list[Any] = []
    client = door.open("demo", pat(emulator), preprocess=ran.append)
    door.close(client)
    with pytest.raises(ClientClosedError):
        door.predict(client, ROWS)
    assert ran == []


def test_a_bad_stage_is_refused_when_the_client_is_made(door: Door, emulator: Emulator) -> None:
    with pytest.raises(ConfigError, match="enrich must be a function"):
        door.open("demo", pat(emulator), enrich={"a": 1})
    with pytest.raises(ConfigError, match="without enrich"):
        door.open("demo", pat(emulator), on_enrichment_error="null")


# -- what only one of them does -------------------------------------------------------------------


def test_a_blocking_client_takes_no_async_function(emulator: Emulator) -> None:
    async def enrich(rows: Any) -> Any:
        return rows

    with pytest.raises(ConfigError, match="enrich is an async function"):
        ServingClient("demo", host=emulator.host, token=emulator.token, enrich=enrich)


async def test_an_async_client_awaits_them(emulator: Emulator) -> None:
    loop_thread = threading.get_ident()
    ran: dict[str, bool] = {}

    async def enrich(rows: Any) -> Any:
        ran["enrich"] = threading.get_ident() == loop_thread
        await asyncio.sleep(0)
        return enriched(rows)

    def post(values: Any) -> Any:
        ran["post"] = threading.get_ident() == loop_thread
        return values

    given: dict[str, Any] = {"host": emulator.host, "token": emulator.token}
    async with AsyncServingClient("demo", **given, enrich=enrich, postprocess=post) as client:
        prediction = await client.predict(ROWS)
    assert prediction.predictions == [11.0, 12.0]
    assert ran == {"enrich": True, "post": False}


async def test_a_hung_function_ends_with_the_call(emulator: Emulator) -> None:
    ended: list[str] = []

    async def enrich(rows: Any) -> Any:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    given: dict[str, Any] = {"host": emulator.host, "token": emulator.token}
    async with AsyncServingClient("demo", **given, enrich=enrich) as client:
        with pytest.raises(DeadlineExceeded, match="enrich was not done after"):
            await client.predict(ROWS, timeout=0.01)
    assert ended == ["cancelled"]
    assert invocations(emulator) == []


def test_a_stop_iteration_comes_as_the_cause_of_an_error_that_names_the_function(
    emulator: Emulator,
) -> None:
    def enrich(rows: Any) -> Any:
        return next(iter([]))

    given: dict[str, Any] = {"host": emulator.host, "token": emulator.token}
    with (
        ServingClient("demo", **given, enrich=enrich) as client,
        pytest.raises(RuntimeError, match="enrich raised StopIteration") as caught,
    ):
        client.predict(ROWS)
    assert isinstance(caught.value.__cause__, StopIteration)
    assert invocations(emulator) == []


async def test_who_found_no_thread_is_told_so(emulator: Emulator) -> None:
    entered, go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def enrich(rows: Any) -> Any:
        loop.call_soon_threadsafe(entered.set)
        assert go.wait(15)
        return rows

    settings = Settings(stage_threads=1)
    given: dict[str, Any] = {"host": emulator.host, "token": emulator.token, "settings": settings}
    async with AsyncServingClient("demo", **given, enrich=enrich) as client:
        first = asyncio.ensure_future(client.predict(ROWS))
        await entered.wait()
        says = r"enrich still waited for a thread.*Settings\.stage_threads"
        with pytest.raises(DeadlineExceeded, match=says):
            await client.predict(ROWS, timeout=0.02)
        with pytest.raises(DeadlineExceeded, match="enrich still waited for a thread"):
            await client.predict(ROWS, timeout=0.02)
        go.set()
        assert (await first).predictions is not None


async def test_closing_brings_calls_under_way_to_their_end(emulator: Emulator) -> None:
    # the answer of a call that was admitted is not lost for want of a thread
    emulator.change_endpoint("demo", service_time_s=0.05)
    given: dict[str, Any] = {"host": emulator.host, "token": emulator.token}
    client = AsyncServingClient("demo", **given, preprocess=enriched, postprocess=orjson.dumps)
    call = asyncio.ensure_future(client.predict(ROWS))
    while not client.stats().concurrency.in_flight:  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(0.001)
    await client.aclose()
    assert (await call).predictions == b"[11.0,12.0]"
