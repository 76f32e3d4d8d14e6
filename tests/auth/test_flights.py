"""Single flight, background and blocking calls, in both colours.

Ids name the tests of google-auth's test__refresh_worker.py.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
import weakref
from collections.abc import Awaitable, Callable

import pytest

from servingclient import _step
from servingclient._types import FaultKind, WireFault
from servingclient.auth import blocking as blocking_module
from servingclient.auth.background import TaskBackground, ThreadBackground
from servingclient.auth.single_flight import TaskSingleFlight, ThreadSingleFlight, own_copy
from servingclient.errors import TokenRefreshError
from tests.auth.world import AsyncWorld, World
from tests.stopwatch import Stopwatch


class Action:
    """Counts its runs; can be held and can fail."""

    def __init__(self, world: World, error: BaseException | None = None) -> None:
        self.runs = 0
        self.error = error
        self.hold = world.new_hold()

    async def held(self) -> int:
        self.runs += 1
        await self.hold.wait()
        return await self._end()

    async def quick(self) -> int:
        self.runs += 1
        return await self._end()

    async def _end(self) -> int:
        if self.error is not None:
            raise self.error
        return self.runs

    async def held_quietly(self) -> None:
        await self.held()

    async def quick_quietly(self) -> None:
        await self.quick()


# ------------------------------------------------------------------------------ single flight


def test_all_who_come_meanwhile_share_one_run(world: World) -> None:
    flight, action = world.ports().flight, Action(world)
    waiting = [
        world.start(lambda: flight.run(action.held, world.clock.now() + 5)) for _ in range(8)
    ]
    world.until(action.hold.reached)
    action.hold.let_go()
    assert [one() for one in waiting] == [1] * 8
    assert action.runs == 1


def test_nothing_is_kept_for_those_who_come_later(world: World) -> None:
    flight, action = world.ports().flight, Action(world)
    assert world.run(lambda: flight.run(action.quick, world.clock.now() + 5)) == 1
    assert world.run(lambda: flight.run(action.quick, world.clock.now() + 5)) == 2


@pytest.mark.parametrize("_", [pytest.param(0, id="test_refresh_error")])
def test_errors_are_shared_but_not_the_object(world: World, _: int) -> None:
    cause = ValueError("why")
    error = TokenRefreshError("no")
    error.retryable = True
    error.__cause__ = cause
    flight, action = world.ports().flight, Action(world, error)
    waiting = [
        world.start(lambda: flight.run(action.held, world.clock.now() + 5)) for _ in range(4)
    ]
    world.until(action.hold.reached)
    action.hold.let_go()
    caught = []
    for one in waiting:
        with pytest.raises(TokenRefreshError, match=r"^no$") as info:
            one()
        caught.append(info.value)
    assert len({id(one) for one in caught} | {id(error)}) == 5
    assert all(one.retryable and one.__cause__ is cause for one in caught)
    assert action.runs == 1


@pytest.mark.parametrize("_", [pytest.param(0, id="test_refresh_error_call_refresh_again")])
def test_an_error_is_not_kept(world: World, _: int) -> None:
    flight, action = world.ports().flight, Action(world, TokenRefreshError("no"))
    with pytest.raises(TokenRefreshError):
        world.run(lambda: flight.run(action.quick, world.clock.now() + 5))
    action.error = None
    assert world.run(lambda: flight.run(action.quick, world.clock.now() + 5)) == 2


def test_each_waits_for_its_own_deadline_and_the_run_goes_on(world: World) -> None:
    flight, action = world.ports().flight, Action(world)
    patient = world.start(lambda: flight.run(action.held, world.clock.now() + 5))
    world.until(action.hold.reached)
    for within_s in (0.02, 0.0, -1.0):
        with pytest.raises(WireFault) as caught:
            world.run(lambda s=within_s: flight.run(action.held, world.clock.now() + s))
        assert (caught.value.kind, caught.value.sent) == (FaultKind.TIMEOUT, "no")
    action.hold.let_go()
    assert patient() == 1
    assert action.runs == 1


def test_the_first_to_come_may_leave_first(world: World) -> None:
    flight, action = world.ports().flight, Action(world)
    with pytest.raises(WireFault):
        world.run(lambda: flight.run(action.held, world.clock.now() + 0.02))
    follower = world.start(lambda: flight.run(action.held, world.clock.now() + 5))
    action.hold.let_go()
    assert follower() == 1


def test_an_error_nobody_waited_for_is_not_reported(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    flight, action = world.ports().flight, Action(world, TokenRefreshError("no"))
    with pytest.raises(WireFault):
        world.run(lambda: flight.run(action.held, world.clock.now() + 0.02))
    action.hold.let_go()
    world.settle()
    gc.collect()
    assert caplog.records == []


def test_a_result_is_not_pinned(world: World) -> None:
    class Result:
        pass

    async def make() -> Result:
        return Result()

    flight = world.ports().flight
    seen = weakref.ref(world.run(lambda: flight.run(make, world.clock.now() + 5)))
    world.settle()
    gc.collect()
    assert seen() is None


def test_a_wire_fault_keeps_what_it_says() -> None:
    fault = WireFault(FaultKind.TLS, "expired", sent="no", host="ws")
    copied = own_copy(fault)
    assert isinstance(copied, WireFault)
    assert (copied.kind, copied.detail, copied.sent, copied.host) == (
        FaultKind.TLS,
        "expired",
        "no",
        "ws",
    )


def test_an_error_that_cannot_be_copied_is_given_as_it_is() -> None:
    class OddError(Exception):
        def __init__(self, a: int, b: int) -> None:
            super().__init__(a)

    error = OddError(1, 2)
    assert own_copy(error) is error


async def test_a_cancelled_leader_takes_nobody_with_it() -> None:
    world = _Loop()
    flight, action = TaskSingleFlight(world.clock), Action(world)
    leader = asyncio.ensure_future(flight.run(action.held, world.clock.now() + 5))
    follower = asyncio.ensure_future(flight.run(action.held, world.clock.now() + 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    action.hold.let_go()
    assert await follower == 1
    assert action.runs == 1


async def test_all_may_be_cancelled_and_the_next_still_gets_the_result() -> None:
    world = _Loop()
    flight, action = TaskSingleFlight(world.clock), Action(world)
    callers = [
        asyncio.ensure_future(flight.run(action.held, world.clock.now() + 5)) for _ in range(9)
    ]
    await asyncio.sleep(0)
    for one in callers:
        one.cancel()
    await asyncio.gather(*callers, return_exceptions=True)
    late = asyncio.ensure_future(flight.run(action.held, world.clock.now() + 5))
    await asyncio.sleep(0)
    action.hold.let_go()
    assert await late == 1
    assert action.runs == 1


async def test_closing_ends_the_run_and_says_so() -> None:
    world = _Loop()
    flight, action = TaskSingleFlight(world.clock), Action(world)
    waiting = asyncio.ensure_future(flight.run(action.held, world.clock.now() + 5))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await flight.close()
    with pytest.raises(WireFault) as caught:
        await waiting
    assert caught.value.kind is FaultKind.CLOSED


def test_t5_a_flight_of_another_loop_is_not_joined() -> None:
    world = _Loop()
    flight, action = TaskSingleFlight(world.clock), Action(world)

    async def leave_behind() -> None:
        with pytest.raises(WireFault):
            await flight.run(action.held, world.clock.now() + 0.01)
        await flight.close()

    asyncio.run(leave_behind())

    async def again() -> int:
        return await flight.run(action.quick, world.clock.now() + 5)

    assert asyncio.run(again()) == 2


def test_t4_a_forked_child_does_not_wait_for_the_parents_thread() -> None:
    world = _Loop()
    flight = ThreadSingleFlight(world.clock)
    background = ThreadBackground()
    release = threading.Event()

    async def held() -> int:
        release.wait(5)
        return 1

    async def held_quietly() -> None:
        await held()

    def wait() -> int:
        return _step.run(flight.run(held, world.clock.now() + 5))

    parent = threading.Thread(target=wait)
    parent.start()
    background.start(held_quietly)
    child = _forked(lambda: _in_child(flight, background, world))
    release.set()
    parent.join()
    assert child == 0


def _in_child(flight: ThreadSingleFlight, background: ThreadBackground, world: World) -> bool:
    ran = threading.Event()

    async def quick() -> int:
        return 7

    async def note() -> None:
        ran.set()

    background.start(note)
    return _step.run(flight.run(quick, world.clock.now() + 3)) == 7 and ran.wait(3)


def _forked(check: Callable[[], bool]) -> int:
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if check() else 2
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


class _Loop(AsyncWorld):
    """Parts of a world for tests that bring their own loop."""

    def __init__(self) -> None:
        World.__init__(self)


# --------------------------------------------------------------------------------- background


def start(world: World, background: object, action: Callable[[], object]) -> None:
    async def inside() -> None:
        background.start(action)  # type: ignore[attr-defined]

    world.run(inside)


@pytest.mark.parametrize("_", [pytest.param(0, id="test_start_refresh")])
def test_an_action_runs_behind_the_caller(world: World, _: int) -> None:
    background, action = world.ports().background, Action(world)
    start(world, background, action.held_quietly)
    world.until(action.hold.reached)
    action.hold.let_go()
    world.settle()
    assert action.runs == 1


@pytest.mark.parametrize("_", [pytest.param(0, id="test_nonblocking_start_refresh")])
def test_starting_does_not_wait(world: World, _: int) -> None:
    background, action = world.ports().background, Action(world)
    with Stopwatch() as watch:
        start(world, background, action.held_quietly)
    assert watch.took_s < 1.0
    action.hold.let_go()
    world.settle()


@pytest.mark.parametrize("_", [pytest.param(0, id="test_multiple_refreshes_multiple_workers")])
def test_one_at_a_time_however_often_it_is_started(world: World, _: int) -> None:
    background, action = world.ports().background, Action(world)
    for _i in range(50):
        start(world, background, action.held_quietly)
    world.until(action.hold.reached)
    assert sum(t.name == "servingclient-refresh" for t in threading.enumerate()) <= 1
    action.hold.let_go()
    world.settle()
    assert action.runs == 1


@pytest.mark.parametrize("_", [pytest.param(0, id="test_refresh_dead_worker")])
def test_after_an_error_it_can_be_started_again(
    world: World,
    _: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    background, action = world.ports().background, Action(world, ValueError("a bug"))
    start(world, background, action.quick_quietly)
    world.settle()
    assert "background_failed" in caplog.text
    action.error = None
    start(world, background, action.quick_quietly)
    world.settle()
    assert action.runs == 2


def test_nothing_runs_while_there_is_nothing_to_do(world: World) -> None:
    before = threading.active_count()
    background, action = world.ports().background, Action(world)
    start(world, background, action.quick_quietly)
    world.settle()
    assert threading.active_count() == before


@pytest.mark.parametrize("port", ["flight", "background"])
def test_a_thread_does_not_keep_the_process_alive(port: str) -> None:
    world = _Loop()
    release, seen = threading.Event(), []

    async def held() -> None:
        seen.append(threading.current_thread().daemon)
        release.wait(5)

    if port == "background":
        ThreadBackground().start(held)
    else:
        with pytest.raises(WireFault):
            _step.run(ThreadSingleFlight(world.clock).run(held, world.clock.now() + 0.05))
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("servingclient-"):
            thread.join(5)
    assert seen == [True]


@pytest.mark.parametrize("_", [pytest.param(0, id="test_invalid_start_refresh")])
def test_without_more_threads_the_caller_does_it(
    monkeypatch: pytest.MonkeyPatch,
    _: int,
) -> None:
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    world = _Loop()
    action = Action(world)
    background = ThreadBackground()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        flight = ThreadSingleFlight(world.clock)
        assert _step.run(flight.run(action.quick, world.clock.now() + 5)) == 1
        background.start(action.quick_quietly)
    assert action.runs == 1
    background.start(action.quick_quietly)  # not thought to be busy for ever
    for thread in threading.enumerate():
        if thread.name == "servingclient-refresh":
            thread.join(5)
    assert action.runs == 2


async def test_closing_ends_a_background_task() -> None:
    world = _Loop()
    background, action = TaskBackground(), Action(world)
    background.start(action.held_quietly)
    await asyncio.sleep(0)
    await background.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


# ----------------------------------------------------------------------------------- blocking


def test_a_blocking_call_gives_its_result_or_error(world: World) -> None:
    blocking = world.ports().blocking
    assert world.run(lambda: blocking.call(lambda: 7, world.clock.now() + 5)) == 7

    def fails() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError):
        world.run(lambda: blocking.call(fails, world.clock.now() + 5))


def test_a_blocking_call_that_hangs_is_given_up_on(world: World) -> None:
    blocking, release = world.ports().blocking, threading.Event()
    with pytest.raises(WireFault) as caught:
        world.run(lambda: blocking.call(lambda: release.wait(5), world.clock.now() + 0.02))
    assert (caught.value.kind, caught.value.sent) == (FaultKind.TIMEOUT, "no")
    release.set()
    world.settle()


def test_who_doubts_may_end_the_waiting(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocking_module, "DOUBT_S", 0.01)
    blocking, release = world.ports().blocking, threading.Event()
    doubts = []

    async def doubt() -> None:
        doubts.append(1)
        if len(doubts) == 3:
            raise KeyError("nobody there")

    def call() -> Awaitable[bool]:
        return blocking.call(lambda: release.wait(5), world.clock.now() + 5, doubt)

    with pytest.raises(KeyError):
        world.run(call)
    assert len(doubts) == 3
    release.set()
    world.settle()
    assert world.run(call) is True, "what has returned is not doubted"
    assert len(doubts) == 3


def test_calls_that_hang_do_not_pile_up(world: World) -> None:
    blocking, release = world.ports().blocking, threading.Event()
    ran = []

    def hangs() -> None:
        ran.append(1)
        release.wait(5)

    for _ in range(10):
        with pytest.raises(WireFault):
            world.run(lambda: blocking.call(hangs, world.clock.now() + 0.01))
    assert len(ran) == blocking_module._MOST_HANGING
    release.set()
    for thread in threading.enumerate():
        if thread.name == "servingclient-login":
            thread.join(5)
    world.settle()
    assert world.run(lambda: blocking.call(lambda: 7, world.clock.now() + 5)) == 7


async def test_the_loop_goes_on_while_a_call_blocks() -> None:
    world = _Loop()
    blocking, release = world.ports().blocking, threading.Event()
    call = asyncio.ensure_future(blocking.call(lambda: release.wait(5), world.clock.now() + 5))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not call.done()
    release.set()
    assert await call is True


async def test_a_cancelled_caller_leaves_a_blocking_call_to_itself() -> None:
    world = _Loop()
    blocking, release = world.ports().blocking, threading.Event()
    call = asyncio.ensure_future(blocking.call(lambda: release.wait(5), world.clock.now() + 5))
    await asyncio.sleep(0)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    release.set()


def test_a_blocking_call_may_outlive_its_loop(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    world = _Loop()
    blocking, release = world.ports().blocking, threading.Event()

    async def give_up() -> None:
        with pytest.raises(WireFault):
            await blocking.call(lambda: release.wait(5), world.clock.now() + 0.01)

    asyncio.run(give_up())
    release.set()
    for thread in threading.enumerate():
        if thread.name == "servingclient-login":
            thread.join(5)
    assert "Event loop is closed" not in caplog.text
