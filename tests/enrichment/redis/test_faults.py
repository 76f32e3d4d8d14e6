"""Redis down, silent, slow, or talking nonsense: misses in time, and soon nobody waits any more."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from servingclient import RedisCache
from tests.enrichment.redis.conftest import Colour, Server, entry, far
from tests.enrichment.redis.proxy import Proxy
from tests.stopwatch import Stopwatch

BUDGET_S = 0.05
BEARABLE_S = 0.9
"""No call takes that long, however busy the machine; a Redis that is waited for takes longer."""
CALLS = 40


def black_hole(proxy: Proxy) -> None:
    proxy.script.mute = True


def a_second_slow(proxy: Proxy) -> None:
    proxy.script.delay_s = 1.0


def dripping(proxy: Proxy) -> None:
    proxy.script.drip_s = 0.02


def answering(reply: bytes) -> Callable[[Proxy], None]:
    def answer(proxy: Proxy) -> None:
        proxy.script.answer = reply

    return answer


def hanging_up(proxy: Proxy) -> None:
    proxy.script.hang_up = True


SLOW = {"black hole": black_hole, "1 s slow": a_second_slow, "dripping": dripping}
WRONG = {
    "hangs up": hanging_up,
    "web server": answering(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"),
    "OK": answering(b"+OK\r\n+OK\r\n"),
    "numbers": answering(b":1\r\n:2\r\n"),
    "too few": answering(b"*0\r\n*0\r\n"),
    "nested": answering(b"*1\r\n" * 5000),
    "text for a length": answering(b"$abc\r\n"),
    "errors": answering(b"-LOADING busy\r\n-LOADING busy\r\n"),
    "no permission": answering(b"-NOPERM no\r\n-NOPERM no\r\n"),
    "a 200 MB value": answering(b"*0\r\n*1\r\n$200000000\r\n" + b"x" * 1_000_000),
}


def waited(colour: Colour, cache: Any) -> int:
    """Make calls that find nothing; how many of them asked Redis, and so had to wait for it."""
    links = cache._asking._links
    asked: list[Any] = []
    real = links.run

    async def noted(commands: Any, deadline_s: float) -> Any:
        if commands[0][0] == "HGETALL":  # a look-up; a probe asks for something else
            asked.append(commands)
        return await real(commands, deadline_s)

    links.run = noted
    for _ in range(CALLS):
        with Stopwatch() as watch:
            assert colour.run(cache.get_many(["k"], far())) == [None]
        assert watch.took_s < BEARABLE_S
        colour.pause()  # so that probes are made, and fail, meanwhile
    links.run = real
    return len(asked)


@pytest.mark.parametrize("fault", SLOW.values(), ids=SLOW)
@pytest.mark.parametrize("warm", [False, True], ids=["cold", "warm"])
def test_one_call_waits_and_no_other(
    proxy: Proxy, admin: redis.Redis, colour: Colour, fault: Callable[[Proxy], None], *, warm: bool
) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=BUDGET_S))
    while warm and not colour.run(_kept(cache)):
        colour.pause()
    fault(proxy)
    assert waited(colour, cache) == 1
    assert cache.bypassed


async def _kept(cache: Any) -> bool:
    await cache.set_many({"k2": entry(1)}, far())
    return bool((await cache.get_many(["k2"], far()))[0])


@pytest.mark.parametrize("fault", WRONG.values(), ids=WRONG)
def test_nonsense_is_a_miss_and_soon_nobody_asks(
    proxy: Proxy, admin: redis.Redis, colour: Colour, fault: Callable[[Proxy], None]
) -> None:
    fault(proxy)
    cache = colour.open(RedisCache(proxy.url, budget_s=BUDGET_S))
    assert waited(colour, cache) <= 3
    assert cache.bypassed


def test_an_answer_too_many_is_nobodys(proxy: Proxy, admin: redis.Redis, colour: Colour) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=10.0))
    colour.run(cache.set_many({"k": entry(1)}, far()))
    proxy.script.answer = b"*0\r\n*1\r\n$-1\r\n" * 2
    assert colour.run(cache.get_many(["k"], far())) == [None]
    proxy.script.answer = None
    for _ in range(3):
        (got,) = colour.run(cache.get_many(["k"], far()))
        assert got is not None
    assert not cache.bypassed


def test_nobody_there(server: Server, colour: Colour) -> None:
    with Proxy(server.path) as gone:
        url = gone.url
    cache = colour.open(RedisCache(url, budget_s=BUDGET_S))
    assert waited(colour, cache) <= 3
    assert cache.bypassed


@pytest.mark.parametrize("fault", [*SLOW.values(), hanging_up], ids=[*SLOW, "hangs up"])
def test_it_is_used_again_when_it_is_well(
    proxy: Proxy, admin: redis.Redis, colour: Colour, fault: Callable[[Proxy], None]
) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=BUDGET_S))
    fault(proxy)
    assert waited(colour, cache) <= 3
    assert cache.bypassed
    proxy.script = type(proxy.script)()
    end_s = time.monotonic() + 15
    while not colour.run(_kept(cache)):
        assert time.monotonic() < end_s
        colour.pause()
    assert not cache.bypassed


def test_all_else_goes_on_without_it(proxy: Proxy, admin: redis.Redis, colour: Colour) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=BUDGET_S))
    proxy.script.mute = True
    colour.run(cache.set_many({"k": entry(1)}, far()))
    assert colour.run(cache.lease("k", 5, far())), "who cannot find out shall fetch"
    colour.run(cache.release("k", far()))
    colour.run(cache.invalidate(far(), keys=["k"], prefix="a", tag="x"))
    assert cache.bypassed


def test_an_invalidation_is_delivered_before_anything_is_read_again(
    proxy: Proxy, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=BUDGET_S))
    while not colour.run(_kept(cache)):
        colour.pause()
    proxy.script.mute = True
    colour.run(cache.invalidate(far(), prefix="k"))
    assert cache.bypassed
    proxy.script.mute = False
    end_s = time.monotonic() + 15
    while cache.bypassed:
        assert time.monotonic() < end_s
        assert colour.run(cache.get_many(["k2"], far())) == [None]
        colour.pause()
    assert admin.hexists("servingclient:1:g", "k")
    assert colour.run(cache.get_many(["k2"], far())) == [None]


def test_a_restart_costs_a_miss_at_most(proxy: Proxy, admin: redis.Redis, colour: Colour) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=10.0))
    colour.run(cache.set_many({"k": entry(1)}, far()))
    for _ in range(3):
        admin.client_kill_filter(_type="normal", skipme=True)
        (got,) = colour.run(cache.get_many(["k"], far()))
        assert got is not None
    assert not cache.bypassed
    assert proxy.connections >= 3


def test_a_caller_in_a_hurry_does_not_condemn_it(
    proxy: Proxy, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(proxy.url, budget_s=10.0))
    colour.run(cache.set_many({"k": entry(1)}, far()))
    proxy.script.delay_s = 0.2
    soon_s = time.monotonic() + 0.01
    assert colour.run(cache.get_many(["k"], soon_s)) == [None]
    assert not cache.bypassed
    (got,) = colour.run(cache.get_many(["k"], far()))
    assert got is not None
