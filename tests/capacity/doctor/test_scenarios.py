"""What may be wrong with an endpoint, brought about on the emulator, and what the doctor says.

Each scenario names every check that is bad: one more would be a false alarm.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from servingclient import Concurrency, EnrichmentClient, EnrichmentSettings, Retry, Settings, Token
from servingclient.capacity.doctor import Diagnosis, Probe, Targets
from servingclient.emulator import Emulator, faults
from servingclient.errors import ClientClosedError, ConfigError, PayloadError, ServerError
from servingclient.transport.clock import ThreadClock
from tests.capacity.doctor.said import metrics
from tests.doors.kit import Door, Who, pat, principal

ROWS = [{"a": 1.0, "b": 2.0}]
PATIENT = Targets(p50_s=5.0, p90_s=5.0, p99_s=5.0)
"""Where latency is not what a scenario is about: this machine may stall. One stall is a queue, too,
beside a model that takes no time: scenarios that name all that is bad are given ``metrics()``."""


def doctor(door: Door, client: Any, **given: Any) -> Diagnosis:
    found: Diagnosis = door.run(client.doctor(**given))
    return found


def bad(found: Diagnosis) -> set[str]:
    """Names of what is bad; each must say what to do."""
    assert all(check.action for check in found.of("bad")), str(found)
    return {check.name for check in found.of("bad")}


def call(door: Door, client: Any, times: int) -> None:
    for _ in range(times):
        door.predict(client, ROWS)


# -- 1 healthy -------------------------------------------------------------------------------------


@pytest.mark.parametrize("optimized", [False, True])
def test_a_healthy_endpoint_raises_no_alarm(
    door: Door, emulator: Emulator, optimized: bool
) -> None:
    emulator.add_endpoint("well", slots=4, service_time_s=0.02, route_optimized=optimized)
    client = door.open("well", principal(emulator))
    call(door, client, 30)
    found = doctor(door, client, targets=PATIENT)
    assert {check.verdict for check in found.checks} == {"ok"}, str(found)
    assert found.healthy
    assert found.notes == ()
    parts = dict(found.split.parts())
    assert set(parts) == {"client", "network", "queue", "model", "service"}
    assert parts["model"] >= 0.02
    assert found.split.whole_s is not None
    assert sum(parts.values()) == pytest.approx(found.split.whole_s, rel=0.5)


def test_it_calls_no_model_without_being_asked(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    found = doctor(door, client)
    assert emulator.executions("demo").total() == 0
    assert found["latency P99"].verdict == "unknown"
    assert "made no calls" in " ".join(found.notes)
    assert bad(found) == set()


# -- 2 under-provisioned ---------------------------------------------------------------------------


def test_too_few_slots(door: Door, emulator: Emulator) -> None:
    said = metrics(requests=6000, concurrency=16, model_ms=180, queue_ms=260, latency_ms=450)
    emulator.add_endpoint("narrow", slots=16, metrics=said)
    found = doctor(door, door.open("narrow", principal(emulator)))
    check = found["provisioned concurrency"]
    assert (check.verdict, check.measured, check.target) == ("bad", "16", "at least 28")
    assert check.action == "Raise the provisioned concurrency to 28."
    assert check.why.startswith("100 a second x 180 ms (the model's mean) = 18 busy slots")
    assert bad(found) == {
        "latency P50",
        "latency P90",
        "queries per second",
        "queue depth",
        "queueing",
        "provisioned concurrency",
    }
    assert "Waiting for a slot takes 260 ms" in found["latency P90"].action
    assert "to 28" in found["latency P90"].action


def test_what_may_scale_up_is_only_warned_of(door: Door, emulator: Emulator) -> None:
    said = metrics(requests=6000, concurrency=16, model_ms=180, queue_ms=20, latency_ms=205)
    emulator.add_endpoint("elastic", slots=16, max_slots=64, metrics=said)
    found = doctor(door, door.open("elastic", principal(emulator)), targets=PATIENT)
    check = found["provisioned concurrency"]
    assert (check.verdict, check.target) == ("warn", "at least 28")
    assert "may scale to 64" in check.why


def test_queueing_is_seen_on_a_real_queue(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("busy", slots=1, queue=100, service_time_s=0.01)
    fixed = Settings(concurrency=Concurrency(adaptive=False, initial_calls=8))
    client = door.open("busy", principal(emulator), fixed)
    door.many(client, [{"inputs": ROWS}] * 32)
    found = doctor(door, client, targets=PATIENT)
    assert found["queueing"].verdict == "bad"
    assert "Raise the provisioned concurrency" in found["queueing"].action
    assert found["provisioned concurrency"].verdict in {"bad", "warn"}
    assert bad(found) >= {"queueing"}


def test_without_queue_times_the_median_is_held_against_the_fastest(
    door: Door, emulator: Emulator
) -> None:
    emulator.add_endpoint("terse", slots=4, metrics="cpu_usage_percentage 7\n# EOF\n")
    client = door.open("terse", principal(emulator))
    call(door, client, 5)
    check = doctor(door, client)["queueing"]
    assert check.target == "median at most 3 x unloaded"
    assert " x (" in check.measured


# -- 3 a standard endpoint at 400 a second ---------------------------------------------------------


def test_four_hundred_a_second_on_the_standard_route(door: Door, emulator: Emulator) -> None:
    said = metrics(requests=24_000, concurrency=32)
    emulator.add_endpoint("popular", slots=32, metrics=said)
    client = door.open("popular", principal(emulator))
    found = doctor(door, client)
    assert bad(found) == {"route optimization"}
    check = found["route optimization"]
    assert check.measured == "off, 400/s"
    assert "Create a route-optimized endpoint" in check.action
    emulator.add_endpoint("popular", slots=32, metrics=said, route_optimized=True)
    assert bad(doctor(door, door.open("popular", principal(emulator)))) == set()


def test_a_wanted_rate_counts_like_a_measured_one(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("small", slots=4, metrics=metrics())
    client = door.open("small", principal(emulator))
    assert bad(doctor(door, client)) == set()
    found = doctor(door, client, targets=Targets(qps=400))
    assert bad(found) == {"queries per second", "route optimization", "provisioned concurrency"}
    assert found["queries per second"].measured == "20/s"


# -- 4 cold start ----------------------------------------------------------------------------------


def test_a_cold_start_that_held_a_call(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("sleepy", slots=4, cold_start_s=0.3, metrics=metrics())
    client = door.open("sleepy", principal(emulator))
    call(door, client, 5)
    woken = Targets(p50_s=5.0, p90_s=5.0, p99_s=5.0, cold_start_s=0.29)
    found = doctor(door, client, targets=woken)
    assert bad(found) == {"scale to zero"}
    assert found["scale to zero"].measured == "on, cold start seen"
    assert "Switch scale-to-zero off" in found["scale to zero"].action
    assert doctor(door, client, targets=PATIENT)["scale to zero"].verdict == "warn"


def test_a_cold_start_that_refused_a_call(door: Door, emulator: Emulator) -> None:
    said = metrics()
    emulator.add_endpoint("sleepy", slots=4, cold_start_s=60.0, cold_start="refuse", metrics=said)
    once = Settings(retry=Retry(max_attempts=1))
    client = door.open("sleepy", principal(emulator), once)
    with pytest.raises(ServerError):
        door.predict(client, ROWS)
    found = doctor(door, client, targets=PATIENT)
    assert bad(found) == {"scale to zero", "error rate"}
    assert "1 x 503" in found["scale to zero"].why
    assert "Switch scale-to-zero off" in found["scale to zero"].action


# -- 5 slow model ----------------------------------------------------------------------------------


def test_a_slow_model(door: Door, emulator: Emulator) -> None:
    said = metrics(model_ms=110, latency_ms=115)
    emulator.add_endpoint("heavy", slots=4, service_time_s=0.11, metrics=said)
    client = door.open("heavy", principal(emulator))
    call(door, client, 10)
    found = doctor(door, client, targets=Targets(p50_s=0.1, p90_s=0.1, p99_s=0.1))
    assert bad(found) == {"latency P50", "latency P90"}
    assert found["latency P99"].verdict == "warn", "ten calls are no P99"
    action = found["latency P50"].action
    assert action.startswith("The model takes 110 ms")
    assert "Make the model faster" in action
    assert "More concurrency does not shorten it" in action


# -- 6 big payload ---------------------------------------------------------------------------------


def test_big_payloads(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("wide", slots=4, metrics=metrics())
    client = door.open("wide", principal(emulator))
    rows = [{"text": "x" * 1_200_000, "b": 2.0}]
    for _ in range(2):
        door.predict(client, rows)
    found = doctor(door, client, targets=PATIENT)
    assert bad(found) == {"payload"}
    assert found["payload"].measured == "mean 1.2 MB, largest 1.2 MB"
    assert "Send fewer rows a request" in found["payload"].action
    assert "not logged" in found["payload"].why


# -- 7 slow external API ---------------------------------------------------------------------------


def test_a_slow_external_api(door: Door, emulator: Emulator) -> None:
    emulator.external.forget()
    emulator.external.change(latency_s=0.03)
    try:
        here = EnrichmentSettings(allow_private_hosts=True)
        with EnrichmentClient(emulator.external.base_url, ttl=60, settings=here) as users:
            for user in range(1, 6):
                users.get(f"/users/{user}")
            emulator.add_endpoint("joined", slots=4, metrics=metrics())
            client = door.open("joined", principal(emulator), apis=[users])
            call(door, client, 3)
            quick = Targets(p50_s=5.0, p90_s=5.0, p99_s=5.0, api_p99_s=0.02)
            found = doctor(door, client, targets=quick)
            name = f"API {emulator.external.base_url}"
            assert bad(found) == {name}
            assert "Keep its answers longer" in found[name].action
            assert found[name].why == "100 % of 5 values had to be waited for"
    finally:
        emulator.external.change(latency_s=0.0)


# -- 8 a burst of 429 ------------------------------------------------------------------------------


def test_a_burst_of_429(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("crowded", slots=4, metrics=metrics())
    quick = Settings(retry=Retry(throttled_base_s=0.001))
    client = door.open("crowded", principal(emulator), quick)
    refusal, answer = faults.throttled(retry_after="0"), faults.ok()
    emulator.script("crowded", *[refusal, answer, answer] * 8)
    call(door, client, 16)
    found = doctor(door, client, targets=PATIENT)
    assert bad(found) == {"throttling (429)"}
    check = found["throttling (429)"]
    assert check.measured == "33.3 % (8 of 24)"
    assert "provisioned concurrency" in check.action
    assert "For bursts let it scale within a range and keep the client's retries" in check.action
    assert found["error rate"].verdict == "ok", "retries hid it from callers"


# -- 9 high CPU ------------------------------------------------------------------------------------


def test_a_busy_processor(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("hot", slots=4, metrics=metrics(cpu=96.0))
    found = doctor(door, door.open("hot", principal(emulator)))
    assert bad(found) == {"CPU"}
    assert found["CPU"].measured == "96 %"
    assert "adds replicas" in found["CPU"].action


def test_a_full_memory(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("full", slots=4, metrics=metrics(memory=93.0))
    found = doctor(door, door.open("full", principal(emulator)))
    assert bad(found) == {"memory"}
    assert "more memory" in found["memory"].action


# -- 10 a token about to expire --------------------------------------------------------------------


def test_a_token_about_to_expire_that_cannot_be_renewed(
    emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = [0.0]
    monkeypatch.setattr(ThreadClock, "now", staticmethod(lambda: time.monotonic() + later[0]))
    emulator.token_ttl_s = 45.0
    emulator.add_endpoint("demo", slots=4, metrics=metrics())
    door = Door("sync")
    try:
        client = door.open("demo", principal(emulator))
        call(door, client, 2)
        emulator.token_always(faults.html(503))
        later[0] = 42.0
        found = doctor(door, client, targets=PATIENT)
        assert bad(found) == {"token"}
        check = found["token"]
        assert check.measured.startswith("OAuth, ")
        assert check.measured.endswith(" s left, renewing fails")
        assert "calls will. Check the secret" in check.action
        assert found["state"].verdict == "ok", "the old token still reads the rest"
    finally:
        door.end()


def test_tokens_that_live_short_are_warned_of(door: Door, emulator: Emulator) -> None:
    emulator.token_ttl_s = 45.0
    emulator.add_endpoint("demo", slots=4, metrics=metrics())
    client = door.open("demo", principal(emulator))
    call(door, client, 2)
    found = doctor(door, client, targets=PATIENT)
    assert bad(found) == set()
    assert found["token"].verdict == "warn"
    assert "have the workspace issue longer ones" in found["token"].action


def test_a_personal_access_token_is_warned_of(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", pat(emulator))
    assert doctor(door, client)["token"].verdict == "warn"


def test_a_personal_access_token_where_it_is_refused(door: Door, emulator: Emulator) -> None:
    found = doctor(door, door.open("demo-fast", pat(emulator)))
    assert found["token"].verdict == "bad"
    assert "OAuth tokens of Databricks only" in found["token"].why


# -- what cannot be had ----------------------------------------------------------------------------


def test_without_permission_the_rest_is_shown(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("hidden", describable=False)
    client = door.open("hidden", principal(emulator))
    call(door, client, 3)
    found = doctor(door, client, targets=PATIENT)
    assert found["latency P50"].verdict == "ok"
    assert found["error rate"].verdict == "ok"
    assert {check.name for check in found.of("unknown")} >= {"state", "CPU", "scale to zero"}
    assert "CAN VIEW" in found["state"].why
    assert "CAN VIEW" in found["CPU"].why
    assert bad(found) == set()
    assert found.healthy


def test_rubbish_in_place_of_figures(door: Door, emulator: Emulator) -> None:
    said = f"}}}}rubbish{{{{\n{metrics(cpu=12.0)}\nmem_usage_percentage many"
    emulator.add_endpoint("odd", slots=4, metrics=said)
    found = doctor(door, door.open("odd", principal(emulator)))
    assert found["CPU"].measured == "12 %"
    assert "2 lines of the endpoint's figures could not be read" in " ".join(found.notes)
    assert bad(found) == set()
    emulator.add_endpoint("odd", slots=4, metrics="<html>")
    found = doctor(door, door.open("odd", principal(emulator)))
    assert found["CPU"].verdict == "unknown"
    assert "a page or JSON" in found["CPU"].why


def test_an_endpoint_that_is_not_ready_is_not_probed(door: Door, emulator: Emulator) -> None:
    emulator.add_endpoint("young", state="NOT_READY")
    client = door.open("young", principal(emulator))
    found = doctor(door, client, probe=Probe(ROWS, calls=2))
    assert bad(found) == {"state"}
    assert "build and service logs" in found["state"].action
    assert emulator.executions("young").total() == 0
    assert found["latency P50"].verdict == "unknown"


def test_a_workspace_that_is_down(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator))
    emulator.token_always(faults.access_denied())
    found = doctor(door, client)
    assert not found.examined
    assert not found.healthy
    assert found["token"].verdict == "bad"


def test_an_endpoint_that_is_not_there(door: Door, emulator: Emulator) -> None:
    found = doctor(door, door.open("nowhere", principal(emulator)))
    assert not found.examined
    assert "no endpoint of that name" in found["state"].why


def test_without_the_parser_of_figures(
    door: Door, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client.openmetrics.parser", None)
    found = doctor(door, door.open("demo", principal(emulator)))
    assert "pip install 'servingclient[prometheus]'" in found["CPU"].why
    assert found["state"].verdict == "ok"


def test_a_description_that_changed_is_read_anew(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator))
    call(door, client, 1)
    assert doctor(door, client)["state"].verdict == "ok"
    emulator.change_endpoint("demo", state="NOT_READY")
    assert doctor(door, client)["state"].verdict == "bad"


def test_what_the_description_says_is_judged(door: Door, emulator: Emulator) -> None:
    said = {
        "name": "demo",
        "state": {"ready": "READY", "config_update": "IN_PROGRESS"},
        "config": {"served_entities": [{"external_model": {"name": "gpt"}}]},
    }
    emulator.describe_always(faults.answer(200, json.dumps(said)))
    client = door.open("demo", principal(emulator))
    call(door, client, 1)
    found = doctor(door, client)
    assert found["state"].measured == "READY, update IN_PROGRESS"
    assert found["state"].verdict == "warn"
    assert "takes 4.19 MB" in found["payload"].why
    assert found["scale to zero"].why == "The description does not say."


# -- probing ---------------------------------------------------------------------------------------


def test_a_probe_measures(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator))
    found = doctor(door, client, probe=Probe(ROWS, calls=7), targets=PATIENT)
    assert emulator.executions("demo").total() == 7
    assert found["latency P50"].verdict == "ok"
    assert found["latency P50"].why.startswith("7 calls of this client")


def test_a_probe_of_what_is_down_asks_three_times(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator), Settings(idempotent=False))
    emulator.always("demo", faults.answer(400, '{"error_code":"BAD_REQUEST","message":"no"}'))
    found = doctor(door, client, probe=Probe(ROWS, calls=50), targets=PATIENT)
    assert len([one for one in emulator.requests if one.kind == "invocation"]) == 3
    assert bad(found) == {"error rate"}
    assert found["latency P50"].verdict == "unknown"  # how fast refusals come says nothing
    assert "3 BadRequest" in found["error rate"].why
    assert "do not fit the model" in found["error rate"].action


def test_a_probe_has_the_time_of_the_doctor(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator), Settings(timeout_s=600.0))
    door.run(client.predict(ROWS))  # token and connections are there
    emulator.always("demo", faults.hang())
    found = doctor(door, client, probe=Probe(ROWS, calls=5), targets=PATIENT, timeout=1.0)
    assert "3 DeadlineExceeded" in found["error rate"].why


def test_a_probe_that_cannot_be_sent_is_an_error(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator))
    with pytest.raises(PayloadError):
        doctor(door, client, probe=Probe(object()))


@pytest.mark.parametrize("wrong", [{"probe": ROWS}, {"targets": {"p99_s": 0.2}}, {"timeout": -1}])
def test_arguments_of_another_kind(door: Door, emulator: Emulator, wrong: Any) -> None:
    client = door.open("demo", principal(emulator))
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        doctor(door, client, **wrong)
    assert emulator.requests == []


def test_a_closed_client_examines_nothing(door: Door, emulator: Emulator) -> None:
    client = door.open("demo", principal(emulator))
    door.close(client)
    with pytest.raises(ClientClosedError):
        doctor(door, client)
    assert emulator.requests == []
    with pytest.MonkeyPatch.context() as patched:
        patched.setitem(sys.modules, "prometheus_client.openmetrics.parser", None)
        with pytest.raises(ClientClosedError):
            doctor(door, client)


def test_it_takes_no_longer_than_it_may(door: Door, emulator: Emulator) -> None:
    emulator.describe_always(faults.hang())
    client = door.open("demo", principal(emulator), Settings(token=Token(try_timeout_s=2.0)))
    found = doctor(door, client, timeout=0.1)
    assert not found.examined
    assert "waiting for a token or route" in found["state"].why
    assert found["CPU"].verdict == "unknown"


@pytest.mark.parametrize("as_whom", [principal, pat])
def test_a_workspace_nobody_reaches_is_no_bad_token(
    door: Door, emulator: Emulator, as_whom: Callable[[Emulator], Who]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and never listens
        who = Who(f"http://127.0.0.1:{taken.getsockname()[1]}", as_whom(emulator).arguments)
        found = doctor(door, door.open("demo", who))
    assert not found.examined
    assert found["token"].verdict in {"unknown", "warn"}
    for name in ("state", "CPU", "scale to zero"):
        assert found[name].why.startswith("No connection to 127.0.0.1"), found[name]
        assert "connection refused" in found[name].why
        assert "Check " in found[name].why
