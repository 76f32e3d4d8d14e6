"""One way to drive all wires, blocking and async, lanes and httpx, from plain test functions."""

from __future__ import annotations

import asyncio
import json
import select
import ssl
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from servingclient import _step
from servingclient._types import FaultKind, Origin, Reply, Target, WireFault
from servingclient.policies.concurrency import fixed
from servingclient.settings import Pool, Queue, Settings, Tls
from servingclient.transport.async_wire import AsyncLaneWire
from servingclient.transport.exchange import request_head
from servingclient.transport.httpx_wire import AsyncHttpxWire, HttpxWire
from servingclient.transport.loop_gate import LoopGate
from servingclient.transport.thread_gate import ThreadGate
from servingclient.transport.wire import LaneWire
from tests.scripted.server import ScriptedServer

T = TypeVar("T")

HEADERS = (("Content-Type", "application/json"), ("Accept-Encoding", "gzip"))

WIRES: dict[str, Callable[[Settings], Any]] = {
    "lane": LaneWire,
    "async_lane": AsyncLaneWire,
    "httpx": HttpxWire.of_settings,
    "async_httpx": AsyncHttpxWire.of_settings,
}
LANES = ("lane", "async_lane")


def origin_of(server: ScriptedServer, host: str = "127.0.0.1") -> Origin:
    return Origin(server.scheme, host, server.port)


def target_at(origin: Origin, path: str = "/serving-endpoints/m/invocations") -> Target:
    return Target(origin, "POST", path, HEADERS, request_head("POST", origin, path, HEADERS))


def target_of(server: ScriptedServer) -> Target:
    return target_at(origin_of(server))


def body_of(call_id: object) -> bytes:
    return json.dumps({"id": str(call_id)}).encode()


def answer_of(reply: Reply) -> str:
    """The id that an echoing server put into the reply."""
    return str(json.loads(reply.body)["predictions"][0])


def thread_gate(places: int, *, waiting: int = 1000) -> ThreadGate:
    """A gate whose limit stays."""
    return ThreadGate(fixed(places), Queue(max_calls=waiting))


def loop_gate(places: int, *, waiting: int = 1000) -> LoopGate:
    """The same for the tasks of a loop."""
    return LoopGate(fixed(places), Queue(max_calls=waiting))


def settings_of(*, ca_file: str | None = None, **pool: Any) -> Settings:
    return Settings(pool=Pool(**pool), tls=Tls(ca_file=ca_file))


class Driver:
    """Calls a wire as a blocking function; an async one runs on a loop between calls only."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self.is_async = name.startswith("async")
        self.is_lane = name in LANES
        self.loop = asyncio.new_event_loop() if self.is_async else None
        self.wire = WIRES[name](settings)

    def run(self, job: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(job) if self.loop is not None else _step.run(job)

    def send(
        self, target: Target, body: bytes = b"{}", timeout_s: float = 5.0, **options: Any
    ) -> Reply:
        return self.run(self.wire.send(target, body, time.monotonic() + timeout_s, **options))

    def fault(
        self, target: Target, body: bytes = b"{}", timeout_s: float = 5.0, **options: Any
    ) -> WireFault:
        """The fault that a call ends in."""
        try:
            reply = self.send(target, body, timeout_s, **options)
        except WireFault as fault:
            return fault
        raise AssertionError(f"no fault but {reply}")

    def stream(self, target: Target, body: bytes = b"{}", timeout_s: float = 5.0) -> list[bytes]:
        """The pieces of a streamed reply."""

        async def read() -> list[bytes]:
            stream = await self.wire.open(target, body, time.monotonic() + timeout_s)
            try:
                return [piece async for piece in stream.chunks()]
            finally:
                await stream.aclose()

        return self.run(read())

    def settle(self) -> None:
        """Let an async wire notice what happened to its idle connections."""
        if self.loop is not None:
            self.loop.run_until_complete(asyncio.sleep(0.02))

    def idle_sockets(self) -> list[Any]:
        """The sockets of idle connections."""
        if self.name == "lane":
            return [ln._sock for shelf in self.wire.pool._shelves.values() for ln in shelf.idle]
        if self.name == "async_lane":
            lanes = [ln for shelf in self.wire.pool._shelves.values() for ln in shelf.idle]
            return [lane._transport.get_extra_info("socket") for lane in lanes if lane._transport]
        streams = [c._connection._network_stream for c in self._httpcore_pool().connections]
        return [stream.get_extra_info("socket") for stream in streams]

    def see_bytes(self) -> None:
        """Wait until something has arrived on an idle connection, and let the wire notice."""
        sockets = [sock for sock in self.idle_sockets() if sock.fileno() >= 0]
        assert select.select(sockets, [], [], 5)[0]
        self.settle()

    def in_use(self) -> int:
        """Connections that carry a request."""
        if self.is_lane:
            return int(self.wire.pool.stats().busy)
        pool = self._httpcore_pool()
        return len(pool._requests) + sum(not c.is_idle() for c in pool.connections)

    def _httpcore_pool(self) -> Any:
        return self.wire._transport._pool

    def close(self) -> None:
        if self.loop is None:
            self.wire.close()
            return
        self.loop.run_until_complete(self.wire.aclose())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()


def facts(fault: WireFault) -> tuple[FaultKind, str]:
    return fault.kind, fault.sent


def trusting(ca_file: str) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=ca_file)
