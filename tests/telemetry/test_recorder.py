"""The recorder: nothing is lost or counted twice, whoever asks, and nothing of it raises."""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from servingclient.telemetry import tally
from servingclient.telemetry.recorder import SETTLE_AT, Answered, Recorder, _taken
from servingclient.telemetry.tally import SLOT_S

PARTS = ("encode", "queue", "token", "connect", "first_byte", "decode", "backoff", "answered")


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def now(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def recorder(clock: Clock) -> Recorder:
    return Recorder(clock.now)


@pytest.fixture
def _switching() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def answer(at_s: float, total_s: float = 0.5, *, own: bool = True) -> Answered:
    return at_s, (0.01, 0.02, 0.0, 0.03, 0.04, 0.05, 0.0, total_s), 200, 30, own


def end(recorder: Recorder, at_s: float, total_s: float = 0.5) -> None:
    """As the story does it."""
    recorder.answered.append(answer(at_s, total_s))
    if len(recorder.answered) >= SETTLE_AT:
        recorder.settle()


def test_each_part_of_a_call_stands_in_its_histogram(clock: Clock, recorder: Recorder) -> None:
    for _ in range(3):
        recorder.answered.append(answer(1001.0))
    recorder.answered.append(answer(1001.0, own=False))
    recorder.note(1001.5, "failed", "Throttled", 2.0)
    recorder.note(1001.5, "failed_attempt", "429", 0.1)
    recorder.note(1001.5, "retry")
    recorder.note(1001.5, "throttled")
    recorder.note(1001.5, "cancelled", "CancelledError", 0.1)
    recorder.note(1001.5, "stream", None, 9.0)
    clock.now_s = 1002.0
    total, _ = recorder.read()
    assert (total.answered, total.failed, total.cancelled, total.streams) == (4, 1, 1, 1)
    assert (total.attempts, total.retries, total.throttled) == (4, 1, 1)
    assert total.errors == {"Throttled": 1}
    assert total.failed_attempts == {"429": 1}
    found = {name: getattr(total, f"{name}_s").max for name in PARTS}
    expected = dict(zip(PARTS, answer(0.0)[1], strict=True))
    assert found == expected
    assert total.duration_s.count == 5
    assert total.max_s == total.failed_s.max == 2.0
    assert total.stream_s.max == 9.0
    assert (total.request_bytes.max, total.reply_bytes.max) == (200, 30)
    assert total.reused_share == 0.0
    assert total.span_s == 2.0
    assert total.qps == 3.0
    assert total.error_rate == pytest.approx(1 / 6)
    assert total.throttle_rate == 0.25


def test_what_was_noted_is_never_more_than_a_batch(recorder: Recorder) -> None:
    for n in range(10 * SETTLE_AT + 1):
        end(recorder, 1000.0 + n / 1e4)
        recorder.note(1000.0, "retry")
        assert len(recorder.answered) < SETTLE_AT
        assert len(recorder._events) < SETTLE_AT
    assert recorder.read()[0].answered == recorder.read()[0].retries == 10 * SETTLE_AT + 1


def test_calls_count_in_the_slot_in_which_they_ended(clock: Clock, recorder: Recorder) -> None:
    for n in range(6):  # all of them are counted at once, much later
        recorder.answered.append(answer(1000.0 + n * SLOT_S))
        recorder.note(1000.0 + n * SLOT_S, "failed", "Throttled", 1.0)
    clock.now_s = 1000.0 + 5 * SLOT_S
    _, recent = recorder.read()
    assert [slot.tally.counts["answered"] for slot in recent.slots] == [1] * 6
    assert [slot.tally.counts["failed"] for slot in recent.slots] == [1] * 6
    assert sum(tally.counts["answered"] for tally in recent.last(10.0)[0]) == 3


def test_what_is_no_duration_is_left_out(recorder: Recorder) -> None:
    for total_s in (1.0, -1.0, math.nan, math.inf):
        end(recorder, 1000.0, total_s)
    recorder.note(1000.0, "failed", "ServerError", -3.0)
    total, _ = recorder.read()
    assert (total.answered, total.failed) == (4, 1)
    assert (total.answered_s.count, total.answered_s.max) == (1, 1.0)
    assert total.failed_s.count == 0


@pytest.mark.usefixtures("_switching")
def test_threads_lose_nothing(clock: Clock) -> None:
    recorder = Recorder(clock.now, threading.RLock)
    calls, threads = 4000, 8
    seen: list[int] = []

    def call() -> None:
        for _ in range(calls):
            end(recorder, clock.now_s)
            recorder.note(clock.now_s, "retry")

    def ask() -> None:
        while any(thread.is_alive() for thread in callers):
            seen.append(recorder.read()[0].answered)

    callers = [threading.Thread(target=call) for _ in range(threads)]
    asking = threading.Thread(target=ask)
    for thread in (*callers, asking):
        thread.start()
    for thread in (*callers, asking):
        thread.join()
    total, _ = recorder.read()
    assert total.answered == total.retries == total.answered_s.count == calls * threads
    assert seen == sorted(seen)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs setitimer")
def test_a_signal_handler_may_ask_in_the_midst_of_counting(clock: Clock) -> None:
    recorder = Recorder(clock.now, threading.RLock)
    asked = []
    before = signal.signal(signal.SIGALRM, lambda *_: asked.append(recorder.read()[0].answered))
    calls = armed = 0
    try:
        while len(asked) < 200:
            if len(asked) == armed:  # one at a time: handlers would interrupt each other
                armed += 1
                signal.setitimer(signal.ITIMER_REAL, 1e-5 * (armed % 30 + 1))
            end(recorder, clock.now_s)
            calls += 1
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert recorder.read()[0].answered == calls
    assert asked == sorted(asked)


def test_asked_while_it_counts_it_tells_what_it_has(clock: Clock, recorder: Recorder) -> None:
    end(recorder, 1000.0)
    recorder.read()

    class Asking(tuple[Any, ...]):
        """The parts of a call that ask for figures when they are looked at."""

        __slots__ = ()

        def __iter__(self) -> Any:
            asked.append(recorder.read()[0].answered_s.count)
            return super().__iter__()

    asked: list[int] = []
    at_s, timing, *rest = answer(1000.0)
    recorder.answered.append((at_s, Asking(timing), *rest))  # type: ignore[arg-type]
    assert recorder.read()[0].answered_s.count == 2
    assert asked == [1]


def test_asked_while_a_slot_closes_it_closes_once(
    clock: Clock, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked, inside = tally.Slot, [], []

    def closing(number: int, closed: tally.Tally) -> tally.Slot:
        if not inside:
            inside.append(True)
            end(recorder, clock.now_s)
            asked.append(recorder.read()[0].answered)
        return real(number, closed)

    for _ in range(2):
        end(recorder, clock.now_s)
    recorder.settle()
    clock.now_s += SLOT_S
    end(recorder, clock.now_s)
    monkeypatch.setattr(tally, "Slot", closing)
    recorder.settle()
    assert asked == [2]
    assert recorder.read()[0].answered == 4


def test_what_is_noted_while_others_are_counted_stays() -> None:
    class Noted(list[Any]):
        """Somebody appends just when the others have been read."""

        def __getitem__(self, which: Any) -> Any:
            found = super().__getitem__(which)
            self.append("late")
            return found

        def __iter__(self) -> Iterator[Any]:
            yield from super().__iter__()
            self.append("late")

    noted = Noted(["one", "two"])
    assert _taken(noted) == ["one", "two"]
    assert list.copy(noted) == ["late"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_T4_a_forked_child_starts_empty_whoever_was_counting(clock: Clock) -> None:
    recorder = Recorder(clock.now, threading.RLock)
    for _ in range(3):
        end(recorder, 1000.0)
    recorder.note(1000.0, "retry")
    recorder.read()
    end(recorder, 1000.0)  # not counted yet, nor the next
    recorder.note(1000.0, "retry")
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with recorder._guard:
            held.set()
            done.wait()

    holding = threading.Thread(target=hold)
    holding.start()
    held.wait()
    clock.now_s = 1600.0
    pid = os.fork()
    if pid == 0:
        signal.alarm(10)  # rather than wait for a lock for ever
        first, _ = recorder.read()
        end(recorder, 1600.0)
        second, recent = recorder.read()
        fits = (first.calls, first.retries, second.calls, recent.since_s) == (0, 0, 1, 1600.0)
        os._exit(0 if fits else 1)
    done.set()
    holding.join()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert recorder.read()[0].answered == 4
