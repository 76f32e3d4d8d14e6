"""Beginning a generating process, and ending it."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from servingclient.loadtest import worker
from servingclient.loadtest.worker import Job

End = Callable[[float], None]
"""Waits so many seconds for the end of one that was told to leave."""


def hire(job: Job, *, alone: bool) -> tuple[Connection, End]:
    """Begin one.

    Args:
        job: What it needs to know.
        alone: It is the only one, and so may be a thread of this process.

    Returns:
        Where it is told what to do, and how its end is waited for.
    """
    ours, theirs = multiprocessing.Pipe()
    if alone:
        thread = threading.Thread(
            target=worker.work, args=(job, theirs), name="servingclient-load", daemon=True
        )
        thread.start()
        return ours, thread.join
    context = multiprocessing.get_context("spawn")  # a fork would share the client's state
    process = context.Process(target=worker.work, args=(job, theirs), daemon=True)
    with _without_interrupts():
        process.start()
    theirs.close()
    return ours, lambda wait_s: _end(process, wait_s)


def _end(process: BaseProcess, wait_s: float) -> None:
    process.join(wait_s)
    if process.is_alive():
        process.kill()
        process.join()


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Processes begun meanwhile never hear Ctrl-C: they are told what to do by who began them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
