"""What every test runs under: loopback only, nothing left behind, no credentials from the machine.

A plugin rather than part of the conftest, so that tests/gates can prove on a small suite that each
guard does catch what it is there for.
"""

from __future__ import annotations

import asyncio
import asyncio.runners
import gc
import ipaddress
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

# A thread that has been told to end may still be returning from its last call.
_JOIN_WITHIN_S = 2.0

_UNWANTED_PREFIXES = ("DATABRICKS_", "ARM_", "SERVINGCLIENT_", "MLFLOW_")
_UNWANTED_NAMES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSLKEYLOGFILE")


class OutsideLoopbackError(AssertionError):
    """A test tried to leave the machine. No OSError, so the code under test cannot excuse it."""


class _Findings(logging.Handler):
    """What went wrong out of sight since the last look."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self._found: list[str] = []

    def add(self, text: str) -> None:
        self._found.append(text)

    def emit(self, record: logging.LogRecord) -> None:
        # asyncio reports a never-retrieved exception or a destroyed task only by logging it
        self.add(f"asyncio: {record.getMessage()}")

    def take(self) -> list[str]:
        found, self._found = self._found, []
        return found


_findings = _Findings()


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket's path
    host = str(address[0])
    if host in ("localhost", ""):
        return True
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _refuse(what: str, address: Any) -> None:
    _findings.add(f"{what} {address!r} is not on loopback")
    raise OutsideLoopbackError(f"{what} {address!r}: tests stay on loopback")


@pytest.fixture(autouse=True, scope="session")
def _loopback_only() -> Iterator[None]:
    """Let no socket connect, bind or send beyond loopback, and resolve no name that is not local.

    Names ending in ``.invalid`` (RFC 6761) fail at once as they do in any resolver.
    """
    real_getaddrinfo = socket.getaddrinfo

    def guarded(name: str) -> Callable[..., Any]:
        real = getattr(socket.socket, name)

        def call(self: socket.socket, *args: Any) -> Any:
            if self.family != socket.AF_UNIX and not _is_local(args[-1]):
                _refuse(name, args[-1])
            return real(self, *args)

        return call

    def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and name.endswith(".invalid"):
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        if name is not None and not _is_local((name,)):
            _refuse("getaddrinfo", name)
        return real_getaddrinfo(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("connect", "connect_ex", "bind", "sendto"):
            patch.setattr(socket.socket, name, guarded(name))
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        yield


@pytest.fixture(autouse=True, scope="session")
def _machine_unseen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Hide the credentials, profiles and proxies of whoever runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):  # noqa: TID251 - what a test's process inherits
            if name.startswith(_UNWANTED_PREFIXES) or name.upper() in _UNWANTED_NAMES:
                patch.delenv(name)
        home = tmp_path_factory.mktemp("home")
        patch.setenv("HOME", str(home))
        patch.setenv("DATABRICKS_CONFIG_FILE", str(home / "no-databrickscfg"))
        yield


@pytest.fixture(autouse=True, scope="session")
def _tasks_are_awaited() -> Iterator[None]:
    """Report tasks that still run when their event loop ends: asyncio cancels them in silence."""
    real = asyncio.runners._cancel_all_tasks

    def report_and_cancel(loop: asyncio.AbstractEventLoop) -> None:
        for task in asyncio.all_tasks(loop):
            _findings.add(f"task left running: {task!r}")
        real(loop)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncio.runners, "_cancel_all_tasks", report_and_cancel)
        if sys.version_info < (3, 11):
            # pytest-asyncio runs its tests on the backport of asyncio.Runner there
            from backports.asyncio.runner import runner

            patch.setattr(runner, "_cancel_all_tasks", report_and_cancel)
        yield


@pytest.fixture(autouse=True, scope="session")
def _asyncio_is_heard() -> Iterator[None]:
    logger = logging.getLogger("asyncio")
    logger.addHandler(_findings)
    yield
    logger.removeHandler(_findings)


@pytest.fixture(autouse=True)
def _nothing_left_behind() -> Iterator[None]:
    """Fail the test that leaves a thread or a task, or that hid an error from everyone."""
    before = set(threading.enumerate())
    _findings.take()
    yield
    left = [thread for thread in threading.enumerate() if thread not in before]
    for thread in left:
        thread.join(_JOIN_WITHIN_S)
    problems = [f"thread left running: {thread.name}" for thread in left if thread.is_alive()]
    problems += _findings.take()
    if problems:
        pytest.fail("left behind:\n  " + "\n  ".join(problems), pytrace=False)


@pytest.fixture(autouse=True, scope="session")
def _only_what_tests_make_is_collected() -> None:
    """Let no collection look at what was there before the first test: it stays to the end.

    These are the modules and 12,000 tests, 0.4 s for each look, of which there are hundreds.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="module")
def _nothing_left_to_collect(_only_what_tests_make_is_collected: None) -> Iterator[None]:
    """Collect garbage after each module, so that what its tests leaked is reported there.

    After each test would say which one, and take longer. pytest turns what a finaliser reports
    (ResourceWarning) into a warning, and warnings are errors.
    """
    yield
    gc.collect()
    problems = _findings.take()
    if problems:
        pytest.fail("found by garbage collection:\n  " + "\n  ".join(problems), pytrace=False)
