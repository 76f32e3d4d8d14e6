"""What tests of Spark read off the emulator's journal, and how they end a process of Spark's."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from servingclient.emulator import Emulator, RequestRecord


def sent(emu: Emulator, endpoint: str = "model") -> list[RequestRecord]:
    """The requests that were to be scored."""
    return [r for r in emu.requests if r.kind == "invocation" and r.endpoint == endpoint]


def request_ids(emu: Emulator) -> Counter[str | None]:
    return Counter(record.client_request_id for record in sent(emu))


def rows_sent(emu: Emulator) -> int:
    return sum(record.rows or 0 for record in sent(emu))


def most_at_once(records: list[RequestRecord]) -> int:
    """How many requests were in the endpoint's hands at once, at most."""
    edges = [(record.received_at_s, 1) for record in records]
    edges += [(record.decided_at_s, -1) for record in records]
    most = now = 0
    for _, step in sorted(edges):
        now += step
        most = max(most, now)
    return most


def assert_each_once(rows: list[Any], count: int) -> None:
    """Every row is there once, with its own prediction."""
    assert sorted(row.id for row in rows) == list(range(count))
    assert [row for row in rows if row.prediction != row.id + 0.5] == []
    assert {row.prediction_error for row in rows} <= {None}


# ------------------------------------------------------------------------------- processes


def _parents() -> dict[int, int]:
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:  # it has ended meanwhile
                continue
            found[int(entry.name)] = int(stat.rpartition(")")[2].split()[1])
    return found


def processes_of_spark(word: str) -> list[int]:
    """Processes below this one whose command line holds a word."""
    parents = _parents()

    def ours(pid: int) -> bool:
        while pid in parents:
            pid = parents[pid]
            if pid == os.getpid():
                return True
        return False

    def command(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""

    return [pid for pid in sorted(parents) if word in command(pid) and ours(pid)]


def python_workers() -> list[int]:
    """Those that run tasks: what was forked by the process that waits for orders to fork."""
    found = set(processes_of_spark("pyspark.daemon"))
    return [pid for pid, parent in _parents().items() if pid in found and parent in found]


@contextmanager
def killed_midway(emu: Emulator, requests: int, victims: Callable[[], list[int]]) -> Iterator[None]:
    """End one process, the moment the endpoint has answered some requests."""
    killed: list[int] = []

    def watch() -> None:
        if emu.wait_for(lambda: len(sent(emu)) >= requests, 60.0):
            killed.append(victims()[0])
            os.kill(killed[0], signal.SIGKILL)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert len(killed) == 1
