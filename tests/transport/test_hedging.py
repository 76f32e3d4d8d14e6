"""Two requests for one call on real sockets: who wins, and that nothing is left of who loses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
import respx

from servingclient import AsyncServingClient, ConfigError, Hedge, ServingClient, Settings, Stats
from servingclient._ports import Hedged
from servingclient._types import FaultKind, WireFault
from servingclient.transport.async_hedging import TaskHedger
from servingclient.transport.hedging import LaneHedger
from tests.scripted.certificates import Authority
from tests.scripted.server import (
    Act,
    Connection,
    Request,
    ScriptedServer,
    echo,
    echo_after,
    eventually,
    fin,
    predictions,
    reply,
    silence,
    stall,
)
from tests.stopwatch import Stopwatch
from tests.transport.kit import (
    Driver,
    answer_of,
    body_of,
    facts,
    origin_of,
    settings_of,
    target_of,
)

AFTER_S = 0.05
HEDGERS = ("lane", "async_lane", "async_httpx")


class Always:
    """A second request that may always leave."""

    def __init__(self) -> None:
        self.asked = self.taken_back = 0

    def admitted(self) -> bool:
        self.asked += 1
        return True

    def unsent(self) -> None:
        self.taken_back += 1


class Never(Always):
    def admitted(self) -> bool:
        super().admitted()
        return False


class Hedger:
    """Drives the hedger of one wire."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver
        self._hedger = (TaskHedger if driver.is_async else LaneHedger)(driver.wire)

    async def calling(
        self, server: ScriptedServer, body: bytes, timeout_s: float, after_s: float, second: Always
    ) -> Hedged:
        return await self._hedger.send(
            target_of(server),
            body,
            time.monotonic() + timeout_s,
            max_idle_s=float("inf"),
            after_s=after_s,
            second=second,
        )

    def send(
        self,
        server: ScriptedServer,
        body: bytes = b"{}",
        timeout_s: float = 5.0,
        after_s: float = AFTER_S,
        second: Always | None = None,
    ) -> Hedged:
        calling = self.calling(server, body, timeout_s, after_s, second or Always())
        came = self.driver.run(calling)
        self.driver.settle()
        return came

    def fault(self, server: ScriptedServer, **options: Any) -> WireFault:
        with pytest.raises(WireFault) as caught:
            self.send(server, **options)
        self.driver.settle()
        return caught.value


@pytest.fixture(params=HEDGERS)
def hedger(request: pytest.FixtureRequest) -> Iterator[Hedger]:
    driver = Driver(request.param, Settings())
    yield Hedger(driver)
    driver.close()


@pytest.fixture(params=HEDGERS[:2])
def lane_hedger(request: pytest.FixtureRequest) -> Iterator[Hedger]:
    driver = Driver(request.param, Settings())
    yield Hedger(driver)
    driver.close()


def in_turn(*acts: Act) -> Act:
    """An answer for each request, in the order in which they come; the last repeats."""
    left = list(acts)

    async def act(conn: Connection, request: Request) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(conn, request)

    return act


def answering(status: str, after_s: float = 0.0) -> Act:
    async def act(conn: Connection, request: Request) -> None:
        await asyncio.sleep(after_s)
        conn.processed(request)
        await conn.send(reply(b"{}", status=status))

    return act


# -- who wins -------------------------------------------------------------------------------------


def test_a_late_reply_is_overtaken_by_the_second_request(hedger: Hedger):
    with ScriptedServer(in_turn(stall(), echo())) as server:
        with Stopwatch() as watch:
            came = hedger.send(server, body_of("x"))
        assert watch.elapsed_s > AFTER_S
        assert watch.took_s < 1.0
        assert answer_of(came.reply) == "x"
        assert (came.won, came.other) == (True, None)
        assert server.processed["x"] == 2


def test_the_first_may_still_win(hedger: Hedger):
    with ScriptedServer(in_turn(echo_after(3 * AFTER_S), stall())) as server:
        came = hedger.send(server, body_of("x"))
        assert answer_of(came.reply) == "x"
        assert (came.won, len(server.requests)) == (False, 2)


def test_a_reply_in_time_is_asked_for_once(hedger: Hedger):
    with ScriptedServer(echo()) as server:
        second = Always()
        came = hedger.send(server, body_of("x"), after_s=3.0, second=second)
        assert answer_of(came.reply) == "x"
        assert second.asked == 0
        assert len(server.connections) == 1


def test_one_that_may_not_be_sent_is_waited_for_alone(hedger: Hedger):
    with ScriptedServer(echo_after(3 * AFTER_S)) as server:
        second = Never()
        assert answer_of(hedger.send(server, body_of("x"), second=second).reply) == "x"
        assert (second.asked, len(server.requests)) == (1, 1)


