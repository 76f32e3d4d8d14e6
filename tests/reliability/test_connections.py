"""T2, T3, T4, T5, T10: connections that die, drip, are shared by fork or outlive their loop."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from servingclient import (
    AsyncServingClient,
    BadRequest,
    ConnectionLost,
    DeadlineExceeded,
    Prediction,
    Settings,
    UnexpectedRedirect,
    WrongLoopError,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Concurrency, Pool, Tls
from tests.doors.kit import ROW, SUM, Door, errors, invocations, pat
from tests.reliability.kit import TOKEN, at, calls, numbered, posts
from tests.scripted.server import (
    Connection,
    Request,
    ScriptedServer,
    drip_body,
    drip_head,
    drip_interim,
    echo,
    eventually,
    fin,
    then_fin,
)
from tests.stopwatch import Stopwatch

CALLERS = 8


def in_turns(
    door: Door, client: Any, ids: list[str], callers: int = CALLERS, **options: Any
) -> dict[str, Any]:
    """Callers that call again and again. What each id came to."""
    came: dict[str, Any] = {}
    if door.colour == "sync":

        def caller(mine: list[str]) -> None:
            for call_id in mine:
                try:
                    came[call_id] = client.predict(numbered(call_id), **options)
                except Exception as error:  # noqa: BLE001 - an outcome like any other here
                    came[call_id] = error

        threads = [threading.Thread(target=caller, args=(ids[n::callers],)) for n in range(callers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return came

    async def task(mine: list[str]) -> None:
        for call_id in mine:
            try:
                came[call_id] = await client.predict(numbered(call_id), **options)
            except Exception as error:  # noqa: BLE001 - as above
                came[call_id] = error

    async def scenario() -> None:
        await asyncio.gather(*(task(ids[n::callers]) for n in range(callers)))

    door.run(scenario())
    return came


@pytest.mark.parametrize("callers", [1, CALLERS])
def test_T2a_a_fin_after_each_reply_is_nobodys_error(door: Door, callers: int) -> None:
    ids = [str(n) for n in range(1000)]
    with ScriptedServer(calls(then_fin(echo()))) as server:
        client = door.open("m", at(server))
        came = in_turns(door, client, ids, callers)
        assert errors(came.values()) == []
        assert [came[n].predictions for n in ids] == [[n] for n in ids]
        assert [server.processed[n] for n in ids] == [1] * len(ids)


@pytest.mark.parametrize("callers", [1, CALLERS])
def test_T2a_a_fin_after_each_reply_costs_few_resends(door: Door, callers: int) -> None:
    ids = [str(n) for n in range(1000)]
    with ScriptedServer(calls(then_fin(echo()))) as server:
        came = in_turns(door, door.open("m", at(server)), ids, callers)
        sends = sum(len(prediction.attempts) for prediction in came.values())
        assert sends <= 1.4 * len(ids)


def test_T2b_what_must_not_run_twice_does_not(door: Door) -> None:
    # half of the replies never come: the request ran, and the connection closed
    ids = [str(n) for n in range(400)]
    turns = itertools.cycle([then_fin(echo()), fin(), echo()])

    async def act(conn: Connection, request: Request) -> None:
        await next(turns)(conn, request)

    with ScriptedServer(calls(act)) as server:
        client = door.open("m", at(server))
        came = in_turns(door, client, ids, idempotent=False)
        failed = errors(came.values())
        assert failed, "the script does break calls"
        assert {(type(e), e.ambiguous) for e in failed} == {(ConnectionLost, True)}  # type: ignore[attr-defined]
        assert max(server.processed[n] for n in ids) == 1
        assert all(server.processed[n] == 1 for n in ids if isinstance(came[n], Prediction))


def test_T3_drips_end_at_the_deadline(door: Door) -> None:
    # per-read time-outs never fire on these: 30 of 30 must end in 1.00 to 1.25 s
    drips = [drip_body(0.2), drip_head(0.2), drip_interim(0.2)]

    async def act(conn: Connection, request: Request) -> None:
        if request.id == "healthy":
            await echo()(conn, request)
        else:
            await drips[int(request.id) % 3](conn, request)

    with ScriptedServer(calls(act)) as server:
        all_at_once = Settings(concurrency=Concurrency(initial_calls=30))
        client = door.open("m", at(server), all_at_once)
        assert door.predict(client, numbered("healthy")).predictions == ["healthy"]
        slow = ({"inputs": numbered(n), "timeout": 1.0} for n in range(30))
        with Stopwatch() as watch:
            outcomes = door.many(client, slow)
        assert {type(one) for one in outcomes} == {DeadlineExceeded}
        took = [one.elapsed_s for one in outcomes if isinstance(one, DeadlineExceeded)]
        assert min(took) >= 1.0  # type: ignore[type-var]
        assert max(took) <= 1.25 + watch.machine_s  # type: ignore[type-var, operator]
        assert len(posts(server)) == 1 + 30, "a slow answer is not asked for again"
        with Stopwatch() as watch:
            assert door.predict(client, numbered("healthy")).predictions == ["healthy"]
        assert watch.took_s <= 0.2
        server.wait_until(lambda: server.open_connections <= 1)
        assert "0 running, 0 waiting" in repr(client)


def test_T3_a_dripped_refusal_of_a_stream_ends_too(door: Door) -> None:
    # an error body that drips in place of a stream is part of the call, not of the stream
    body = b'{"message": "' + b"x" * 200 + b'"}'
    head = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(body)

    async def act(conn: Connection, request: Request) -> None:
        await conn.send(head)
        for byte in body:
            if not conn.open or conn.writer is None or conn.writer.is_closing():
                return
            await conn.send(bytes([byte]))
            await asyncio.sleep(0.1)

    with ScriptedServer(calls(act)) as server:
        client = door.open("m", at(server))
        # the head has said so, and the text is cut
        with Stopwatch() as watch, pytest.raises(BadRequest):
            door.events(client, numbered(1), timeout=0.5)
        assert watch.took_s <= 0.75


def test_T3_a_stalled_refusal_of_a_stream_ends_too(door: Door) -> None:
    async def act(conn: Connection, _request: Request) -> None:
        await conn.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 9\r\n\r\n{")
        await conn.gone()

    with ScriptedServer(calls(act)) as server:
        client = door.open("m", at(server), Settings(pool=Pool(stream_idle_s=1.2)))
        with Stopwatch() as watch, pytest.raises((BadRequest, DeadlineExceeded)):
            door.events(client, numbered(1), timeout=0.4)
        assert watch.took_s <= 0.65


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_T4_a_forked_client_serves_each_process_its_own(colour: str) -> None:
    # 4 children x 50 calls and 50 of the parent, over a client that was warm before the fork
    script = Path(__file__).parent / "forking.py"
    with ScriptedServer(calls(echo())) as server:
        host = at(server).host
        done = subprocess.run(
            [sys.executable, "-W", "error", str(script), colour, host, TOKEN],
            capture_output=True,
            text=True,
            timeout=15,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found == {"wrong": 0, "errors": 0, "right": 250}
        assert done.stderr == ""
        ids = [request.id for request in posts(server)]
        assert len(ids) == len(set(ids)) == 251
        assert len(server.connections) == 5, "the parent kept its own, each child made one"


def test_T5_one_client_over_20_loops() -> None:
    # warnings are errors here, so a leaked socket of a dead loop would fail this
    with ScriptedServer(calls(echo())) as server:
        who = at(server)
        client = AsyncServingClient("m", host=who.host, **who.arguments)
        for n in range(20):
            prediction = asyncio.run(client.predict(numbered(n)))
            assert prediction.predictions == [str(n)]
        asyncio.run(client.aclose())
        assert eventually(lambda: server.open_connections == 0)


def test_T5_a_busy_client_over_20_loops() -> None:
    # a queue on every loop: places must neither be lost nor multiply from one to the next
    settings = Settings(pool=Pool(max_lanes=2), close_timeout_s=3.0)
    with ScriptedServer(calls(echo())) as server:
        who = at(server)
        client = AsyncServingClient("m", host=who.host, **who.arguments, settings=settings)

        async def burst(start: int) -> list[Any]:
            ids = range(start, start + 10)
            done = await asyncio.gather(*(client.predict(numbered(n)) for n in ids))
            return [prediction.predictions[0] for prediction in done]

        for n in range(20):
            assert asyncio.run(burst(10 * n)) == [str(i) for i in range(10 * n, 10 * n + 10)]
            assert "0 running, 0 waiting" in repr(client)
            assert eventually(lambda: server.open_connections == 0), "the loop's end closed them"
        assert len(server.connections) <= 2 * 20 + 1
        with Stopwatch() as watch:
            asyncio.run(client.aclose())
        assert watch.took_s < 1.0


def test_T5_calls_that_a_loop_left_unfinished_hold_nothing() -> None:
    # a loop that is closed under its calls, as a crashed notebook cell leaves it
    settings = Settings(pool=Pool(max_lanes=1), timeout_s=5.0)
    with Emulator(tls=False) as emulator:
        client = AsyncServingClient(
            "demo", host=emulator.host, token=emulator.token, settings=settings
        )
        emulator.script("demo", faults.hang())
        loop = asyncio.new_event_loop()
        task = loop.create_task(client.predict([ROW]))
        loop.run_until_complete(asyncio.sleep(0))
        assert loop.run_until_complete(_arrived(loop, emulator))
        task.cancel()  # never run to its end
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

        async def burst() -> list[Any]:
            done = await asyncio.gather(*(client.predict([ROW]) for _ in range(4)))
            return [prediction.predictions[0] for prediction in done]

        assert asyncio.run(burst()) == [SUM] * 4
        assert "0 running, 0 waiting" in repr(client)
        asyncio.run(client.aclose())
        del task


async def _arrived(loop: asyncio.AbstractEventLoop, emulator: Emulator) -> bool:
    arrived = await loop.run_in_executor(
        None, emulator.wait_for, lambda: len(invocations(emulator)) == 1
    )
    await loop.shutdown_default_executor()
    return arrived


@pytest.mark.parametrize("lanes", [1, 32])
def test_T5_two_loops_at_once(lanes: int) -> None:
    # right answers, or one clear error before any byte; never a hang, never another's answer
    settings = Settings(pool=Pool(max_lanes=lanes), timeout_s=5.0)
    with ScriptedServer(calls(echo())) as server:
        who = at(server)
        client = AsyncServingClient("m", host=who.host, **who.arguments, settings=settings)
        asyncio.run(client.predict(numbered("warm")))
        both = threading.Barrier(2)
        came: dict[str, Any] = {}

        async def burst(name: str) -> None:
            both.wait(5.0)
            for n in range(25):
                ids = [f"{name}-{n}-{k}" for k in range(4)]
                done = await asyncio.gather(
                    *(client.predict(numbered(i)) for i in ids), return_exceptions=True
                )
                came.update(zip(ids, done, strict=True))

        threads = [
            threading.Thread(target=lambda name=name: asyncio.run(burst(name)))
            for name in ("a", "b")
        ]
        with Stopwatch() as watch:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(15.0)
        assert watch.took_s < 4.0, "a caller hung until its deadline"
        assert len(came) == 200
        for call_id, outcome in came.items():
            if isinstance(outcome, Prediction):
                assert outcome.predictions == [call_id]
            else:
                assert type(outcome) is WrongLoopError
                assert server.processed[call_id] == 0
        assert errors(came.values()) == [] or len(errors(came.values())) < 200
        asyncio.run(client.aclose())


@pytest.mark.parametrize("place", ["same", "other", "plain"])
def test_T10_no_redirect_is_followed(door: Door, place: str) -> None:
    # 307 and 308 would resend body and credential: 5 codes x 3 places, canary 0 connections
    with Emulator() as emulator, ScriptedServer(calls(echo())) as canary:
        settings = Settings(tls=Tls(ca_file=emulator.ca_file))
        client = door.open("demo", pat(emulator), settings)
        location = {
            "same": f"{emulator.host}/serving-endpoints/demo/invocations?again=1",
            "other": f"https://localhost:{canary.port}/x",
            "plain": f"http://127.0.0.1:{canary.port}/x",
        }[place]
        for count, status in enumerate((301, 302, 303, 307, 308), 1):
            emulator.script("demo", faults.redirect(location, status))
            with pytest.raises(UnexpectedRedirect) as caught:
                door.predict(client)
            assert caught.value.status_code == status
            assert len(caught.value.attempts) == 1
            assert "again=1" not in str(caught.value), "host only"
            assert len(invocations(emulator)) == count
        assert canary.connections == []
        assert door.predict(client).predictions == [SUM]
        door.close(client)
