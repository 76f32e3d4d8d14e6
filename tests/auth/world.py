"""A scripted workspace and virtual time, in both colours, so that each story is told once.

Nothing here waits for a real clock: a reply that is held back is let go by the test.
"""

from __future__ import annotations

import asyncio
import json
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from servingclient import _step
from servingclient._ports import Grant
from servingclient._types import FaultKind, Origin, Reply, Target, WireFault
from servingclient.auth.access import Access
from servingclient.auth.credentials import credentials_from
from servingclient.auth.ports import task_ports, thread_ports
from servingclient.auth.workspace import Ports
from servingclient.settings import Settings

T = TypeVar("T")

HOST = "https://ws.cloud.databricks.com"
WORKSPACE = Origin("https", "ws.cloud.databricks.com", 443)
OWN_HOST = "e1.serving.cloud.databricks.com"
REAL_LIMIT_S = 5.0  # a test that hangs ends here


class Clock:
    """Virtual time: sleeping moves it."""

    def __init__(self) -> None:
        self.time_s = 1000.0
        self.slept: list[float] = []

    def now(self) -> float:
        return self.time_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time_s += seconds


class Random:
    def random(self) -> float:
        return 0.5


class ThreadHold:
    """A reply held back until the test lets it go."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.reached = threading.Event()

    async def wait(self) -> None:
        self.reached.set()
        assert self._open.wait(REAL_LIMIT_S), "nobody let the reply go"

    def let_go(self) -> None:
        self._open.set()


class TaskHold:
    def __init__(self) -> None:
        self._open = asyncio.Event()
        self.reached = threading.Event()

    async def wait(self) -> None:
        self.reached.set()
        await asyncio.wait_for(self._open.wait(), REAL_LIMIT_S)

    def let_go(self) -> None:
        self._open.set()


@dataclass
class Seen:
    """One request as the workspace saw it."""

    target: Target
    body: bytes
    max_idle_s: float

    @property
    def path(self) -> str:
        return self.target.path

    @property
    def form(self) -> dict[str, str]:
        return dict(parse_qsl(self.body.decode()))

    def header(self, name: str) -> str | None:
        return dict(self.target.headers).get(name)


def reply(status: int, body: object = b"") -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, [(b"content-type", b"application/json")], raw, 0.0, 0.0, 0.0)


def fault(kind: FaultKind) -> WireFault:
    return WireFault(kind, "as scripted", sent="no" if kind is FaultKind.NOT_CONNECTED else "maybe")


Step = Callable[[], Awaitable[Reply]] | Reply | WireFault


@dataclass
class Wire:
    """The workspace. Scripted steps come first; then it answers as a healthy one."""

    clock: Clock
    lifetime_s: Any = 3600
    description: dict[str, Any] = field(default_factory=lambda: {"name": "m", "id": "e0"})
    token_steps: list[Step] = field(default_factory=list)
    describe_steps: list[Step] = field(default_factory=list)
    seen: list[Seen] = field(default_factory=list)
    always_token: Step | None = None
    always_describe: Step | None = None
    in_flight: int = 0
    most_in_flight: int = 0
    issued: int = 0

    async def send(
        self, target: Target, body: bytes, deadline_s: float, *, max_idle_s: float = 1e9
    ) -> Reply:
        self.seen.append(Seen(target, body, max_idle_s))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            login = target.path == "/oidc/v1/token"
            steps = self.token_steps if login else self.describe_steps
            always = self.always_token if login else self.always_describe
            step = steps.pop(0) if steps else always
            if step is not None:
                return await self._take(step, deadline_s)
            return self.good_token() if login else reply(200, self.description)
        finally:
            self.in_flight -= 1

    async def _take(self, step: Step, deadline_s: float) -> Reply:
        if isinstance(step, WireFault):
            if step.kind is FaultKind.TIMEOUT:
                self.clock.time_s = max(self.clock.time_s, deadline_s)
            raise step
        return step if isinstance(step, Reply) else await step()

    def good_token(self) -> Reply:
        self.issued += 1
        body = {"access_token": f"tok-{self.issued}", "token_type": "Bearer"}
        return reply(200, body | {"expires_in": self.lifetime_s})

    @property
    def logins(self) -> list[Seen]:
        return [one for one in self.seen if one.path == "/oidc/v1/token"]

    @property
    def reads(self) -> list[Seen]:
        return [one for one in self.seen if one.target.method == "GET"]


def own_url(endpoint_id: str = "e1") -> dict[str, Any]:
    """The description of a route-optimized endpoint."""
    url = f"https://{endpoint_id}.serving.cloud.databricks.com/12/serving-endpoints/m/invocations"
    query = {"endpoint_url": url, "authorization_details": json.dumps([{"id": endpoint_id}])}
    return {
        "name": "m",
        "id": endpoint_id,
        "route_optimized": True,
        "endpoint_url": url,
        "data_plane_info": {"query_info": query},
    }


class World(ABC):
    """One client's auth and what surrounds it."""

    colour: str

    def __init__(self) -> None:
        self.clock = Clock()
        self.wire = Wire(self.clock)
        self.settings = Settings()
        self.accesses: list[Access] = []

    def access(self, *, endpoint: str = "m", host: str = HOST, **given: Any) -> Access:
        if not given:
            given = {"client_id": "id", "client_secret": "s3cret"}
        credentials, origin = credentials_from(host=host, settings=self.settings, **given)
        return self.access_with(credentials, origin, endpoint)

    def access_with(self, credentials: Any, origin: Any, endpoint: str = "m") -> Access:
        made = Access(endpoint, credentials, origin, self.settings, self.ports(), version="1.0")
        self.accesses.append(made)
        return made

    def obtain(
        self, access: Access, served_model: str | None = None, within_s: float = 30.0
    ) -> Grant:
        return self.run(lambda: access.obtain(served_model, self.clock.now() + within_s))

    def grant(self, access: Access) -> Grant:
        """What a call does: take what is at hand, else wait for it."""
        return self.ready(access) or self.obtain(access)

    @abstractmethod
    def ready(self, access: Access, served_model: str | None = None) -> Grant | None: ...

    @abstractmethod
    def run(self, action: Callable[[], Awaitable[T]]) -> T: ...

    @abstractmethod
    def together(
        self, count: int, action: Callable[[], Awaitable[T]]
    ) -> list[T | BaseException]: ...

    @abstractmethod
    def start(self, action: Callable[[], Awaitable[T]]) -> Callable[[], T]:
        """Begin; the result is had by calling what is returned."""

    @abstractmethod
    def settle(self) -> None:
        """Wait for what runs behind the calls."""

    @abstractmethod
    def until(self, event: threading.Event) -> None: ...

    def hold(self, then: Step | None = None) -> tuple[Callable[[], Awaitable[Reply]], Any]:
        hold = self.new_hold()

        async def held() -> Reply:
            await hold.wait()
            if isinstance(then, WireFault):
                raise then
            return then if isinstance(then, Reply) else self.wire.good_token()

        return held, hold

    @abstractmethod
    def new_hold(self) -> Any: ...

    @abstractmethod
    def ports(self) -> Ports: ...

    @abstractmethod
    def close(self) -> None: ...


