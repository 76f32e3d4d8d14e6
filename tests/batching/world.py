"""Callers that share requests, told in both colours: as threads, and as tasks of one event loop.

Nothing here waits for a clock. A request stays on the wire until the test answers it, the gate
opens when the test says so, and the test goes on when what it waits for has happened.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, NoReturn, TypeVar

import orjson

from servingclient import Prediction, ServingError, _step
from servingclient._call import Story
from servingclient._ports import Grant, World
from servingclient._types import FaultKind, Origin, Reply, Sent, Target, WireFault
from servingclient._watching import AttemptEnded, CallEnded
from servingclient.batching.batched import BatchedStory, Batcher
from servingclient.batching.leader import ThreadBatcher
from servingclient.batching.task import LoopBatcher
from servingclient.policies.quota import Quota
from servingclient.settings import Batching, Settings

T = TypeVar("T")

ENDPOINT = "fraud"
TARGET = Target(Origin("https", "host", 443), "POST", "/invocations", (), b"")
HANGS_S = 5.0
"""A test that waits so long for something has failed."""


def rows(*values: float) -> list[dict[str, float]]:
    """Rows that a model can give back."""
    return [{"id": value, "b": 0.5} for value in values]


class Request:
    """A request on the wire, held until the test answers it."""

    def __init__(self, body: bytes, deadline_s: float) -> None:
        self.body = body
        self.deadline_s = deadline_s
        self.aborted = False
        self.answered = False
        self.sender = threading.current_thread()
        self._outcome: Reply | BaseException | None = None
        self.settled: Callable[[], None] = lambda: None

    @property
    def content(self) -> dict[str, Any]:
        """The body as the endpoint reads it."""
        content: dict[str, Any] = json.loads(self.body)
        return content

    @property
    def ids(self) -> list[float]:
        """Which rows it carries."""
        return [row[0] for row in self.content["dataframe_split"]["data"]]

    def echo(self) -> None:
        """A model that answers each row with its id."""
        self.reply(self.ids)

    def reply(self, predictions: object, **headers: str) -> None:
        """Status 200 with ``predictions``."""
        self.answer(200, {"predictions": predictions}, **headers)

    def answer(self, status: int, body: object, **headers: str) -> None:
        """Any reply."""
        lines = [
            (name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()
        ]
        now_s = time.monotonic()
        self._settle(Reply(status, lines, orjson.dumps(body), now_s, now_s, 0.0))

    def refuse(self, status: int = 400) -> None:
        """The service does not like it."""
        self.answer(status, {"error_code": "BAD_REQUEST", "message": "no"})

    def fail(self, error: BaseException) -> None:
        """No complete reply, or the sender is interrupted."""
        self._settle(error)

    def cut_off(self) -> None:
        """The connection breaks."""
        self.fail(WireFault(FaultKind.CUT_OFF, "as scripted", sent="maybe", host="h"))

    def _settle(self, outcome: Reply | BaseException) -> None:
        assert not self.answered
        self.answered = True
        self._outcome = outcome
        self.settled()

    def result(self) -> Reply:
        outcome, self._outcome = self._outcome, None
        if isinstance(outcome, Reply):
            return outcome
        assert outcome is not None
        try:
            raise outcome
        finally:
            del outcome  # no frame of an error holds it


class Caller:
    """One call of a test: what it came to."""

    def __init__(self) -> None:
        self.began_s = time.monotonic()
        self.outcome: Prediction | BaseException | None = None
        self.task: asyncio.Task[None] | None = None

    @property
    def got(self) -> Any:
        """Its predictions."""
        assert isinstance(self.outcome, Prediction), repr(self.outcome)
        return self.outcome.predictions

    @property
    def error(self) -> BaseException:
        """Its error."""
        assert isinstance(self.outcome, BaseException), repr(self.outcome)
        return self.outcome


class Quiet:
    """Ports, or parts of them, that do nothing here."""

    def answered(self, reply_s: float) -> None:
        pass

    def unanswered(self, waited_s: float) -> None:
        pass

    def throttled(self) -> None:
        pass

    async def open(self, *_: Any, **__: Any) -> NoReturn:
        raise AssertionError("no streams here")

    async def warm(self, *_: Any) -> None:
        pass

    def reject(self, grant: Grant) -> bool:
        return False

    def moved(self, grant: Grant) -> bool:
        return False


class Company(Quiet, ABC):
    """One client that batches, with all its ports.

    Attributes:
        requests: All requests that were sent, in order.
        events: What observers were told.
        quota: Tokens for retries.
        room: Whether the gate has places; ``open_gate`` lets in who waits.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.requests: list[Request] = []
        self.events: list[CallEnded | AttemptEnded] = []
        self.quota = Quota(settings.retry.quota_capacity)
        self.callers: list[Caller] = []
        self.slept: list[float] = []
        self.max_request_bytes = 1 << 24
        self.room = True
        self.at_gate = 0
        self.came_again: list[bool] = []
        self.inside = 0
        self.gate_error: BaseException | None = None
        self.on_send: Callable[[], None] = lambda: None
        assert settings.batching is not None
        self.limits = settings.batching
        self.story = self.story_with(settings)
        self.batcher: Any = self.make_batcher()
        self.calls = BatchedStory(self.story, self.batcher, self.limits)

    def story_with(self, settings: Settings) -> Story:
        """A story over these ports, as a copy of the client has one."""
        world = World(self.now, self.sleep, lambda: 1.0, self, self, self, self.quota, (self,))
        return Story(ENDPOINT, settings, world)

    def copy_with(self, settings: Settings) -> BatchedStory:
        """What ``with_options`` makes."""
        return BatchedStory(self.story_with(settings), self.batcher, self.limits)

    def now(self) -> float:
        return time.monotonic()

    # what differs between the colours

    @abstractmethod
    def make_batcher(self) -> Batcher: ...

    @abstractmethod
    def settle(self, until: Callable[[], bool]) -> None:
        """Let all go on until ``until`` holds."""

    @abstractmethod
    def start(self, call: Callable[[], Coroutine[Any, Any, Prediction]]) -> Caller:
        """Begin a call beside those that run."""

    @abstractmethod
    async def hold(self, ready: Callable[[], bool]) -> None:
        """Inside a port: wait until ``ready`` holds."""

    @abstractmethod
    def changed(self) -> None:
        """What somebody holds for may have come."""

    @abstractmethod
    def end(self) -> None:
        """All calls have ended."""

    # what the tests do

    def call(
        self,
        inputs: object,
        *,
        params: dict[str, Any] | None = None,
        client_request_id: str | None = None,
        usage_context: dict[str, str] | None = None,
        served_model: str | None = None,
        timeout_s: float = 20.0,
        idempotent: bool = True,
        priority: int = 1,
        through: BatchedStory | None = None,
    ) -> Caller:
        """Begin a call; it goes, or waits, before this returns."""
        calls = through or self.calls
        before = self.noticed
        caller = self.start(
            lambda: calls.predict(
                inputs,
                params,
                client_request_id,
                usage_context,
                served_model,
                timeout_s,
                idempotent,
                priority,
            )
        )
        self.callers.append(caller)
        self.settle(lambda: self.noticed > before or caller.outcome is not None)
        return caller

    def predict(self, inputs: object) -> Coroutine[Any, Any, Prediction]:
        """A call that has not begun."""
        return self.calls.predict(inputs, None, None, None, None, 20.0, True, 1)

    @property
    def noticed(self) -> int:
        """How many calls have been counted so far."""
        return int(self.batcher.stats().calls)

    def request(self, number: int) -> Request:
        """The request ``number`` (from 0), once it is sent."""
        self.settle(lambda: len(self.requests) > number)
        return self.requests[number]

    def ended(self, *callers: Caller) -> None:
        """Let these callers come to their ends."""
        self.settle(lambda: all(caller.outcome is not None for caller in callers))

    def busy(self, requests: int = 1) -> list[Caller]:
        """Calls that hold all slots; their requests are the first."""
        lone = [self.call(rows(-1.0 - n)) for n in range(requests)]
        self.settle(lambda: len(self.requests) >= requests)
        return lone

    def open_gate(self) -> None:
        """Let in who waits at the gate."""
        self.room = True
        self.changed()

    def close(self) -> None:
        """As a client does: the gate first."""
        self.gate_error = WireFault(FaultKind.CLOSED, "the client is closed", sent="no")
        self.changed()
        self.batcher.refuse()

    def forget(self) -> None:
        """Drop what the test's own world holds."""
        self.requests.clear()
        self.callers.clear()

    def answer_all(self) -> None:
        """Let the model answer whatever comes until all callers have theirs."""
        self.end_all(Request.echo)

    def end_all(self, end: Callable[[Request], None]) -> None:
        """End whatever comes so, until all callers have ended."""

        def held() -> list[Request]:
            return [one for one in self.requests if not (one.answered or one.aborted)]

        def ended() -> bool:
            return all(caller.outcome is not None for caller in self.callers)

        while not ended():
            self.settle(lambda: bool(held()) or ended())
            for request in held():
                end(request)

    @property
    def sizes(self) -> list[int]:
        """Rows of each request so far."""
        return [len(request.ids) for request in self.requests]

    @property
    def told(self) -> list[CallEnded]:
        """Ends of calls that observers heard of."""
        return [event for event in self.events if isinstance(event, CallEnded)]

    @property
    def failed_tries(self) -> list[int | None]:
        """Status of each failed try that observers heard of."""
        return [e.attempt.status for e in self.events if isinstance(e, AttemptEnded)]

    # gate

    def try_enter(self) -> bool:
        if not self.room or self.gate_error is not None:
            return False
        self.inside += 1
        return True

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        self.at_gate += 1
        self.came_again.append(again)
        self.changed()
        try:
            if self.gate_error is None:
                await self.hold(lambda: self.room or self.gate_error is not None)
        finally:
            self.at_gate -= 1
        if self.gate_error is not None:
            error = self.gate_error
            if not isinstance(error, WireFault):  # that one stays: it is closed
                self.gate_error = None
            raise error
        self.inside += 1

    def leave(self) -> None:
        self.inside -= 1
        assert self.inside >= 0

    # access

    def ready(self, served_model: str | None, now_s: float) -> Grant | None:
        return Grant(TARGET, 1, self.max_request_bytes)

    async def obtain(self, served_model: str | None, deadline_s: float) -> Grant:
        return Grant(TARGET, 1, self.max_request_bytes)

    # clock

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    # wire

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        self.on_send()
        request = Request(body, deadline_s)
        done: list[bool] = []
        request.settled = lambda: (done.append(True), self.changed())  # type: ignore[assignment,func-returns-value]
        self.requests.append(request)
        self.changed()
        try:
            await self.hold(lambda: bool(done))
        except BaseException:
            request.aborted = True
            raise
        return request.result()

    # observers

    def call_ended(self, event: CallEnded) -> None:
        self.events.append(event)

    def attempt_failed(self, event: AttemptEnded) -> None:
        self.events.append(event)


