"""What is kept comes back, from a real Redis, in both colours."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import time
from typing import Any
from urllib.parse import quote

import msgpack
import pytest
import redis

from servingclient import RedisCache
from tests.enrichment.redis.conftest import PASSWORD, Colour, Server, entry, far

KEYS = [f"api.example.com|1|/users/{{id}}|GET|{number:040x}" for number in range(1000)]

# a debugger or a loaded machine must not turn a test of contents into one of time
UNHURRIED = {"budget_s": 10.0}


def names(admin: redis.Redis) -> set[str]:
    return {name.decode() for name in admin.keys("*")}


def calls(admin: redis.Redis) -> dict[str, int]:
    """Commands the server has run, and how often."""
    told: Any = admin.info("commandstats")
    seen = {name.removeprefix("cmdstat_"): figures["calls"] for name, figures in told.items()}
    return {name: count for name, count in seen.items() if name.split("|")[0] not in OURS}


OURS = {"info", "config", "flushall", "keys", "ping", "acl", "client", "get", "exists", "pttl"}


def test_what_is_kept_comes_back(server: Server, admin: redis.Redis, colour: Colour) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    values = [{"id": 7, "name": "Zoë", "tags": [1, 2.5, None, True]}, None, "", "\0ÿ", 2**63]
    kept = {
        key: entry(value, negative=value is None, etag='"x"', tags=("t1", "t2"))
        for key, value in zip(KEYS, values, strict=False)
    }
    assert colour.run(cache.get_many(KEYS[:3], far())) == [None] * 3
    colour.run(cache.set_many(kept, far()))
    asked = [KEYS[9], *reversed(kept), KEYS[0]]
    found = colour.run(cache.get_many(asked, far()))
    assert found[0] is None
    for key, got in zip(asked[1:], found[1:], strict=True):
        assert got is not None
        age_s = kept[key].stored_s - got.stored_s
        assert abs(age_s) < 5
        assert dataclasses.replace(got, stored_s=kept[key].stored_s) == kept[key]
        assert type(got.value) is type(kept[key].value)
    assert not cache.bypassed


def test_another_process_finds_it(server: Server, admin: redis.Redis, colour: Colour) -> None:
    one, other = (colour.open(RedisCache(server.url, **UNHURRIED)) for _ in range(2))
    colour.run(one.set_many({KEYS[0]: entry("mine")}, far()))
    (got,) = colour.run(other.get_many(KEYS[:1], far()))
    assert got is not None
    assert got.value == "mine"


def test_a_thousand_take_one_round_trip_each_way(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.get_many(KEYS[:1], far()))  # makes the root of all prefixes
    links = cache._asking._links
    trips: list[int] = []
    real = links.run

    async def counted(commands: Any, deadline_s: float) -> Any:
        trips.append(len(commands))
        return await real(commands, deadline_s)

    links.run = counted  # type: ignore[method-assign]
    admin.config_resetstat()
    assert colour.run(cache.get_many(KEYS, far())) == [None] * 1000
    colour.run(cache.set_many({key: entry(key) for key in KEYS}, far()))
    found = colour.run(cache.get_many(KEYS, far()))
    assert [got.value for got in found if got] == KEYS
    assert len(trips) == 3
    assert calls(admin) == {"hgetall": 2, "mget": 2, "set": 1000}
    assert not any("key" in command for command in calls(admin))


def test_it_is_kept_as_long_as_any_rule_may_give_it_out(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    old_s = time.monotonic() - 40
    given = {
        KEYS[0]: entry(1, fresh_s=100.0, revalidate_s=50.0, on_error_s=1000.0),
        KEYS[1]: entry(1, fresh_s=100.0, revalidate_s=500.0, on_error_s=0.0, stored_s=old_s),
        KEYS[2]: entry(1, fresh_s=10.0, revalidate_s=0.0, on_error_s=20.0, stored_s=old_s),
        KEYS[3]: entry(1, on_error_s=1e300),
    }
    colour.run(cache.set_many(given, far()))
    left_s = [admin.pttl(f"servingclient:1:e:{key}") / 1000 for key in KEYS[:4]]
    assert left_s[0] == pytest.approx(1100, abs=5)
    assert left_s[1] == pytest.approx(560, abs=5)
    assert left_s[2] < 0, "its time was over"
    assert left_s[3] == pytest.approx(30 * 86400, abs=5)


def test_what_would_not_come_back_the_same_is_not_kept(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, max_value_bytes=1000, **UNHURRIED))
    given = {KEYS[0]: entry((1, 2)), KEYS[1]: entry({1}), KEYS[2]: entry("x" * 1000)}
    colour.run(cache.set_many({**given, KEYS[3]: entry(1)}, far()))
    assert [got and got.value for got in colour.run(cache.get_many(KEYS[:4], far()))] == [
        None,
        None,
        None,
        1,
    ]


# ---------------------------------------------------------------- what others put there


def raw(admin: redis.Redis, key: str = KEYS[0]) -> bytes:
    value: Any = admin.get(f"servingclient:1:e:{key}")
    assert value is not None
    return bytes(value)


def put(admin: redis.Redis, value: bytes, key: str = KEYS[0]) -> None:
    admin.set(f"servingclient:1:e:{key}", value)


def changed(data: bytes, place: int, value: Any) -> bytes:
    row = msgpack.unpackb(data)
    row[place] = value
    return bytes(msgpack.packb(row))


FOREIGN = {
    "another schema version": lambda data: changed(data, 0, 2),
    "another key": lambda data: changed(data, 1, "servingclient:1:e:other"),
    "pickle": lambda data: b"\x80\x04\x95\x0c\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins.",
    "cut": lambda data: data[:-1],
    "more": lambda data: data + b"\xc0",
    "JSON": lambda data: b'{"value": 1}',
    "empty": lambda data: b"",
    "another kind": lambda data: msgpack.packb({"value": 1}),
    "an extension": lambda data: changed(data, 13, msgpack.ExtType(5, b"x")),
    "a time stamp": lambda data: changed(data, 13, msgpack.Timestamp(1)),
    "an endless span": lambda data: changed(data, 5, float("inf")),
    "a span of text": lambda data: changed(data, 5, "5"),
    "a negative span": lambda data: changed(data, 6, -1.0),
    "an epoch before the last": lambda data: changed(data, 2, b"12345678"),
    "tags without tokens": lambda data: changed(data, 12, ["t"]),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_what_it_cannot_vouch_for_is_a_miss(
    server: Server, admin: redis.Redis, colour: Colour, change: Any
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.set_many({KEYS[0]: entry(1), KEYS[1]: entry(2)}, far()))
    put(admin, change(raw(admin)))
    first, second = colour.run(cache.get_many(KEYS[:2], far()))
    assert first is None
    assert second is not None
    assert second.value == 2
    assert not cache.bypassed


def test_a_value_of_another_tenant_under_this_name_is_a_miss(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.set_many({KEYS[0]: entry("mine"), KEYS[1]: entry("theirs")}, far()))
    put(admin, raw(admin, KEYS[1]))
    assert colour.run(cache.get_many(KEYS[:1], far())) == [None]


def test_with_a_secret_only_what_was_signed_with_it_counts(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    signing = RedisCache(server.url, secret="0123456789abcdef", **UNHURRIED)
    kinds = {"signed": signing, "plain": RedisCache(server.url, **UNHURRIED)}
    kinds["other"] = RedisCache(server.url, secret=b"fedcba9876543210", **UNHURRIED)
    caches = {name: colour.open(spec) for name, spec in kinds.items()}
    for writer, written in caches.items():
        colour.run(written.set_many({KEYS[0]: entry(writer)}, far()))
        for reader, read in caches.items():
            (got,) = colour.run(read.get_many(KEYS[:1], far()))
            assert (got is not None) == (reader == writer), f"{reader} of {writer}"
    colour.run(caches["signed"].set_many({KEYS[0]: entry(1)}, far()))
    data = raw(admin)
    put(admin, data[:-1] + bytes([data[-1] ^ 1]))
    assert colour.run(caches["signed"].get_many(KEYS[:1], far())) == [None]


def test_a_stamp_from_the_future_counts_as_now(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.set_many({KEYS[0]: entry(1)}, far()))
    for stamp in (time.time() + 1e6, float("nan"), float("inf")):
        put(admin, changed(raw(admin), 4, stamp))
        before_s = time.monotonic()
        (got,) = colour.run(cache.get_many(KEYS[:1], far()))
        assert got is not None
        assert before_s <= got.stored_s <= time.monotonic()


def test_a_huge_value_is_a_miss_and_is_removed(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    colour.run(
        colour.open(RedisCache(server.url, **UNHURRIED)).set_many({KEYS[1]: entry(1)}, far())
    )
    cache = colour.open(RedisCache(server.url, budget_s=0.02))  # 200 MB take ten times as long
    huge = f"servingclient:1:e:{KEYS[0]}"
    admin.setrange(huge, 200_000_000, b"x")
    assert kept(colour, cache, KEYS[:1]) == [False]
    assert cache.bypassed
    end_s = far()
    while kept(colour, cache, KEYS[:2]) != [False, True]:
        assert time.monotonic() < end_s
        colour.pause()
    assert not admin.exists(huge)


# ---------------------------------------------------------------- invalidation


def kept(colour: Colour, cache: Any, keys: list[str]) -> list[bool]:
    return [got is not None for got in colour.run(cache.get_many(keys, far()))]


def test_invalidation_by_key_prefix_and_tag(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache, other = (colour.open(RedisCache(server.url, **UNHURRIED)) for _ in range(2))
    keys = ["a|1|/users/{id}|GET|1", "a|1|/users/{id}|GET|2", "a|1|/items/{id}|GET|1", "b|1|/|GET|"]

    def fill() -> None:
        tags = [("x", "y"), ("y",), (), ("x",)]
        given = {key: entry(key, tags=some) for key, some in zip(keys, tags, strict=True)}
        colour.run(cache.get_many(keys, far()))
        colour.run(cache.set_many(given, far()))
        assert kept(colour, other, keys) == [True] * 4

    fill()
    colour.run(cache.invalidate(far(), keys=[keys[1], keys[3]]))
    assert kept(colour, other, keys) == [True, False, True, False]
    fill()
    colour.run(cache.invalidate(far(), tag="y"))
    assert kept(colour, other, keys) == [False, False, True, True]
    fill()
    colour.run(cache.invalidate(far(), prefix="a|1|/us"))
    assert kept(colour, other, keys) == [False, False, True, True]
    fill()
    colour.run(cache.invalidate(far(), prefix="a|"))
    assert kept(colour, other, keys) == [False, False, False, True]
    fill()
    colour.run(cache.invalidate(far(), prefix=""))
    assert kept(colour, other, keys) == [False] * 4
    fill()
    assert not set(calls(admin)) & {"keys", "scan"}


@pytest.mark.parametrize("what", [{"prefix": "a|1|/us"}, {"tag": "x"}])
def test_an_answer_on_its_way_is_invalidated_too(
    server: Server, admin: redis.Redis, colour: Colour, what: dict[str, str]
) -> None:
    cache, other = (colour.open(RedisCache(server.url, **UNHURRIED)) for _ in range(2))
    key = "a|1|/users/{id}|GET|1"
    for one in (cache, other):
        colour.run(cache.get_many([key], far(), tags=["x"]))  # ... and now asks the API
        colour.run(one.invalidate(far(), **what))  # type: ignore[arg-type]
        colour.run(cache.set_many({key: entry("old", tags=("x",))}, far()))
        assert kept(colour, other, [key]) == [False]
        colour.run(cache.get_many([key], far(), tags=["x"]))
        colour.run(cache.set_many({key: entry("new", tags=("x",))}, far()))
        assert kept(colour, other, [key]) == [True]


def test_tags_told_before_take_no_round_trip_of_their_own(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    for _ in range(2):
        admin.config_resetstat()
        colour.run(cache.get_many(KEYS[:2], far(), tags=["x", "x"]))
        colour.run(cache.set_many({KEYS[0]: entry(1, tags=("x",))}, far()))
    assert calls(admin) == {"hgetall": 1, "mget": 1, "set": 1, "expire": 1}


@pytest.mark.parametrize("lost", ["servingclient:1:g", "servingclient:1:t:x"])
def test_a_token_that_was_evicted_can_only_cause_misses(
    server: Server, admin: redis.Redis, colour: Colour, lost: str
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.set_many({KEYS[0]: entry(1, tags=("x",))}, far()))
    assert kept(colour, cache, KEYS[:1]) == [True]
    admin.delete(lost)
    assert kept(colour, cache, KEYS[:1]) == [False]
    colour.run(cache.set_many({KEYS[0]: entry(1, tags=("x",))}, far()))
    assert kept(colour, cache, KEYS[:1]) == [True]


def test_many_prefixes_become_one(server: Server, admin: redis.Redis, colour: Colour) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.set_many({"other": entry(1)}, far()))
    for number in range(255):
        colour.run(cache.invalidate(far(), prefix=f"p{number}"))
    assert kept(colour, cache, ["other"]) == [True]
    colour.run(cache.invalidate(far(), prefix="one too many"))
    assert admin.hlen("servingclient:1:g") == 1
    assert kept(colour, cache, ["other"]) == [False]


# ---------------------------------------------------------------- leases


def test_one_of_all_has_the_lease(server: Server, admin: redis.Redis, colour: Colour) -> None:
    one, other = (colour.open(RedisCache(server.url, lease_s=7, **UNHURRIED)) for _ in range(2))
    assert colour.run(one.lease("k", 60, far()))
    assert 6 < admin.pttl("servingclient:1:l:k") / 1000 <= 7
    assert not colour.run(other.lease("k", 60, far()))
    colour.run(other.release("k", far()))
    assert admin.exists("servingclient:1:l:k"), "only its holder gives it back"
    colour.run(one.release("k", far()))
    assert colour.run(other.lease("k", 60, far()))


def test_a_lease_that_is_somebody_elses_by_now_stays(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    one, other = (colour.open(RedisCache(server.url, **UNHURRIED)) for _ in range(2))
    assert colour.run(one.lease("k", 60, far()))
    admin.delete("servingclient:1:l:k")  # its time was over
    assert colour.run(other.lease("k", 60, far()))
    colour.run(one.release("k", far()))
    assert admin.exists("servingclient:1:l:k")


def test_a_process_does_not_wait_for_itself(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, lease_s=0.05, **UNHURRIED))
    other = colour.open(RedisCache(server.url, **UNHURRIED))
    assert colour.run(cache.lease("k", 60, far()))
    assert colour.run(cache.lease("k", 60, far())), "it is about to be given back"
    while admin.exists("servingclient:1:l:k"):
        colour.pause()
    assert colour.run(other.lease("k", 60, far()))
    assert not colour.run(cache.lease("k", 60, far())), "it was over"


# ---------------------------------------------------------------- TLS and accounts


def account_url(server: Server, password: str = PASSWORD) -> str:
    return f"rediss://app:{quote(password, safe='')}@localhost:{server.tls_port}/0"


def test_tls_with_an_account_of_least_rights(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    spec = RedisCache(account_url(server), ca_file=server.ca_file, **UNHURRIED)
    cache = colour.open(spec)
    colour.run(cache.set_many({KEYS[0]: entry(1, tags=("x",))}, far()))
    assert kept(colour, cache, KEYS[:1]) == [True]
    assert colour.run(cache.lease("k", 5, far()))
    colour.run(cache.release("k", far()))
    assert not admin.exists("servingclient:1:l:k")
    for what in ({"keys": KEYS[:1]}, {"prefix": "a"}, {"tag": "x"}):
        colour.run(cache.invalidate(far(), **what))  # type: ignore[arg-type]
    assert kept(colour, cache, KEYS[:1]) == [False]
    assert not cache.bypassed


@pytest.mark.parametrize("wrong", ["password", "authority"])
def test_a_wrong_account_or_certificate_is_a_miss(
    server: Server,
    admin: redis.Redis,
    colour: Colour,
    wrong: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    url = account_url(server, "canary-password" if wrong == "password" else PASSWORD)
    ca_file = None if wrong == "authority" else server.ca_file
    cache = colour.open(RedisCache(url, ca_file=ca_file, **UNHURRIED))
    for _ in range(4):
        assert kept(colour, cache, KEYS[:1]) == [False]
    assert cache.bypassed
    assert re.search(r"redis_bypassed reason=\w+", caplog.text)
    assert "canary" not in caplog.text


def test_a_server_without_room_is_still_read(
    server: Server, admin: redis.Redis, colour: Colour
) -> None:
    cache = colour.open(RedisCache(server.url, **UNHURRIED))
    colour.run(cache.set_many({KEYS[0]: entry(1)}, far()))
    admin.config_set("maxmemory", "1")
    with contextlib.ExitStack() as after:
        after.callback(admin.config_set, "maxmemory", "0")
        for _ in range(5):
            colour.run(cache.set_many({KEYS[1]: entry(1)}, far()))
        assert kept(colour, cache, KEYS[:2]) == [True, False]
        assert not cache.bypassed
