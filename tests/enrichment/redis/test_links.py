"""Lending connections: what no timing of a real server brings about for sure."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import time
from typing import Any

import pytest
import redis

from servingclient import RedisCache, _step
from servingclient.enrichment.redis_links import MOST_LINKS, LinkFault
from servingclient.enrichment.redis_tasks import TaskLinks
from servingclient.enrichment.redis_threads import ThreadLinks
from servingclient.enrichment.redis_url import Place
from tests.enrichment.redis.conftest import Colour, Server, entry, far
from tests.enrichment.redis.proxy import Proxy

NOWHERE = Place(path="nowhere")


class Dead:
    """A connection that can be made, and dropped."""

    def __init__(self, **_: Any) -> None:
        pass

    def connect(self) -> None:
        pass

    def disconnect(self) -> None:
        pass


class DeadTask(Dead):
    line = None

    async def connect(self) -> None:  # type: ignore[override]
        pass

    async def disconnect(self, *, nowait: bool = False) -> None:  # type: ignore[override]
        pass


async def test_who_is_cancelled_as_he_gets_a_connection_hands_it_back() -> None:
    links = TaskLinks(NOWHERE, None)
    links._open = MOST_LINKS
    taking = asyncio.ensure_future(links._take())
    await asyncio.sleep(0)
    given = DeadTask()
    links._give(given)
    taking.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await taking
    assert links._idle == [given]


async def test_a_task_that_waits_gets_a_new_one_for_one_that_died() -> None:
    links = TaskLinks(NOWHERE, None)
    links._kind = DeadTask
    links._open = MOST_LINKS
    taking = asyncio.ensure_future(links._take())
    await asyncio.sleep(0)
    await links._drop(DeadTask())
    taken, fresh = await asyncio.wait_for(taking, 5)
    assert isinstance(taken, DeadTask)
    assert fresh
    assert links._open == MOST_LINKS


def test_a_thread_that_waits_gets_a_new_one_for_one_that_died() -> None:
    links = ThreadLinks(NOWHERE, None)
    links._kind = Dead
    links._open = MOST_LINKS
    taken: list[Any] = []
    waiting = threading.Thread(target=lambda: taken.append(links._take(time.monotonic() + 10)))
    waiting.start()
    links._drop(Dead())
    waiting.join(5)
    assert [isinstance(one, Dead) for one, _ in taken] == [True]
    assert links._open == MOST_LINKS


def test_threads_that_wait_in_vain_leave_in_time() -> None:
    links = ThreadLinks(NOWHERE, None)
    links._open = MOST_LINKS
    with pytest.raises(LinkFault) as caught:
        links._take(time.monotonic() + 0.01)
    assert caught.value.late


def test_who_waits_for_a_connection_that_cannot_be_made_is_told(
    server: Server, colour: Colour
) -> None:
    with Proxy(server.path) as gone:
        url = gone.url
    cache = colour.open(RedisCache(url, budget_s=15.0))
    started_s = time.monotonic()
    for _ in range(4):
        assert colour.run(cache.get_many(["k"], far())) == [None]
    assert time.monotonic() - started_s < 10, "a refused connection is no reason to wait"
    assert cache.bypassed


def test_a_lock_that_was_held_at_a_fork_does_not_hold_the_child(
    server: Server, admin: redis.Redis
) -> None:
    cache = RedisCache(server.url, budget_s=10.0).for_threads()
    _step.run(cache.set_many({"k": entry(1)}, far()))
    links: Any = cache._asking._links
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with links._changed:
            held.set()
            done.wait(15)

    holding = threading.Thread(target=hold)
    holding.start()
    assert held.wait(5)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            (got,) = _step.run(cache.get_many(["k"], far()))
            status = int(got is None or links._open != 1)
        finally:
            os._exit(status)
    deadline_s = time.monotonic() + 10
    ended = (0, 0)
    while ended[0] == 0 and time.monotonic() < deadline_s:
        ended = os.waitpid(pid, os.WNOHANG)
        holding.join(0.01)
    if ended[0] == 0:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    done.set()
    holding.join()
    assert ended == (pid, 0)
    _step.run(cache.aclose())
