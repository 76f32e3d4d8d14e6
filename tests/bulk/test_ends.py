"""However a job ends, nothing of it runs on, and the client it borrowed from goes on."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from servingclient import (
    AsyncMapResult,
    AsyncServingClient,
    BadRequest,
    Block,
    ClientClosedError,
    MapResult,
    ServingClient,
    ServingError,
    Settings,
)
from servingclient.emulator import Emulator
from servingclient.settings import Retry
from tests.bulk.kit import until_error
from tests.doors.kit import Door, pat
from tests.scripted.server import Connection, Request, ScriptedServer, eventually_async, reply

ROWS = [{"a": float(n), "b": 0.0} for n in range(400)]
IDS = [float(n) for n in range(400)]
SETTINGS = Settings(describe=False, close_timeout_s=0.2)


class Model:
    """Gives back the first value of each row; requests of rows from 20 on never end.

    Rows 0 to 9 are answered when four requests are there: by then all hands of a job are busy.
    """

    def __init__(self) -> None:
        self.hangs = True
        self.error = b""

    async def __call__(self, conn: Connection, request: Request) -> None:
        rows = json.loads(request.body)["dataframe_split"]["data"]
        first = rows[0][0]
        conn.processed(request)
        if first == 0.0:
            await eventually_async(lambda: not self.hangs or len(conn.server.requests) >= 4)
        if self.hangs and first >= 20.0:
            await conn.gone()
            return
        await conn.send(
            self.error or reply(json.dumps({"predictions": [r[0] for r in rows]}).encode())
        )


@pytest.fixture
def model() -> Model:
    return Model()


@pytest.fixture
def server(model: Model) -> Iterator[ScriptedServer]:
    with ScriptedServer(model) as server:
        yield server


def access(server: ScriptedServer) -> dict[str, Any]:
    return {"host": f"http://127.0.0.1:{server.port}", "token": "dapi0", "settings": SETTINGS}


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[ServingClient]:
    with ServingClient("m", **access(server)) as client:
        yield client


@pytest.fixture
def quick() -> Iterator[None]:
    """Ending a job waits for no reply: here it would wait for ever."""
    began_s = time.monotonic()
    yield
    assert time.monotonic() - began_s < 5.0


def job(client: ServingClient) -> MapResult:
    return client.map(ROWS, rows_per_request=10, concurrency=4)


def workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "servingclient-map"]


def nothing_left(client: ServingClient, model: Model) -> None:
    assert workers() == []
    assert client.stats().concurrency.in_flight == 0
    assert client.stats().concurrency.waiting == 0
    # what its end broke off was not the endpoint's failure
    assert "ClientClosedError" not in client.stats().total.errors
    model.hangs = False
    assert client.predict([{"a": 50.0}]).predictions == [50.0]


ENDINGS: dict[str, Callable[[MapResult], None]] = {
    "closed": lambda rows: rows.close(),
    "left": lambda rows: rows.__exit__(None, None, None),
    "dropped": lambda rows: None,
}


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ENDINGS)
def test_threads_end_with_the_job(client: ServingClient, model: Model, ending: str) -> None:
    rows = job(client)
    assert workers() == [], "it is lazy"
    assert next(rows) == 0.0
    assert len(workers()) == 4
    ENDINGS[ending](rows)
    del rows
    nothing_left(client, model)
    total = client.stats().total
    assert total.failed == 0
    assert total.cancelled >= 3  # of four, the first was answered


@pytest.mark.usefixtures("quick")
def test_a_loop_that_is_left_ends_its_job(client: ServingClient, model: Model) -> None:
    for row in job(client):
        if row == 12.0:
            break
    nothing_left(client, model)


@pytest.mark.usefixtures("quick")
def test_a_job_in_a_cycle_is_ended_by_the_collector(client: ServingClient, model: Model) -> None:
    holder: dict[str, Any] = {"rows": job(client)}
    holder["self"] = holder
    assert next(holder["rows"]) == 0.0
    del holder
    gc.collect()
    nothing_left(client, model)


def test_threads_end_with_the_last_row(client: ServingClient, model: Model) -> None:
    model.hangs = False
    rows = job(client)
    assert list(rows) == IDS
    assert next(rows, "end") == "end"
    nothing_left(client, model)


@pytest.mark.usefixtures("quick")
def test_threads_end_with_an_error(client: ServingClient, model: Model) -> None:
    model.error = reply(b"{}", status="400 Bad Request")
    with pytest.raises(BadRequest, match="Row 0"):
        list(job(client))
    model.error = b""
    nothing_left(client, model)


def test_where_no_more_threads_can_be_had_those_there_are_go_on(
    client: ServingClient, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.hangs = False
    start, started = threading.Thread.start, []

    def one_only(thread: threading.Thread) -> None:
        if thread.name == "servingclient-map":
            if started:
                raise RuntimeError("can't start new thread")
            started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", one_only)
    assert list(job(client)) == IDS
    with pytest.raises(RuntimeError, match="new thread"):
        list(job(client))
    nothing_left(client, model)


@pytest.fixture
def heard() -> Iterator[None]:
    """Ctrl-C is heard, also where the suite runs behind a shell that lets its jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("quick", "heard")
