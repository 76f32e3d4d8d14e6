"""Both doors against the emulator's external API, over its own TLS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from servingclient import (
    Bearer,
    EnrichmentSettings,
    ResponseFormatError,
    ServingError,
    Throttled,
    Tls,
)
from servingclient.emulator import Emulator, faults
from servingclient.emulator.external import ExternalApi, ExternalSettings
from servingclient.emulator.external_limit import Window
from servingclient.enrichment import guard
from servingclient.settings import Retry
from tests.enrichment.kit import Client, Door
from tests.enrichment.world import FakeShared

AT_ONCE = Retry(max_attempts=1)


@pytest.fixture(scope="module")
def _emulator() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def api(_emulator: Emulator) -> ExternalApi:
    """One that has seen nothing."""
    api = _emulator.external
    api.settings = ExternalSettings()
    api._window = Window()
    api.come_back()
    api.forget()
    return api


@pytest.fixture
def rules(_emulator: Emulator) -> EnrichmentSettings:
    base = EnrichmentSettings(allow_private_hosts=True, tls=Tls(ca_file=_emulator.ca_file))
    caching = replace(base.caching, ttl_jitter=0.0, early_refresh_factor=0.0)
    return base.replace(caching=caching)


def open_at(door: Door, api: ExternalApi, rules: EnrichmentSettings, ttl: float = 60.0) -> Client:
    return door.open(api.base_url, rules, ttl=ttl, auth=Bearer("tok", principal="me"))


def test_users_and_those_who_are_none(
    door: Door, api: ExternalApi, rules: EnrichmentSettings
) -> None:
    client = open_at(door, api, rules)
    found = door.run(client.get_many("/users/{id}", [1, 2, 99_999, "../admin"]))
    assert [one.found for one in found.values()] == [True, True, False, False]
    assert found[2].value["name"] == "user 2"
    door.run(client.get_many("/users/{id}", [1, 2, 99_999]))
    assert (api.counts["1"], api.counts["99999"]) == (1, 1)


def test_a_value_that_has_not_changed_is_not_sent_again(
    door: Door, api: ExternalApi, rules: EnrichmentSettings
) -> None:
    api.change(cache_control="max-age=0")
    client = open_at(door, api, rules)
    first = door.run(client.get("/users/{id}", id=7))
    # it may not be revalidated behind the callers, so that each look shows what was asked
    strict = rules.replace(caching=replace(rules.caching, stale_while_revalidate_s=0.0))
    client = open_at(door, api, strict)
    values = [door.run(client.get("/users/{id}", id=7)).value for _ in range(2)]
    assert values == [first.value] * 2
    sent = [dict(one.headers).get("if-none-match") for one in api.requests[-2:]]
    assert sent[0] is None
    assert sent[1] is not None
    assert client.stats().requests == 2
    api.touch(7)
    newer = door.run(client.get("/users/{id}", id=7))
    assert newer.value["version"] == first.value["version"] + 1


def test_many_in_one_request(door: Door, api: ExternalApi, rules: EnrichmentSettings) -> None:
    client = open_at(door, api, rules)
    loader = client.loader("/users", key=lambda user: user["id"])
    before = len(api.requests)
    found = door.run(loader.load_many(range(250)))
    assert sum(one.found for one in found.values()) == 249
    assert len(api.requests) - before == 3
    bodies = client.loader("/lookup", body=lambda keys: {"ids": keys}, key=lambda user: user["id"])
    assert door.run(bodies.load(5)).value["name"] == "user 5"


@pytest.mark.parametrize("headers", ["retry_after", "ietf", "x_seconds"])
def test_what_the_api_says_of_its_limit_is_kept(
    door: Door, api: ExternalApi, rules: EnrichmentSettings, headers: str
) -> None:
    api.change(limit_calls=8, limit_window_s=1.0, limit_headers=headers)
    client = open_at(door, api, rules.replace(timeout_s=15.0, max_calls=4))
    found = door.run(client.get_many("/users/{id}", range(1, 13)))
    assert all(one.found for one in found.values())
    refused = client.stats().throttled
    # told beforehand none need be refused but those already on their way
    assert refused <= (12 if headers == "retry_after" else 4)


def test_a_limit_that_leaves_no_time(
    door: Door, api: ExternalApi, rules: EnrichmentSettings
) -> None:
    api.change(limit_calls=1, limit_window_s=60.0)
    client = open_at(door, api, rules.replace(retry=AT_ONCE))
    door.run(client.get("/users/{id}", id=1))
    for n in (2, 3):
        with pytest.raises(Throttled) as caught:
            door.run(client.get("/users/{id}", id=n, timeout=0.5))
        assert 0.0 < (caught.value.retry_after_s or 0.0) <= 60.0
    assert client.stats().requests == 2, "the second was not sent"


def test_down_with_a_warm_cache(door: Door, api: ExternalApi, rules: EnrichmentSettings) -> None:
    client = open_at(door, api, rules.replace(retry=AT_ONCE), ttl=0.0)
    ids = range(1, 6)
    door.run(client.get_many("/users/{id}", ids))
    api.go_down()
    for _ in range(10):
        found = door.run(client.get_many("/users/{id}", ids))
        assert [one.source for one in found.values()] == ["stale"] * 5
        assert [one.value["id"] for one in found.values()] == list(ids)
    stats = client.stats()
    assert stats.breaker == "open"
    assert stats.requests - 5 <= 24, "20 open it, and some were under way"
    assert stats.refused >= 26


def test_a_forked_child_has_refused_nothing_yet(
    door: Door, api: ExternalApi, rules: EnrichmentSettings
) -> None:
    api.go_down()
    client = open_at(door, api, rules.replace(retry=AT_ONCE))
    for one in range(30):
        with pytest.raises(ServingError):
            door.run(client.get("/users/{id}", id=one))
    assert client.stats().refused > 0
    guard._renew_all()  # what a fork calls in the child
    assert (client.stats().refused, client.stats().breaker) == (0, "open")


def test_a_reply_that_is_no_json(door: Door, api: ExternalApi, rules: EnrichmentSettings) -> None:
    api.script(faults.login_page())
    client = open_at(door, api, rules)
    with pytest.raises(ResponseFormatError, match="no JSON"):
        door.run(client.get("/users/{id}", id=1))


def test_two_principals_that_share_a_cache(
    door: Door, api: ExternalApi, rules: EnrichmentSettings
) -> None:
    shared = FakeShared()

    class Spec:
        def for_threads(self) -> FakeShared:
            return shared

        for_tasks = for_threads

    clients = {
        name: door.open(api.base_url, rules, auth=name, cache=Spec()) for name in ("anna", "ben")
    }
    seen = {}
    for name, client in clients.items():
        found = door.run(client.get_many("/users/{id}", range(1, 51)))
        seen[name] = {one.value["seen_by"] for one in found.values()}
    assert len(seen["anna"]) == len(seen["ben"]) == 1
    assert seen["anna"] != seen["ben"]
