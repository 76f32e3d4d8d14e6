"""From the start of a service to its end: clients, probes, drain."""

import asyncio
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, cast

import pytest
from fastapi import Depends, FastAPI

from servingclient import (
    AsyncServingClient,
    ConcurrencyStats,
    ConfigError,
    ConnectionFailed,
    Settings,
    Stats,
    Token,
    TokenStats,
)
from servingclient.emulator import Emulator, faults
from servingclient.integrations.fastapi import Drain, Serving, readiness
from servingclient.integrations.fastapi import serving as serving_module
from tests.services.kit import NO_NOTICE, ROW, RawRequest, calling, making, scoring, service

# ---------------------------------------------------------------- clients


async def test_each_endpoint_has_its_client(emulator: Emulator) -> None:
    emulator.add_endpoint("double", lambda rows: [2 * row["a"] for row in rows])
    serving = Serving(making(emulator), making(emulator, "double"))
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app)

    @app.get("/both")
    async def both(
        one: Annotated[AsyncServingClient, Depends(serving.client("demo"))],
        two: Annotated[AsyncServingClient, Depends(serving.client("double"))],
    ) -> list[Any]:
        return [(await model.predict([{"a": 2.0, "b": 1.0}])).predictions for model in (one, two)]

    async with calling(app) as caller:
        assert (await caller.get("/both")).json() == [[3.0], [4.0]]
        ready = (await caller.get("/readyz")).json()
    assert ready == {"ready": True, "endpoints": {"demo": "ready", "double": "ready"}}