@pytest.mark.parametrize("status", ["500 Oops", "503 Busy", "429 Slow down"])
def test_a_reply_about_the_endpoint_waits_for_the_other(hedger: Hedger, status: str):
    both_came, first_told = asyncio.Event(), asyncio.Event()

    async def first(conn: Connection, request: Request) -> None:
        await both_came.wait()
        await answering(status)(conn, request)
        first_told.set()

    async def other(conn: Connection, request: Request) -> None:
        both_came.set()
        await first_told.wait()
        await echo_after(2 * AFTER_S)(conn, request)

    with ScriptedServer(in_turn(first, other)) as server:
        came = hedger.send(server, body_of("x"))
        assert answer_of(came.reply) == "x"
        assert came.won
        assert came.other is not None
        assert came.other.status == int(status[:3])


def test_a_reply_about_the_request_does_not(hedger: Hedger):
    with ScriptedServer(in_turn(answering("400 Bad", 2 * AFTER_S), stall())) as server:
        came = hedger.send(server)
        assert (came.reply.status, came.won) == (400, False)


def test_a_first_that_fails_before_the_delay_is_not_sent_again(hedger: Hedger):
    with ScriptedServer(answering("500 Oops")) as server:
        second = Always()
        assert hedger.send(server, after_s=3.0, second=second).reply.status == 500
        assert second.asked == 0


def test_a_connection_that_breaks_waits_for_the_other(hedger: Hedger):
    async def break_late(conn: Connection, request: Request) -> None:
        await asyncio.sleep(2 * AFTER_S)
        conn.rst()

    with ScriptedServer(in_turn(break_late, echo_after(3 * AFTER_S))) as server:
        assert answer_of(hedger.send(server, body_of("x")).reply) == "x"
    with ScriptedServer(in_turn(echo_after(3 * AFTER_S), fin())) as server:
        assert answer_of(hedger.send(server, body_of("y")).reply) == "y"


def test_when_both_break_the_first_says_why(hedger: Hedger):
    async def break_late(conn: Connection, request: Request) -> None:
        await asyncio.sleep(2 * AFTER_S)
        conn.rst()

    with ScriptedServer(in_turn(break_late, fin())) as server:
        assert facts(hedger.fault(server)) == (FaultKind.CUT_OFF, "maybe")
        assert hedger.driver.in_use() == 0


def test_both_end_at_the_deadline(hedger: Hedger):
    with ScriptedServer(stall()) as server:
        with Stopwatch() as watch:
            assert facts(hedger.fault(server, timeout_s=0.3)) == (FaultKind.TIMEOUT, "maybe")
        assert watch.elapsed_s > 0.29
        assert watch.took_s < 0.6
        assert len(server.requests) == 2
        assert eventually(lambda: hedger.driver.settle() or hedger.driver.in_use() == 0)


# -- what is left of who loses --------------------------------------------------------------------


def test_the_lane_of_who_loses_is_closed_and_never_used_again(lane_hedger: Hedger):
    late = 6 * AFTER_S
    with ScriptedServer(in_turn(echo_after(late), echo())) as server:
        lane_hedger.send(server, body_of("x"))
        server.wait_until(lambda: not server.connections[0].open)
        for n in range(20):
            came = lane_hedger.send(server, body_of(n))
            assert answer_of(came.reply) == str(n)
        assert len(server.connections) == 2
        assert len(server.connections[0].requests) == 1
        stats = lane_hedger.driver.wire.pool.stats()
        assert (stats.busy, stats.idle, stats.desyncs) == (0, 1, 0)


def test_no_replies_are_crossed(lane_hedger: Hedger):
    """Every third call is late, each at another moment around the delay."""
    late = {str(n): AFTER_S * (0.8 + n % 10 / 20) for n in range(0, 90, 3)}

    async def act(conn: Connection, request: Request) -> None:
        await asyncio.sleep(late.pop(request.id, 0.0))
        conn.processed(request)
        await conn.send(predictions(request))

    with ScriptedServer(act) as server:
        driver = lane_hedger.driver

        async def call(n: int) -> bool:
            came = await lane_hedger.calling(server, body_of(n), 5.0, AFTER_S, Always())
            return answer_of(came.reply) == str(n)

        if driver.is_async:

            async def all_at_once() -> list[bool]:
                return await asyncio.gather(*map(call, range(90)))

            right = driver.run(all_at_once())
        else:
            with ThreadPoolExecutor(9) as threads:
                right = list(threads.map(lambda n: driver.run(call(n)), range(90)))
        driver.settle()
        assert all(right)
        assert driver.in_use() == 0
        assert len(server.requests) > 90


