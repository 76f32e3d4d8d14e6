"""Callers interrupted anywhere, thread by thread: nobody hangs, and no slot stays taken."""

from __future__ import annotations

import ctypes
import random
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import _step
from servingclient._types import Reply
from servingclient.batching import leader
from servingclient.batching.leader import ThreadBatcher
from servingclient.errors import ClientClosedError
from servingclient.settings import Batching
from tests.batching.misrouting import LIMITS, Line, call, calls_over
from tests.points import Interrupted, Points

CALLERS = 24
INTERRUPTS = 1000
COMPLETE = Batching(max_batch_rows=3, max_wait_s=60.0)
SOON = Batching(max_batch_rows=3, max_wait_s=0.0)


class Calm(Line):
    """Nothing goes wrong, and nothing takes time."""

    def __init__(self) -> None:
        super().__init__(lambda seconds: None, 0)
        self.chance.random = lambda: 0.5  # type: ignore[method-assign]
        self.sent: Callable[[], object] = lambda: None

    async def send(self, *args: Any, **options: Any) -> Reply:
        self.sent()
        return await super().send(*args, **options)


class Company:
    """A batcher and those who call through it.

    Args:
        limits: Of a batch.
        slots: Requests at once before calls gather.
        made: Where it puts itself down, for what happens while it is called.

    Attributes:
        answered: How many tries each good answer took.
        closed: How many calls were told that the client is closed.
    """

    def __init__(self, limits: Batching, slots: int, made: list[Company] | None = None) -> None:
        if made is not None:
            made.append(self)
        self.line = Calm()
        self.batcher = ThreadBatcher(limits, 1000, self.line, lambda: slots)  # type: ignore[arg-type]
        self.calls = calls_over(self.line, self.batcher)
        self.answered: list[int] = []
        self.closed = 0

    def call(self, *numbers: int, timeout_s: float = 20.0) -> None:
        """One call: an answer, or whatever it raises."""
        rows = [[number] for number in numbers]
        try:
            told = _step.run(self.calls.predict(rows, None, None, None, None, timeout_s, True, 1))
        except ClientClosedError:
            self.closed += 1
            return
        assert told.predictions == list(numbers)
        self.answered.append(len(told.attempts))

    def other(self, timeout_s: float = 20.0) -> threading.Thread:
        """Another that waits for company, and has that much time."""
        before = self.batcher._assembler._calls
        other = threading.Thread(target=self.call, args=(3,), kwargs={"timeout_s": timeout_s})
        other.start()
        while self.batcher._assembler._calls == before and other.is_alive():
            pass
        return other

    def end(self, other: threading.Thread, interrupts: Points) -> None:
        """The other has its answer."""
        with self.batcher._lock:
            forlorn = [group for group in self.batcher._assembler.groups() if not group.coming]
        if forlorn:
            self.call(4, 5)
        other.join(5.0)
        assert not other.is_alive(), f"who waited hangs: {interrupts.struck}"
        assert max(self.answered, default=0) <= 2, f"a try counts once: {interrupts.struck}"

    def figures(self) -> tuple[int, int, int]:
        """Requests under way, calls that wait, groups that are remembered: none, at the end."""
        made = self.batcher._assembler
        return made.busy, made.waiting, len(list(made.groups()))


def alone(interrupts: Points, made: list[Company] | None = None) -> Company:
    """A slot is free."""
    company = Company(SOON, 1, made)
    interrupts.during(lambda: company.call(1, 2))
    return company


def followed(interrupts: Points, made: list[Company] | None = None) -> Company:
    """The same, and another waits for that slot."""
    company = Company(COMPLETE, 1, made)
    others: list[threading.Thread] = []
    company.line.sent = lambda: others or others.append(company.other())
    interrupts.during(lambda: company.call(1, 2))
    for other in others:
        company.end(other, interrupts)
    return company


def waited(interrupts: Points, made: list[Company] | None = None) -> Company:
    """No slot is, and the call goes since it has waited long enough."""
    company = Company(SOON, 0, made)
    interrupts.during(lambda: company.call(1, 2))
    return company


def led(interrupts: Points, made: list[Company] | None = None) -> Company:
    """Another waits, and this one completes the company and sends for both."""
    company = Company(COMPLETE, 0, made)
    other = company.other()
    interrupts.during(lambda: company.call(1, 2, timeout_s=30.0))
    company.end(other, interrupts)
    return company


def handed(interrupts: Points, made: list[Company] | None = None) -> Company:
    """The same, and the other has more time, so it sends."""
    company = Company(COMPLETE, 0, made)
    other = company.other(timeout_s=30.0)
    interrupts.during(lambda: company.call(1, 2))
    company.end(other, interrupts)
    return company


def crowded(interrupts: Points, made: list[Company] | None = None) -> Company:
    """Others come while the request of the first two waits for its place: more than it holds."""
    company = Company(Batching(max_batch_rows=3, max_wait_s=0.01), 0, made)
    others = [company.other()]

    def come() -> bool:
        company.line.try_enter = lambda: True  # type: ignore[method-assign]
        others.extend(company.other() for _ in range(2))
        return True

    company.line.try_enter = come  # type: ignore[method-assign]
    interrupts.during(lambda: company.call(1, 2, timeout_s=30.0))
    for other in others:
        other.join(5.0)
        assert not other.is_alive(), f"who waited hangs: {interrupts.struck}"
    return company


STORIES = [alone, followed, waited, led, handed, crowded]


def stories(test: Any) -> Any:
    """With each of them. What an interrupt leaves of a coroutine or generator Python sees to."""
    test = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")(test)
    test = pytest.mark.filterwarnings("ignore:Exception ignored in. <generator")(test)
    return pytest.mark.parametrize("story", STORIES)(test)


@stories
def test_an_interrupt_at_any_point_leaves_nothing_behind(story: Any) -> None:
    points = 0
    while True:
        interrupts = Points(points + 1, within="batching")
        company = story(interrupts)
        assert company.figures() == (0, 0, 0), interrupts.struck
        if not interrupts.struck:
            break
        points += 1
    assert points > 10


@stories
def test_nor_do_two_the_second_while_the_first_is_coped_with(story: Any) -> None:
    first, both = 0, 0
    step = 7 if story is crowded else 1  # that takes 20 ms each time
    while True:
        first += step
        once = Points(first, within="batching")
        story(once)
        if not once.struck:
            break
        if "give_back" in once.struck[0]:
            continue  # this copes with the end of a call, and is tried twice, not three times
        for second in range(1, 1000, step):
            interrupts = Points(first, second, within="batching")
            company = story(interrupts)
            assert company.figures() == (0, 0, 0), interrupts.struck
            if len(interrupts.struck) < 2:
                break
            both += 1
    assert both > 10


@stories
def test_a_handler_may_close_the_client_at_any_point(story: Any) -> None:
    number = 0
    while True:
        number += 1
        made: list[Company] = []

        def close(made: list[Company] = made) -> None:
            made[0].batcher.refuse()

        points = Points(number, act=close, within="batching")
        company = story(points, made)
        assert company.figures() == (0, 0, 0), points.struck
        if not points.struck:
            break
    assert number > 10


def test_who_is_woken_before_it_has_its_work_does_not_sleep_over_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wake, pause = leader._wake, threading.Event()

    def and_let_it_run(member: Any) -> None:
        wake(member)
        pause.wait(0.02)

    monkeypatch.setattr(leader, "_wake", and_let_it_run)
    company = handed(Points())
    assert company.answered == [1, 1]


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
