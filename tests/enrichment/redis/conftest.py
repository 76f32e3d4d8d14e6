"""A real redis-server, in both colours, behind a proxy that misbehaves on demand."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis
import trustme

from servingclient import RedisCache, _step
from servingclient.enrichment.entry import Entry
from servingclient.enrichment.redis_shared import SharedRedis
from tests.enrichment.redis.proxy import Proxy

T = TypeVar("T")

# read before the guards hide the machine's environment; .ci/run sets it
REQUIRED = os.environ.get("SERVINGCLIENT_TEST_REDIS") == "required"  # noqa: TID251

PASSWORD = "a pass/word@with:marks"


@dataclass(frozen=True)
class Server:
    """A running redis-server."""

    path: str
    tls_port: int
    ca_file: str

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    @property
    def admin(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.path)


WATCHED = '"$@" & server=$!; cat >/dev/null; kill $server; wait $server'
"""Ends the server when its input ends, and so also when the tests were killed."""


def end(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.wait(10)


def start(folder: Path) -> tuple[subprocess.Popen[bytes], Server]:
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    path = folder / "redis.sock"
    command = ["redis-server", "--save", "", "--appendonly", "no", "--port", "0"]
    command += ["--unixsocket", str(path), "--bind", "127.0.0.1", "--tls-port", str(port)]
    command += ["--tls-cert-file", str(folder / "cert.pem"), "--tls-auth-clients", "no"]
    command += ["--tls-key-file", str(folder / "key.pem")]
    command += ["--tls-ca-cert-file", str(folder / "ca.pem"), "--dir", str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", "-c", WATCHED, "sh", *command], stdin=subprocess.PIPE, stdout=log, stderr=log
        )
    server = Server(str(path), port, str(folder / "ca.pem"))
    deadline_s = time.monotonic() + 10
    pause = asyncio.new_event_loop()
    with contextlib.closing(pause):
        while time.monotonic() < deadline_s and process.poll() is None:
            with contextlib.suppress(redis.ConnectionError), contextlib.closing(server.admin) as it:
                it.ping()
                return process, server
            pause.run_until_complete(asyncio.sleep(0.02))
    end(process)
    raise RuntimeError((folder / "log").read_text())


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if shutil.which("redis-server") is None:
        reason = "needs redis-server on the path (Debian: apt-get install redis-server)"
        if REQUIRED:
            pytest.fail(reason)
        pytest.skip(reason)
    process, server = start(tmp_path_factory.mktemp("redis"))
    with contextlib.closing(server.admin) as admin:
        rules = ["~servingclient:*", "+@read", "+@write", "+@connection", "+@transaction", "+eval"]
        admin.execute_command("ACL", "SETUSER", "app", "on", f">{PASSWORD}", *rules)
    yield server
    end(process)


@pytest.fixture
def admin(server: Server) -> Iterator[redis.Redis]:
    """A client to look behind the scenes; the server is empty at first."""
    with contextlib.closing(server.admin) as it:
        it.flushall()
        it.config_resetstat()
        yield it


@pytest.fixture
def proxy(server: Server) -> Iterator[Proxy]:
    with Proxy(server.path) as it:
        yield it


@dataclass
class Colour:
    """Opens caches of one colour and runs their stories."""

    name: str
    run: Callable[[Coroutine[Any, Any, T]], T]
    opened: list[SharedRedis] = field(default_factory=list)

    def open(self, spec: RedisCache) -> SharedRedis:
        cache = spec.for_threads() if self.name == "threads" else spec.for_tasks()
        self.opened.append(cache)
        return cache

    def pause(self) -> None:
        """Let what runs behind the callers go on for a moment."""
        if self.name == "threads":
            threading.Event().wait(0.01)
        else:
            self.run(asyncio.sleep(0.01))

    def close(self) -> None:
        for cache in self.opened:
            self.run(cache.aclose())


@pytest.fixture(params=["threads", "tasks"])
def colour(request: pytest.FixtureRequest) -> Iterator[Colour]:
    if request.param == "threads":
        it = Colour("threads", _step.run)
        yield it
        it.close()
        return
    loop = asyncio.new_event_loop()
    it = Colour("tasks", loop.run_until_complete)
    yield it
    it.close()
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.close()


def far() -> float:
    """A deadline beyond any budget."""
    return time.monotonic() + 60


def entry(value: Any, **changes: Any) -> Entry:
    fields: dict[str, Any] = {
        "stored_s": time.monotonic(),
        "fresh_s": 300.0,
        "revalidate_s": 300.0,
        "on_error_s": 3600.0,
        "took_s": 0.1,
        "size_bytes": 10,
    }
    return Entry(value, **(fields | changes))