@pytest.mark.parametrize("name", HEDGERS[1:])
def test_a_cancelled_call_ends_both(name: str):
    driver = Driver(name, Settings())
    hedger = Hedger(driver)
    with ScriptedServer(stall()) as server:

        async def cancelled() -> None:
            calling = asyncio.ensure_future(hedger.calling(server, b"{}", 5.0, AFTER_S, Always()))
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(None, server.wait_until, lambda: len(server.requests) == 2)
            calling.cancel()
            with pytest.raises(asyncio.CancelledError):
                await calling

        driver.run(cancelled())
        server.wait_until(lambda: server.open_connections == 0)
        assert eventually(lambda: driver.settle() or driver.in_use() == 0)
        driver.close()


def test_closing_the_client_ends_both(lane_hedger: Hedger):
    driver = lane_hedger.driver
    with ScriptedServer(stall()) as server:

        def close_under_way() -> None:
            server.wait_until(lambda: len(server.requests) == 2)
            if driver.loop is None:
                driver.wire.close()
            else:
                driver.loop.call_soon_threadsafe(driver.wire.pool.abort_all)

        closing = threading.Thread(target=close_under_way)
        closing.start()
        fault = lane_hedger.fault(server)
        closing.join(5)
        assert facts(fault) == (FaultKind.CLOSED, "maybe")
        assert driver.in_use() == 0
        server.wait_until(lambda: server.open_connections == 0)


def test_an_interrupt_ends_both():
    driver = Driver("lane", Settings())
    hedger = Hedger(driver)

    class Interrupt(Always):
        def admitted(self) -> bool:
            raise KeyboardInterrupt

    with ScriptedServer(stall()) as server:
        with pytest.raises(KeyboardInterrupt):
            hedger.send(server, second=Interrupt())
        assert driver.in_use() == 0
        server.wait_until(lambda: server.open_connections == 0)
    driver.close()


# -- the second lane ------------------------------------------------------------------------------


def test_a_second_lane_that_does_not_open_keeps_the_first_reply_waiting_a_moment(
    authority: Authority,
):
    async def hang_second(conn: Connection) -> None:
        if conn.number == 1:
            await silence(conn)

    driver = Driver("lane", settings_of(ca_file=authority.ca_file))
    hedger = Hedger(driver)
    act = echo_after(2 * AFTER_S)
    with ScriptedServer(act, tls=authority.good(), before_tls=hang_second) as server:
        with Stopwatch() as watch:
            assert answer_of(hedger.send(server, body_of("x")).reply) == "x"
        assert watch.took_s < 1.0  # of the 5 that it might take
        assert driver.in_use() == 0
    driver.close()


def test_a_second_upload_nobody_reads_keeps_the_first_reply_waiting_a_moment():
    async def deaf_second(conn: Connection) -> None:
        if conn.number == 1:
            conn.writer.transport.pause_reading()
            await asyncio.sleep(60)

    driver = Driver("lane", Settings())
    hedger = Hedger(driver)
    with ScriptedServer(echo_after(2 * AFTER_S), greeting=deaf_second) as server:
        with Stopwatch() as watch:
            body = body_of("x") + b" " * (16 << 20)
            assert answer_of(hedger.send(server, body, timeout_s=10.0).reply) == "x"
        assert watch.took_s < 3.0  # of the 10 that it might take
        assert driver.in_use() == 0
    driver.close()


def test_a_lane_opened_in_vain_is_kept(authority: Authority):
    """The first reply comes while the second lane is dialled: nothing is sent twice."""

    async def slow_second(conn: Connection) -> None:
        if conn.number == 1:
            await asyncio.sleep(2 * AFTER_S)

    driver = Driver("lane", settings_of(ca_file=authority.ca_file))
    hedger = Hedger(driver)
    act = in_turn(echo_after(2 * AFTER_S), echo())
    with ScriptedServer(act, tls=authority.good(), before_tls=slow_second) as server:
        second = Always()
        came = hedger.send(server, body_of("x"), second=second)
        assert (answer_of(came.reply), came.won) == ("x", False)
        assert (second.asked, second.taken_back) == (1, 1)
        assert len(server.requests) == 1
        assert driver.wire.pool.stats().idle == 2
        assert answer_of(hedger.send(server, body_of("y")).reply) == "y"
    driver.close()


def test_a_warm_lane_is_used_if_there_is_one(lane_hedger: Hedger):
    with ScriptedServer(in_turn(stall(), echo())) as server:
        driver = lane_hedger.driver
        driver.run(driver.wire.warm(origin_of(server), 2, time.monotonic() + 5))
        assert answer_of(lane_hedger.send(server, body_of("x")).reply) == "x"
        assert len(server.connections) == 2


