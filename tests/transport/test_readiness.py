"""Waiting for sockets where the system lacks what Linux has, and in forked children."""

from __future__ import annotations

import asyncio
import os
import select
import selectors
import subprocess
import sys
import textwrap

import pytest

from servingclient._types import FaultKind
from servingclient.transport import lane, readiness
from tests.scripted.server import Connection, ScriptedServer, echo, stall
from tests.stopwatch import Stopwatch
from tests.transport.kit import Driver, answer_of, body_of, facts, settings_of, target_of


@pytest.fixture
def as_on_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither ``poll`` nor a flag for sending at once."""
    monkeypatch.delattr(select, "poll")
    monkeypatch.setattr(readiness, "_Selector", selectors.SelectSelector)
    for module in (readiness, lane):
        monkeypatch.setattr(module, "AT_ONCE", 0)


def test_without_poll_a_lane_calls_and_keeps_its_connection(as_on_windows: None):
    with ScriptedServer(echo()) as server:
        driver = Driver("lane", settings_of())
        for n in range(5):
            assert answer_of(driver.send(target_of(server), body_of(n))) == str(n)
        assert len(server.connections) == 1
        driver.close()


@pytest.mark.parametrize("what", ["reply", "upload"])
def test_without_poll_a_deadline_holds(as_on_windows: None, what: str):
    async def deaf(conn: Connection) -> None:
        conn.writer.transport.pause_reading()
        await asyncio.sleep(60)

    body = b"{}" if what == "reply" else bytes(16 << 20)
    with ScriptedServer(stall(), greeting=None if what == "reply" else deaf) as server:
        driver = Driver("lane", settings_of())
        with Stopwatch() as watch:
            fault = driver.fault(target_of(server), body, timeout_s=0.3)
            assert facts(fault) == (FaultKind.TIMEOUT, "maybe")
        assert watch.elapsed_s > 0.29
        assert watch.took_s < 0.6
        driver.close()


FORKED_BY_A_THREAD = textwrap.dedent(
    """
    import os, sys, threading
    from servingclient.transport import readiness

    assert readiness.main_thread == threading.get_ident()

    def fork():
        if child := os.fork():
            exits.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        else:
            os._exit(0 if readiness.main_thread == threading.get_ident() else 1)

    exits = []
    thread = threading.Thread(target=fork)
    thread.start()
    thread.join()
    sys.exit(exits[0])
    """
)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_in_a_forked_child_signals_go_to_the_thread_that_forked():
    child = subprocess.run([sys.executable, "-c", FORKED_BY_A_THREAD], timeout=15, check=False)
    assert child.returncode == 0
