"""EnrichmentClient and its twin over real sockets, as users hold them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import json
import socket
import threading
import weakref
from typing import Any
from urllib.parse import unquote

import httpx
import pytest

from servingclient import (
    ApiKey,
    AsyncEnrichmentClient,
    AuthError,
    Bearer,
    ClientClosedError,
    ConfigError,
    ConnectionFailed,
    DeadlineExceeded,
    EnrichmentClient,
    EnrichmentSettings,
    HeaderProvider,
    QueueFull,
    ResponseFormatError,
    ResponseTooLarge,
    Throttled,
    Tls,
    UnexpectedRedirect,
)
from servingclient.settings import Breaker, Caching, RateLimit, Retry
from tests.enrichment.kit import LOCAL, Door, Held, api_of, told
from tests.enrichment.world import FakeShared
from tests.scripted.certificates import Authority
from tests.scripted.server import Request, ScriptedServer, echo, reply

ONCE = LOCAL.replace(retry=Retry(max_attempts=1))


# -- the doors are one ---------------------------------------------------------------------------

RENAMED = {"aclose": "close", "__aenter__": "__enter__", "__aexit__": "__exit__"}


def members(door: type) -> dict[str, object]:
    found = {name: inspect.getattr_static(door, name) for name in dir(door)}
    return {
        RENAMED.get(name, name): value
        for name, value in found.items()
        if not name.startswith("_") or name in {*RENAMED, *RENAMED.values(), "__init__"}
    }


def signature(value: object) -> list[tuple[str, object, object, str]]:
    found = value.fget if isinstance(value, property) else value
    parameters = inspect.signature(found).parameters.values()  # type: ignore[arg-type]
    return [(p.name, p.kind, p.default, str(p.annotation).replace("Async", "")) for p in parameters]


def test_the_doors_have_the_same_members_and_signatures() -> None:
    sync, twin = members(EnrichmentClient), members(AsyncEnrichmentClient)
    assert set(sync) == set(twin)
    assert {"get", "post", "get_many", "loader", "cached", "invalidate", "stats"} <= set(sync)
    for name, value in sync.items():
        assert signature(value) == signature(twin[name]), name
        assert name.startswith("__") or inspect.getdoc(value), name
        assert name.startswith("__") or inspect.getdoc(twin[name]), name


# -- over sockets --------------------------------------------------------------------------------


def test_what_a_user_does(door: Door) -> None:
    with api_of() as api:
        client = door.open(api, auth="secret-canary")
        first = door.run(client.get("/users/{id}", id="../admin", params={"q": [1, "a b"]}))
        assert first.value["path"] == "/users/..%2Fadmin?q=1&q=a%20b"
        assert (first.source, first.found) == ("origin", True)
        again = door.run(client.get("/users/{id}", id="../admin", params={"q": [1, "a b"]}))
        assert again.source == "fresh"
        posted = door.run(client.post("/scores", json={"a": 1}))
        assert posted.value["body"] == '{"a":1}'
        many = door.run(client.get_many("/users/{id}", [3, 1, 3]))
        assert [one.value["path"] for one in many.values()] == ["/users/3", "/users/1"]
        door.run(client.invalidate("/users/{id}", id=3))
        assert door.run(client.get("/users/{id}", id=3)).source == "origin"
        assert door.run(client.get("/users/{id}", id=1)).source == "fresh"
        stats = client.stats()
        assert (stats.hits, stats.misses, stats.requests, stats.entries) == (2, 5, 5, 3)
        assert stats.p50_s is not None
        assert stats.qps > 0.0
        assert client.settings is LOCAL
        assert "canary" not in repr(client)
        assert api.requests[0].headers["authorization"] == "Bearer secret-canary"
        assert api.requests[0].headers["user-agent"].startswith("servingclient/")


def test_a_base_path_and_headers_go_with_each_request(door: Door) -> None:
    with api_of() as api:
        client = door.open(
            f"http://127.0.0.1:{api.port}/v1/",
            auth=ApiKey("k1"),
            headers={"X-Tenant": "t"},
        )
        assert door.run(client.get("/a")).value["path"] == "/v1/a"
        sent = api.requests[0].headers
        assert (sent["x-api-key"], sent["x-tenant"]) == ("k1", "t")


def test_over_tls(door: Door, authority: Authority) -> None:
    with ScriptedServer(echo(lambda _: reply(b"[1]")), tls=authority.good()) as api:
        rules = LOCAL.replace(tls=Tls(ca_file=authority.ca_file))
        client = door.open(f"https://127.0.0.1:{api.port}", rules)
        assert door.run(client.get("/a")).value == [1]


def test_over_a_transport_of_ones_own(door: Door) -> None:
    seen: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(str(request.url))
        return httpx.Response(200, json={"a": 1})

    client = door.open("https://api.example.com/v1", transport=httpx.MockTransport(answer))
    assert door.run(client.get("/users/{id}", id="a/b")).value == {"a": 1}
    assert seen == ["https://api.example.com/v1/users/a%2Fb"]


# -- one fetch for all ---------------------------------------------------------------------------


def test_a_crowd_on_a_cold_key_is_one_request(door: Door) -> None:
    crowd = {"sync": 50, "async": 500}[door.colour]
    held = Held()
    with ScriptedServer(held) as api:
        client = door.open(api)

        def release() -> None:
            api.wait_until(lambda: len(api.requests) == 1)
            held.free.set()

        found = door.crowd(lambda: client.get("/users/{id}", id=7), crowd, release)
        assert len(api.requests) == 1
        assert {one.value["path"] for one in found} == {"/users/7"}
        stats = client.stats()
        assert stats.misses == 1
        assert stats.coalesced + stats.hits == crowd - 1


def test_a_crowd_on_a_failing_key_asks_twice(door: Door) -> None:
    unbroken = ONCE.replace(breaker=Breaker(min_calls=100))  # threads may ask thirty times
    with api_of(lambda _: reply(b"{}", status="500 No")) as api:
        client = door.open(api, unbroken)
        found = door.crowd(lambda: client.get("/a"), 30)
        assert {type(one).__name__ for one in found} == {"ServerError"}
        assert len({id(one) for one in found}) == 30, "each its own error"
        # threads may come one after the other: each who leads asks once
        assert len(api.requests) <= (30 if door.colour == "sync" else 2)


def test_when_a_leader_fails_one_other_tries_for_all(door: Door) -> None:
    held = Held()
    answers = [reply(b"{}", status="500 No"), reply(b"[1]")]

    async def answer(conn: Any, request: Request) -> None:
        await asyncio.to_thread(held.free.wait, 10)
        await conn.send(answers.pop(0))

    with ScriptedServer(answer) as api:
        client = door.open(api, ONCE)

        def release() -> None:
            api.wait_until(lambda: len(api.requests) == 1)
            held.free.set()

        found = door.crowd(lambda: client.get("/a"), 20, release)
        failed = [one for one in found if isinstance(one, Exception)]
        assert [type(one).__name__ for one in failed] == ["ServerError"]
        assert {repr(one.value) for one in found if one not in failed} == {"[1]"}
        assert len(api.requests) == 2


def test_a_leader_with_little_time_hands_over(door: Door) -> None:
    held = Held()
    with ScriptedServer(held) as api:
        client = door.open(api, ONCE)
        patience = iter([0.3, *[5.0] * 9])

        def call() -> Any:
            return client.get("/a", timeout=next(patience))

        def release() -> None:
            api.wait_until(lambda: len(api.requests) == 2)
            held.free.set()

        found = door.crowd(call, 10, release)
        late = [one for one in found if isinstance(one, Exception)]
        assert [type(one) for one in late] == [DeadlineExceeded]
        assert len(api.requests) == 2
        assert sum(one.found for one in found if one not in late) == 9


def test_a_follower_with_little_time_leaves_and_ends_nothing(door: Door) -> None:
    held = Held()
    with ScriptedServer(held) as api:
        client = door.open(api)
        patience = iter([5.0, *[0.2] * 4])
        left = threading.Semaphore(0)

        def release() -> None:
            for _ in range(4):
                assert left.acquire(timeout=5)
            held.free.set()

        def sync_call() -> Any:
            timeout = next(patience)
            if timeout < 1.0:
                api.wait_until(lambda: len(api.requests) == 1)
            try:
                return client.get("/a", timeout=timeout)
            finally:
                left.release()

        async def async_call() -> Any:
            try:
                return await client.get("/a", timeout=next(patience))
            finally:
                left.release()

        found = door.crowd(sync_call if door.colour == "sync" else async_call, 5, release)
        assert sum(isinstance(one, DeadlineExceeded) for one in found) == 4
        assert len(api.requests) == 1


# -- a user's own function -----------------------------------------------------------------------


def test_a_function_is_called_once_for_its_arguments(door: Door) -> None:
    client = door.open("https://api.example.com")
    calls: list[Any] = []

    if door.colour == "sync":

        @client.cached(ttl=30)
        def area(a: int, *, b: int = 1) -> Any:
            """Multiply."""
            calls.append((a, b))
            return [a * b]
    else:

        @client.cached(ttl=30)
        async def area(a: int, *, b: int = 1) -> Any:
            """Multiply."""
            calls.append((a, b))
            return [a * b]

    assert area.__name__ == "area"
    assert area.__doc__ == "Multiply."
    assert door.run(area(2, b=3)) == [6]
    assert door.run(area(2, b=3)) == [6]
    assert door.run(area(2)) == [2]
    assert calls == [(2, 3), (2, 1)]
    # 1, 1.0 and True are equal, and not the same
    door.run(area(1))
    door.run(area(1.0))
    door.run(area(True))
    assert len(calls) == 5
    area.invalidate(2, b=3)
    door.run(area(2, b=3))
    door.run(area(2))
    assert len(calls) == 6
    stats = client.stats()
    assert (stats.misses, stats.hits, stats.requests) == (6, 2, 0)


def test_a_key_of_ones_own(door: Door) -> None:
    client = door.open("https://api.example.com")
    calls: list[Any] = []

    def plain(record: dict[str, int]) -> int:
        calls.append(record)
        return record["id"]

    async def awaited(record: dict[str, int]) -> int:
        return plain(record)

    function = plain if door.colour == "sync" else awaited
    kept = client.cached(key=lambda record: record["id"])(function)
    assert [door.run(kept({"id": 1, "x": n})) for n in range(3)] == [1, 1, 1]
    assert len(calls) == 1
    with pytest.raises(ConfigError, match="key="):
        door.run(client.cached()(function)({"id": 1}))
    with pytest.raises(ConfigError, match="key="):
        door.run(client.cached(key=lambda _: [1])(function)({"id": 1}))


def test_a_function_that_wants_its_own_value_is_told(door: Door) -> None:
    client = door.open("https://api.example.com")

    if door.colour == "sync":

        @client.cached()
        def total(number: int) -> int:
            return 1 + (total(number - 1) if number else total(0))
    else:

        @client.cached()
        async def total(number: int) -> int:
            return 1 + await (total(number - 1) if number else total(0))

    with pytest.raises(ConfigError, match="the very value it is to make"):
        door.run(total(2))
    assert client.stats().misses >= 1


def test_a_functions_own_error_is_the_callers(door: Door) -> None:
    client = door.open("https://api.example.com")
    tries: list[int] = []

    class OwnError(Exception):
        pass

    def plain(a: int) -> int:
        tries.append(a)
        raise OwnError(a)

    async def awaited(a: int) -> int:
        return plain(a)

    kept = client.cached()(plain if door.colour == "sync" else awaited)
    for _ in range(2):
        with pytest.raises(OwnError, match="7") as caught:
            door.run(kept(7))
        names = [entry.name for entry in caught.traceback]
        assert names[-1] == "plain"
    assert tries == [7, 7]
    del caught


def test_what_cannot_be_cached(door: Door) -> None:
    client = door.open("https://api.example.com")

    def plain() -> None: ...

    async def awaited() -> None: ...

    def generator() -> Any:
        yield 1

    async def async_generator() -> Any:
        yield 1

    wrong_colour = awaited if door.colour == "sync" else plain
    for function in (wrong_colour, generator, async_generator, None, 7, int):
        with pytest.raises(ConfigError, match=r"cached\(\)"):
            client.cached()(function)
    with pytest.raises(ConfigError):
        client.cached(ttl=-1)
    with pytest.raises(ConfigError):
        client.cached(key="id")(plain if door.colour == "sync" else awaited)


# -- many keys in one request --------------------------------------------------------------------


def users(request: Request) -> bytes:
    """Users 1 to 9, as many as are asked for."""
    if request.method == "POST":
        ids = [int(one) for one in json.loads(request.body)["keys"]]
    else:
        ids = [int(one) for one in unquote(request.path.partition("=")[2]).split(",")]
    found = [{"id": one, "name": f"n{one}"} for one in ids if one < 10]
    return reply(json.dumps(found).encode())


def by_id(record: dict[str, Any]) -> Any:
    return record["id"]


def test_many_keys_are_one_request(door: Door) -> None:
    with api_of(users) as api:
        client = door.open(api)
        loader = client.loader("/users", key=by_id, max_keys=3)
        found = door.run(loader.load_many([1, "2", 12, 1]))
        assert list(found) == [1, "2", 12]
        assert found[1].value == {"id": 1, "name": "n1"}
        assert found["2"].found
        assert (found[12].found, found[12].source) == (False, "negative")
        assert unquote(api.requests[0].path) == "/users?ids=1,2,12"
        found = door.run(loader.load_many([1, 2, 3, 4, 5, 6, 12]))
        assert {unquote(one.path) for one in api.requests[1:]} == {
            "/users?ids=3,4,5",
            "/users?ids=6",
        }
        assert [one.source for one in found.values()] == [
            *("fresh", "fresh"),
            *("origin",) * 4,
            "negative",
        ]
        assert door.run(loader.load(5)).source == "fresh"
        assert door.run(loader.load(7)).value["name"] == "n7"
        door.run(client.invalidate("/users"))
        assert door.run(loader.load(5)).source == "origin"


def test_one_key_of_a_loader_is_forgotten(door: Door) -> None:
    with api_of(users) as api:
        loader = door.open(api).loader("/users", key=by_id)
        door.run(loader.load_many([1, 2]))
        door.run(loader.invalidate("1"))
        found = door.run(loader.load_many([1, 2]))
        assert [one.source for one in found.values()] == ["origin", "fresh"]
        with pytest.raises(ConfigError):
            door.run(loader.invalidate(None))


def test_what_a_loader_keeps_of_a_path_is_forgotten_with_it(door: Door) -> None:
    with api_of(users) as api:
        client = door.open(api)
        ours, theirs = [client.loader("/{team}/users", key=by_id, team=team) for team in (1, 2)]
        for loader in (ours, theirs):
            door.run(loader.load(5))
        door.run(client.invalidate("/{team}/users", team=1))
        assert door.run(ours.load(5)).source == "origin"
        assert door.run(theirs.load(5)).source == "fresh"


def test_a_key_that_can_be_none_has_its_error_in_its_place(door: Door) -> None:
    with api_of(users) as api:
        loader = door.open(api).loader("/users", key=by_id)
        found = door.run(loader.load_many([1, None, "1,2"], on_error="return"))
        assert [type(one).__name__ for one in found.values()] == [
            *("Enriched", "ConfigError", "ConfigError")
        ]
        assert [unquote(one.path) for one in api.requests] == ["/users?ids=1"]


def test_two_loaders_never_meet(door: Door) -> None:
    def answer(request: Request) -> bytes:
        kind = "email" if "emails" in request.path else "id"
        return reply(json.dumps([{"key": "7", "kind": kind}]).encode())

    def load(loader: Any) -> Any:
        return door.run(loader.load("7")).value["kind"]

    with api_of(answer) as api:
        client = door.open(api)
        for _ in range(2):  # made anew of the same lines it is the same loader
            loaders = [
                client.loader("/users", key=lambda one: one["key"], param=param)
                for param in ("ids", "emails")
            ]
            assert [load(one) for one in loaders] == ["id", "email"]
        assert len(api.requests) == 2
        with pytest.raises(ConfigError, match="label="):
            client.loader("/users", key=lambda one: one["id"], param="ids")
        other = client.loader(
            "/users",
            key=lambda one: one["key"],
            records=lambda _: [{"key": "7", "kind": "x"}],
            param="ids",
            label="x",
        )
        assert load(other) == "x"
        with pytest.raises(ConfigError, match="label must be text"):
            client.loader("/users", key=len, label=7)


def test_keys_may_go_in_a_body(door: Door) -> None:
    with api_of(users) as api:
        client = door.open(api)
        loader = client.loader("/lookup", body=lambda keys: {"keys": keys}, key=by_id)
        found = door.run(loader.load_many([1, 2]))
        assert [one.found for one in found.values()] == [True, True]
        assert api.requests[0].method == "POST"


@pytest.mark.parametrize(
    "options",
    [
        {"key": None},
        {"key": by_id, "max_keys": 0},
        {"key": by_id, "param": ""},
        {"key": by_id, "body": {}},
        {"key": by_id, "records": 7},
        {"key": by_id, "id": 7},
    ],
)
def test_bad_arguments_of_a_loader(door: Door, options: dict[str, Any]) -> None:
    client = door.open("https://api.example.com")
    with pytest.raises(ConfigError):
        client.loader("/users", **options)


@pytest.mark.parametrize("key", ["", "..", None, 1.5, "1,2"])
def test_bad_keys(door: Door, key: Any) -> None:
    client = door.open("https://api.example.com")
    loader = client.loader("/users", key=by_id)
    with pytest.raises(ConfigError):
        door.run(loader.load(key))
    with pytest.raises(ConfigError):
        door.run(loader.load_many([1, key]))


def test_records_that_cannot_be_told_apart(door: Door) -> None:
    with api_of(lambda _: reply(b'[{"id": 1}, 7]')) as api:
        loader = door.open(api).loader("/users", key=by_id)
        with pytest.raises(ResponseFormatError, match="key= or records="):
            door.run(loader.load(1))
    with api_of(lambda _: reply(b'{"users": [{"id": 1}]}')) as api:
        client = door.open(api)
        with pytest.raises(ResponseFormatError, match="records="):
            door.run(client.loader("/users", key=by_id).load(1))
        taken = client.loader(
            "/users", key=by_id, records=lambda reply: reply["users"], label="in a dict"
        )
        assert door.run(taken.load(1)).value == {"id": 1}


# -- arguments -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"ttl": -1},
        {"ttl": None},
        {"ttl": "60"},
        {"ttl": True},
        {"ttl": float("inf")},
        {"auth": 7},
        {"auth": dict},
        {"headers": {"Authorization": "x"}},
        {"headers": {"X-A": "a\nb"}},
        {"headers": 7},
        {"cache": 7},
        {"cache": FakeShared},
        {"settings": {}},
        {"transport": 7},
    ],
)
def test_bad_arguments(door: Door, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        door.kind("https://api.example.com", **{"ttl": 60, **options})


@pytest.mark.parametrize(
    "options",
    [
        {"id": None},
        {"id": ".."},
        {},
        {"id": 1, "x": 2},
        {"id": 1, "params": "a=1"},
        {"id": 1, "ttl": -1},
        {"id": 1, "timeout": 0},
        {"id": 1, "timeout": float("nan")},
        {"id": 1, "tags": "a"},
    ],
)
def test_bad_arguments_of_a_call(door: Door, options: dict[str, Any]) -> None:
    client = door.open("https://api.example.com")
    with pytest.raises(ConfigError):
        door.run(client.get("/users/{id}", **options))
    assert client.stats().calls == 0


def test_values_in_a_template_are_noticed(door: Door) -> None:
    client = door.open("https://api.example.com")
    for n in range(1000):
        client._api.template(f"/users/{n}")
    with pytest.raises(ConfigError, match="places"):
        door.run(client.get("/users/1000"))


# -- where it may go -----------------------------------------------------------------------------


def test_a_name_that_leads_to_a_private_address(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("169.254.169.254", 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_a, **_k: answers)
    client = door.open("https://api.example.com", EnrichmentSettings(retry=Retry(max_attempts=1)))
    with pytest.raises(ConnectionFailed, match="link-local address, which is not called"):
        door.run(client.get("/a"))


def test_a_redirect_is_not_followed(door: Door) -> None:
    with api_of() as other:
        where = f"Location: http://127.0.0.1:{other.port}/stolen"
        with (
            api_of(lambda _: reply(b"", where, status="302 Found")) as api,
            pytest.raises(UnexpectedRedirect, match=r"redirect \(302\) to 127.0.0.1"),
        ):
            door.run(door.open(api).get("/a"))
        assert not other.connections


def test_a_reply_that_is_too_large(door: Door) -> None:
    with api_of(lambda _: reply(b'"' + b"x" * 2000 + b'"')) as api:
        client = door.open(api, LOCAL.replace(max_value_bytes=1000))
        with pytest.raises(ResponseTooLarge, match="max_value_bytes") as caught:
            door.run(client.get("/a"))
        assert caught.value.limit_bytes == 1000


# -- credentials ---------------------------------------------------------------------------------


def test_a_provider_is_asked_for_each_request(door: Door) -> None:
    given: list[int] = []

    def token() -> dict[str, str]:
        given.append(1)
        return {"Authorization": f"Bearer canary-{len(given)}"}

    with api_of() as api:
        client = door.open(api, auth=HeaderProvider(token, principal="me"))
        door.run(client.get("/a"))
        door.run(client.get("/a"))
        door.run(client.get("/b"))
        sent = [one.headers["authorization"] for one in api.requests]
        assert sent == ["Bearer canary-1", "Bearer canary-2"]


def test_a_refused_token_is_asked_for_anew_once(door: Door) -> None:
    given: list[int] = []

    def token() -> dict[str, str]:
        given.append(1)
        return {"Authorization": f"Bearer {len(given)}"}

    def answer(request: Request) -> bytes:
        good = request.headers["authorization"] == "Bearer 2"
        return reply(b"[1]") if good else reply(b"{}", status="401 No")

    with api_of(answer) as api:
        client = door.open(api, auth=HeaderProvider(token, principal="me"))
        assert door.run(client.get("/a")).value == [1]
        with pytest.raises(AuthError):
            door.run(client.get("/b"))
        assert len(given) == 4


def test_a_provider_that_fails(door: Door) -> None:
    def token() -> dict[str, str]:
        raise KeyError("canary")

    client = door.open("https://api.example.com", auth=HeaderProvider(token, principal="me"))
    with pytest.raises(AuthError, match="raised KeyError") as caught:
        door.run(client.get("/a"))
    assert isinstance(caught.value.__cause__, KeyError)
    odd = door.open(
        "https://api.example.com", auth=HeaderProvider(lambda: {"X": "a\nb"}, principal="me")
    )
    with pytest.raises(ConfigError):
        door.run(odd.get("/a"))


def test_a_provider_that_hangs_does_not_outlast_the_call(door: Door) -> None:
    free = threading.Event()

    def token() -> dict[str, str]:
        free.wait(10)
        return {}

    client = door.open("https://api.example.com", auth=HeaderProvider(token, principal="me"))
    try:
        with pytest.raises(DeadlineExceeded):
            door.run(client.get("/a", timeout=0.1))
    finally:
        free.set()


async def test_a_provider_may_be_async() -> None:
    async def token() -> dict[str, str]:
        return {"Authorization": "Bearer a"}

    with api_of() as api:
        url = f"http://127.0.0.1:{api.port}"
        auth = HeaderProvider(token, principal="me")
        async with AsyncEnrichmentClient(url, ttl=1, settings=LOCAL, auth=auth) as client:
            await client.get("/a")
        assert api.requests[0].headers["authorization"] == "Bearer a"


def test_a_renewed_token_of_the_same_principal_finds_what_is_kept(door: Door) -> None:
    shared = FakeShared()

    class Spec:
        def for_threads(self) -> FakeShared:
            return shared

        for_tasks = for_threads

    with api_of() as api:
        for token, principal, source in (
            ("a", "me", "origin"),
            ("b", "me", "fresh"),
            ("b", "you", "origin"),
            ("b", None, "origin"),
        ):
            client = door.open(api, auth=Bearer(token, principal=principal), cache=Spec())
            assert door.run(client.get("/a")).source == source
            door.close(client)
        assert shared.closed == 4


# -- the end -------------------------------------------------------------------------------------


def test_a_closed_client_says_so(door: Door) -> None:
    with api_of() as api:
        client = door.open(api)
        door.run(client.get("/a"))
        door.close(client)
        door.close(client)
        for call in (client.get, client.post):
            more = {"json": 1} if call == client.post else {}
            with pytest.raises(ClientClosedError):
                door.run(call("/a", **more))


def test_a_client_closed_during_a_pause_says_so(door: Door) -> None:
    with api_of(lambda _: reply(b"{}", "Retry-After: 30", status="429 Slow")) as api:
        client = door.open(api, ONCE)
        with pytest.raises(Throttled):
            door.run(client.get("/a"))
        door.close(client)
        with pytest.raises(ClientClosedError):
            door.run(client.get("/a"))


def test_a_crowd_with_an_old_value_waits_for_one_try(door: Door) -> None:
    free = threading.Event()
    asked: list[float] = []

    async def slow(conn: Any, request: Any) -> None:
        asked.append(1.0)
        if len(asked) > 1 and not free.is_set():  # the one behind them may come at the very end
            await asyncio.to_thread(free.wait, 10)
        conn.processed(request)
        await conn.send(told(request))

    with ScriptedServer(slow) as api:
        caching = Caching(stale_while_revalidate_s=0.0, ttl_jitter=0.0)
        client = door.open(api, ONCE.replace(caching=caching), ttl=0.001)
        door.run(client.get("/a"))
        threading.Event().wait(0.01)  # past its time
        found = door.crowd(lambda: client.get("/a", timeout=5.0), 4)
        free.set()
        assert {one.source for one in found} == {"stale"}
        assert len(asked) <= 3, "the first, one try for all, one behind them"


def test_closing_ends_what_runs(door: Door) -> None:
    held = Held()
    with ScriptedServer(held) as api:
        client = door.open(api, LOCAL.replace(close_timeout_s=0.05))
        waiting = [lambda: client.get("/a"), lambda: client.get("/b")]
        calls = iter(waiting * 2)

        def end() -> None:
            api.wait_until(lambda: len(api.requests) == 2)
            if door.colour == "sync":
                client.close()

        if door.colour == "sync":
            found = door.crowd(lambda: next(calls)(), 4, end)  # noqa: PLW0108 - a call each
        else:

            async def both() -> list[Any]:
                tasks = [asyncio.ensure_future(next(calls)()) for _ in range(4)]
                await asyncio.get_running_loop().run_in_executor(None, end)
                await client.aclose()
                return await asyncio.gather(*tasks, return_exceptions=True)

            found = door.run(both())
        held.free.set()
        assert {type(one) for one in found} == {ClientClosedError}


def test_closing_ends_a_wait_for_the_rate_limit(door: Door) -> None:
    with api_of() as api:
        # left alone it would wait longer than a test may take
        slow = RateLimit(calls_per_s=0.02, burst_calls=1)
        client = door.open(api, ONCE.replace(rate_limit=slow, timeout_s=60.0))
        door.run(client.get("/first"))
        flights = client._api.lookup.world.flights._flights

        if door.colour == "sync":

            def end() -> None:
                while not flights:
                    threading.Event().wait(0.001)
                client.close()

            found = door.crowd(lambda: client.get("/a"), 1, end)
        else:

            async def both() -> list[Any]:
                task = asyncio.ensure_future(client.get("/a"))
                while not flights:  # noqa: ASYNC110 - nothing tells of it
                    await asyncio.sleep(0)
                await client.aclose()
                return await asyncio.gather(task, return_exceptions=True)

            found = door.run(both())
        assert [type(one) for one in found] == [ClientClosedError]
        assert len(api.requests) == 1


def test_one_more_than_may_wait_is_turned_away(door: Door) -> None:
    held = Held()
    with ScriptedServer(held) as api:
        client = door.open(api, ONCE.replace(max_calls=1, max_waiting_calls=1))
        ids = iter(range(9))

        def release() -> None:
            api.wait_until(lambda: len(api.requests) == 1)
            held.free.set()

        found = door.crowd(lambda: client.get("/users/{id}", id=next(ids)), 3, release)
        kinds = [type(one).__name__ for one in found]
        assert kinds.count("Enriched") >= 1
        assert set(kinds) <= {"Enriched", QueueFull.__name__}


def test_many_runs_of_a_loop() -> None:
    with api_of() as api:
        url = f"http://127.0.0.1:{api.port}"
        client = AsyncEnrichmentClient(url, ttl=0, settings=LOCAL)

        async def use() -> str:
            return (await client.get("/a")).source

        assert [asyncio.run(use()) for _ in range(5)] == ["origin"] * 5
        asyncio.run(client.aclose())
        assert len(api.requests) == 5


def test_a_client_that_is_dropped_goes_at_once(door: Door) -> None:
    with api_of() as api:
        client = door.kind(f"http://127.0.0.1:{api.port}", ttl=60, settings=LOCAL)
        door.run(client.get("/a"))
        if door.colour == "async":  # its pool stays with the loop until that ends
            door.close(client)
        gone = weakref.ref(client._api.lookup.store)
        gc.disable()
        try:
            del client
            assert gone() is None, "nothing in it goes round in a circle"
        finally:
            gc.enable()


# -- loads of one round of the loop --------------------------------------------------------------


async def test_loads_of_one_round_go_in_one_request() -> None:
    with api_of(users) as api:
        url = f"http://127.0.0.1:{api.port}"
        async with AsyncEnrichmentClient(url, ttl=60, settings=LOCAL) as client:
            loader = client.loader("/users", key=by_id, max_keys=50)
            found = await asyncio.gather(*(loader.load(n % 12 + 1) for n in range(40)))
            assert len(api.requests) == 1
            assert [one.found for one in found[:12]] == [True] * 9 + [False] * 3
            assert (await loader.load(1)).source == "fresh"
            await asyncio.gather(loader.load(20), loader.load(1), loader.load(21))
            assert unquote(api.requests[1].path) == "/users?ids=20,21"


async def test_a_load_that_is_cancelled_ends_no_other() -> None:
    held = Held()
    with ScriptedServer(held) as api:
        url = f"http://127.0.0.1:{api.port}"
        async with AsyncEnrichmentClient(url, ttl=60, settings=ONCE) as client:
            loader = client.loader(
                "/users", key=lambda record: record[0], records=lambda reply: [("1", reply)]
            )
            leaving = asyncio.ensure_future(loader.load(1))
            staying = asyncio.ensure_future(loader.load(1))
            late = asyncio.ensure_future(loader.load(2, timeout=0.05))
            await asyncio.to_thread(api.wait_until, lambda: len(api.requests) == 1)
            leaving.cancel()
            with pytest.raises(DeadlineExceeded):
                await late
            held.free.set()
            assert (await staying).found
            assert len(api.requests) == 1
            assert (await asyncio.gather(leaving, return_exceptions=True))[0].__class__ is (
                asyncio.CancelledError
            )


async def test_loads_end_with_their_client() -> None:
    held = Held()
    with ScriptedServer(held) as api:
        url = f"http://127.0.0.1:{api.port}"
        rules = ONCE.replace(close_timeout_s=0.01)
        client = AsyncEnrichmentClient(url, ttl=60, settings=rules)
        loader = client.loader("/users", key=by_id)
        waiting = asyncio.ensure_future(loader.load(1))
        await asyncio.to_thread(api.wait_until, lambda: len(api.requests) == 1)
        await client.aclose()
        with pytest.raises(ClientClosedError):
            await waiting
        with pytest.raises(ClientClosedError):
            await loader.load(2)
        held.free.set()


async def test_a_cancelled_leader_hands_over() -> None:
    held = Held()
    with ScriptedServer(held) as api:
        url = f"http://127.0.0.1:{api.port}"
        async with AsyncEnrichmentClient(url, ttl=60, settings=LOCAL) as client:
            tasks = [asyncio.ensure_future(client.get("/a")) for _ in range(500)]
            await asyncio.to_thread(api.wait_until, lambda: len(api.requests) == 1)
            tasks[0].cancel()
            await asyncio.to_thread(api.wait_until, lambda: len(api.requests) == 2)
            held.free.set()
            found = await asyncio.gather(*tasks, return_exceptions=True)
            assert isinstance(found[0], asyncio.CancelledError)
            assert {one.value["path"] for one in found[1:]} == {"/a"}
            assert len(api.requests) == 2
            assert not client._api.lookup.world.flights._flights
