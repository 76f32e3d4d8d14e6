"""Time as a test may judge it: less the time in which the machine gave this process no processor.

On a busy machine a call is late because its thread, or the server's beside it, is ready and waits
for a processor. That says nothing of the client, so a limit in seconds is held against ``took_s``.
On a quiet machine the two are the same, and the limit is as strict as it reads.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Final

_LOOK_S: Final = 0.01
_TASKS: Final = Path("/proc/self/task")
"""A folder for each thread of this process, on Linux."""
_THIS_THREAD: Final = Path("/proc/thread-self")


def _waited_s() -> dict[str, float]:
    """How long each thread was ready to run and did not, since it began; nothing beyond Linux."""
    found = ((task.name, _wait_of(task)) for task in _TASKS.glob("*"))
    return {name: waited_s for name, waited_s in found if waited_s is not None}


def _wait_of(task: Path) -> float | None:
    """The second number of ``schedstat``, in nanoseconds:
    https://docs.kernel.org/scheduler/sched-stats.html
    """
    try:
        return int((task / "schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError):
        return None  # it has ended by now, or the kernel does not count


def working_s() -> float:
    """A clock for what this thread does alone: it stands while the thread is ready and has no
    processor, and runs on while it waits for anything else. Reading it takes some 20 µs.
    """
    return time.perf_counter() - (_wait_of(_THIS_THREAD) or 0.0)


class Stopwatch:
    """Runs for the length of its ``with``.

    Counted as the machine's: what each thread of the process waited for a processor; and by how
    much a thread that only sleeps woke late for another reason, which tells when the whole machine
    was stopped. Threads that wait at the same time count each: ``took_s`` errs on the short side.
    """

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="stopwatch", daemon=True)
        self._lock = threading.Lock()
        self._waited: dict[str, float] = {}
        self._late_s = 0.0
        self._ended_s: float | None = None

    def __enter__(self) -> Stopwatch:
        self._before = _waited_s()
        self._began_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended_s = time.monotonic()
        self._look()
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        waited = _waited_s()
        with self._lock:
            self._waited |= waited  # and what is known of threads that have ended is kept

    def _watch(self) -> None:
        asleep_s = time.monotonic()
        while not self._over.wait(_LOOK_S):
            self._late_s += max(0.0, time.monotonic() - asleep_s - _LOOK_S)
            self._look()
            asleep_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds so far, or of the whole ``with``: for what must have lasted at least so long."""
        return (time.monotonic() if self._ended_s is None else self._ended_s) - self._began_s

    @property
    def took_s(self) -> float:
        """Of these the seconds that the machine has no part in: for what must not last longer."""
        return self.elapsed_s - self.machine_s

    @property
    def machine_s(self) -> float:
        """The rest of them."""
        if self._ended_s is None:
            self._look()
        with self._lock:
            waited = {task: s - self._before.get(task, 0.0) for task, s in self._waited.items()}
        own_s = waited.pop(str(self._thread.native_id), 0.0)
        return sum(waited.values()) + max(0.0, self._late_s - own_s)