def test_ctrl_c_ends_the_job(client: ServingClient, model: Model) -> None:
    main = threading.main_thread()
    answered = threading.Event()

    def press() -> None:
        assert answered.wait(15.0)
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGINT)

    def read() -> None:
        presser.start()
        for row in job(client):
            if row == 19.0:
                answered.set()  # the next one never comes

    presser = threading.Thread(target=press)
    with pytest.raises(KeyboardInterrupt):
        read()
    presser.join()
    nothing_left(client, model)


@pytest.mark.usefixtures("quick")
def test_ending_waits_for_no_backoff(
    client: ServingClient, server: ScriptedServer, model: Model
) -> None:
    retry = Retry(throttled_base_s=60.0, backoff_cap_s=60.0, jitter=0.0)
    patient = client.with_options(retry=retry, timeout_s=600.0)
    model.error, model.hangs = reply(b"{}", status="429 Too Many Requests"), False

    def end() -> None:
        server.wait_until(lambda: len(server.requests) >= 4)
        client.close()

    closer = threading.Thread(target=end)
    closer.start()
    with pytest.raises(ClientClosedError):
        list(job(patient))
    closer.join()
    assert workers() == []


@pytest.mark.usefixtures("quick")
def test_a_job_left_in_its_backoff_ends(
    client: ServingClient, server: ScriptedServer, model: Model
) -> None:
    retry = Retry(throttled_base_s=60.0, backoff_cap_s=60.0, jitter=0.0)
    rows = job(client.with_options(retry=retry, timeout_s=600.0))
    assert next(rows) == 0.0
    model.error, model.hangs = reply(b"{}", status="429 Too Many Requests"), False
    for _ in range(9):
        next(rows)
    server.call(lambda: [conn.rst() for conn in server.connections])  # what hung is sent again
    server.wait_until(lambda: len(server.requests) >= 8)
    rows.close()
    model.error = b""
    nothing_left(client, model)


@pytest.mark.usefixtures("quick")
def test_other_calls_outlive_a_job(
    client: ServingClient, server: ScriptedServer, model: Model
) -> None:
    # they share connections; only those the job has borrowed are closed
    rows = job(client)
    assert next(rows) == 0.0
    results: list[Any] = []
    other = threading.Thread(
        target=lambda: results.append(client.predict([{"a": 999.0}], timeout=4).predictions)
    )
    other.start()
    server.wait_until(lambda: any(b"999.0" in request.body for request in server.requests))
    rows.close()
    assert other.is_alive(), "it hangs still"
    (mine,) = [conn for conn in server.connections if b"999.0" in conn.received]
    answer = reply(b'{"predictions": [999.0]}', "Connection: close")
    server.call(lambda: asyncio.ensure_future(mine.send(answer)))
    other.join()
    assert results == [[999.0]]
    nothing_left(client, model)


