"""T15: closing while calls run. Every call ends, none hangs, and nothing runs on."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from servingclient import (
    ClientClosedError,
    ConnectionFailed,
    Prediction,
    ServingError,
    Settings,
    StreamError,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Concurrency, Pool, Retry
from tests.doors.kit import ROW, Door, Who, errors, invocations, pat, principal
from tests.scripted.server import Blackhole, eventually, eventually_async
from tests.stopwatch import Stopwatch

CALLS = 64
CHAT = {"messages": "hello there"}


def run_and_close(
    door: Door, client: Any, emulator: Emulator, seen: int
) -> tuple[list[Prediction | BaseException], float]:
    """64 calls, closed once ``seen`` have arrived; how they ended, and how long closing took."""
    took: list[float] = []

    def close_now() -> None:
        assert emulator.wait_for(lambda: len(invocations(emulator)) >= seen)
        with Stopwatch() as watch:
            client.close()
        took.append(watch.took_s)

    calls = ({"inputs": [ROW]} for _ in range(CALLS))
    if door.colour == "sync":
        outcomes = door.many(client, calls, close_now)
        return outcomes, took[0]

    async def scenario() -> tuple[list[Prediction | BaseException], float]:
        import asyncio

        tasks = [asyncio.ensure_future(client.predict(**one)) for one in calls]
        loop = asyncio.get_running_loop()
        arrived = await loop.run_in_executor(
            None, emulator.wait_for, lambda: len(invocations(emulator)) >= seen
        )
        assert arrived
        with Stopwatch() as watch:
            await client.aclose()
        return await asyncio.gather(*tasks, return_exceptions=True), watch.took_s

    result: tuple[list[Prediction | BaseException], float] = door.run(scenario())
    return result


def test_T15_calls_that_end_in_time_are_waited_for(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator), Settings(concurrency=Concurrency(initial_calls=64)))
    door.predict(client)
    emulator.always("demo", faults.slow(0.3))
    outcomes, took_s = run_and_close(door, client, emulator, 1 + CALLS)
    assert errors(outcomes) == []
    assert took_s < 5.0


def test_T15_calls_that_do_not_end_get_told(door: Door, emulator: Emulator) -> None:
    # 32 in flight and 32 waiting: all end in a result or ClientClosedError, 0 hang
    limit = Concurrency(initial_calls=32)
    client = door.open("demo", pat(emulator), Settings(close_timeout_s=0.3, concurrency=limit))
    door.predict(client)
    emulator.always("demo", faults.hang())
    outcomes, took_s = run_and_close(door, client, emulator, 1 + 32)
    assert {type(one) for one in outcomes} == {ClientClosedError}
    assert took_s <= 0.3 + 0.25
    again = [one.attempts for one in outcomes if len(one.attempts) != 1]  # type: ignore[union-attr]
    assert again == [], "nobody was sent twice"
    queued = [one for one in outcomes if not one.attempts[-1].status and one.sent == "no"]  # type: ignore[union-attr]
    assert len(queued) == 32, "those that waited were not sent"
    assert len(invocations(emulator)) == 33
    assert emulator.wait_for(lambda: emulator.open_connections["workspace"] == 0)


def test_T15_a_call_after_close_is_refused(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    copy = client.with_options(timeout_s=2.0)
    door.predict(client)
    door.close(client)
    for one in (client, copy):
        with pytest.raises(ClientClosedError):
            door.predict(one)
        with pytest.raises(ClientClosedError):
            door.events(one, CHAT)
        with pytest.raises(ClientClosedError):
            door.run(one.warmup())
    door.close(client)
    assert len(invocations(emulator)) == 1
    assert emulator.wait_for(lambda: emulator.open_connections["workspace"] == 0)


def test_T15_a_client_never_used_closes(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    door.close(client)
    with pytest.raises(ClientClosedError):
        door.predict(client)
    with pytest.raises(ClientClosedError):
        door.run(client.warmup())
    assert emulator.requests == []
    assert emulator.connections["workspace"] == 0


def test_T15_closing_waits_for_no_backoff(door: Door, emulator: Emulator) -> None:
    retry = Retry(throttled_base_s=30.0, backoff_cap_s=30.0, jitter=0.0)
    settings = Settings(retry=retry, timeout_s=60.0, close_timeout_s=3.0)
    client = door.open("demo", pat(emulator), settings)
    emulator.always("demo", faults.throttled())
    ended: list[BaseException] = []

    if door.colour == "sync":

        def call() -> None:
            with pytest.raises(ClientClosedError) as caught:
                client.predict([ROW])
            ended.append(caught.value)

        thread = threading.Thread(target=call)
        thread.start()
        assert emulator.wait_for(lambda: len(invocations(emulator)) == 1)
        with Stopwatch() as watch:
            client.close()
            thread.join(5.0)
    else:

        async def scenario() -> None:
            import asyncio

            task = asyncio.ensure_future(client.predict([ROW]))
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(
                None, emulator.wait_for, lambda: len(invocations(emulator)) == 1
            )
            await client.aclose()
            with pytest.raises(ClientClosedError) as caught:
                await task
            ended.append(caught.value)

        with Stopwatch() as watch:
            door.run(scenario())
    assert len(ended) == 1
    assert watch.took_s < 2.0
    assert len(invocations(emulator)) == 1


def test_T15_an_open_stream_ends_with_the_client(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("agent", kind="agent", stream_interval_s=30.0)
    client = door.open("agent", pat(emulator), Settings(close_timeout_s=0.1))
    if door.colour == "sync":
        stream = client.stream(CHAT)
        next(stream)
        with Stopwatch() as watch:
            client.close()
            with pytest.raises(StreamError, match="closed"):
                next(stream)
    else:

        async def scenario() -> None:
            stream = await client.stream(CHAT)
            await stream.__anext__()
            await client.aclose()
            with pytest.raises(StreamError, match="closed"):
                await stream.__anext__()

        with Stopwatch() as watch:
            door.run(scenario())
    assert watch.took_s < 1.0
    assert client._parts.gate.inside == 0


def test_T15_calls_that_are_connecting_end_too(door: Door) -> None:
    # to a host that swallows connections
    settings = Settings(close_timeout_s=0.1, pool=Pool(connect_timeout_s=0.5))
    with Blackhole() as hole:
        who = Who(f"http://127.0.0.1:{hole.port}", {"token": "dapi001122"})
        client = door.open("demo", who, settings)
        closed_s: list[float] = []
        ended: list[tuple[type, float]] = []
        if door.colour == "sync":

            def call() -> None:
                with pytest.raises(ServingError) as caught:
                    client.predict([ROW])
                ended.append((caught.type, time.monotonic()))

            threads = [threading.Thread(target=call) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert eventually(lambda: client._parts.gate.inside == 4)
            closed_s.append(time.monotonic())
            client.close()
            for thread in threads:
                thread.join(8.0)
        else:

            async def scenario() -> None:
                import asyncio

                async def call() -> None:
                    with pytest.raises(ServingError) as caught:
                        await client.predict([ROW])
                    ended.append((caught.type, time.monotonic()))

                tasks = [asyncio.ensure_future(call()) for _ in range(4)]
                assert await eventually_async(lambda: client._parts.gate.inside == 4)
                closed_s.append(time.monotonic())
                await client.aclose()
                await asyncio.gather(*tasks)

            door.run(scenario())
        assert [kind for kind, _ in ended] == [ClientClosedError] * 4
        assert max(at_s for _, at_s in ended) - closed_s[0] <= 0.1 + 0.25


def test_T15_calls_waiting_for_a_login_end_too(door: Door, emulator: Emulator) -> None:
    client = door.open("demo-fast", principal(emulator), Settings(close_timeout_s=0.2))
    emulator.token_always(faults.hang())
    ended: list[BaseException] = []
    with Stopwatch() as watch:
        if door.colour == "sync":

            def call() -> None:
                with pytest.raises((ClientClosedError, ConnectionFailed)) as caught:
                    client.predict([ROW])
                ended.append(caught.value)

            threads = [threading.Thread(target=call) for _ in range(4)]
            for thread in threads:
                thread.start()
            assert emulator.wait_for(lambda: emulator.token_requests == 1)
            client.close()
            for thread in threads:
                thread.join(5.0)
        else:

            async def scenario() -> None:
                import asyncio

                tasks = [asyncio.ensure_future(client.predict([ROW])) for _ in range(4)]
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(
                    None, emulator.wait_for, lambda: emulator.token_requests == 1
                )
                await client.aclose()
                ended.extend(await asyncio.gather(*tasks, return_exceptions=True))  # type: ignore[arg-type]

            door.run(scenario())
        assert [type(one) for one in ended] == [ClientClosedError] * 4
    assert watch.took_s < 0.2 + 0.25 + 0.5
