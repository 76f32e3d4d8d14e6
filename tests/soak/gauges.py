"""What a process holds, and what went wrong in it unseen."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import logging
import os
import sys
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

MB = 1e6


def resident_mb() -> float:
    """Resident memory of this process, in MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MB


def descriptors() -> int:
    """Open descriptors, without the one that counts them."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir()) - 1


class Held(NamedTuple):
    """What the process holds now.

    Attributes:
        resident_mb: Memory.
        descriptors: Files and sockets.
        threads: Threads.
        tasks: Tasks of the running loop, without the current one.
        futures: Futures of either kind that somebody still waits for, or could.
        objects: What the collector knows of, after a collection.
    """

    resident_mb: float
    descriptors: int
    threads: int
    tasks: int
    futures: int
    objects: int


def held() -> Held:
    """Collect garbage, and look."""
    gc.collect()
    try:
        tasks = len(asyncio.all_tasks()) - 1
    except RuntimeError:
        tasks = 0
    known = gc.get_objects()
    # of those that are done one may be kept as long as its client, as the last login is
    futures = sum(type(one) in _FUTURES and not one.done() for one in known)
    return Held(resident_mb(), descriptors(), threading.active_count(), tasks, futures, len(known))


_FUTURES: set[type] = {asyncio.Future, asyncio.Task, concurrent.futures.Future}


def garbage() -> int:
    """Objects the collector could not free."""
    gc.collect()
    return len(gc.garbage)


def slope_mb(points: Sequence[tuple[float, float]], per: float) -> float:
    """Growth of the second figure for each ``per`` of the first, by least squares."""
    if len(points) < 2:
        return 0.0
    xs, ys = zip(*points, strict=True)
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    spread = sum((x - mean_x) ** 2 for x in xs)
    if not spread:
        return 0.0
    return per * sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


class Trace:
    """Memory over calls, looked at each so many seconds."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next_s = 0.0
        self.points: list[tuple[float, float]] = []
        self.peak_descriptors = 0

    def look(self, calls: int) -> None:
        """Note a point if it is time."""
        now_s = time.monotonic()
        if now_s >= self._next_s:
            self._next_s = now_s + self._every_s
            self.points.append((float(calls), resident_mb()))
            self.peak_descriptors = max(self.peak_descriptors, descriptors())


class Unseen(logging.Handler):
    """Counts what nobody would see: warnings, exceptions never retrieved, errors in finalisers."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: Counter[str] = Counter()

    def note(self, text: str) -> None:
        self.found[text[:200]] += 1

    def emit(self, record: logging.LogRecord) -> None:
        self.note(f"asyncio: {record.getMessage()}")


@contextmanager
def watched() -> Iterator[Unseen]:
    """Watch the whole process."""
    unseen = Unseen()
    logger = logging.getLogger("asyncio")
    before: tuple[Any, ...] = sys.unraisablehook, threading.excepthook, warnings.showwarning
    show: Callable[..., None] = lambda message, category, *_: unseen.note(  # noqa: E731
        f"{category.__name__}: {message}"
    )
    logger.addHandler(unseen)
    sys.unraisablehook = lambda args: unseen.note(f"unraisable: {args.exc_value!r}")
    threading.excepthook = lambda args: unseen.note(f"thread: {args.exc_value!r}")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        try:
            yield unseen
            gc.collect()
        finally:
            logger.removeHandler(unseen)
            sys.unraisablehook, threading.excepthook, _ = before
