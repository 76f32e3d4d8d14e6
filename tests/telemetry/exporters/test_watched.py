"""Clients come, go, share APIs and fork; what is told of them adds up all the same."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest

from servingclient import ServingClient, ServingError, Settings
from servingclient._stats import ConcurrencyStats, EnrichmentStats
from servingclient.emulator import Emulator, faults
from servingclient.integrations import watched
from servingclient.integrations.watched import Watched
from servingclient.telemetry.exported import METRICS, api_label, together
from servingclient.telemetry.snapshot import Stats
from servingclient.telemetry.traffic import Traffic
from tests.doors.kit import Door, pat

ROWS = [{"a": 1.0, "b": 2.0}]
ATTEMPTS = ("call.attempts", ("model",))


class Api:
    """An external API's client."""

    def __init__(self, requests: int = 0, url: str = "https://api.example") -> None:
        self.requests, self.url = requests, url

    def stats(self) -> EnrichmentStats:
        return EnrichmentStats(self.url, requests=self.requests, breaker="open")


class Slotted:
    """One that cannot be held weakly."""

    __slots__ = ()

    def stats(self) -> EnrichmentStats:
        return EnrichmentStats("https://slotted.example", requests=4)


class Client:
    """A client that has made some attempts."""

    def __init__(self, attempts: int = 0, *apis: Any, endpoint: str = "model") -> None:
        self.endpoint, self.attempts, self.apis, self.in_flight = endpoint, attempts, apis, 0

    def stats(self) -> Stats:
        concurrency = ConcurrencyStats(8, self.in_flight, 0)
        return Stats(self.endpoint, concurrency, 500, total=Traffic(attempts=self.attempts))


def requests(told: Watched) -> dict[tuple[str, ...], Any]:
    return {key[1]: n for key, n in told.figures().items() if key[0] == "enrichment.requests"}


def test_apis_of_one_host_are_told_apart_and_of_one_address_add_up() -> None:
    told = Watched()
    users, prices = Api(10, "https://api.example/users"), Api(1, "https://api.example/prices")
    client = Client(0, users, prices, Api(5, "https://api.example/prices"))
    told.add(client)
    assert requests(told) == {
        ("model", "api.example/users"): 10,
        ("model", "api.example/prices"): 6,
    }


def test_an_api_counts_once_however_many_clients_have_it_or_had_it() -> None:
    told, shared = Watched(), Api(10)
    first, second = Client(1, shared), Client(2, shared, endpoint="other")
    told.add(first)
    told.add(second)
    assert requests(told) == {("model", "api.example"): 10}
    told.remove(first)
    assert requests(told) == {("model", "api.example"): 10}
    shared.requests = 12
    told.remove(second)
    del first, second, shared
    gc.collect()
    assert requests(told) == {("model", "api.example"): 12}
    third = Client(0, Api(5))
    told.add(third)
    assert requests(told) == {("model", "api.example"): 17}


def test_what_an_api_holds_is_told_while_an_open_client_has_it() -> None:
    told, api = Watched(), Api()
    client = Client(0, api)
    told.add(client)
    assert told.figures()["breaker.state", ("model", "api.example")] == 2.0
    told.remove(client)
    assert ("breaker.state", ("model", "api.example")) not in told.figures()


def test_an_api_that_cannot_be_held_weakly_counts_too() -> None:
    told = Watched()
    client = Client(0, Slotted())
    told.add(client)
    assert requests(told) == {("model", "slotted.example"): 4}


def test_an_api_that_cannot_tell_keeps_nothing_else_back() -> None:
    class Broken(Api):
        def stats(self) -> EnrichmentStats:
            raise RuntimeError("no figures")

    told = Watched()
    client = Client(3, Broken(), Api(2))
    told.add(client)
    assert requests(told) == {("model", "api.example"): 2}
    assert told.figures()[ATTEMPTS] == 3


def test_apis_of_copies_are_told_too(door: Door, emulator: Emulator) -> None:
    told = Watched()
    client = door.open("demo", pat(emulator), apis=[Api(1, "https://one.example")])
    told.add(client)
    second = Api(2, "https://two.example")
    copy = client.with_options(apis=[second]).with_options(timeout_s=9.0)
    assert [api.url for api in copy.apis] == ["https://one.example", "https://two.example"]
    assert requests(told) == {("demo", "one.example"): 1, ("demo", "two.example"): 2}


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://api.example", "api.example"),
        ("https://api.example:8443/v1/", "api.example:8443/v1"),
        ("https://me:secret@api.example/v1?key=secret#secret", "api.example/v1"),
        ("http://[::1]:80/x", "[::1]:80/x"),
        ("me:secret@api.example", "unknown"),
    ],
)
def test_an_api_goes_by_its_address(url: str, label: str) -> None:
    assert api_label(url) == label


def test_a_client_that_counts_while_it_closes_does_not_sink() -> None:
    told, client = Watched(), Client(10)
    told.add(client)
    client.attempts = 12
    assert told.figures()[ATTEMPTS] == 12
    client.in_flight = 1
    told.remove(client)
    told.figures()
    client.attempts, client.in_flight = 13, 0  # noted by the thread that woke
    del client
    gc.collect()
    assert told.figures()[ATTEMPTS] == 13
    gc.collect()
    assert told.figures()[ATTEMPTS] == 13


def test_closed_clients_are_let_go_when_the_next_one_comes() -> None:
    told = Watched()
    for _ in range(5):
        client = Client(1)
        told.add(client)
        told.remove(client)
    del client
    gc.collect()
    told.add(last := Client(1))
    assert len(told._clients) == 2, "the one that was read just now, and the next"
    told.remove(last)
    del last
    assert told.figures()[ATTEMPTS] == 6


def test_calls_cut_by_closing_count(emulator: Emulator) -> None:
    who = pat(emulator)
    told = Watched()
    settings = Settings(close_timeout_s=0.0, timeout_s=15.0)
    client = ServingClient("demo", host=who.host, **who.arguments, settings=settings)
    told.add(client)
    client.predict(ROWS)
    emulator.script("demo", faults.slow(5.0))

    def call() -> None:
        with pytest.raises(ServingError):
            client.predict(ROWS)

    caller = threading.Thread(target=call)
    caller.start()
    while not client.stats().concurrency.in_flight:
        pass
    client.close()
    told.remove(client)
    told.figures()
    caller.join()
    assert told.figures()["call.attempts", ("demo",)] == 2
    assert told.figures()["call.errors", ("demo", "ClientClosedError")] == 1


def test_a_child_that_closes_before_it_is_read_has_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    told, parents = Watched(), Client(5)
    told.add(parents)
    told.remove(parents)
    monkeypatch.setattr(watched.os, "getpid", lambda: -1)
    client = Client(8)
    told.add(client)
    told.remove(client)
    assert told.figures()[ATTEMPTS] == 8


def test_of_two_clients_the_lowest_or_the_highest_is_told_where_a_sum_says_nothing() -> None:
    def of(value: float) -> dict[Any, Any]:
        names = ("auth.token.left", "auth.token.age", "concurrency.limit")
        return {(name, ("model",)): value for name in names}

    both = together((of(3.0), of(2.0)))
    kinds = {METRICS[name].kind: value for (name, _), value in both.items()}
    assert kinds == {"lowest": 2.0, "highest": 3.0, "gauge": 5.0}
