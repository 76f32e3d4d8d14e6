"""Callers interrupted anywhere, thread by thread: nobody hangs, and no slot stays taken."""

from __future__ import annotations

import ctypes
import random
import threading
from collections import Counter

import pytest

from servingclient import _step
from servingclient.batching.leader import ThreadBatcher
from tests.batching.misrouting import LIMITS, Line, call, calls_over

CALLERS = 24
INTERRUPTS = 1000


class Interrupted(BaseException):
    """What Ctrl-C is to the main thread."""


def interrupt(thread: threading.Thread) -> None:
    """Raise in another thread, between two of its bytecodes."""
    raise_in = ctypes.pythonapi.PyThreadState_SetAsyncExc
    raise_in(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(Interrupted))


@pytest.mark.skipif(not hasattr(ctypes, "pythonapi"), reason="CPython's own way")
def test_callers_interrupted_at_any_point_hold_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    # it may strike between the calls too, and end the thread
    died: Counter[object] = Counter()
    monkeypatch.setattr(threading, "excepthook", lambda thread: died.update([thread.exc_type]))
    pause = threading.Event()
    line = Line(pause.wait, 5)
    batcher = ThreadBatcher(LIMITS, 1000, line, lambda: 6)  # type: ignore[arg-type]
    calls = calls_over(line, batcher)
    ends: Counter[str] = Counter()
    over = threading.Event()

    def caller(seed: int) -> None:
        chance, number = random.Random(seed), seed * 1_000_000
        while not over.is_set():
            number += 5
            try:
                mine = [number + n for n in range(chance.randint(1, 5))]
                ends[_step.run(call(calls, mine, 10.0))] += 1
            except Interrupted:
                ends["interrupted"] += 1

    threads = [threading.Thread(target=caller, args=(n,), daemon=True) for n in range(CALLERS)]
    for thread in threads:
        thread.start()
    chance = random.Random(5)
    for _ in range(INTERRUPTS):
        interrupt(chance.choice([thread for thread in threads if thread.is_alive()]))
        pause.wait(0.0005)
    over.set()
    for thread in threads:
        thread.join(12.0)
    assert not [thread for thread in threads if thread.is_alive()], "somebody hangs"
    assert set(died) <= {Interrupted}
    assembler = batcher._assembler
    assert (assembler.busy, assembler.waiting) == (0, 0)
    assert ends["interrupted"] > INTERRUPTS / 4
    assert ends["right"] > ends["interrupted"]
    assert not ends.keys() & {"misrouted", "blamed for another", "DeadlineExceeded"}
