"""Leaders interrupted at one awkward moment each, and others who run on just then."""

from __future__ import annotations

import threading
from typing import Any

import orjson
import pytest

from servingclient import _step
from servingclient._types import Reply
from servingclient.batching import batched, leader
from servingclient.batching.company import Group
from servingclient.batching.leader import ThreadBatcher
from servingclient.settings import Batching
from tests.batching.misrouting import Line, calls_over
from tests.batching.test_interrupts import Calm
from tests.points import Interrupted

THREE = Batching(max_batch_rows=3, max_wait_s=1.0)
ENDS_S = 10.0


class Crowd:
    """Callers of one batcher with a number each.

    Attributes:
        sent: The numbers in each request.
        got: What each caller got: its predictions, or an error.
        tries: How many tries it was told of.
        threads: They, in the order in which they came.
    """

    def __init__(self, *, idempotent: bool = True) -> None:
        self.line = Told(self)
        self.batcher = ThreadBatcher(THREE, 1000, self.line, lambda: 0)  # type: ignore[arg-type]
        self.calls = calls_over(self.line, self.batcher)
        self.sent: list[list[int]] = []
        self.got: dict[int, Any] = {}
        self.tries: dict[int, int] = {}
        self._idempotent = idempotent
        self.threads: list[threading.Thread] = []

    def call(self, number: int, timeout_s: float = 20.0) -> threading.Thread:
        """One more, which waits or leads by the time this returns."""
        thread = threading.Thread(target=self._call, args=(number, timeout_s))
        before = self.batcher._assembler._calls
        self.threads.append(thread)
        thread.start()
        while self.batcher._assembler._calls == before:
            pass
        return thread

    def _call(self, number: int, timeout_s: float) -> None:
        rows = [[number]]
        story = self.calls.predict(rows, None, None, None, None, timeout_s, self._idempotent, 1)
        try:
            told = _step.run(story)
        except BaseException as error:  # noqa: BLE001 - an interrupt is an outcome here
            self.got[number] = error
        else:
            self.got[number], self.tries[number] = told.predictions, len(told.attempts)

    def end(self) -> None:
        for thread in self.threads:
            thread.join(ENDS_S)
            assert not thread.is_alive(), "a caller hangs"
        made = self.batcher._assembler
        assert (made.busy, made.waiting, list(made.groups())) == (0, 0, [])
        for number, got in self.got.items():
            assert got == [number] or isinstance(got, BaseException), "another's predictions"


class Told(Calm):
    """Notes what is sent."""

    def __init__(self, crowd: Crowd) -> None:
        super().__init__()
        self._crowd = crowd

    async def send(self, target: Any, body: bytes, deadline_s: float, **more: Any) -> Reply:
        self._crowd.sent.append([row[0] for row in orjson.loads(body)["inputs"]])
        return await Line.send(self, target, body, deadline_s, **more)


def test_members_another_leader_took_meanwhile_are_not_sent_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # the first leader has chosen whom to take, and is interrupted before they are taken
    crowd = Crowd(idempotent=False)
    first_may_board, second_may_board = threading.Event(), threading.Event()
    may_board = {2: first_may_board, 5: second_may_board}  # the third and the sixth caller lead

    def try_enter() -> bool:
        position = crowd.threads.index(threading.current_thread())
        return position not in may_board or may_board[position].wait(ENDS_S)

    part_with, left, struck = Group.part_with, ThreadBatcher.left, []

    def interrupted(self: Any, members: Any, batch: Any) -> None:
        if threading.current_thread() is crowd.threads[2] and not struck:
            struck.append(members)
            raise Interrupted
        part_with(self, members, batch)

    def late(self: Any, member: Any) -> None:
        if threading.current_thread() is crowd.threads[2]:
            second_may_board.set()  # it takes them while the first has not got the lock yet
            crowd.threads[5].join(1.0)
        left(self, member)

    monkeypatch.setattr(crowd.line, "try_enter", try_enter)
    monkeypatch.setattr(Group, "part_with", interrupted)
    monkeypatch.setattr(ThreadBatcher, "left", late)
    for number in (1, 2):
        crowd.call(number)
    crowd.call(3, timeout_s=30.0)
    for number in (4, 5):
        crowd.call(number)
    crowd.call(6, timeout_s=30.0)
    first_may_board.set()
    crowd.end()
    assert struck
    sent = [number for request in crowd.sent for number in request]
    assert len(sent) == len(set(sent)), "it may not run twice"


@pytest.mark.parametrize("answered", [1, 2])
def test_who_has_its_answer_reads_what_came_with_it(
    monkeypatch: pytest.MonkeyPatch, answered: int
) -> None:
    # the leader is interrupted while it hands the answer out; the rest is sent once more, and the
    # first who was answered looks at it only then
    crowd, wake, part_of, woken = Crowd(), leader._wake, batched.BatchedStory._part_of, []
    struck: list[object] = []

    def interrupted(member: Any) -> None:
        wake(member)
        batch = member.batch
        if batch is not None and batch.sent and not struck:
            woken.append(member)
            if len(woken) > answered:
                struck.append(member)
                raise Interrupted

    def slow(self: Any, member: Any) -> Any:
        if member is woken[0]:
            crowd.threads[1].join(1.0)  # the other is through by then
        return part_of(self, member)

    monkeypatch.setattr(leader, "_wake", interrupted)
    monkeypatch.setattr(batched.BatchedStory, "_part_of", slow)
    crowd.call(1)
    crowd.call(2)
    crowd.call(3, timeout_s=30.0)
    crowd.end()
    assert struck
    assert crowd.tries[1] == 1, "of its answer, and not of what came after"
    assert isinstance(crowd.got[3], Interrupted)


def test_where_all_have_their_answers_no_try_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd, deliver = Crowd(), ThreadBatcher._deliver

    def interrupted(self: Any, batch: Any, answer: Any) -> None:
        deliver(self, batch, answer)
        raise Interrupted

    monkeypatch.setattr(ThreadBatcher, "_deliver", interrupted)
    quota = crowd.calls._story.world.quota
    for number in (1, 2):
        crowd.call(number)
    crowd.call(3, timeout_s=30.0)
    crowd.end()
    assert (crowd.got[1], crowd.got[2]) == ([1], [2])
    assert (crowd.tries[1], crowd.tries[2]) == (1, 1)
    assert quota.available == 100_000
    assert crowd.sent == [[1, 2, 3]]


def test_observers_are_told_without_the_lock(monkeypatch: pytest.MonkeyPatch) -> None:
    crowd = Crowd()
    free: list[bool] = []

    class Observer:
        def attempt_failed(self, event: Any) -> None:
            asking = threading.Thread(target=crowd.batcher.stats, daemon=True)
            asking.start()
            asking.join(2.0)
            free.append(not asking.is_alive())

        def call_ended(self, event: Any) -> None:
            pass

    async def broken(*_: Any, **__: Any) -> Reply:
        monkeypatch.undo()
        raise Interrupted

    object.__setattr__(crowd.calls._story.world, "observers", (Observer(),))
    monkeypatch.setattr(crowd.line, "send", broken)
    for number in (1, 2):
        crowd.call(number)
    crowd.call(3, timeout_s=30.0)
    crowd.end()
    assert free == [True]
    assert (crowd.got[1], crowd.got[2]) == ([1], [2])