class SyncWorld(World):
    colour = "sync"

    def ports(self) -> Ports:
        return thread_ports(self.wire, self.clock, Random())

    def new_hold(self) -> ThreadHold:
        return ThreadHold()

    def run(self, action: Callable[[], Awaitable[T]]) -> T:
        return _step.run(action())  # type: ignore[arg-type]

    def ready(self, access: Access, served_model: str | None = None) -> Grant | None:
        return access.ready(served_model, self.clock.now())

    def start(self, action: Callable[[], Awaitable[T]]) -> Callable[[], T]:
        outcome: list[Any] = []

        def work() -> None:
            try:
                outcome.append((True, self.run(action)))
            except BaseException as error:  # noqa: BLE001 - handed on
                outcome.append((False, error))

        thread = threading.Thread(target=work)
        thread.start()

        def result() -> T:
            thread.join(REAL_LIMIT_S)
            good, value = outcome[0]
            if not good:
                raise value
            return value

        return result

    def together(self, count: int, action: Callable[[], Awaitable[T]]) -> list[T | BaseException]:
        ready = threading.Barrier(count)

        async def at_once() -> T:
            ready.wait(REAL_LIMIT_S)
            return await action()

        started = [self.start(at_once) for _ in range(count)]
        return [_outcome(one) for one in started]

    def settle(self) -> None:
        for thread in threading.enumerate():
            if thread.name.startswith("servingclient-"):
                thread.join(REAL_LIMIT_S)

    def until(self, event: threading.Event) -> None:
        assert event.wait(REAL_LIMIT_S)

    def close(self) -> None:
        self.settle()


class AsyncWorld(World):
    colour = "async"

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()

    def ports(self) -> Ports:
        return task_ports(self.wire, self.clock, Random())

    def new_hold(self) -> TaskHold:
        return TaskHold()

    def run(self, action: Callable[[], Awaitable[T]]) -> T:
        async def whole() -> T:
            return await action()

        return self.loop.run_until_complete(whole())

    def ready(self, access: Access, served_model: str | None = None) -> Grant | None:
        async def inside() -> Grant | None:
            return access.ready(served_model, self.clock.now())

        return self.run(inside)

    def start(self, action: Callable[[], Awaitable[T]]) -> Callable[[], T]:
        async def whole() -> T:
            return await action()

        task = self.loop.create_task(whole())
        self.spin()

        async def wait() -> T:
            return await asyncio.wait_for(task, REAL_LIMIT_S)

        return lambda: self.run(wait)

    def together(self, count: int, action: Callable[[], Awaitable[T]]) -> list[T | BaseException]:
        async def all_of_them() -> list[T | BaseException]:
            return await asyncio.gather(*(action() for _ in range(count)), return_exceptions=True)

        return self.run(all_of_them)

    def spin(self) -> None:
        async def rounds() -> None:
            for _ in range(30):
                await asyncio.sleep(0)

        self.loop.run_until_complete(rounds())

    def settle(self) -> None:
        async def rest() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if others:
                await asyncio.wait(others, timeout=REAL_LIMIT_S)

        self.spin()
        self.loop.run_until_complete(rest())

    def until(self, event: threading.Event) -> None:
        for _ in range(100):
            if event.is_set():
                return
            self.spin()
        raise AssertionError("never reached")

    def close(self) -> None:
        for access in self.accesses:
            self.run(access.close)
        self.settle()
        self.loop.close()


def _outcome(result: Callable[[], T]) -> T | BaseException:
    try:
        return result()
    except BaseException as error:  # noqa: BLE001 - part of the picture
        return error
