"""What a user does first, through both doors, against the emulator on real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from servingclient import (
    AsyncServingClient,
    ConfigError,
    ConnectionLost,
    NotFound,
    Prediction,
    ServingClient,
    Settings,
    StreamError,
)
from servingclient.emulator import Emulator, faults
from servingclient.settings import Pool, Retry
from tests.doors.kit import Door, errors, invocations, pat, principal

A, B = [1.5, 3.0], [2, 4]
SUMS = [3.5, 7.0]

INPUTS = {
    "pandas": pd.DataFrame({"a": A, "b": B}),
    "polars": pl.DataFrame({"a": A, "b": B}),
    "arrow": pa.table({"a": A, "b": B}),
    "records": [{"a": 1.5, "b": 2}, {"a": 3.0, "b": 4}],
    "columns": {"a": A, "b": B},
    "arrays": {"a": np.array(A), "b": np.array(B)},
    "array": np.array([[1.5, 2.0], [3.0, 4.0]]),
    "rows": [[1.5, 2.0], [3.0, 4.0]],
    "split": {"dataframe_split": {"columns": ["a", "b"], "data": [[1.5, 2], [3, 4]]}},
    "body-records": {"dataframe_records": [{"a": 1.5, "b": 2}, {"a": 3, "b": 4}]},
    "body-inputs": {"inputs": [[1.5, 2.0], [3.0, 4.0]]},
    "body-instances": {"instances": [{"a": 1.5, "b": 2}, {"a": 3, "b": 4}]},
}


@pytest.mark.parametrize("form", INPUTS)
@pytest.mark.parametrize("endpoint", ["demo", "demo-fast"])
def test_every_input_is_scored(door: Door, emulator: Emulator, endpoint: str, form: str) -> None:
    client = door.open(endpoint, principal(emulator))
    prediction = door.predict(client, INPUTS[form])
    assert prediction.predictions == SUMS
    assert prediction.to_numpy().tolist() == SUMS
    assert [a.status for a in prediction.attempts] == [200]


def test_a_prediction_tells_about_its_call(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    prediction = door.predict(client)
    (record,) = invocations(emulator)
    assert prediction.request_id == record.request_id
    assert prediction.served_model == "demo-1"
    timing = prediction.timing
    assert 0.0 < timing.first_byte_s < timing.total_s < 5.0
    assert timing.token_s > 0.0, "the first call resolved the endpoint"
    assert door.predict(client).timing.token_s == 0.0, "the second had all at hand"
    assert "Prediction([" in repr(prediction)
    assert prediction._repr_html_().startswith("<table>")


def test_parameters_and_labels_arrive(door: Door, emulator: Emulator) -> None:
    def model(rows: Any, params: Any = None) -> Any:
        return [row["a"] * params["factor"] for row in rows]

    emulator.add_endpoint("times", model=model)
    client = door.open("times", pat(emulator))
    prediction = door.predict(
        client,
        {"a": A},
        params={"factor": 2.0},
        client_request_id="mine-1",
        usage_context={"team": "risk"},
    )
    assert prediction.predictions == [3.0, 6.0]
    (record,) = invocations(emulator)
    assert record.client_request_id == "mine-1"
    assert json.loads(record.body or b"")["usage_context"] == {"team": "risk"}
    assert emulator.executions("times") == {"mine-1": 1}


@pytest.mark.parametrize("route_optimized", [False, True])
def test_a_served_model_is_chosen(door: Door, emulator: Emulator, route_optimized: bool) -> None:
    emulator.add_endpoint(
        "two",
        model={"old": lambda rows: ["old"] * len(rows), "new": lambda rows: ["new"] * len(rows)},
        served_models={"old": 100, "new": 0},
        route_optimized=route_optimized,
    )
    client = door.open("two", principal(emulator))
    assert door.predict(client).predictions == ["old"]
    prediction = door.predict(client, served_model="new")
    assert prediction.predictions == ["new"]
    assert prediction.served_model == "new"
    with pytest.raises(NotFound):
        door.predict(client, served_model="none-such")


def test_features_are_looked_up(door: Door, emulator: Emulator) -> None:
    # Feature Serving wraps its reply in "outputs"
    emulator.add_endpoint("features", kind="feature")
    client = door.open("features", pat(emulator))
    prediction = door.predict(client, [{"id": 1, "x": 2.0}])
    assert prediction.predictions == [{"id": 1, "x": 2.0, "feature_sum": 3.0}]


# -- agents, streams -------------------------------------------------------------------------------

CHAT = {"messages": [{"role": "user", "content": "one two three"}]}


def words(events: list[Any]) -> str:
    return "".join(event["choices"][0]["delta"].get("content", "") for event in events)


@pytest.fixture
def agent(emulator: Emulator) -> Emulator:
    emulator.add_endpoint("agent", kind="agent")
    return emulator


def test_an_agent_answers_whole(door: Door, agent: Emulator) -> None:
    client = door.open("agent", pat(agent))
    reply = door.predict(client, CHAT).predictions
    assert reply["choices"][0]["message"]["content"] == "one two three"


def test_an_agent_answers_as_a_stream(door: Door, agent: Emulator) -> None:
    client = door.open("agent", pat(agent))
    assert words(door.events(client, CHAT)) == "one two three"
    assert words(door.events(client, CHAT)) == "one two three"


def test_a_stream_read_to_its_end_keeps_its_connection(door: Door, agent: Emulator) -> None:
    # a new connection costs as much as some 40 warm calls
    client = door.open("agent", pat(agent))
    door.predict(client, CHAT)
    for _ in range(3):
        door.events(client, CHAT)
    assert agent.connections["workspace"] == 1


def test_opening_a_stream_is_retried(door: Door, agent: Emulator) -> None:
    client = door.open("agent", pat(agent), Settings(retry=Retry(throttled_base_s=0.01)))
    agent.script("agent", faults.throttled(), faults.reset(), faults.ok())
    assert words(door.events(client, CHAT)) == "one two three"
    assert len(invocations(agent)) == 3


@pytest.mark.parametrize("how", ["reset", "fin", "end"])
def test_a_stream_that_is_cut_is_an_error_and_not_sent_again(
    door: Door, agent: Emulator, how: Any
) -> None:
    client = door.open("agent", pat(agent))
    agent.script("agent", faults.cut_stream(after_events=1, how=how))
    with pytest.raises(StreamError) as caught:
        door.events(client, CHAT)
    assert len(invocations(agent)) == 1
    assert caught.value.request_id
    assert words(door.events(client, CHAT)) == "one two three", "the client goes on"


def test_an_error_event_is_an_error(door: Door, agent: Emulator) -> None:
    client = door.open("agent", pat(agent))
    agent.script("agent", faults.stream_error(message="model failed"))
    with pytest.raises(StreamError, match="model failed"):
        door.events(client, CHAT)


def test_a_stalled_stream_ends_at_its_idle_limit(door: Door, agent: Emulator) -> None:
    agent.change_endpoint("agent", stream_interval_s=5.0)
    client = door.open("agent", pat(agent), Settings(pool=Pool(stream_idle_s=0.15)))
    with pytest.raises(StreamError, match="stream_idle_s"):
        door.events(client, CHAT)


def test_more_streams_than_places_wait_their_turn(agent: Emulator) -> None:
    # a place is held while a stream is open, and given back by closing
    settings = Settings(pool=Pool(max_lanes=1), timeout_s=0.2)
    with ServingClient("agent", host=agent.host, token=agent.token, settings=settings) as client:
        first = client.stream(CHAT)
        with pytest.raises(TimeoutError):
            client.stream(CHAT)
        first.close()
        with client.stream(CHAT) as second:
            assert words(list(second)) == "one two three"


# -- options ---------------------------------------------------------------------------------------


def test_a_copy_shares_connections_and_queue(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    copy = client.with_options(timeout_s=3.0, idempotent=False)
    for one in (client, copy, client, copy):
        door.predict(one)
    assert emulator.connections["workspace"] == 1
    assert copy.settings.timeout_s == 3.0
    assert client.settings.timeout_s == 30.0
    assert type(copy) is type(client)


def test_a_copy_obeys_its_own_options(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    emulator.script("demo", faults.reset(), faults.ok(), faults.reset())
    assert [a.status for a in door.predict(client).attempts] == [None, 200]
    with pytest.raises(ConnectionLost):
        door.predict(client.with_options(idempotent=False))


@pytest.mark.parametrize(
    "name",
    ["pool", "queue", "tls", "proxy", "headers", "trusted_hosts", "token", "close_timeout_s"],
)
def test_what_needs_other_connections_is_refused(door: Door, emulator: Emulator, name: str) -> None:
    client = door.open("demo", pat(emulator))
    with pytest.raises(ConfigError, match=name):
        client.with_options(**{name: None})


@pytest.mark.parametrize(
    ("name", "near"), [("timeout", "timeout_s"), ("retries", "retry"), ("idempotant", "idempotent")]
)
def test_input_38_an_unknown_option_names_the_nearest(
    door: Door, emulator: Emulator, name: str, near: str
) -> None:
    client = door.open("demo", pat(emulator))
    with pytest.raises(ConfigError, match=f"Did you mean '{near}'"):
        client.with_options(**{name: 1})


def test_a_per_call_option_counts_for_that_call(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    door.predict(client)
    emulator.script("demo", faults.slow(1.0))
    with pytest.raises(TimeoutError):
        door.predict(client, timeout=0.1)
    assert door.predict(client, timeout=5).predictions


# -- life ------------------------------------------------------------------------------------------


def test_context_managers_close(emulator: Emulator) -> None:
    who = pat(emulator)
    with ServingClient("demo", host=who.host, **who.arguments) as client:
        assert client.predict({"a": A}).predictions == A
    assert emulator.wait_for(lambda: emulator.open_connections["workspace"] == 0)

    async def scenario() -> Prediction:
        async with AsyncServingClient("demo", host=who.host, **who.arguments) as client:
            return await client.predict({"a": A})

    assert asyncio.run(scenario()).predictions == A
    assert emulator.wait_for(lambda: emulator.open_connections["workspace"] == 0)


def test_warmup_leaves_nothing_to_wait_for(door: Door, emulator: Emulator) -> None:
    client = door.open("demo-fast", principal(emulator), Settings(pool=Pool(prewarm=2)))
    door.run(client.warmup())
    assert invocations(emulator) == []
    assert emulator.wait_for(lambda: emulator.connections["serving"] == 2)
    prediction = door.predict(client)
    assert prediction.timing.token_s == 0.0
    assert prediction.timing.connect_s >= 0.0
    assert emulator.connections["serving"] == 2
    assert emulator.token_requests <= 2


def test_the_blocking_door_works_inside_a_running_loop(emulator: Emulator) -> None:
    # a notebook runs one; stepping must not need it nor be confused by it
    emulator.add_endpoint("agent", kind="agent")

    async def cell() -> tuple[list[Any], str]:
        with ServingClient("demo", host=emulator.host, token=emulator.token) as client:
            predictions = client.predict({"a": A}).predictions
        with ServingClient("agent", host=emulator.host, token=emulator.token) as client:
            for event in client.stream(CHAT):
                return predictions, words([event])
        raise AssertionError("no event came")

    assert asyncio.run(cell()) == (A, "one ")


def test_many_callers_get_each_their_own(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    outcomes = door.many(client, ({"inputs": [{"a": float(n)}]} for n in range(64)))
    assert errors(outcomes) == []
    assert [one.predictions for one in outcomes] == [[float(n)] for n in range(64)]  # type: ignore[union-attr]
    assert emulator.connections["workspace"] <= 33


def test_https_with_an_authority_of_its_own(door: Door) -> None:
    with Emulator() as emulator:
        from servingclient.settings import Tls

        settings = Settings(tls=Tls(ca_file=emulator.ca_file))
        for endpoint in ("demo", "demo-fast"):
            client = door.open(endpoint, principal(emulator), settings)
            assert door.predict(client, {"a": A}).predictions == A
            door.close(client)


def test_the_repr_shows_what_goes_on(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    assert "'demo', 0 running, 0 waiting" in repr(client)
    door.predict(client)
    assert f"1 idle, to {emulator.host}" in repr(client)
    assert client.endpoint == "demo"


def test_observers_hear_of_calls_and_failed_tries(door: Door, emulator: Emulator) -> None:
    heard: list[Any] = []

    class Observer:
        def call_ended(self, event: Any) -> None:
            heard.append(event)

        def attempt_failed(self, event: Any) -> None:
            heard.append(event)

    settings = Settings(retry=Retry(throttled_base_s=0.01))
    client = door.open("demo", pat(emulator), settings, observers=[Observer()])
    emulator.script("demo", faults.throttled())
    door.predict(client)
    assert [type(event).__name__ for event in heard] == ["AttemptEnded", "CallEnded"]
    assert heard[0].attempt.status == 429
    assert heard[1].attempts == 2


def test_an_observer_that_raises_costs_no_call(
    door: Door, emulator: Emulator, caplog: pytest.LogCaptureFixture
) -> None:
    # a prediction that was made must not be lost to whoever only watches
    class Broken:
        def call_ended(self, _event: Any) -> None:
            raise KeyError("call_ended")

        def attempt_failed(self, _event: Any) -> None:
            raise KeyError("attempt_failed")

    settings = Settings(retry=Retry(throttled_base_s=0.01))
    client = door.open("demo", pat(emulator), settings, observers=[Broken()])
    emulator.script("demo", faults.throttled())
    assert len(door.predict(client).predictions) == 1
    said = [r.getMessage() for r in caplog.records if r.name == "servingclient.call"]
    assert said == [
        "observer_failed observer=Broken error=KeyError('attempt_failed')",
        "observer_failed observer=Broken error=KeyError('call_ended')",
    ]
