"""Gates at their edges: after a fork, after a loop that ended in mid-call, without a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import sys
import threading
import time
import warnings
import weakref

import pytest

from servingclient import _step
from servingclient._step import run
from servingclient._types import WireFault
from servingclient.errors import QueueFull
from servingclient.policies.concurrency import Limiter
from servingclient.settings import Concurrency, Queue
from servingclient.transport.clock import ThreadClock
from servingclient.transport.loop_gate import LoopGate
from servingclient.transport.thread_gate import ThreadGate
from tests.transport.kit import loop_gate, thread_gate

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


def exit_code_of_child(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fork() -> int:
    with warnings.catch_warnings():  # Python 3.12 remarks on threads
        warnings.simplefilter("ignore", DeprecationWarning)
        return os.fork()


@forks
async def test_T4_a_child_forked_by_a_running_loop_finds_the_gate_empty_and_open():
    gate = loop_gate(1, waiting=10)
    assert gate.try_enter()
    pid = fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            entered = asyncio.run(entered_in(gate))
            code = 0 if entered and gate.inside == 1 else 2
        os._exit(code)
    assert exit_code_of_child(pid) == 0
    assert gate.inside == 1


async def entered_in(gate: LoopGate) -> bool:
    return gate.try_enter()


@forks
def test_T4_a_child_sleeps_though_a_thread_of_the_parent_was_just_waking():
    clock = ThreadClock()
    clock._woken._barrier.release()  # what such a thread does
    pid = fork()
    if pid == 0:
        began_s = time.monotonic()
        _step.run(clock.sleep(0.05))
        os._exit(0 if time.monotonic() - began_s >= 0.05 else 1)
    assert exit_code_of_child(pid) == 0


def test_a_queue_without_end_is_waited_in():
    gate = thread_gate(1, waiting=1)
    assert gate.try_enter()
    threading.Timer(0.1, gate.leave).start()
    _step.run(gate.enter(float("inf")))
    assert gate.inside == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_T5_places_of_a_loop_that_ended_in_mid_call_come_back():
    gate = loop_gate(1, waiting=10)

    async def inside() -> None:
        assert gate.try_enter()
        try:
            await asyncio.Event().wait()
        finally:
            gate.leave()

    async def waits() -> None:
        await gate.enter(time.monotonic() + 100)

    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # tasks destroyed while pending
    tasks = [loop.create_task(inside()), loop.create_task(waits())]
    loop.run_until_complete(asyncio.sleep(0.01))
    assert (gate.inside, gate.waiting) == (1, 1)
    loop.close()
    del tasks, loop
    gc.collect()
    assert asyncio.run(entered_in(gate))
    assert (gate.inside, gate.waiting) == (1, 0)


def test_T9_no_place_is_lost_or_lent_twice_in_a_storm():
    """48 threads at 4 places, some out of time at once: never 5 inside, and all 4 come back."""
    gate = thread_gate(4)
    inside: list[int] = []
    most, late, served = [0], [0], [0]
    book = threading.Lock()

    def caller(number: int) -> None:
        chance = random.Random(number)
        for _ in range(200):
            deadline_s = time.monotonic() + chance.choice([0.0, 0.0005, 60.0])
            try:
                if not gate.try_enter():
                    run(gate.enter(deadline_s))
            except WireFault:
                with book:
                    late[0] += 1
                continue
            inside.append(number)
            with book:
                most[0] = max(most[0], len(inside))
                served[0] += 1
            inside.remove(number)
            gate.leave()

    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=caller, args=(number,)) for number in range(48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
    finally:
        sys.setswitchinterval(switch_s)
    assert not any(thread.is_alive() for thread in threads), "a wake-up was lost"
    assert most[0] <= 4
    assert (gate.inside, gate.waiting) == (0, 0)
    assert served[0] + late[0] == 48 * 200
    assert served[0] > 48 * 60


def test_T15_a_storm_that_is_refused_ends_and_gives_all_places_back():
    gate = thread_gate(2)
    ended: list[str] = []

    def caller() -> None:
        while True:
            try:
                if not gate.try_enter():
                    run(gate.enter(time.monotonic() + 10))
            except WireFault as fault:
                ended.append(fault.kind.value)
                return
            gate.leave()

    threads = [threading.Thread(target=caller) for _ in range(24)]
    for thread in threads:
        thread.start()
    gate.refuse()
    for thread in threads:
        thread.join(10)
    assert ended == ["closed"] * 24
    assert gate.wait_empty(1.0)
    assert gate.inside == 0


def test_T9_a_limit_that_moves_in_a_storm_keeps_its_books():
    """24 threads, and one that moves the limit between 1 and 6: never more than 6 inside."""
    limit = Limiter(Concurrency(min_calls=1), 6)
    gate = ThreadGate(limit, Queue())
    inside: list[int] = []
    most = [0]
    ends = threading.Event()

    def caller(number: int) -> None:
        for _ in range(150):
            if not gate.try_enter():
                run(gate.enter(time.monotonic() + 60.0, number % 3))
            inside.append(number)
            most[0] = max(most[0], len(inside))
            inside.remove(number)
            gate.leave()
            gate.answered(0.001)

    def mover() -> None:
        chance = random.Random(1)
        while not ends.is_set():
            gate.provisioned(chance.randint(1, 6))

    switch_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=caller, args=(number,)) for number in range(24)]
        moving = threading.Thread(target=mover)
        moving.start()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(15)
        ends.set()
        moving.join()
    finally:
        sys.setswitchinterval(switch_s)
    assert not any(thread.is_alive() for thread in threads), "a wake-up was lost"
    assert most[0] <= 6
    assert (gate.inside, gate.waiting) == (0, 0)
    gate.provisioned(5)
    assert [gate.try_enter() for _ in range(6)] == [True] * 5 + [False]


class Payload:
    """What a caller holds while it waits."""


async def waits(gate: LoopGate | ThreadGate, patience_s: float) -> None:
    payload = Payload()
    waiting.append(weakref.ref(payload))
    await gate.enter(time.monotonic() + patience_s)


waiting: list[weakref.ref[Payload]] = []


def slow(gate: LoopGate | ThreadGate, reply_s: float) -> None:
    """Have the gate believe that replies take so long."""
    for _ in range(10):
        gate.answered(reply_s)


@pytest.mark.parametrize("replies_s", [0.0, 0.25, 60.0], ids=["late", "too late", "at once"])
def test_what_was_turned_away_is_let_go_of_at_once(replies_s: float):
    # Not pytest-asyncio's runner: on Python 3.10 its tasks hold on to an error of theirs.
    asyncio.run(turn_away_a_task(replies_s))


async def turn_away_a_task(replies_s: float) -> None:
    gate = loop_gate(1)
    assert gate.try_enter()
    slow(gate, replies_s)
    gc.collect()
    gc.disable()
    try:
        asyncio.get_running_loop().call_later(0.2, gate.leave)
        with contextlib.suppress(WireFault, QueueFull):
            await waits(gate, 0.1 if replies_s == 0.0 else 0.4)
        await asyncio.sleep(0)  # the loop lets go of the step that woke us
        assert waiting.pop()() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("replies_s", [0.0, 0.25, 60.0], ids=["late", "too late", "at once"])
def test_what_was_turned_away_is_let_go_of_at_once_by_threads(replies_s: float):
    gate = thread_gate(1)
    assert gate.try_enter()
    slow(gate, replies_s)
    gc.collect()
    gc.disable()
    leaves = threading.Timer(0.2, gate.leave)
    leaves.start()
    try:
        with contextlib.suppress(WireFault, QueueFull):
            run(waits(gate, 0.1 if replies_s == 0.0 else 0.4))
        assert waiting.pop()() is None
    finally:
        gc.enable()
        leaves.join()


@forks
def test_T4_a_child_keeps_the_limit_its_parent_learned():
    gate = ThreadGate(Limiter(Concurrency(), 256), Queue())
    gate.provisioned(7)
    assert gate.try_enter()
    gate.throttled()
    places = gate.places
    pid = fork()
    if pid == 0:
        os._exit(0 if (gate.places, gate.inside) == (places, 0) else 1)
    assert exit_code_of_child(pid) == 0
    assert places < 7
