"""The cores this runs on, and the server beside it."""

from __future__ import annotations

import http.client
import json
import os
import resource
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import answers


class Cores(NamedTuple):
    """Where the client and the server run; None for both where that can not be said."""

    client: int | None
    server: int | None


def pin() -> Cores:
    """Keep this process on one core and leave one for the server.

    Call it before any thread exists: threads inherit it.
    """
    if hasattr(os, "sched_getaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        if len(allowed) > 1:
            os.sched_setaffinity(0, {allowed[-1]})
            return Cores(allowed[-1], allowed[0])
    print("Only one core, or a system that can not pin: client and server disturb each other.")
    return Cores(None, None)


def allow_many_files() -> None:
    """A thousand connections per contender outgrow the usual soft limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@dataclass(frozen=True)
class Server:
    """The process that answers.

    Attributes:
        host: Scheme, address and port.
        ca_file: The authority that signed its certificate.
        pid: Its process.
    """

    host: str
    ca_file: str
    pid: int

    def waited_s(self) -> float:
        """Seconds it was ready to run while something else held its core; 0.0 where unknown."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError, ValueError):
            return 0.0

    def invocations(self) -> int:
        """Predictions requested so far, by whomever."""
        tls = ssl.create_default_context(cafile=self.ca_file)
        connection = http.client.HTTPSConnection(urlsplit(self.host).netloc, context=tls)
        try:
            method, path = answers.COUNT_LINE.decode().split(" ")
            connection.request(method, path)
            return int(connection.getresponse().read())
        finally:
            connection.close()


@contextmanager
def server(core: int | None, *options: str) -> Iterator[Server]:
    """The server in a process of its own."""
    command = [sys.executable, str(Path(__file__).with_name("server.py")), "--until-stdin-ends"]
    if core is not None:
        command += ["--core", str(core)]
    process = subprocess.Popen(
        [*command, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield Server(**json.loads(process.stdout.readline()), pid=process.pid)
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(10)
