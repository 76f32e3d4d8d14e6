"""The parts of a soak. Each makes a client, loads it for its share of the time and judges.

Bounds are those the project sets itself: 1 MB for 10,000 calls after a warm-up, nothing left 3 s
after the last call, 0.1 objects a call, 110 to 135 logins in 10 minutes of tokens that live 5 s.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx

from servingclient import AsyncServingClient, QueueFull, ServingClient, ServingError, Settings
from servingclient.settings import Batching, Concurrency, Pool, Queue, Retry, Token
from tests.soak.callers import Calls, cancelled, tasks, threads
from tests.soak.endpoint import LARGEST_REPLY, Endpoint
from tests.soak.gauges import Held, Trace, held, resident_mb, slope_mb
from tests.soak.verdicts import Verdict

TASKS, THREADS = 32, 8
LANES = 16
WARM_SHARE = 0.25
WARM_CALLS = 10_000
_ENOUGH_CALLS = 20_000
"""From here on a slope means something; for fewer calls it is the growth that is judged."""
_MOST_MB_PER_10_000 = 1.0
_MOST_MB_OF_FEW = 8.0
_IDLE_WITHIN_S = 3.0
_SPARE_DESCRIPTORS = 12

SETTINGS = Settings(
    timeout_s=2.0,
    pool=Pool(max_lanes=LANES, attempt_timeout_s=0.5, max_reply_bytes=LARGEST_REPLY),
    concurrency=Concurrency(initial_calls=LANES),
)


class Soak(NamedTuple):
    """What the parts share.

    Attributes:
        endpoint: The other side.
        seconds: Of the whole soak.
        verdicts: What was found so far.
    """

    endpoint: Endpoint
    seconds: float
    verdicts: list[Verdict]

    def judge(self, part: str, what: str, value: float, **bounds: float) -> None:
        """Note a figure."""
        self.verdicts.append(Verdict(part, what, value, **bounds))


# ---------------------------------------------------------------- steady load, in any weather


def steady_tasks(soak: Soak, part: str, share: float, weather: str = "fair", **made: Any) -> None:
    """Tasks over one client."""

    async def run() -> None:
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, **made
        )

        async def load(calls: Calls, seconds: float) -> None:
            await tasks(client, calls, seconds, TASKS)

        before = await _settled(lambda: True)
        await client.predict([{"id": 1.0}])
        with _under(soak, weather):
            warm, calls, early, late = await _measured(soak, share, load)
        await _idle(client)
        idle = await _settled(lambda: True)
        await client.aclose()
        after = await _settled(lambda: held().descriptors <= before.descriptors + 2)
        _judge_load(soak, part, warm, calls, early, late)
        _judge_left(soak, part, before, idle, after)

    asyncio.run(run())


def steady_threads(soak: Soak, part: str, share: float, weather: str = "fair", **made: Any) -> None:
    """Threads over one client."""

    async def run() -> None:  # only the load blocks; measuring is the same
        client = ServingClient("demo", host=soak.endpoint.host, token=soak.endpoint.token, **made)

        async def load(calls: Calls, seconds: float) -> None:
            threads(client, calls, seconds, THREADS)

        before = await _settled(lambda: True)
        client.predict([{"id": 1.0}])
        with _under(soak, weather):
            warm, calls, early, late = await _measured(soak, share, load)
        await _idle(client)
        idle = await _settled(lambda: True)
        client.close()
        after = await _settled(lambda: held().descriptors <= before.descriptors + 2)
        _judge_load(soak, part, warm, calls, early, late)
        _judge_left(soak, part, before, idle, after)

    asyncio.run(run())


async def _measured(
    soak: Soak, share: float, load: Callable[[Calls, float], Any]
) -> tuple[Calls, tuple[Calls, Trace], Held, Held]:
    """Warm up, then load and look."""
    seconds = soak.seconds * share
    warm = Calls()
    await load(warm, seconds * WARM_SHARE)
    early = held()
    trace = Trace(max(0.05, seconds / 200))
    calls = Calls(trace)
    await load(calls, seconds * (1.0 - WARM_SHARE))
    return warm, (calls, trace), early, held()


def _judge_load(
    soak: Soak, part: str, warm: Calls, loaded: tuple[Calls, Trace], early: Held, late: Held
) -> None:
    calls, trace = loaded
    soak.judge(part, "calls", calls.made, least=1)
    soak.judge(part, "answered, share", calls.good / max(1, calls.made))
    _tell_errors(soak, part, calls)
    soak.judge(part, "wrong answers", calls.wrong + warm.wrong, most=0)
    pinned = calls.pinned + warm.pinned
    soak.judge(part, "inputs that errors pinned", pinned.total(), most=0)
    for error, count in pinned.items():
        soak.judge(part, f"inputs that {error} pinned", count, most=0)
    enough = calls.made >= _ENOUGH_CALLS and warm.made >= WARM_CALLS
    slope = slope_mb(trace.points, 10_000)
    if enough:
        soak.judge(part, "RSS, MB per 10,000 calls", slope, most=_MOST_MB_PER_10_000)
    grown = late.resident_mb - early.resident_mb
    soak.judge(part, "RSS grown, MB", grown, most=_most_grown(calls.made if enough else 0))
    objects = (late.objects - early.objects) / max(1, calls.made)
    # a few thousand calls have not filled what is bounded: windows of figures, quantiles
    soak.judge(part, "objects per call", objects, **({"most": 0.1} if enough else {}))


def _tell_errors(soak: Soak, part: str, calls: Calls) -> None:
    for outcome, count in sorted(calls.outcomes.items()):
        if outcome != "ok":
            soak.judge(part, f"calls that ended in {outcome}", count)


def _most_grown(calls: int) -> float:
    return max(_MOST_MB_OF_FEW, _MOST_MB_PER_10_000 * calls / 10_000)


def _judge_left(soak: Soak, part: str, before: Held, idle: Held, after: Held) -> None:
    soak.judge(part, "tasks left", idle.tasks - before.tasks, most=0)
    soak.judge(part, "futures left", after.futures - before.futures, most=0)
    soak.judge(part, "threads left", after.threads - before.threads, most=0)
    soak.judge(part, "descriptors left", after.descriptors - before.descriptors, most=2)
    soak.judge(
        part,
        "descriptors while idle",
        idle.descriptors - before.descriptors,
        most=LANES + _SPARE_DESCRIPTORS,
    )


@contextmanager
def _under(soak: Soak, weather: str) -> Iterator[None]:
    soak.endpoint.tell(weather=weather)
    try:
        yield
    finally:
        soak.endpoint.tell(weather="fair")


async def _idle(client: Any) -> None:
    """Wait until no call runs: what was given up may take a moment to end."""
    await _settled(lambda: _running(client) == 0)


def _running(client: Any) -> int:
    stats = client.stats()
    busy = stats.lanes.busy if stats.lanes is not None else 0
    return int(stats.concurrency.in_flight + stats.concurrency.waiting + busy)


async def _settled(done: Callable[[], bool]) -> Held:
    """What is held once something has come about, at the latest after 3 s."""
    until_s = time.monotonic() + _IDLE_WITHIN_S
    await asyncio.sleep(0.05)
    while not done() and time.monotonic() < until_s:  # noqa: ASYNC110 - nothing announces it
        await asyncio.sleep(0.1)
    return held()


# ---------------------------------------------------------------- callers that give up


def churn(soak: Soak, part: str, share: float) -> None:
    """Half of the calls are cancelled; at the end nothing is in use, and all of 20 calls work."""

    async def run() -> None:
        settings = SETTINGS.replace(
            pool=Pool(max_lanes=10), concurrency=Concurrency(initial_calls=10)
        )
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, settings=settings
        )
        trace = Trace(max(0.05, soak.seconds * share / 100))
        calls = Calls(trace)
        before = await _settled(lambda: True)
        await tasks(client, calls, soak.seconds * share, 20, cancelled)
        await _idle(client)
        soak.judge(part, "calls", calls.made, least=1)
        soak.judge(part, "cancelled", calls.outcomes["cancelled"], least=1)
        soak.judge(part, "wrong answers", calls.wrong, most=0)
        soak.judge(part, "lanes and places in use", _running(client), most=0)
        probes = [client.predict([{"id": float(n)}], timeout=5.0) for n in range(20)]
        answers = await asyncio.gather(*probes, return_exceptions=True)
        good = sum(getattr(one, "predictions", None) == [float(n)] for n, one in enumerate(answers))
        soak.judge(part, "good calls of 20 afterwards", good, least=20)
        await client.aclose()
        after = await _settled(lambda: held().descriptors <= before.descriptors + 2)
        slope = slope_mb(trace.points[len(trace.points) // 4 :], 10_000)
        if calls.made >= _ENOUGH_CALLS:
            soak.judge(part, "RSS, MB per 10,000 calls", slope, most=_MOST_MB_PER_10_000)
        soak.judge(part, "tasks left", after.tasks - before.tasks, most=0)
        soak.judge(part, "futures left", after.futures - before.futures, most=0)
        soak.judge(part, "descriptors left", after.descriptors - before.descriptors, most=2)

    asyncio.run(run())


# ---------------------------------------------------------------- tokens that end soon

TTL_S = 5.0
_RENEWALS = 110.0, 135.0
"""In 120 lives of a token, which are 10 minutes."""


def tokens(soak: Soak, part: str, share: float) -> None:
    """Tokens are renewed behind the calls, once in a life, and nobody is refused."""
    seconds = soak.seconds * share
    ttl_s = min(TTL_S, seconds / 4)

    async def run() -> None:
        # by default it would be renewed from half of its life on, so twice in each
        rules = Token(refresh_ahead_s=0.06 * ttl_s, refresh_jitter_s=0.0)
        client = AsyncServingClient(
            "demo",
            host=soak.endpoint.host,
            client_id=soak.endpoint.client_id,
            client_secret=soak.endpoint.client_secret,
            settings=Settings(token=rules),  # patient: it is tokens that are judged
        )
        calls = Calls()
        asked = soak.endpoint.tell(ttl_s=ttl_s)["tokens"]
        began_s = time.monotonic()
        await tasks(client, calls, seconds, 4, _paced)
        lasted_s = time.monotonic() - began_s
        logins = soak.endpoint.tell(ttl_s=3600.0)["tokens"] - asked
        await client.aclose()
        soak.judge(part, "calls", calls.made, least=1)
        soak.judge(part, "calls that failed", calls.made - calls.good, most=0)
        _tell_errors(soak, part, calls)
        lives = lasted_s / ttl_s
        soak.judge(part, "token lives", lives, least=1)
        least = {"least": _RENEWALS[0]} if ttl_s == TTL_S else {}  # shorter lives end unrenewed
        refreshes = 120 * (logins - 1) / lives  # the first login renews nothing
        soak.judge(part, "renewals in 120 lives", refreshes, most=_RENEWALS[1], **least)

    asyncio.run(run())


async def _paced(client: Any, calls: Calls, number: int) -> str:
    try:
        prediction = await client.predict([{"id": float(number)}])
    except ServingError as error:
        return type(error).__name__
    calls.check(prediction.predictions, number)
    await asyncio.sleep(0.02)
    return "ok"


# ---------------------------------------------------------------- an outage


def outage(soak: Soak, part: str, share: float) -> None:
    """Retries add a tenth at most; with a quota that never ends the same meter shows a storm."""
    seconds = soak.seconds * share / 2
    ours = _amplification(soak, seconds, SETTINGS)
    naive = SETTINGS.replace(
        retry=Retry(quota_capacity=10**9), concurrency=Concurrency(adaptive=False)
    )
    control = _amplification(soak, min(seconds, 10.0), naive)
    calls, requests = ours
    soak.judge(part, "calls", calls, least=1)
    # the quota of 500 pays 35 retries of 14 each
    most = 1.10 if calls >= 600 else 1.0 + 36.0 / calls
    soak.judge(part, "requests per call", requests / calls, most=most)
    soak.judge(part, "requests per call, naive control", control[1] / control[0], least=3.5)


def _amplification(soak: Soak, seconds: float, settings: Settings) -> tuple[int, int]:
    async def run() -> tuple[int, int]:
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, settings=settings
        )
        calls = Calls()
        await client.predict([{"id": 1.0}])
        before = soak.endpoint.tell(weather="outage")["calls"]
        await tasks(client, calls, seconds, 16, _one)
        requests = soak.endpoint.tell(weather="fair")["calls"] - before
        await client.aclose()
        return calls.made, requests

    return asyncio.run(run())


async def _one(client: Any, calls: Calls, number: int) -> str:
    try:
        await client.predict([{"id": float(number)}])
    except ServingError as error:
        return type(error).__name__
    return "ok"


# ---------------------------------------------------------------- more than is taken in

OFFERED, BOUND = 10_000, 1_000
_MOST_INTAKE_MB = 20.0


def intake(soak: Soak, part: str, _share: float) -> None:
    """10,000 calls at once where 1,000 may wait: the others are told so, and memory stays."""

    async def run() -> None:
        settings = SETTINGS.replace(timeout_s=20.0, queue=Queue(max_calls=BOUND))
        client = AsyncServingClient(
            "demo", host=soak.endpoint.host, token=soak.endpoint.token, settings=settings
        )
        await client.predict([{"id": 1.0}])
        outcomes: list[str] = []
        peak_mb = before_mb = held().resident_mb

        async def offer(number: int) -> None:
            nonlocal peak_mb
            try:
                await client.predict([{"id": float(number)}])
            except QueueFull:
                outcomes.append("refused")
            else:
                outcomes.append("ok")
            if number % 100 == 0:
                peak_mb = max(peak_mb, resident_mb())

        async with _gathering() as begin:
            for number in range(OFFERED):
                begin(offer(number))
                if number % 100 == 0:
                    await asyncio.sleep(0)
        soak.judge(part, "calls", len(outcomes), least=OFFERED, most=OFFERED)
        soak.judge(part, "answered", outcomes.count("ok"), least=BOUND)
        soak.judge(part, "refused", outcomes.count("refused"))
        soak.judge(part, "RSS grown, MB", peak_mb - before_mb, most=_MOST_INTAKE_MB)
        await client.aclose()

    asyncio.run(run())


class _gathering:  # noqa: N801 - used as a function
    """Begin tasks, and wait for all of them at the end."""

    async def __aenter__(self) -> Callable[[Any], None]:
        self._tasks: set[asyncio.Task[None]] = set()
        return self._begin

    def _begin(self, coroutine: Any) -> None:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def __aexit__(self, *_: object) -> None:
        while self._tasks:
            await asyncio.wait(tuple(self._tasks))


# ---------------------------------------------------------------- all of them


class Part(NamedTuple):
    """One of them.

    Attributes:
        run: Given the soak, the part's name and its share.
        share: Of the time of the whole soak; 0 takes the few seconds that it takes.
    """

    run: Callable[[Soak, str, float], None]
    share: float


def _httpx_tasks(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, settings=SETTINGS, transport=httpx.AsyncHTTPTransport())


def _batched(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, settings=SETTINGS.replace(batching=Batching()))


def _lanes(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, settings=SETTINGS)


def _lanes_threads(soak: Soak, part: str, share: float) -> None:
    steady_threads(soak, part, share, settings=SETTINGS)


def _mixed(soak: Soak, part: str, share: float) -> None:
    steady_tasks(soak, part, share, "mixed", settings=SETTINGS)


def _mixed_threads(soak: Soak, part: str, share: float) -> None:
    steady_threads(soak, part, share, "mixed", settings=SETTINGS)


PARTS: dict[str, Part] = {
    "tasks": Part(_lanes, 0.16),
    "threads": Part(_lanes_threads, 0.14),
    "batched tasks": Part(_batched, 0.08),
    "httpx tasks": Part(_httpx_tasks, 0.10),
    "mixed, tasks": Part(_mixed, 0.16),
    "mixed, threads": Part(_mixed_threads, 0.10),
    "churn": Part(churn, 0.10),
    "tokens": Part(tokens, 0.12),
    "outage": Part(outage, 0.04),
    "intake": Part(intake, 0.0),
}
"""By name."""


def garbage() -> int:
    """Objects the collector could not free."""
    gc.collect()
    return len(gc.garbage)
