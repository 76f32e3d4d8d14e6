"""A client in a notebook's kernel: beside a running loop, and under the stop button."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

from servingclient.emulator import Emulator, faults

ENDS_S = 15.0
"""A call has 30 s; who presses the stop button does not wait for their end."""


class Session:
    """A kernel, and the cells sent to it."""

    def __init__(self) -> None:
        self._kernel = KernelManager()
        self._kernel.start_kernel()
        self._cells = self._kernel.blocking_client()
        self._cells.start_channels()
        self._cells.wait_for_ready(timeout=30)

    def run(self, code: str) -> str:
        """What a cell printed. Raises for one that failed."""
        printed: list[str] = []

        def hear(message: Any) -> None:
            if message["msg_type"] == "stream":
                printed.append(message["content"]["text"])

        reply = self._cells.execute_interactive(code, timeout=30, output_hook=hear)["content"]
        assert reply["status"] == "ok", reply["traceback"]
        return "".join(printed).strip()

    def begin(self, code: str) -> None:
        """Start a cell that will not come to its end."""
        # else the kernel would drop the cells that come next
        self._begun = self._cells.execute(code, stop_on_error=False)

    def interrupted(self) -> str:
        """Press the stop button; the error that the cell begun ended with."""
        self._kernel.interrupt_kernel()
        while True:
            reply = self._cells.get_shell_msg(timeout=ENDS_S)
            if reply["parent_header"]["msg_id"] == self._begun:
                return str(reply["content"]["ename"])

    def close(self) -> None:
        self._cells.stop_channels()
        self._kernel.shutdown_kernel(now=True)
        self._kernel.cleanup_resources()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with Emulator(tls=False) as emulator:
        yield emulator


@pytest.fixture
def session(emulator: Emulator) -> Iterator[Session]:
    session = Session()
    try:
        session.run(
            "import asyncio, threading\n"
            "from servingclient import ServingClient\n"
            f"client = ServingClient('demo', host={emulator.host!r}, token={emulator.token!r})\n"
            "row = [{'a': 1.0, 'b': 2.0}]"
        )
        yield session
    finally:
        session.close()


PREDICT = "print(client.predict(row).predictions)"
MAP = "print(sum(client.map({'a': 1.0} for _ in range(2000))))"


def connections(emulator: Emulator) -> int:
    return sum(emulator.open_connections.values())


THREADS = "print(sorted(thread.name for thread in threading.enumerate()))"


@pytest.mark.timeout(60)  # a kernel starts
def test_calls_in_a_kernel_and_its_stop_button(session: Session, emulator: Emulator) -> None:
    # the kernel's loop runs, and the blocking client needs none
    assert session.run("print(asyncio.get_running_loop().is_running())") == "True"
    assert session.run(PREDICT) == "[3.0]"
    assert session.run(MAP) == "2000.0"
    threads = session.run(THREADS)

    for cell, answer in ((PREDICT, "[3.0]"), (MAP, "2000.0")):
        emulator.always("demo", faults.hang())
        before = len(emulator.requests)
        session.begin(cell)
        assert emulator.wait_for(lambda before=before: len(emulator.requests) > before, 10.0)
        began_s = time.monotonic()
        assert session.interrupted() == "KeyboardInterrupt"
        assert time.monotonic() - began_s < ENDS_S
        # what was under way is given up, to the last connection and thread
        idle = int(session.run("print(client.stats().lanes.idle)"))
        assert emulator.wait_for(lambda idle=idle: connections(emulator) == idle, 5.0)
        assert session.run(THREADS) == threads
        emulator.clear("demo")
        assert session.run(cell) == answer
    assert session.run("print(client.stats().concurrency.in_flight)") == "0"
    assert session.run("print(client.stats().total.failed)") == "0"
    assert int(session.run("print(client.stats().total.cancelled)")) >= 2
