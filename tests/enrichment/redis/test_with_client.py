"""``cache=RedisCache(...)`` behind the doors: what callers of an API notice of it."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import redis

from servingclient import (
    AsyncEnrichmentClient,
    EnrichmentClient,
    EnrichmentSettings,
    RedisCache,
)
from tests.enrichment.redis.conftest import Server
from tests.enrichment.redis.proxy import Proxy

API = "http://127.0.0.1:1/v1"
SETTINGS = EnrichmentSettings(allow_private_hosts=True)
UNHURRIED = {"budget_s": 10.0}


class Origin:
    """The API: tells who asked for what, and counts."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        who = request.headers.get("authorization", "nobody")
        with self._lock:
            self.asked.append((who, request.url.path))
        return httpx.Response(200, json={"who": who, "what": request.url.path})


class Door:
    """A client of one colour whose methods block."""

    def __init__(self, client: Any, loop: asyncio.AbstractEventLoop | None) -> None:
        self._client = client
        self._loop = loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def call(*args: Any, **given: Any) -> Any:
            result = getattr(self._client, name)(*args, **given)
            if inspect.isawaitable(result):
                assert self._loop is not None
                return self._loop.run_until_complete(result)
            return result

        return call

    def settle(self) -> None:
        """Wait until what is written behind the callers has been written."""
        behind = self._client._parts.behind
        if self._loop is None:
            while any(process.workers for process in behind._processes.values()):
                threading.Event().wait(0.001)
        elif behind._tasks:
            self._loop.run_until_complete(asyncio.wait(set(behind._tasks)))


@contextmanager
def opened(colour: str, origin: Origin, cache: RedisCache, auth: str | None) -> Iterator[Door]:
    given: dict[str, Any] = {"ttl": 300, "auth": auth, "settings": SETTINGS, "cache": cache}
    transport = httpx.MockTransport(origin)
    if colour == "threads":
        with EnrichmentClient(API, transport=transport, **given) as client:
            yield Door(client, None)
        return
    loop = asyncio.new_event_loop()
    door = Door(AsyncEnrichmentClient(API, transport=transport, **given), loop)
    try:
        yield door
    finally:
        door.aclose()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


Open = Callable[..., Any]


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture(params=["threads", "tasks"])
def open_door(request: pytest.FixtureRequest, origin: Origin) -> Open:
    return lambda cache, auth=None: opened(request.param, origin, cache, auth)


def test_one_process_asks_and_another_does_not(
    server: Server, admin: redis.Redis, open_door: Open, origin: Origin
) -> None:
    cache = RedisCache(server.url, **UNHURRIED)
    with open_door(cache) as first, open_door(cache) as second:
        assert first.get("/users/{id}", id=1).source == "origin"
        first.settle()
        found = second.get("/users/{id}", id=1)
        assert found.source == "fresh"
        assert found.value == {"who": "nobody", "what": "/v1/users/1"}
        many = first.get_many("/users/{id}", range(50))
        first.settle()
        again = second.get_many("/users/{id}", range(50))
        assert {key: one.value for key, one in many.items()} == {
            key: one.value for key, one in again.items()
        }
        assert {one.source for one in again.values()} == {"fresh"}
    assert len(origin.asked) == 50


def test_c3_two_principals_never_share(
    server: Server, admin: redis.Redis, open_door: Open, origin: Origin
) -> None:
    cache = RedisCache(server.url, **UNHURRIED)
    ids = range(1000)
    with open_door(cache, "token-of-ann") as ann, open_door(cache, "token-of-bob") as bob:
        anns = ann.get_many("/users/{id}", ids)
        ann.settle()
        bobs = bob.get_many("/users/{id}", ids)
    assert {one.value["who"] for one in anns.values()} == {"Bearer token-of-ann"}
    assert {one.value["who"] for one in bobs.values()} == {"Bearer token-of-bob"}
    assert len(origin.asked) == 2000
    with open_door(cache, "token-of-ann") as another:
        again = another.get_many("/users/{id}", ids)
    assert {one.source for one in again.values()} == {"fresh"}
    assert {one.value["who"] for one in again.values()} == {"Bearer token-of-ann"}


def test_no_name_in_redis_tells_who_or_whom(
    server: Server, admin: redis.Redis, open_door: Open
) -> None:
    canaries = {"auth": "canary-token", "id": "canary-person", "tag": "canary-tag"}
    with open_door(RedisCache(server.url, **UNHURRIED), canaries["auth"]) as door:
        found = {"params": {"q": "canary-query"}, "tags": (canaries["tag"],)}
        door.get("/users/{id}", id=canaries["id"], **found)
        door.get_many("/users/{id}", ["canary-person", "canary-other"])
        door.settle()
        door.invalidate(tag=canaries["tag"])
        door.invalidate("/users/{id}", id=canaries["id"])
    names = [name.decode() for name in admin.keys("*")]
    assert names
    assert not [name for name in names if "canary" in name]


@pytest.mark.parametrize("what", [{"prefix": "/users"}, {"tag": "t"}])
def test_what_one_process_invalidates_another_does_not_find(
    server: Server, admin: redis.Redis, open_door: Open, origin: Origin, what: dict[str, str]
) -> None:
    cache = RedisCache(server.url, **UNHURRIED)
    with open_door(cache) as first, open_door(cache) as second:
        first.get("/users/{id}", id=1, tags=("t",))
        first.settle()
        first.invalidate(**what)
        assert second.get("/users/{id}", id=1, tags=("t",)).source == "origin"
        second.settle()
        assert first.get("/users/{id}", id=1, tags=("t",)).source == "fresh"
    assert len(origin.asked) == 2


FAULTS: dict[str, dict[str, Any]] = {
    "silent": {"mute": True},
    "slow": {"delay_s": 1.0},
    "dripping": {"drip_s": 0.02},
    "hangs up": {"hang_up": True},
    "web server": {"answer": b"HTTP/1.1 400 Bad Request\r\n\r\n"},
    "wrong replies": {"answer": b"*0\r\n*1\r\n$3\r\nabc\r\n"},
    "numbers": {"answer": b":1\r\n:1\r\n"},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_c5_every_call_succeeds_while_redis_is_unwell(
    proxy: Proxy, admin: redis.Redis, open_door: Open, origin: Origin, fault: dict[str, Any]
) -> None:
    with open_door(RedisCache(proxy.url)) as door:
        door.get("/users/{id}", id="before")
        for name, value in fault.items():
            setattr(proxy.script, name, value)
        for number in range(100):
            found = door.get("/users/{id}", id=number)
            assert found.value["what"] == f"/v1/users/{number}"
            assert found.source == "origin"
        assert door.get("/users/{id}", id=7).source == "fresh", "this process has it"
        many = door.get_many("/items/{id}", range(100))
        assert [one.value["what"] for one in many.values()] == [
            f"/v1/items/{number}" for number in range(100)
        ]
        assert door.stats().shared_bypassed
    assert len(origin.asked) == len(set(origin.asked)) == 201
