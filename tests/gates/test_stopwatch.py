"""The stopwatch leaves out what the machine withheld, and nothing else."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from tests import stopwatch
from tests.stopwatch import Stopwatch, working_s


class Kernel:
    """Says what threads waited for a processor."""

    def __init__(self, **waited_s: float) -> None:
        self.waited_s = waited_s

    def __call__(self) -> dict[str, float]:
        return dict(self.waited_s)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Kernel:
    made = Kernel(old=5.0)
    monkeypatch.setattr(stopwatch, "_waited_s", made)
    return made


def test_what_threads_waited_for_a_processor_is_left_out(kernel: Kernel) -> None:
    with Stopwatch() as watch:
        kernel.waited_s = {"old": 5.25, "new": 0.5}
    assert watch.machine_s >= 0.75, "what the old one had waited before does not count"
    assert watch.took_s == pytest.approx(watch.elapsed_s - watch.machine_s)


def test_what_an_ended_thread_waited_is_kept(kernel: Kernel) -> None:
    with Stopwatch() as watch:
        kernel.waited_s = {"old": 5.0, "short": 0.5}
        watch.machine_s  # noqa: B018 - looks
        kernel.waited_s = {"old": 5.0}
    assert watch.machine_s >= 0.5


def test_waiting_for_anything_else_counts(kernel: Kernel) -> None:
    with Stopwatch() as watch:
        threading.Event().wait(0.2)
    assert watch.elapsed_s >= 0.2
    assert watch.took_s == pytest.approx(watch.elapsed_s - watch.machine_s)
    began_s = working_s()
    threading.Event().wait(0.05)
    assert working_s() - began_s >= 0.045


def test_the_clock_of_a_thread_stands_while_it_has_no_processor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(stopwatch, "_THIS_THREAD", tmp_path)
    (tmp_path / "schedstat").write_text("1 3000000000 1")
    assert working_s() == pytest.approx(time.perf_counter() - 3.0, abs=1.0)
    (tmp_path / "schedstat").unlink()
    assert working_s() == pytest.approx(time.perf_counter(), abs=1.0)
