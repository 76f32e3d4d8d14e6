"""R3, R4, R5: what is sent again, what is not, and what a cancelled call leaves behind."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any

import pytest

from servingclient import (
    AsyncServingClient,
    DeadlineExceeded,
    Prediction,
    ServingClient,
    Settings,
    Throttled,
)
from servingclient.emulator import Emulator, Fault, faults
from servingclient.settings import Concurrency, Pool, Retry
from tests.doors.kit import ROW, SUM, Door, errors, invocations, pat
from tests.stopwatch import Stopwatch

FAULTS: dict[str, Fault] = {
    "reset before": faults.reset("before"),
    "reset after": faults.reset("after"),
    "reset mid-reply": faults.reset("mid_reply"),
    "fin after": faults.disconnect("after"),
    "fin mid-reply": faults.disconnect("mid_reply"),
    "502 page": faults.html(502, executed=True),
    "503 text": faults.plain(503, executed=True),
    "504 text": faults.execution_timeout(executed=True),
}
QUICK = Retry(backoff_base_s=0.0005, backoff_cap_s=0.002, max_attempts=60, quota_capacity=1_000_000)
CALLS = 500


def run_500(door: Door, emulator: Emulator, idempotent: bool) -> list[Prediction | BaseException]:
    """500 calls, ten at a time, among eight kinds of fault and good answers."""
    chance = random.Random(3)
    kinds = [*FAULTS.values(), faults.ok(), faults.ok()]
    emulator.script("demo", *(chance.choice(kinds) for _ in range(CALLS)))
    settings = Settings(retry=QUICK, idempotent=idempotent)
    client = door.open("demo", pat(emulator), settings)
    outcomes: list[Prediction | BaseException] = []
    for start in range(0, CALLS, 50):
        ids = range(start, start + 50)
        calls = ({"inputs": [{"a": float(n)}], "client_request_id": str(n)} for n in ids)
        outcomes += door.many(client, calls)
    return outcomes


def test_R3_what_must_not_run_twice_runs_once(door: Door, emulator: Emulator) -> None:
    outcomes = run_500(door, emulator, idempotent=False)
    ran = emulator.executions("demo")
    assert max(ran.values()) == 1
    failed = errors(outcomes)
    assert len(failed) > 200, "the faults do reach the caller"
    for n, outcome in enumerate(outcomes):
        if isinstance(outcome, Prediction):
            assert outcome.predictions == [float(n)], "its own answer"
            assert ran[str(n)] == 1
        elif ran[str(n)]:
            assert outcome.sent != "no", "it ran, so it must not say that it did not"  # type: ignore[attr-defined]


def test_R3_what_may_run_twice_succeeds(door: Door, emulator: Emulator) -> None:
    # the control of the test above: the default resends after the same faults, and some ran twice
    outcomes = run_500(door, emulator, idempotent=True)
    ran = emulator.executions("demo")
    assert errors(outcomes) == []
    assert max(ran.values()) > 1
    for n, outcome in enumerate(outcomes):
        assert isinstance(outcome, Prediction)
        assert outcome.predictions == [float(n)]
        assert 1 <= ran[str(n)] <= len(outcome.attempts), "ran no more often than was told"


@pytest.mark.parametrize("idempotent", [True, False])
def test_R3_no_reply_in_time_is_one_post(door: Door, emulator: Emulator, idempotent: bool) -> None:
    client = door.open("demo", pat(emulator))
    emulator.always("demo", faults.hang("after"))
    with Stopwatch() as watch, pytest.raises(DeadlineExceeded) as caught:
        door.predict(client, timeout=0.3, idempotent=idempotent, client_request_id="slow")
    assert emulator.executions("demo") == {"slow": 1}
    assert len(invocations(emulator)) == 1
    assert caught.value.sent == "maybe"
    assert caught.value.elapsed_s is not None
    assert 0.3 <= caught.value.elapsed_s <= 0.55 + watch.machine_s


@pytest.mark.parametrize("hint", ["3600", "absurd"])
def test_R4_too_long_a_hint_fails_at_once(door: Door, emulator: Emulator, hint: str) -> None:
    client = door.open("demo", pat(emulator))
    door.predict(client)
    emulator.always("demo", faults.throttled(hint))
    with Stopwatch() as watch, pytest.raises(Throttled) as caught:
        door.predict(client)
    assert watch.took_s <= 0.05
    assert caught.value.stopped_by == "retry_after"
    assert caught.value.retry_after_s == (3600.0 if hint == "3600" else 31_536_000.0)
    assert len(invocations(emulator)) == 2


@pytest.mark.parametrize("skew_s", [0.0, 7200.0, -7200.0])
def test_R4_a_hint_is_kept_to(door: Door, emulator: Emulator, skew_s: float) -> None:
    # a date counts against the reply's own clock; and nothing is sent before it
    hint = faults.throttled(1) if skew_s == 0.0 else faults.throttled("date", clock_skew_s=skew_s)
    client = door.open("demo", pat(emulator))
    door.predict(client)
    emulator.script("demo", hint)
    prediction = door.predict(client)
    _, first, second = invocations(emulator)
    least_s = 1.0  # a date has whole seconds: two ahead are at least one
    assert second.received_at_s - first.decided_at_s >= least_s
    assert prediction.attempts[1].wait_s >= least_s


def test_R4_a_burst_of_429_is_ridden_out(door: Door, emulator: Emulator) -> None:
    # an endpoint that scales up: 16 calls on 2 slots all get through
    emulator.change_endpoint("demo", slots=2, queue=0, service_time_s=0.005)
    settings = Settings(
        retry=Retry(throttled_base_s=0.05, max_attempts=12),
        concurrency=Concurrency(initial_calls=16),  # too many on purpose
    )
    client = door.open("demo", pat(emulator), settings)
    outcomes = door.many(client, ({"inputs": [ROW]} for _ in range(16)))
    assert errors(outcomes) == []
    assert {a.status for one in outcomes for a in one.attempts} == {200, 429}  # type: ignore[union-attr]


def test_R5_cancelled_calls_leave_nothing(emulator: Emulator) -> None:
    # cancelled after 0 to 30 ms, wherever that finds them: in the queue, in an exchange, in backoff
    chance = random.Random(5)
    kinds = [faults.slow(0.02), faults.throttled(), faults.reset(), faults.plain(503), faults.ok()]
    settings = Settings(pool=Pool(max_lanes=4), retry=Retry(throttled_base_s=0.01))

    async def scenario() -> None:
        emulator.script("demo", *(chance.choice(kinds) for _ in range(300)))
        async with AsyncServingClient(
            "demo", host=emulator.host, token=emulator.token, settings=settings
        ) as client:

            async def once(n: int) -> bool:
                task = asyncio.ensure_future(client.predict([ROW], client_request_id=str(n)))
                await asyncio.wait({task}, timeout=chance.uniform(0.0, 0.03))
                if task.done():
                    task.exception()
                    return False
                task.cancel()
                with Stopwatch() as watch:
                    await asyncio.wait({task})
                assert watch.took_s <= 0.05
                return task.cancelled()

            cancelled = 0
            for start in range(0, 100, 10):
                cancelled += sum(await asyncio.gather(*map(once, range(start, start + 10))))
            assert cancelled >= 50
            ended_s = time.monotonic()
            assert "0 running, 0 waiting" in repr(client)
            emulator.clear("demo")
            probes = await asyncio.gather(*(client.predict([ROW]) for _ in range(20)))
            assert [probe.predictions for probe in probes] == [[SUM]] * 20
            later = [r for r in invocations(emulator) if r.received_at_s > ended_s]
            assert [r.client_request_id for r in later] == [None] * 20, "a cancelled call sent"

    asyncio.run(scenario())


def test_R5_wait_for_ends_a_call_once(emulator: Emulator) -> None:
    # tenacity#529: with a negated predicate this made a second try and returned
    retry = Retry(throttled_base_s=0.2, jitter=0.0)

    async def scenario() -> Any:
        async with AsyncServingClient(
            "demo", host=emulator.host, token=emulator.token, settings=Settings(retry=retry)
        ) as client:
            await client.predict([ROW])
            emulator.always("demo", faults.throttled())
            with pytest.raises(asyncio.TimeoutError) as caught:
                await asyncio.wait_for(client.predict([ROW], client_request_id="once"), 0.1)
            assert not isinstance(caught.value, DeadlineExceeded)
            return caught

    asyncio.run(scenario())
    assert [r.client_request_id for r in invocations(emulator)].count("once") == 1


def test_an_idle_client_is_no_thread_and_no_task(emulator: Emulator) -> None:
    # a library that leaves threads behind is noticed at exit; the guards of this suite look for it
    client = ServingClient("demo", host=emulator.host, token=emulator.token)
    client.predict([ROW])
    client.close()
