"""Fake clients behave as the real ones do, over a script, in virtual time."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from typing import Any

import pytest

from servingclient import (
    AsyncServingClient,
    AuthError,
    BadRequest,
    ClientClosedError,
    ConfigError,
    ConnectionFailed,
    ConnectionLost,
    DeadlineExceeded,
    PayloadError,
    QueueFull,
    ServerError,
    ServingClient,
    Settings,
    StreamError,
    Throttled,
)
from servingclient.settings import Batching, Hedge, Payload, Retry
from servingclient.testing import (
    AsyncFakeServingClient,
    FakeServingClient,
    MadeCall,
    ScriptEndedError,
    VirtualClock,
    events,
    failure,
    lost,
    raises,
    reply,
    silence,
    throttled,
    token_refused,
    unreachable,
)
from servingclient.testing import script as vocabulary
from tests.testing_kit.kit import ROWS, Colour

# ---------------------------------------------------------------------------- like the real ones


@pytest.mark.parametrize(
    ("fake", "real"),
    [(FakeServingClient, ServingClient), (AsyncFakeServingClient, AsyncServingClient)],
)
def test_a_fake_is_a_client_with_its_very_signatures(fake: type, real: type) -> None:
    assert issubclass(fake, real)
    public = {name for name in dir(real) if not name.startswith("_")}
    for name in public:
        theirs, ours = getattr(real, name), getattr(fake, name)
        assert type(ours) is type(theirs)
        if callable(theirs):
            assert inspect.signature(ours) == inspect.signature(theirs), name
    assert public < {name for name in dir(fake) if not name.startswith("_")}


def test_both_fakes_are_made_alike() -> None:
    sync, asynchronous = (
        inspect.signature(kind) for kind in (FakeServingClient, AsyncFakeServingClient)
    )
    assert sync == asynchronous


def test_what_the_client_is_given_is_what_the_real_one_takes() -> None:
    real = inspect.signature(ServingClient).parameters
    signs_in = {"host", "token", "client_id", "client_secret", "config", "transport"}
    assert real.keys() - signs_in <= inspect.signature(FakeServingClient).parameters.keys()


# ---------------------------------------------------------------------------- answers


def test_a_scripted_reply_is_a_prediction(colour: Colour) -> None:
    client = colour.fake([reply([0.5], request_id="r-1", served_model="m-2", after_s=0.25)])
    prediction = colour.run(client.predict(ROWS))
    assert prediction.predictions == [0.5]
    assert (prediction.request_id, prediction.served_model) == ("r-1", "m-2")
    assert prediction.timing.total_s == prediction.timing.first_byte_s == 0.25
    assert client.clock.now() == 0.25


@pytest.mark.parametrize(
    ("inputs", "seen"),
    [
        (ROWS, ROWS),
        ({"a": [1, 2]}, [{"a": 1}, {"a": 2}]),
        ([[1, 2], [3, 4]], [[1, 2], [3, 4]]),
        ({"instances": [[1]]}, [[1]]),
        ({"dataframe_split": {"data": [[7]]}}, [[7]]),
    ],
)
def test_a_model_is_called_with_the_rows(colour: Colour, inputs: Any, seen: Any) -> None:
    met: list[Any] = []
    client = colour.fake(model=lambda rows: met.append(rows) or [0.0] * len(rows))
    assert colour.run(client.predict(inputs)).predictions == [0.0] * len(seen)
    assert met == [seen]


def test_a_chat_gets_the_whole_reply(colour: Colour) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}]}
    client = colour.fake(model=lambda asked: {"choices": asked["messages"]})
    assert colour.run(client.predict(body)).predictions == {"choices": body["messages"]}


def test_the_script_comes_first_and_its_end_is_told(colour: Colour) -> None:
    client = colour.fake([reply([1])], model=lambda rows: [2])
    assert [colour.run(client.predict(ROWS)).predictions for _ in range(2)] == [[1], [2]]
    strict = colour.fake([reply([1])])
    colour.run(strict.predict(ROWS))
    with pytest.raises(ScriptEndedError, match="request 2 came, and the script has 1 steps"):
        colour.run(strict.predict(ROWS))
    strict.add(reply([3]))
    with pytest.raises(AssertionError, match="1 steps of the script are left; 2 requests"):
        strict.assert_script_used()
    assert colour.run(strict.predict(ROWS)).predictions == [3]
    strict.assert_script_used()


def test_what_is_no_step_is_refused_at_once(colour: Colour) -> None:
    with pytest.raises(TypeError, match="no list"):
        colour.fake([[1.0]])
    with pytest.raises(ValueError, match="no error"):
        failure(200)


# ---------------------------------------------------------------------------- failures, in no time


def test_retries_and_their_pauses_are_the_librarys_own(colour: Colour) -> None:
    client = colour.fake([throttled(retry_after_s=7), unreachable(), token_refused(), reply([1])])
    began_s = time.monotonic()
    prediction = colour.run(client.predict(ROWS))
    assert [attempt.status for attempt in prediction.attempts] == [429, None, 403, 200]
    assert 7.0 <= client.clock.now() < 16.0
    assert prediction.timing.backoff_s == pytest.approx(client.clock.now())
    assert time.monotonic() - began_s < 5.0
    assert len(client.requests) == 4


def test_a_token_is_renewed_once(colour: Colour) -> None:
    client = colour.fake([token_refused(), token_refused()])
    with pytest.raises(AuthError) as caught:
        colour.run(client.predict(ROWS))
    assert len(caught.value.attempts) == 2


def test_two_runs_take_the_same_pauses(colour: Colour) -> None:
    waited = []
    for _ in range(2):
        client = colour.fake([throttled(), throttled(), reply([1])])
        colour.run(client.predict(ROWS))
        waited.append(client.clock.now())
    assert waited[0] == waited[1] > 0.0


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (failure(400), BadRequest),
        (failure(500), ServerError),
        (failure(403, code="PERMISSION_DENIED"), AuthError),
        (throttled(), Throttled),
        (unreachable(), ConnectionFailed),
        (lost(), ConnectionLost),
        (raises(QueueFull("no room")), QueueFull),
        (raises(KeyError("mine")), KeyError),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_failures_are_the_librarys_own(colour: Colour, step: Any, kind: type[Exception]) -> None:
    client = colour.fake([step], settings=Settings(retry=Retry(max_attempts=1)))
    with pytest.raises(kind):
        colour.run(client.predict(ROWS))


def test_time_limits_are_kept_to_the_instant(colour: Colour) -> None:
    client = colour.fake([silence(), reply([1], after_s=3.0), reply([1], after_s=3.0)])
    with pytest.raises(DeadlineExceeded):
        colour.run(client.predict(ROWS, timeout=2.0))
    assert client.clock.now() == 2.0
    with pytest.raises(DeadlineExceeded):
        colour.run(client.predict(ROWS, timeout=2.5))
    assert client.clock.now() == 4.5
    colour.run(client.predict(ROWS, timeout=3.5))
    assert client.clock.now() == 7.5


def test_a_bad_input_fails_before_the_script_is_asked(colour: Colour) -> None:
    client = colour.fake([reply([1])])
    with pytest.raises(PayloadError):
        colour.run(client.predict([{"a": float("nan")}]))
    assert client.requests == []


# ---------------------------------------------------------------------------- streams and map


def test_a_stream_comes_event_by_event(colour: Colour) -> None:
    body = {"messages": []}
    client = colour.fake([events({"n": 1}, {"n": 2}, after_s=1.0, gap_s=0.5), throttled()])
    assert colour.listed(client.stream(body)) == [{"n": 1}, {"n": 2}]
    assert client.clock.now() == 2.0
    client.add(events("again"), events("a", breaks=True))
    assert colour.listed(client.stream(body)) == ["again"]
    with pytest.raises(StreamError, match="reset, as scripted"):
        colour.listed(client.stream(body))


def test_a_reply_to_stream_is_one_of_its_values(colour: Colour) -> None:
    client = colour.fake([reply([1, 2]), reply({"n": 1})])
    assert colour.listed(client.stream({"messages": []})) == [1, 2]
    assert colour.listed(client.stream({"messages": []})) == [{"n": 1}]


def test_events_are_no_answer_to_predict(colour: Colour) -> None:
    client = colour.fake([events(1)])
    with pytest.raises(TypeError, match="none for a stream"):
        colour.run(client.predict(ROWS))


def test_map_sends_its_requests_in_order(colour: Colour) -> None:
    client = colour.fake(
        [throttled(retry_after_s=1), failure(400, "poison")],
        model=lambda rows: [row["a"] for row in rows],
    )
    rows = [{"a": number} for number in range(6)]
    results = colour.listed(client.map(rows, rows_per_request=2, on_error="return"))
    assert results == [0, 1, 2, 3, 4, 5]  # the request that was refused is halved
    sizes = [len(one.body["dataframe_split"]["data"]) for one in client.requests]
    assert sizes == [2, 2, 1, 1, 2, 2]


# ---------------------------------------------------------------------------- what is noted


def test_calls_are_noted_as_they_were_made(colour: Colour) -> None:
    settings = Settings(timeout_s=9.0, idempotent=False, priority="batch")
    client = colour.fake(model=lambda _: [1], settings=settings)
    colour.run(client.predict(ROWS))
    colour.run(
        client.predict(
            ROWS,
            params={"p": 1},
            client_request_id="mine",
            usage_context={"team": "risk"},
            served_model="m-2",
            timeout=2.0,
            idempotent=True,
            priority="critical",
        )
    )
    colour.listed(client.stream({"messages": []}))
    first, second, third = client.calls
    assert first == MadeCall(ROWS, None, None, None, None, 9.0, idempotent=False, priority="batch")
    assert first.inputs is ROWS
    assert second == MadeCall(
        ROWS, {"p": 1}, "mine", {"team": "risk"}, "m-2", 2.0, idempotent=True, priority="critical"
    )
    assert (third.inputs, third.streamed) == ({"messages": []}, True)
    sent = client.requests[1]
    assert sent.body["client_request_id"] == "mine"
    assert sent.body["params"] == {"p": 1}
    assert sent.path == "/serving-endpoints/fake/served-models/m-2/invocations"
    assert sent.deadline_s - sent.at_s == 2.0


def test_copies_share_script_time_and_notes(colour: Colour) -> None:
    client = colour.fake([reply([1], after_s=1.0), reply([2])])
    copy = client.with_options(timeout_s=5.0)
    colour.run(copy.predict(ROWS))
    colour.run(client.predict(ROWS))
    assert [call.timeout_s for call in client.calls] == [5.0, 30.0]
    assert client.clock.now() == 1.0


def test_the_callers_functions_run_around_a_call(colour: Colour) -> None:
    client = colour.fake(
        model=lambda rows: [row["a"] for row in rows],
        preprocess=lambda rows: [{"a": row["a"] * 10} for row in rows],
        postprocess=lambda values: [value + 1 for value in values],
    )
    assert colour.run(client.predict([{"a": 2}])).predictions == [21]
    assert client.calls[0].inputs == [{"a": 2}]


def test_observers_and_figures_see_the_calls(colour: Colour) -> None:
    class Heard:
        def __init__(self) -> None:
            self.calls: list[Any] = []

        def call_ended(self, call: Any) -> None:
            self.calls.append(call)

        def attempt_failed(self, attempt: Any) -> None:
            self.calls.append(attempt)

    heard = Heard()
    client = colour.fake([throttled(retry_after_s=1), reply([1])], observers=[heard])
    colour.run(client.predict(ROWS))
    assert [type(one).__name__ for one in heard.calls] == ["AttemptEnded", "CallEnded"]
    stats = client.stats()
    assert stats.total.calls == 1
    assert "fake" in repr(client)


# ---------------------------------------------------------------------------- what there is not


def test_the_environment_has_no_say(colour: Colour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVINGCLIENT_TIMEOUT_S", "1")
    assert colour.fake().settings.timeout_s == 30.0


def test_batching_and_hedging_are_left_out(colour: Colour) -> None:
    settings = Settings(batching=Batching(), hedge=Hedge())
    client = colour.fake([reply([1])], settings=settings)
    assert colour.run(client.predict(ROWS)).predictions == [1]
    assert client.settings.batching is client.settings.hedge is None


def test_a_closed_fake_answers_no_more(colour: Colour) -> None:
    client = colour.fake([reply([1])])
    colour.close(client)
    with pytest.raises(ClientClosedError):
        colour.run(client.predict(ROWS))
    with pytest.raises(ClientClosedError):
        colour.listed(client.stream(ROWS))


def test_without_a_signature_inputs_are_not_checked_as_with_any_endpoint(colour: Colour) -> None:
    client = colour.fake([reply([1])], settings=Settings(payload=Payload(validate=True)))
    assert colour.run(client.predict(ROWS)).predictions == [1]


def test_what_takes_an_endpoint_says_so(colour: Colour) -> None:
    client = colour.fake()
    with pytest.raises(ConfigError, match="use the emulator"):
        colour.run(client.endpoint_figures())
    assert "figures" in str(colour.run(client.doctor()))  # it judges by what there is
    colour.run(client.warmup())
    assert colour.run(client.explain(ROWS)).size_bytes > 0
    assert client.requests == []


# ---------------------------------------------------------------------------- time


def test_tasks_that_wait_at_the_same_time_wait_together() -> None:
    waits_s = [7.0, 1.0, 10.0, 3.0, 3.0]  # who begins first is not who is due first
    client = AsyncFakeServingClient([reply([0], after_s=wait_s) for wait_s in waits_s])

    async def all_at_once() -> list[Any]:
        return list(await asyncio.gather(*(client.predict(ROWS) for _ in waits_s)))

    predictions = asyncio.run(all_at_once())
    assert client.clock.now() == 10.0
    assert [one.timing.total_s for one in predictions] == waits_s


def test_a_thousand_tasks_wait_in_time_that_grows_no_faster() -> None:
    waits_s = [1.0 + n % 7 for n in range(1000)]
    client = AsyncFakeServingClient([reply([0], after_s=wait_s) for wait_s in waits_s])

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(client.predict(ROWS) for _ in waits_s))

    predictions = asyncio.run(all_at_once())
    assert [one.timing.total_s for one in predictions] == waits_s
    assert client.clock.now() == 7.0


def test_a_loop_that_ended_leaves_nobody_waiting() -> None:
    client = AsyncFakeServingClient([reply([1], after_s=5.0), reply([2], after_s=5.0)])

    async def left() -> None:
        task = asyncio.create_task(client.predict(ROWS))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(left())
    assert asyncio.run(client.predict(ROWS)).predictions == [2]


def test_two_clients_share_a_clock() -> None:
    clock = VirtualClock()
    slow = FakeServingClient([reply([1], after_s=60.0)], clock=clock)
    other = FakeServingClient([reply([2])], clock=clock)
    slow.predict(ROWS, timeout=90.0)
    clock.advance(5.0)
    other.predict(ROWS)
    assert other.requests[0].at_s == 65.0
    assert repr(clock) == "VirtualClock(65.000 s)"


def test_a_cancelled_task_holds_nobody_up() -> None:
    client = AsyncFakeServingClient([reply([1], after_s=5.0), reply([2], after_s=50.0)])

    async def cancelled() -> Any:
        first = asyncio.create_task(client.predict(ROWS, timeout=90.0))
        await asyncio.sleep(0)
        first.cancel()
        second = await client.predict(ROWS, timeout=90.0)
        await asyncio.gather(first, return_exceptions=True)
        return second

    assert asyncio.run(cancelled()).predictions == [2]


def test_nobody_waits_for_a_task_that_was_cancelled() -> None:
    client = AsyncFakeServingClient([reply([1], after_s=5.0)])

    async def cancelled() -> None:
        task = asyncio.create_task(client.predict(ROWS))
        await asyncio.sleep(0)
        task.cancel()
        for _ in range(50):
            await asyncio.sleep(0)

    asyncio.run(cancelled())
    assert client.requests
    assert client.clock.now() == 0.0


def test_time_waits_for_tasks_that_are_about_to_wait() -> None:
    client = AsyncFakeServingClient([reply([1], after_s=5.0), reply([2], after_s=1.0)])

    async def soon() -> float:
        for _ in range(4):
            await asyncio.sleep(0)
        await client.predict(ROWS)
        return client.clock.now()

    async def both() -> list[Any]:
        return await asyncio.gather(client.predict(ROWS), soon())

    assert asyncio.run(both())[1] == 1.0
    assert client.clock.now() == 5.0


def test_a_fake_serves_many_threads() -> None:
    client = FakeServingClient(model=lambda rows: [row["a"] for row in rows])
    wrong: list[int] = []

    def ask(number: int) -> None:
        answers = [client.predict([{"a": number}]).predictions for _ in range(50)]
        wrong.extend(number for answer in answers if answer != [number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(client.requests) == len(client.calls) == 200


def test_every_step_is_exported() -> None:
    import servingclient.testing as kit

    made = {
        name
        for name, value in vars(vocabulary).items()
        if inspect.isfunction(value)
        and value.__module__ == vocabulary.__name__
        and inspect.signature(value).return_annotation in {"Answer", "Events", "NoAnswer", "Raised"}
    }
    assert made <= set(kit.__all__)
    assert len(made) == 9