async def test_a_name_is_enough(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    # unified authentication would take two seconds to import; the page's examples run on it
    who = {"host": emulator.host, "token": emulator.token}
    monkeypatch.setattr(serving_module, "AsyncServingClient", partial(AsyncServingClient, **who))
    async with calling(scoring(Serving("demo"))) as caller:
        assert (await caller.post("/score", json=[ROW])).json() == [3.0]


async def test_a_service_may_start_again(emulator: Emulator) -> None:
    app = scoring(Serving(making(emulator)))
    for _ in range(2):
        async with calling(app) as caller:
            assert (await caller.post("/score", json=[ROW])).json() == [3.0]
            assert (await caller.get("/readyz")).status_code == 200


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda _: Serving(), "names? an endpoint|name an endpoint"),
        (lambda _: Serving(3), "functions that make a client, not int"),
        (lambda e: Serving(making(e), making(e, "other")).client(), "say which"),
        (lambda _: Drain(notice_s=9.0, within_s=3.0), r"within_s is 3 and notice_s 9"),
        (lambda _: Drain(notice_s=-1.0), "at least 0"),
        (lambda _: Drain(notise_s=1.0), "Did you mean 'notice_s'"),
    ],
)
def test_what_cannot_be_is_told_at_once(emulator: Emulator, make: Any, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        make(emulator)


@pytest.mark.parametrize(
    ("clients", "wanted", "text"),
    [(["demo"], "dmo", "depends on 'dmo', and Serving has 'demo'"), (["demo"] * 2, None, "two")],
)
async def test_what_cannot_start_does_not(
    emulator: Emulator, clients: list[str], wanted: str | None, text: str
) -> None:
    serving = Serving(*(making(emulator, name) for name in clients))
    if wanted is not None:
        serving.client(wanted)
    with pytest.raises(ConfigError, match=text):
        async with serving.lifespan():
            pass


async def test_an_app_without_its_lifespan_is_told(
    emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    app = scoring(Serving(making(emulator)))
    request = RawRequest()
    await request.to(app)
    assert request.status == 500
    assert "give the app lifespan=serving.lifespan" in caplog.text


# ---------------------------------------------------------------- probes


async def test_probes_ask_nobody(emulator: Emulator) -> None:
    async with service(emulator) as caller:
        before = len(emulator.requests)
        for _ in range(50):
            assert (await caller.get("/readyz")).status_code == 200
            assert (await caller.get("/livez")).json() == {"alive": True}
        assert len(emulator.requests) == before
        # those who share an endpoint do not leave their callers together when it fails
        emulator.always("demo", faults.reset())
        assert (await caller.post("/score", json=[ROW])).status_code == 502
        assert (await caller.get("/readyz")).status_code == 200


async def test_a_service_that_cannot_get_ready_starts_and_says_so(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    emulator.token_always(faults.html(503))
    secret = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
    settings = Settings(token=Token(cooldown_s=0.001))
    make = partial(AsyncServingClient, "demo", host=emulator.host, settings=settings, **secret)
    monkeypatch.setattr(readiness, "AGAIN_S", 60.0)
    async with calling(scoring(Serving(make, warmup_s=1.0))) as caller:
        asked = len(emulator.requests)
        for _ in range(20):
            reply = await caller.get("/readyz")
            assert reply.status_code == 503
            assert reply.json() == {"ready": False, "endpoints": {"demo": "TokenRefreshError"}}
        assert (await caller.get("/livez")).status_code == 200
        assert len(emulator.requests) == asked
        emulator.token_always(None)
        monkeypatch.setattr(readiness, "AGAIN_S", 0.0)
        assert (await caller.get("/readyz")).status_code == 200
        assert (await caller.post("/score", json=[ROW])).status_code == 200


async def test_a_probe_waits_for_no_more_than_half_a_second(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "AGAIN_S", 0.0)
    monkeypatch.setattr(readiness, "_PROBE_S", 0.05)
    begun: list[float | None] = []

    class Slow(AsyncServingClient):
        async def warmup(self, *, timeout: float | None = None) -> None:
            begun.append(timeout)
            if len(begun) == 1:
                raise ConnectionFailed("at the start")
            await asyncio.Event().wait()

    make = partial(Slow, "demo", host=emulator.host, token=emulator.token)
    async with calling(scoring(Serving(make, warmup_s=7.0))) as caller:
        replies = await asyncio.gather(*(caller.get("/readyz") for _ in range(10)))
        assert {reply.status_code for reply in replies} == {503}
        assert replies[0].json()["endpoints"] == {"demo": "ConnectionFailed"}
    assert begun == [7.0, 7.0]  # at the start, and once for ten probes


async def test_a_token_is_renewed_for_probes_where_no_call_does(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readiness, "AGAIN_S", 0.0)
    monkeypatch.setattr(readiness, "_PROBE_S", 10.0)
    emulator.token_ttl_s = 1.0
    secret = {"client_id": emulator.client_id, "client_secret": emulator.client_secret}
    make = partial(AsyncServingClient, "demo", host=emulator.host, **secret)
    async with calling(scoring(Serving(make))) as caller:
        first = emulator.token_requests
        while emulator.token_requests == first:
            assert (await caller.get("/readyz")).status_code == 200
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("left_s", "warmups"), [(None, 0), (90.0, 0), (30.0, 1)])
async def test_a_token_near_its_end_is_renewed_behind_the_probe(
    left_s: float | None, warmups: int
) -> None:
    begun: list[float] = []

    class Idle:
        endpoint = "demo"

        def stats(self) -> Stats:
            return Stats("demo", ConcurrencyStats(4, 0, 0), 0, token=TokenStats(1.0, left_s))

        async def warmup(self, *, timeout: float) -> None:
            begun.append(timeout)
            await asyncio.Event().wait()

    watched = readiness.Readiness(cast("AsyncServingClient", Idle()), 7.0)
    assert [await watched.why_not() for _ in range(3)] == [None] * 3
    await asyncio.sleep(0)
    assert begun == [7.0] * warmups
    await watched.close()


async def test_other_paths_or_none(emulator: Emulator) -> None:
    serving = Serving(making(emulator))
    app = FastAPI(lifespan=serving.lifespan)
    serving.install(app, livez=None, readyz="/health/ready")
    async with calling(app) as caller:
        assert (await caller.get("/health/ready")).status_code == 200
        assert (await caller.get("/livez")).status_code == 404


# ---------------------------------------------------------------- the end


@contextmanager
def server_listens() -> Iterator[tuple[list[int], asyncio.Event]]:
    """A server's own handler of SIGTERM: what it was told, and that it was."""
    heard: list[int] = []
    told = asyncio.Event()

    def hear(number: int, _frame: object) -> None:
        heard.append(number)
        told.set()

    before = signal.signal(signal.SIGTERM, hear)
    try:
        yield heard, told
    finally:
        signal.signal(signal.SIGTERM, before)


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
async def due(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, Any]]:
    """What a service that ends has set its alarm for, with seconds from the signal."""
    loop = asyncio.get_running_loop()
    call_later = loop.call_later
    found: list[tuple[float, Any]] = []

    def noted(delay_s: float, callback: Any, *given: Any) -> asyncio.TimerHandle:
        if delay_s > 600.0:
            found.append((delay_s, callback))
        return call_later(delay_s, callback, *given)

    monkeypatch.setattr(loop, "call_later", noted)
    return found


async def test_sigterm_drains(emulator: Emulator, due: list[tuple[float, Any]]) -> None:
    app = scoring(Serving(making(emulator), drain=Drain(notice_s=1000.0, within_s=2000.0)))
    with server_listens() as (heard, told):
        async with calling(app) as caller:
            emulator.always("demo", faults.slow(0.2))
            begun = asyncio.create_task(caller.post("/score", json=[ROW]))
            await asyncio.to_thread(emulator.wait_for, lambda: bool(emulator.executions("demo")))
            terminate()
            terminate()  # a second one changes nothing
            while (reply := await caller.get("/readyz")).status_code == 200:
                pass  # signals are heard between two steps
            assert reply.json() == {"ready": False, "endpoints": {"demo": "ending"}}
            assert heard == []
            late = await caller.post("/score", json=[ROW])  # load balancers have not heard yet
            assert (late.status_code, late.headers["connection"]) == (200, "close")
            assert (await begun).status_code == 200
            (notice_s, pass_on), (within_s, _) = due  # the second signal set no further one
            assert (notice_s, within_s) == (1000.0, 2000.0)
            pass_on()
            await told.wait()
            assert heard == [signal.SIGTERM]
            refused = await caller.post("/score", json=[ROW])
            assert refused.status_code == 503
            assert refused.headers["retry-after"] == "1"
            assert refused.json()["sent"] == "no"
            assert (await caller.get("/livez")).status_code == 200


async def test_what_does_not_end_is_ended(emulator: Emulator) -> None:
    app = scoring(Serving(making(emulator), drain=Drain(notice_s=0.0, within_s=0.3)))
    with server_listens():
        async with calling(app) as caller:
            emulator.always("demo", faults.hang())
            begun = asyncio.create_task(caller.post("/score", json=[ROW]))
            await asyncio.to_thread(emulator.wait_for, lambda: len(emulator.requests) > 1)
            terminate()
            reply = await begun
    assert (reply.status_code, reply.json()["sent"]) == (503, "maybe")


async def test_a_process_that_ignores_sigterm_goes_on_doing_so(emulator: Emulator) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        async with service(emulator, drain=NO_NOTICE) as caller:
            terminate()
            while (await caller.post("/score", json=[ROW])).status_code == 200:
                pass
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_the_server_s_handler_is_put_back(emulator: Emulator) -> None:
    with server_listens():
        mine = signal.getsignal(signal.SIGTERM)
        async with service(emulator, drain=NO_NOTICE):
            assert signal.getsignal(signal.SIGTERM) is not mine
        assert signal.getsignal(signal.SIGTERM) is mine


def test_beside_the_main_thread_it_serves_all_the_same(emulator: Emulator) -> None:
    statuses: list[int] = []

    async def serve() -> None:
        async with service(emulator) as caller:
            statuses.append((await caller.post("/score", json=[ROW])).status_code)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    thread.join()
    assert statuses == [200]