def test_T15_closing_the_client_ends_its_jobs(
    client: ServingClient, server: ScriptedServer
) -> None:
    def close() -> None:
        server.wait_until(lambda: len(server.requests) >= 5)
        client.close()

    closer = threading.Thread(target=close)
    closer.start()
    seen: list[Any] = []
    with pytest.raises(ClientClosedError):
        seen.extend(client.map(ROWS, rows_per_request=10, concurrency=4, on_error="return"))
    closer.join()
    assert seen == IDS[:20]
    assert workers() == []


async def test_T15_closing_the_async_client_ends_its_jobs(server: ScriptedServer) -> None:
    client = AsyncServingClient("m", **access(server))
    rows = client.map(ROWS, rows_per_request=10, concurrency=4, on_error="return")
    reader = asyncio.ensure_future(rows.to_list())
    await eventually_async(lambda: len(server.requests) >= 5)
    await client.aclose()
    with pytest.raises(ClientClosedError):
        await reader
    assert tasks() == 0


def test_a_closed_client_starts_no_job(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    door.close(client)
    seen, error = until_error(door, client, ROWS, on_error="return")
    assert seen == []
    assert isinstance(error, ClientClosedError)


# -- tasks -----------------------------------------------------------------------------------------


def tasks() -> int:
    return len(asyncio.all_tasks()) - 1


async def read_into(seen: list[Any], rows: AsyncMapResult) -> None:
    async for row in rows:
        seen.append(row)  # noqa: PERF401 - seen from outside


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("ending", ["aclose", "with", "cancel", "dropped"])
async def test_tasks_end_with_the_job(server: ScriptedServer, model: Model, ending: str) -> None:
    async with AsyncServingClient("m", **access(server)) as client:
        rows = client.map(ROWS, rows_per_request=10, concurrency=4)
        assert tasks() == 0, "it is lazy"
        assert await anext(rows) == 0.0
        assert tasks() >= 3
        if ending == "aclose":
            await rows.aclose()
        elif ending == "with":
            async with rows:
                assert await anext(rows) == 1.0
        elif ending == "cancel":
            seen: list[Any] = []
            reader = asyncio.ensure_future(read_into(seen, rows))
            assert await eventually_async(lambda: len(seen) == 19)  # the next one never comes
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
        else:
            del rows
            await eventually_async(lambda: tasks() == 0)
        assert tasks() == 0
        stats = client.stats().concurrency
        assert (stats.in_flight, stats.waiting) == (0, 0)
        model.hangs = False
        assert (await client.predict([{"a": 50.0}])).predictions == [50.0]


async def test_jobs_run_side_by_side(server: ScriptedServer, model: Model) -> None:
    model.hangs = False
    async with AsyncServingClient("m", **access(server)) as client:
        results = await asyncio.gather(*(client.map(ROWS).to_list() for _ in range(3)))
        assert results == [IDS] * 3


async def test_a_blocking_job_runs_inside_a_loop(client: ServingClient, model: Model) -> None:
    model.hangs = False
    assert list(client.map(ROWS)) == IDS


def test_threads_run_jobs_on_one_client(client: ServingClient, model: Model) -> None:
    model.hangs = False
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(list(client.map(ROWS)))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [IDS] * 3
    nothing_left(client, model)


def test_a_job_over_an_httpx_transport(server: ScriptedServer, model: Model) -> None:
    model.hangs = False
    transport = httpx.HTTPTransport()
    with ServingClient("m", **access(server), transport=transport) as client:
        assert list(client.map(ROWS, rows_per_request=20, concurrency=4)) == IDS
        with client.map(ROWS, rows_per_request=20, concurrency=4) as rows:
            assert next(rows) == 0.0
        nothing_left(client, model)


FORKING = """
import os, sys
from servingclient import ConfigError, ServingClient

host, token = sys.argv[1:]
rows = [{"a": float(n)} for n in range(400)]
with ServingClient("demo", host=host, token=token) as client:
    job = client.map(rows, rows_per_request=10, concurrency=2)
    assert next(job) == 0.0
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            list(job)
            told = "went on"
        except ConfigError:
            told = "refused"
        job.close()
        told += f", {len(list(client.map(rows[:30])))} rows of its own"
        os.write(writing, told.encode())
        os._exit(0)
    os.waitpid(child, 0)
    print(os.read(reading, 100).decode(), len(list(job)), sep="; ")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_T4_a_forked_child_can_neither_go_on_with_a_job_nor_end_it(emulator: Emulator) -> None:
    arguments = [sys.executable, "-W", "ignore", "-c", FORKING, emulator.host, emulator.token]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=15, check=False)
    assert done.stderr == ""
    assert done.stdout.strip() == "refused, 30 rows of its own; 399"


def test_results_are_read_by_one_thread() -> None:
    entered, go = threading.Event(), threading.Event()

    def blocks() -> Iterator[Block]:
        entered.set()
        assert go.wait(10)
        yield Block(0, [1.0, 2.0])

    results = MapResult(blocks())  # type: ignore[arg-type]
    read: list[Any] = []
    other = threading.Thread(target=lambda: read.extend(results))
    other.start()
    assert entered.wait(10)
    for ask in (lambda: next(results), results.to_list, results.close):
        with pytest.raises(ServingError, match="Another thread is reading these results"):
            ask()
    go.set()
    other.join(10)
    assert read == [1.0, 2.0], "who reads goes on"
    assert list(results) == []
    results.close()


async def test_results_are_read_by_one_task() -> None:
    go = asyncio.Event()

    async def blocks() -> AsyncIterator[Block]:
        await go.wait()
        yield Block(0, [1.0, 2.0])

    results = AsyncMapResult(blocks())  # type: ignore[arg-type]
    other = asyncio.ensure_future(results.to_list())
    await asyncio.sleep(0)
    for ask in (results.__anext__, results.to_list, results.aclose):
        with pytest.raises(ServingError, match="Another task is reading these results"):
            await ask()
    go.set()
    assert await other == [1.0, 2.0], "who reads goes on"
    await results.aclose()


def test_an_error_of_the_job_itself_is_not_taken_for_that() -> None:
    def blocks() -> Iterator[Block]:
        raise ValueError("generator already executing")
        yield

    with pytest.raises(ValueError, match="already executing"):
        next(MapResult(blocks()))  # type: ignore[arg-type]


def test_a_job_that_was_broken_off_does_not_seem_to_be_at_its_end() -> None:
    def broken() -> Iterator[Block]:
        yield Block(0, [1.0])
        raise KeyboardInterrupt

    results = MapResult(broken())  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        list(results)
    for ask_on in (lambda: next(results), results.to_list, lambda: list(results.blocks())):
        with pytest.raises(ServingError, match="broken off by KeyboardInterrupt"):
            ask_on()
    results.close()
    assert results.to_list() == []


async def test_nor_does_one_whose_task_ran_out_of_time() -> None:
    async def slow() -> AsyncIterator[Block]:
        await asyncio.Event().wait()
        yield Block(0, [1.0])

    results = AsyncMapResult(slow())  # type: ignore[arg-type]
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(results), 0.01)
    with pytest.raises(ServingError, match="broken off by CancelledError"):
        await results.to_list()
    await results.aclose()


def test_leaving_the_blocks_early_ends_the_job() -> None:
    ended: list[bool] = []

    def blocks() -> Iterator[Block]:
        try:
            yield Block(0, [1.0])
            yield Block(1, [2.0])
        finally:
            ended.append(True)

    results = MapResult(blocks())  # type: ignore[arg-type]
    for _ in (walk := results.blocks()):
        break
    walk.close()
    assert ended == [True]
