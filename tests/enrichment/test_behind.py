"""What runs behind the callers, and several jobs at once: in threads and in tasks."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import _step
from servingclient.enrichment import threads
from servingclient.enrichment.tasks import TaskBehind, TaskCrew
from servingclient.enrichment.threads import MOST_WAITING, ThreadBehind, ThreadCrew

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


def workers() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name == "servingclient-refresh"]


def join_all() -> None:
    for worker in workers():
        worker.join(5)


def test_few_threads_do_it_and_go() -> None:
    behind, free = ThreadBehind(), threading.Event()
    names: list[str] = []

    async def action() -> None:
        names.append(threading.current_thread().name)
        free.wait(5)

    assert all(behind.start(action) for _ in range(20))
    assert 1 <= len(workers()) <= 4
    assert all(worker.daemon for worker in workers())
    free.set()
    join_all()
    assert len(names) == 20
    assert set(names) == {"servingclient-refresh"}
    assert behind.start(action)
    join_all()
    assert len(names) == 21


def test_no_more_wait_than_may() -> None:
    behind, free, begun = ThreadBehind(), threading.Event(), threading.Semaphore(0)

    async def action() -> None:
        begun.release()
        free.wait(5)

    for _ in range(4):
        assert behind.start(action)
        assert begun.acquire(timeout=5)
    assert sum(behind.start(action) for _ in range(MOST_WAITING + 10)) == MOST_WAITING
    behind.close()
    free.set()
    join_all()
    assert behind.start(action) is False


def test_no_thread_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    behind, ran = ThreadBehind(), []

    async def action() -> None:
        ran.append(1)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threads.threading.Thread, "start", refuse)
        assert behind.start(action) is False
    assert behind.start(action) is True
    join_all()
    assert ran == [1]


def test_a_thread_dies_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    behind = ThreadBehind()

    async def action() -> None:
        raise ValueError("as scripted")

    with caplog.at_level(logging.ERROR, "servingclient.enrichment"):
        behind.start(action)
        join_all()
    assert "background_failed" in caplog.text


async def test_tasks_end_with_their_client() -> None:
    behind, ended = TaskBehind(), []

    async def action() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(WHO.get())

    WHO.set("a caller")
    assert all(behind.start(action) for _ in range(3))
    await asyncio.sleep(0)
    await behind.aclose()
    assert ended == ["nobody"] * 3, "outside the caller's context"
    assert behind.start(action) is False


async def test_no_more_tasks_wait_than_may() -> None:
    behind = TaskBehind()

    async def action() -> None:
        await asyncio.sleep(60)

    assert sum(behind.start(action) for _ in range(MOST_WAITING + 5)) == MOST_WAITING
    await behind.aclose()


def test_tasks_of_a_loop_that_has_ended_count_no_more() -> None:
    behind, ran = TaskBehind(), []

    async def action() -> None:
        ran.append(1)
        await asyncio.sleep(60)

    async def use() -> None:
        assert behind.start(action)
        await asyncio.sleep(0)

    for _ in range(3):
        loop = asyncio.new_event_loop()
        loop.run_until_complete(use())
        (task,) = asyncio.all_tasks(loop)
        assert behind._tasks == {task}
        task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
    assert len(ran) == 3
    assert not behind._tasks


def run_crew(colour: str, jobs: list[Callable[[], Any]], most: int) -> None:
    if colour == "sync":
        _step.run(ThreadCrew().run(jobs, most))
    else:
        asyncio.run(TaskCrew().run(jobs, most))


@pytest.mark.parametrize("colour", ["sync", "async"])
@pytest.mark.parametrize("most", [1, 3, 50])
def test_a_crew_does_all_and_no_more_at_once(colour: str, most: int) -> None:
    lock, running, peak, done = threading.Lock(), 0, 0, []
    token = WHO.set("the caller")

    def job(number: int) -> Callable[[], Any]:
        async def work() -> None:
            nonlocal running, peak
            with lock:
                running += 1
                peak = max(peak, running)
            if colour == "async":
                await asyncio.sleep(0)
            with lock:
                running -= 1
                done.append((number, WHO.get()))

        return work

    run_crew(colour, [job(n) for n in range(20)], most)
    WHO.reset(token)
    assert sorted(done) == [(n, "the caller") for n in range(20)]
    assert peak <= most
    if colour == "async":
        assert peak == min(most, 20)


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_what_a_job_raises_is_raised(colour: str) -> None:
    async def work() -> None:
        raise ValueError("as scripted")

    with pytest.raises(ValueError, match="as scripted"):
        run_crew(colour, [work, work], 2)


def test_an_interrupted_crew_begins_no_further_job() -> None:
    begun: list[str] = []
    started, free = threading.Event(), threading.Event()

    async def work() -> None:
        begun.append(threading.current_thread().name)
        if threading.current_thread() is threading.main_thread():
            started.wait(5)
            raise KeyboardInterrupt
        started.set()
        free.wait(5)

    with pytest.raises(KeyboardInterrupt):
        _step.run(ThreadCrew().run([work] * 50, 2))
    free.set()
    for thread in threading.enumerate():
        if thread.name == "servingclient-enrich":
            thread.join(5)
    assert len(begun) == 2


async def test_a_cancelled_crew_ends_its_tasks() -> None:
    ended: list[int] = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(1)

    crew = asyncio.ensure_future(TaskCrew().run([work] * 50, 3))
    await asyncio.sleep(0.01)
    crew.cancel()
    with pytest.raises(asyncio.CancelledError):
        await crew
    assert len(ended) == 3
