"""A deadline holds while signals keep arriving, as they do under timers and sampling profilers."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap

import pytest

from tests.scripted.server import Connection, ScriptedServer, stall

INTERVAL_S, TIMEOUT_S = 0.1, 0.5

UNDER_A_TIMER = textwrap.dedent(
    """
    import signal, sys, threading, time
    from servingclient import _step
    from servingclient._types import Origin, WireFault
    from servingclient.settings import Settings
    from servingclient.transport.wire import LaneWire
    from tests.stopwatch import Stopwatch
    from tests.transport.kit import target_at

    thread, *figures = sys.argv[1:]
    port, body_bytes, interval_s, timeout_s = map(float, figures)
    wire, heard = LaneWire(Settings()), []

    def call():
        target = target_at(Origin("http", "127.0.0.1", int(port)))
        deadline_s = time.monotonic() + timeout_s
        with Stopwatch() as watch:
            try:
                _step.run(wire.send(target, bytes(int(body_bytes)), deadline_s))
            except WireFault as fault:
                kind = fault.kind.value
        print(kind, watch.elapsed_s, watch.took_s, len(heard))

    signal.signal(signal.SIGALRM, lambda *_: heard.append(None))
    signal.setitimer(signal.ITIMER_REAL, interval_s, interval_s)
    if thread == "main":
        call()
    else:
        worker = threading.Thread(target=call)
        worker.start()
        worker.join()
    signal.setitimer(signal.ITIMER_REAL, 0)
    wire.close()
    """
)


async def deaf(conn: Connection) -> None:
    conn.writer.transport.pause_reading()
    await asyncio.sleep(60)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no interval timers")
@pytest.mark.parametrize("thread", ["main", "worker"])
@pytest.mark.parametrize("what", ["reply", "upload"])
def test_signals_more_frequent_than_the_time_out_do_not_lengthen_it(what: str, thread: str):
    waits_for_reply = what == "reply"
    server = ScriptedServer(stall(), greeting=None if waits_for_reply else deaf)
    with server:
        figures = (server.port, 2 if waits_for_reply else 16 << 20, INTERVAL_S, TIMEOUT_S)
        child = subprocess.run(
            [sys.executable, "-c", UNDER_A_TIMER, thread, *map(str, figures)],
            capture_output=True,
            text=True,
            timeout=15,
            check=True,
        )
    kind, elapsed_s, took_s, heard = child.stdout.split()
    assert kind == "timeout"
    assert float(elapsed_s) > 0.49
    assert float(took_s) < 0.75
    assert int(heard) >= 4