class Tasks(Company):
    """Callers are tasks."""

    def __init__(self, settings: Settings) -> None:
        self.loop = self.make_loop()
        self._holding: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []
        super().__init__(settings)

    def make_loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.new_event_loop()

    def make_batcher(self) -> Batcher:
        most = self.limits.max_in_flight or 4
        return LoopBatcher(self.limits, self.settings.queue.max_calls, self, lambda: most, self.now)

    def start(self, call: Callable[[], Coroutine[Any, Any, Prediction]]) -> Caller:
        caller = Caller()

        async def run() -> None:
            try:
                caller.outcome = await call()
            except ServingError as error:
                caller.outcome = error
            except asyncio.CancelledError as error:
                caller.outcome = error
                raise
            except Exception as error:  # noqa: BLE001 - what a foreign transport raised
                caller.outcome = error

        caller.task = self.loop.create_task(run())
        return caller

    def settle(self, until: Callable[[], bool]) -> None:
        async def go() -> None:
            give_up_s = time.monotonic() + HANGS_S
            while not until():
                assert time.monotonic() < give_up_s, "nothing happens any more"
                await asyncio.sleep(0)

        self.loop.run_until_complete(go())

    def rounds(self, count: int = 5) -> None:
        """Let what is due happen."""

        async def go() -> None:
            for _ in range(count):
                await asyncio.sleep(0)

        self.loop.run_until_complete(go())

    def cancel(self, *callers: Caller) -> None:
        """Cancel callers, who then have left."""
        for caller in callers:
            assert caller.task is not None
            caller.task.cancel()
        self.ended(*callers)
        self.rounds()

    async def hold(self, ready: Callable[[], bool]) -> None:
        if ready():
            return
        future = self.loop.create_future()
        self._holding.append((ready, future))
        await future

    def changed(self) -> None:
        for ready, future in self._holding:
            if not future.done() and ready():
                future.set_result(None)
        self._holding = [(ready, future) for ready, future in self._holding if not future.done()]

    def end(self) -> None:
        try:
            self.settle(lambda: all(caller.outcome is not None for caller in self.callers))
            self.rounds()
            left = asyncio.all_tasks(self.loop)
            assert not left, f"tasks left: {left}"
        finally:
            self.loop.close()


