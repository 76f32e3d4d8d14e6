"""One generating process: it holds a client, and makes the calls it is told to.

It runs in a thread of the caller's process where one is enough, and in processes of its own where
several share the load; the messages are the same.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any, Final, NamedTuple

from servingclient._async_client import AsyncServingClient
from servingclient.errors import ConfigError, ServingError, Throttled
from servingclient.loadtest import punctual
from servingclient.loadtest.driving import Driver, Predict, Refusal
from servingclient.loadtest.load import ClosedLoad, Load
from servingclient.loadtest.prepared import prepared
from servingclient.loadtest.series import Series
from servingclient.settings import Concurrency, Queue, Retry, Settings

_TELLS_S: Final = 0.25
"""Seconds from one report to the next."""
_GRACE_S: Final = 2.0
"""Seconds beyond its time-out in which a call must have ended."""
_WAKES_S: Final = 600.0
"""How long an endpoint that was scaled to zero may take for its first answer: the documentation
gives no bound, and large models are loaded for minutes."""
_ASKS_AGAIN_S: Final = 1.0
"""Pause before an endpoint that is not there yet is asked again."""
_NOT_THERE_YET: Final = frozenset({503, 504})
"""What an endpoint is answered for while it starts."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a generating process needs to know. Pickles.

    Attributes:
        endpoint: Name of the serving endpoint.
        credentials: Arguments of the client: host, token and so on.
        settings: As made by ``load_settings``.
        inputs: Inputs of calls, sent in turn.
        options: Further arguments of ``predict``.
    """

    endpoint: str
    credentials: Mapping[str, Any] = field(repr=False)
    settings: Settings
    inputs: Sequence[Any] = field(repr=False)
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)


def load_settings(given: Settings | None, *, in_flight: int, timeout_s: float) -> Settings:
    """Settings under which an endpoint shows itself as it is.

    No retries, no limit that adapts, no batching or hedging: each of these is there to spare
    callers what a load test is to see.

    Args:
        given: Of whoever calls: connections, certificates, payload and so on are kept.
        in_flight: Most calls at once of one process.
        timeout_s: When a call is given up.
    """
    settings = Settings.from_env() if given is None else given
    return settings.replace(
        timeout_s=timeout_s,
        retry=Retry(max_attempts=1),
        concurrency=Concurrency(adaptive=False, initial_calls=in_flight),
        pool=replace(settings.pool, max_lanes=in_flight, max_httpx_calls=in_flight),
        queue=Queue(max_calls=100_000, max_bytes=1 << 30),
        batching=None,
        hedge=None,
    )


class Begin(NamedTuple):
    """Make a trial's calls.

    Attributes:
        load: The part of this process.
        seed: Of its arrivals.
        goal_s: Up to this latency an answer is a good one.
        start_unix_s: When to begin, so that several processes do so together.
        most_calls: No more are begun.
        most_refusals: After so many calls refused for what they are, none is begun.
        warmup_s: How late the event loop is counts from here.
    """

    load: Load
    seed: int
    goal_s: float
    start_unix_s: float
    most_calls: int
    most_refusals: int
    warmup_s: float


class Stop(NamedTuple):
    """Begin no more calls."""


class Leave(NamedTuple):
    """Close the client and end."""


class Wake(NamedTuple):
    """Ask until there is an answer, which an endpoint that was scaled to zero takes long for."""


class Ready(NamedTuple):
    """The client has its token and connections, or its first answer."""


class Unable(NamedTuple):
    """It could not go on, and ends."""

    error: BaseException


class Progress(NamedTuple):
    """What ended since the last report.

    Attributes:
        seconds: Pairs of a second and its encoded figures.
        refused: Which input was the first to be refused in this trial, and what the error says.
    """

    seconds: list[tuple[int, list[Any]]]
    refused: str | None = None


class Ended(NamedTuple):
    """A trial is over.

    Attributes:
        lasted_s: How long calls were begun.
        cpu_share: CPU seconds of the process per second meanwhile.
        due: Calls that were due.
        made: Calls that began.
        left: Calls that did not end in time.
        loop_late_p99_s: 99th percentile of how late the event loop woke who was due.
    """

    lasted_s: float
    cpu_share: float
    due: int
    made: int
    left: int
    loop_late_p99_s: float


def work(job: Job, pipe: Connection) -> None:
    """Serve whoever is at the other end of ``pipe`` until it says ``Leave`` or is gone."""
    try:
        punctual.run(_serve(job, pipe))
    except (EOFError, OSError, KeyboardInterrupt):
        pass  # whoever gave orders is gone, or has been told by the same key
    except ServingError as error:
        pipe.send(Unable(error))
    except Exception as error:  # noqa: BLE001 - a wrong argument of predict, say: the caller's
        pipe.send(Unable(ConfigError(f"No call could be made: {type(error).__name__}: {error}")))
    finally:
        pipe.close()


async def _serve(job: Job, pipe: Connection) -> None:
    async with AsyncServingClient(job.endpoint, settings=job.settings, **job.credentials) as client:
        await _heard(client.warmup(), pipe)
        predict, made = prepared(client, job.inputs, job.options), 0
        pipe.send(Ready())
        while True:
            order = await asyncio.to_thread(pipe.recv)
            if isinstance(order, Leave):
                return
            if isinstance(order, Wake):
                await _heard(_awake(client, job), pipe)
                pipe.send(Ready())
            elif isinstance(order, Begin):
                turns = _Turns(made, len(job.inputs))
                made += await _trial(predict, job.settings.timeout_s, order, pipe, turns)


async def _heard(work: Awaitable[None], pipe: Connection) -> None:
    """See work to its end, unless whoever gives orders wants no more of it.

    Raises:
        EOFError: They do not.
    """
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait((task,), timeout=_TELLS_S)
            _listen(pipe)
    except EOFError:
        task.cancel()
        await asyncio.wait((task,))
        raise
    task.result()


async def _awake(client: AsyncServingClient, job: Job) -> None:
    """Have one call answered.

    Raises:
        ServingError: It failed otherwise than by an endpoint that starts, or for too long.
    """
    give_up_s = time.monotonic() + _WAKES_S
    while True:
        left_s = give_up_s - time.monotonic()
        try:
            await client.predict(job.inputs[0], timeout=left_s, **job.options)
        except Throttled:
            return  # who has no room is awake
        except ServingError as error:
            if error.status_code not in _NOT_THERE_YET or left_s < _ASKS_AGAIN_S:
                raise
            await asyncio.sleep(_ASKS_AGAIN_S)
        else:
            return


def _listen(pipe: Connection) -> bool:
    """Whether no more calls are to begin.

    Raises:
        EOFError: Whoever gives orders wants nothing any more, or is gone.
    """
    if not pipe.poll():
        return False
    order = pipe.recv()
    if isinstance(order, Leave):
        raise EOFError  # noqa: TRY004 - as if they had hung up
    return isinstance(order, Stop)


class _Turns(NamedTuple):
    """Which input a call sends: they go in turn, through all trials of a process."""

    made_before: int
    inputs: int

    def told(self, refused: Refusal | None) -> str | None:
        if refused is None:
            return None
        number = (self.made_before + refused.call) % self.inputs + 1
        return f"input {number:,} of {self.inputs:,}: {refused.message}"


async def _trial(
    predict: Predict, timeout_s: float, order: Begin, pipe: Connection, turns: _Turns
) -> int:
    """Make the calls of one trial, and tell of them.

    Returns:
        How many began.
    """
    driver = Driver(predict, most=order.most_calls, most_refusals=order.most_refusals)

    def tell() -> None:
        _tell(driver, order.goal_s, pipe, turns)

    await asyncio.sleep(max(0.0, order.start_unix_s - time.time()))
    cpu_s, lateness = time.process_time(), punctual.Lateness(order.warmup_s)
    ticking = asyncio.get_running_loop().create_task(lateness.watch())
    driving = asyncio.get_running_loop().create_task(_drive(driver, order))
    try:
        await _watched(driving, driver, tell, pipe, until_stopped=True)
    finally:
        ticking.cancel()
    lasted_s = min(driver.elapsed_s, order.load.seconds)
    if not driver.stopped and not isinstance(order.load, ClosedLoad):
        lasted_s = order.load.seconds  # the last call began a little before its end
    cpu_share = (time.process_time() - cpu_s) / driver.elapsed_s
    draining = asyncio.get_running_loop().create_task(driver.drain(timeout_s + _GRACE_S))
    await _watched(draining, driver, tell, pipe, until_stopped=False)
    if not driving.cancelled():
        driving.result()
    left = draining.result()
    pipe.send(Ended(lasted_s, cpu_share, driver.due, driver.began, left, lateness.p99_s))
    return driver.began


async def _watched(
    task: asyncio.Task[Any],
    driver: Driver,
    tell: Callable[[], None],
    pipe: Connection,
    *,
    until_stopped: bool,
) -> None:
    """Wait for the end of a part of a trial; tell of it meanwhile, and hear when to stop.

    Args:
        task: The part.
        driver: Whose it is.
        tell: Tells of what ended.
        pipe: Where orders come from.
        until_stopped: It is cancelled when no more calls are to begin. The end of those under way
            is not: a test that is broken off meanwhile still needs it.

    Raises:
        EOFError: There is nobody to make it for; no call is under way any more.
    """
    while not task.done():
        await asyncio.wait((task,), timeout=_TELLS_S)
        tell()
        try:
            if _listen(pipe):
                driver.stop()
        except EOFError:
            driver.stop()
            task.cancel()
            await driver.drain(0.0)
            raise
        if driver.stopped and until_stopped:
            task.cancel()


async def _drive(driver: Driver, order: Begin) -> None:
    if isinstance(order.load, ClosedLoad):
        await driver.closed_loop(order.load.callers, order.load.seconds)
    else:
        await driver.open_loop(order.load.instants(order.seed), order.load.seconds + _GRACE_S)


def _tell(driver: Driver, goal_s: float, pipe: Connection, turns: _Turns) -> None:
    ended, driver.ended = driver.ended, []
    if ended:
        series = Series(goal_s)
        series.take(ended)
        seconds = [(at, one.encode()) for at, one in series.seconds.items()]
        pipe.send(Progress(seconds, turns.told(driver.refused)))
