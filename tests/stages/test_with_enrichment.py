"""A client of an external API inside ``enrich``, as both are meant to be used together."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from servingclient import (
    AsyncEnrichmentClient,
    AsyncServingClient,
    EnrichmentClient,
    EnrichmentSettings,
    ServerError,
    ServingClient,
)
from servingclient.emulator import Emulator
from servingclient.settings import Breaker, Retry
from tests.doors.kit import invocations

ONCE = EnrichmentSettings(allow_private_hosts=True, retry=Retry(max_attempts=1))
PAYMENTS = [{"user": 7, "amount": 1.0}, {"user": 8, "amount": 2.0}]
SCORED = [1.259, 2.296]


@pytest.fixture
def api(emulator: Emulator) -> Any:
    yield emulator.external
    emulator.external.come_back()
    emulator.external.change(latency_s=0.0)
    emulator.external.forget()


def given(emulator: Emulator) -> dict[str, Any]:
    return {"host": emulator.host, "token": emulator.token}


def joined(payments: Any, found: Any) -> Any:
    return [
        {"amount": one["amount"], "score": found[one["user"]].value["score"]} for one in payments
    ]


def test_threads_that_want_one_user_ask_once(emulator: Emulator, api: Any) -> None:
    api.change(latency_s=0.02)
    with EnrichmentClient(api.base_url, ttl=60, settings=ONCE) as users:

        def enrich(payments: Any) -> Any:
            return joined(payments, users.get_many("/users/{id}", [p["user"] for p in payments]))

        with (
            ServingClient("demo", **given(emulator), enrich=enrich, apis=[users]) as client,
            ThreadPoolExecutor(16) as pool,
        ):
            got = list(pool.map(client.predict, [PAYMENTS] * 16))
            assert [one.predictions for one in got] == [SCORED] * 16
            assert api.counts == {"7": 1, "8": 1}
            (figures,) = client.stats().enrichment
            assert (figures.calls, figures.requests) == (32, 2)


async def test_tasks_do_too(emulator: Emulator, api: Any) -> None:
    async with AsyncEnrichmentClient(api.base_url, ttl=60, settings=ONCE) as users:

        async def enrich(payments: Any) -> Any:
            ids = [paid["user"] for paid in payments]
            return joined(payments, await users.get_many("/users/{id}", ids))

        options = {**given(emulator), "enrich": enrich, "apis": [users]}
        async with AsyncServingClient("demo", **options) as client:
            first = await client.predict(PAYMENTS)
            again = await client.predict(PAYMENTS)
            rows = await client.map(PAYMENTS * 50).to_list()
            assert client.stats().enrichment[0].requests == 2
    assert first.predictions == again.predictions == SCORED
    assert rows == SCORED * 50
    assert api.counts == {"7": 1, "8": 1}


@pytest.mark.parametrize("breaker", [None, Breaker(min_calls=1)])
def test_an_api_that_is_down_stops_calls_or_does_not(
    emulator: Emulator, api: Any, breaker: Breaker | None
) -> None:
    api.go_down()
    settings = ONCE.replace(breaker=breaker)
    with EnrichmentClient(api.base_url, ttl=60, settings=settings) as users:

        def enrich(payments: Any) -> Any:
            return joined(payments, users.get_many("/users/{id}", [p["user"] for p in payments]))

        with ServingClient("demo", **given(emulator), enrich=enrich) as client:
            with pytest.raises(ServerError) as caught:
                client.predict(PAYMENTS)
            assert caught.value.endpoint == "127.0.0.1", "the API's own error, as it is"
            assert invocations(emulator) == []
            lenient = client.with_options(on_enrichment_error="null")
            prediction = lenient.predict(PAYMENTS)
    assert prediction.predictions == [8.0, 10.0]
    kind = "ServerError" if breaker is None else "CircuitOpen"
    assert str(prediction.enrichment_error).startswith(f"{kind}: ")


@pytest.mark.parametrize("kind", [EnrichmentClient, AsyncEnrichmentClient])
async def test_a_client_is_not_pickled_and_says_what_to_do(kind: Any) -> None:
    client = kind("https://api.example", ttl=60, settings=ONCE)
    with pytest.raises(TypeError, match=f"A {kind.__name__} holds .*Send its settings"):
        pickle.dumps(client)
    assert pickle.loads(pickle.dumps(client.settings)) == ONCE
    ended = client.close() if kind is EnrichmentClient else await client.aclose()
    assert ended is None