class VirtualLoop(asyncio.SelectorEventLoop):
    """A loop that does not wait for the next timer, but lets its own time pass."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        super().__init__()
        look = self._selector.select  # type: ignore[attr-defined]

        def select(timeout: float | None) -> Any:
            assert timeout is not None, "nothing will ever happen"
            self.now_s += timeout
            return look(0)

        self._selector.select = select  # type: ignore[attr-defined]

    def time(self) -> float:
        return self.now_s


class VirtualTasks(Tasks):
    """The same in virtual time."""

    def make_loop(self) -> VirtualLoop:
        return VirtualLoop()

    def now(self) -> float:
        return self.loop.time()

    def advance(self, seconds: float) -> None:
        """Let time pass, and happen what is due."""
        self.loop.run_until_complete(asyncio.sleep(seconds))

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def enter(
        self, deadline_s: float, priority: int = 1, size_bytes: int = 0, *, again: bool = False
    ) -> None:
        await self._in_time(super().enter(deadline_s, priority), deadline_s, "no")

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = math.inf
    ) -> Reply:
        return await self._in_time(super().send(target, body, deadline_s), deadline_s, "maybe")

    async def _in_time(self, wait: Coroutine[Any, Any, T], deadline_s: float, sent: Sent) -> T:
        left_s = deadline_s - self.now() if deadline_s < math.inf else None
        try:
            return await asyncio.wait_for(wait, left_s)
        except asyncio.TimeoutError:
            raise WireFault(FaultKind.TIMEOUT, "not in time", sent=sent, host="h") from None


class Threads(Company):
    """Callers are threads."""

    def __init__(self, settings: Settings) -> None:
        self._happens = threading.Condition()
        self.threads: list[threading.Thread] = []
        super().__init__(settings)

    def make_batcher(self) -> Batcher:
        most = self.limits.max_in_flight or 4
        return ThreadBatcher(self.limits, self.settings.queue.max_calls, self, lambda: most)

    def start(self, call: Callable[[], Coroutine[Any, Any, Prediction]]) -> Caller:
        caller = Caller()

        def run() -> None:
            try:
                caller.outcome = _step.run(call())
            except BaseException as error:  # noqa: BLE001 - an interrupt is an outcome here
                caller.outcome = error
            self.changed()

        thread = threading.Thread(target=run)
        self.threads.append(thread)
        thread.start()
        return caller

    def caller_of(self, thread: threading.Thread) -> Caller:
        """Whose thread it is."""
        return self.callers[self.threads.index(thread)]

    def settle(self, until: Callable[[], bool]) -> None:
        with self._happens:
            # the batcher tells nobody when a call lines up: looked at again now and then
            give_up_s = time.monotonic() + HANGS_S
            while not until():
                assert time.monotonic() < give_up_s, "nothing happens any more"
                self._happens.wait(0.001)

    async def hold(self, ready: Callable[[], bool]) -> None:
        with self._happens:
            # longer than the test itself waits: its end must not be what the test waits for
            assert self._happens.wait_for(ready, 3 * HANGS_S), "held for ever"

    def changed(self) -> None:
        with self._happens:
            self._happens.notify_all()

    def end(self) -> None:
        for thread in self.threads:
            thread.join(4 * HANGS_S)
            assert not thread.is_alive(), "a caller hangs"
        self.threads.clear()


def settings_of(timeout_s: float = 20.0, **limits: Any) -> Settings:
    """One request at a time, and nobody leaves before a slot is free unless the test says so."""
    given = {"max_in_flight": 1, "max_wait_s": 60.0, **limits}
    return Settings(timeout_s=timeout_s, batching=Batching(**given))