# -- as a user meets it ---------------------------------------------------------------------------

CALLS, WARM_UP = 400, 100
SLOW_S = 0.5


def stragglers() -> Act:
    """Every 50th call meets a slow replica, once."""
    seen: set[str] = set()

    async def act(conn: Connection, request: Request) -> None:
        slow = request.id not in seen and int(request.id) % 50 == 0
        seen.add(request.id)
        await asyncio.sleep(SLOW_S if slow else 0.002)
        conn.processed(request)
        await conn.send(predictions(request))

    return act


def score_all(colour: str, host: str, settings: Settings) -> tuple[list[float], Stats]:
    """Seconds each call took, eight at a time, and what the client counted."""
    took = [0.0] * CALLS

    def inputs(n: int) -> dict[str, Any]:
        return {"inputs": [1], "id": str(n)}

    if colour == "sync":
        with ServingClient("m", host=host, token="t", settings=settings) as client:

            def call(n: int) -> None:
                started = time.monotonic()
                assert client.predict(inputs(n)).predictions == [str(n)]
                took[n] = time.monotonic() - started

            with ThreadPoolExecutor(8) as threads:
                list(threads.map(call, range(CALLS)))
            return took, client.stats()

    async def main() -> Stats:
        async with AsyncServingClient("m", host=host, token="t", settings=settings) as client:
            numbers = iter(range(CALLS))

            async def caller() -> None:
                for n in numbers:
                    started = time.monotonic()
                    assert (await client.predict(inputs(n))).predictions == [str(n)]
                    took[n] = time.monotonic() - started

            await asyncio.gather(*(caller() for _ in range(8)))
            return client.stats()

    return took, asyncio.run(main())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_hedging_takes_the_tail_off_for_a_twentieth_more_requests(colour: str):
    p99 = {}
    for hedge in (None, Hedge()):
        settings = Settings(hedge=hedge, describe=False)
        with ScriptedServer(stragglers()) as server, Stopwatch() as watch:
            took, stats = score_all(colour, f"http://127.0.0.1:{server.port}", settings)
            known = sorted(took[WARM_UP:])
            p99[hedge] = known[int(0.99 * len(known)) - 1]
            extra = len(server.requests) - CALLS
        if hedge is None:
            assert (stats.hedging, extra) == (None, 0)
        else:
            assert stats.hedging is not None
            assert 0 < stats.hedging.wins <= stats.hedging.hedges <= 0.05 * CALLS
            assert extra <= stats.hedging.hedges
            assert stats.hedging.calls == CALLS
        assert stats.concurrency.in_flight == 0
        assert stats.retry_quota == 500
    assert p99[None] >= SLOW_S
    assert p99[Hedge()] < p99[None] / 3 + watch.machine_s


@pytest.mark.parametrize("over", ["transport", "proxy"])
def test_a_blocking_client_hedges_over_its_own_connections_only(over: str):
    options: dict[str, Any] = {"settings": Settings(hedge=Hedge())}
    if over == "transport":
        options["transport"] = httpx.MockTransport(lambda _: httpx.Response(200))
    else:
        options["settings"] = Settings(hedge=Hedge(), proxy="http://127.0.0.1:1")
    with pytest.raises(ConfigError, match="AsyncServingClient"):
        ServingClient("m", host="http://127.0.0.1:1", token="t", **options)


async def test_an_async_client_hedges_over_a_transport_too():
    settings = Settings(hedge=Hedge(min_samples=1, max_share=1.0), describe=False)
    with ScriptedServer(in_turn(echo(), stall(), echo())) as server:
        async with AsyncServingClient(
            "m",
            host=f"http://127.0.0.1:{server.port}",
            token="t",
            settings=settings,
            transport=httpx.AsyncHTTPTransport(),
        ) as client:
            for n in ("1", "2"):
                assert (await client.predict({"inputs": [1], "id": n})).predictions == [n]
            hedging = client.stats().hedging
            assert hedging is not None
            assert (hedging.calls, hedging.hedges, hedging.wins) == (2, 1, 1)


def test_mocks_of_httpx_see_one_request(respx_mock: respx.MockRouter):
    route = respx_mock.post().respond(200, json={"predictions": [1]})
    settings = Settings(hedge=Hedge(min_samples=1, max_share=1.0), describe=False)
    with ServingClient("m", host="http://127.0.0.1:1", token="t", settings=settings) as client:
        for _ in range(3):
            assert client.predict([[1.0]]).predictions == [1]
    assert route.call_count == 3
