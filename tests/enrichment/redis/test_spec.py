"""``RedisCache`` as a user writes it down: what is refused, and what is never shown."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest

from servingclient import ConfigError, RedisCache
from servingclient.enrichment.redis_url import Place, parse

GOOD = {
    "redis://localhost": Place("localhost"),
    "redis://127.0.0.1:1/": Place("127.0.0.1", 1),
    "redis://[::1]:6380/3": Place("::1", 6380, db=3),
    "rediss://cache.example.com": Place("cache.example.com", tls=True),
    "rediss://Cache.Example.com:6380/1": Place("cache.example.com", 6380, tls=True, db=1),
    "rediss://app:p%40ss%2Fw@h:1": Place("h", 1, tls=True, username="app", password="p@ss/w"),
    "rediss://:pw@h": Place("h", tls=True, password="pw"),
    "rediss://u:p:q!$&'()*+,;=%3f@h": Place(
        "h", tls=True, username="u", password="p:q!$&'()*+,;=?"
    ),
    "unix:///run/redis.sock": Place(path="/run/redis.sock"),
    "unix://app:pw@/run/r.sock?db=2": Place(
        path="/run/r.sock", db=2, username="app", password="pw"
    ),
}


@pytest.mark.parametrize(("url", "place"), GOOD.items())
def test_good_urls(url: str, place: Place) -> None:
    assert parse(url, allow_plaintext=False) == place


CANARY = "cAnArY"
BAD = {
    "": "is empty",
    f"{CANARY}": "does not begin with",
    f"http://{CANARY}": "does not begin with",
    f"redis://{CANARY} @localhost": "holds blanks",
    f"redis://localhost\n{CANARY}": "holds blanks",
    f"rediss://ü{CANARY}@h": "beyond ASCII",
    f"rediss://a:{CANARY}@h@g": "more than one @",
    f"rediss://h/{CANARY}": "names no host, port and database",
    f"rediss://a:{CANARY}@h:123456": "names no host, port and database",
    f"rediss://a:{CANARY}@h:65536": "port beyond 65535",
    f"rediss://a:{CANARY}@h:0": "port beyond 65535",
    f"rediss://a:{CANARY}@h?ssl_cert_reqs=none": "a query or a fragment",
    f"rediss://h#{CANARY}": "a query or a fragment",
    f"rediss://a:{CANARY}@": "names no host",
    f"unix://{CANARY}": "no socket path",
    f"unix://a:{CANARY}@/run/r?x=1": "no socket path",
    f"unix:///run/r?db={CANARY}": "no socket path",
    f"redis://a:{CANARY}@cache.example.com": "plain redis:// to another machine",
    f"redis://{CANARY}@localhost.example.com": "plain redis:// to another machine",
    f"redis://{CANARY}@10.0.0.1": "plain redis:// to another machine",
}


@pytest.mark.parametrize(("url", "what"), BAD.items())
def test_bad_urls_are_named_and_not_shown(url: str, what: str) -> None:
    with pytest.raises(ConfigError) as caught:
        RedisCache(url)
    assert what in str(caught.value)
    assert CANARY.lower() not in str(caught.value).lower()


@pytest.mark.parametrize("url", [None, 5, b"redis://localhost"])
def test_what_is_no_text(url: Any) -> None:
    with pytest.raises(ConfigError, match="must be text"):
        RedisCache(url)


def test_plaintext_to_another_machine_must_be_allowed() -> None:
    spec = RedisCache("redis://cache.example.com", allow_plaintext=True)
    assert repr(spec) == ("RedisCache('redis://cache.example.com:6379/0', prefix='servingclient')")


def wrong(tmp_path: Path) -> dict[str, tuple[dict[str, Any], str]]:
    return {
        "prefix": ({"prefix": "a b"}, "RedisCache.prefix"),
        "no prefix": ({"prefix": ""}, "RedisCache.prefix"),
        "prefix of bytes": ({"prefix": b"x"}, "RedisCache.prefix"),
        "pattern": ({"prefix": "a*"}, "RedisCache.prefix"),
        "short secret": ({"secret": "canary"}, "16 are the least"),
        "secret": ({"secret": 5}, "RedisCache.secret"),
        "no such file": ({"ca_file": str(tmp_path / "x")}, "is no file"),
        "ca_file": ({"ca_file": 5}, "RedisCache.ca_file"),
        "budget": ({"budget_s": 0}, "RedisCache.budget_s"),
        "nan": ({"budget_s": float("nan")}, "RedisCache.budget_s"),
        "size": ({"max_value_bytes": 0}, "RedisCache.max_value_bytes"),
        "half a byte": ({"max_value_bytes": 0.5}, "RedisCache.max_value_bytes"),
        "lease": ({"lease_s": -1}, "RedisCache.lease_s"),
        "switch": ({"allow_plaintext": "no"}, "RedisCache.allow_plaintext"),
    }


@pytest.mark.parametrize("case", wrong(Path()))
def test_wrong_arguments_are_one_clear_error(case: str, tmp_path: Path) -> None:
    given, what = wrong(tmp_path)[case]
    with pytest.raises(ConfigError) as caught:
        RedisCache("redis://localhost", **given)
    assert what in str(caught.value)
    assert "canary" not in str(caught.value)


def test_it_is_a_value_that_travels_and_shows_no_secret() -> None:
    spec = RedisCache(f"rediss://user:{CANARY}@h/1", secret=CANARY * 3, prefix="p:q")
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert hash(spec) == hash(dataclasses.replace(spec))
    assert repr(spec) == f"{spec!s}" == "RedisCache('rediss://h:6379/1', prefix='p:q')"
    assert CANARY not in repr(parse(spec.url, allow_plaintext=False))
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.prefix = "x"  # type: ignore[misc]
