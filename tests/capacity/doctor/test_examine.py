"""The checks by table, without clock or socket."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from servingclient import ConfigError
from servingclient._stats import TokenStats
from servingclient.capacity.doctor import (
    Calls,
    Described,
    Measured,
    Probe,
    Targets,
    examine,
)
from servingclient.telemetry.endpoint_metrics import EndpointFigures
from tests.capacity.doctor.said import WELL, all_alike
from tests.capacity.doctor.shown import NO_CREDENTIALS, in_rich

FIGURES, CALLS, API = WELL.figures, WELL.calls, WELL.apis[0]


def calls(**changes: Any) -> Measured:
    return replace(WELL, calls=replace(CALLS, **changes))


def figures(**changes: Any) -> Measured:
    return replace(WELL, figures=replace(FIGURES, **changes))


def described(**changes: Any) -> Measured:
    assert WELL.described is not None
    return replace(WELL, described=replace(WELL.described, **changes))


def api(**changes: Any) -> Measured:
    return replace(WELL, apis=(replace(API, **changes),))


def test_all_is_well() -> None:
    found = examine(WELL)
    assert {check.verdict for check in found.checks} == {"ok"}, str(found)
    assert not any(check.action for check in found.checks)
    assert found.healthy
    assert found.notes == ()


TABLE = [
    # latency, by the part that takes most of it
    (calls(p50_s=0.101), "latency P50", "bad", "The model takes 40 ms"),
    (calls(p90_s=0.26), "latency P90", "bad", "The model takes 40 ms"),
    (calls(p99_s=0.51), "latency P99", "bad", "The model takes 40 ms"),
    (calls(p99_s=0.51, count=99), "latency P99", "warn", "The model takes"),
    (calls(p90_s=0.26, count=9), "latency P90", "warn", "The model takes"),
    (calls(p99_s=0.5), "latency P99", "ok", ""),
    (calls(p99_s=0.6, mean_s=0.5), "latency P99", "bad", "The client itself takes 450 ms"),
    (calls(p99_s=9, first_byte_mean_s=0.2, mean_s=0.2), "latency P99", "bad", "The network takes"),
    (
        replace(figures(latency=all_alike(300), queue_time=all_alike(250)), calls=Calls()),
        "latency P99",
        "ok",
        "",
    ),
    (
        replace(figures(latency=all_alike(700), queue_time=all_alike(650)), calls=Calls()),
        "latency P99",
        "bad",
        "Waiting for a slot takes 650 ms",
    ),
    (
        replace(figures(latency=all_alike(700), model_time=all_alike(680)), calls=Calls()),
        "latency P99",
        "bad",
        "try a GPU workload type",
    ),
    (
        replace(figures(latency=all_alike(700)), calls=Calls()),
        "latency P99",
        "bad",
        "The service takes 658 ms",
    ),
    (
        replace(WELL, calls=replace(CALLS, p99_s=0.6), figures=EndpointFigures()),
        "latency P99",
        "bad",
        "Have the endpoint's own figures read",
    ),
    (
        replace(
            figures(latency=all_alike(700), model_time=all_alike(680)),
            calls=Calls(),
            described=Described(workload_type="GPU_SMALL"),
        ),
        "latency P99",
        "bad",
        "fewer rows a request. More",
    ),
    (
        replace(
            figures(latency=all_alike(700)),
            calls=Calls(),
            described=Described(route_optimized=True),
        ),
        "latency P99",
        "bad",
        "ask Databricks",
    ),
    # errors
    (calls(error_rate=0.011, errors={"Throttled": 11}), "error rate", "bad", "has no room"),
    (calls(error_rate=0.011, errors={"BadRequest": 11}), "error rate", "bad", "do not fit"),
    (calls(error_rate=0.5, errors={"DeadlineExceeded": 500}), "error rate", "bad", "out of time"),
    (calls(error_rate=0.5, errors={"ServerError": 500}), "error rate", "bad", "request ids"),
    (calls(error_rate=0.01), "error rate", "ok", ""),
    (replace(figures(errors_4xx=100.0), calls=Calls()), "error rate", "bad", "Most are 4xx"),
    (replace(figures(errors_5xx=100.0), calls=Calls()), "error rate", "bad", "request ids"),
    # room
    (calls(throttled=11), "throttling (429)", "bad", "bunches"),
    (calls(throttled=10), "throttling (429)", "ok", ""),
    (calls(throttled=2, attempts=19), "throttling (429)", "warn", "AI Gateway"),
    (calls(waited_mean_s=0.06), "queue depth", "bad", "wait in this client"),
    (calls(waited_mean_s=0.05), "queue depth", "ok", ""),
    (figures(queue_time=all_alike(60)), "queue depth", "bad", "bunches"),
    (figures(queue_time=all_alike(10.1)), "queueing", "bad", "bunches"),
    (figures(queue_time=all_alike(9.9)), "queueing", "ok", ""),
    (figures(queue_time=all_alike(0.9), model_time=all_alike(0.1)), "queueing", "ok", ""),
    (figures(queue_time=all_alike(1.1), model_time=all_alike(0.1)), "queueing", "bad", "bunches"),
    (
        replace(figures(queue_time=None), calls=replace(CALLS, first_byte_p50_s=0.2)),
        "queueing",
        "warn",
        "see whether it falls",
    ),
    (figures(queue_time=None), "queueing", "ok", ""),
    (
        replace(
            figures(queue_time=None),
            calls=replace(CALLS, first_byte_p50_s=0.0049, unloaded_s=0.0001),
        ),
        "queueing",
        "ok",
        "",
    ),
    (
        replace(
            figures(queue_time=None),
            calls=replace(CALLS, first_byte_p50_s=0.0052, unloaded_s=0.0001),
        ),
        "queueing",
        "warn",
        "see whether it falls",
    ),
    # rate, route, slots
    (figures(requests=6000.0), "queries per second", "bad", "several rows in each request"),
    (figures(requests=6000.0), "provisioned concurrency", "bad", "concurrency to 8."),
    (
        figures(requests=6000.0, provisioned_concurrency=6.0),
        "provisioned concurrency",
        "warn",
        "concurrency to 8.",
    ),
    (figures(requests=9601.0), "route optimization", "warn", "Plan the move"),
    (figures(requests=12_001.0), "route optimization", "bad", "Create a route-optimized"),
    (replace(figures(requests=0.0), calls=Calls()), "route optimization", "ok", ""),
    (figures(requests=12_000.0), "route optimization", "warn", "Plan the move"),
    (calls(qps=201.0), "route optimization", "bad", "Create a route-optimized"),
    (
        replace(
            figures(requests=24_000.0), described=replace(WELL.described, route_optimized=True)
        ),  # type: ignore[type-var]
        "route optimization",
        "ok",
        "",
    ),
    (
        figures(requests=300_000.0, model_time=all_alike(5000)),
        "provisioned concurrency",
        "bad",
        "divide the load over",
    ),
    (
        replace(figures(requests=6000.0), described=Described(most_slots=64)),
        "provisioned concurrency",
        "warn",
        "Raise the minimum to 8",
    ),
    # the machine
    (figures(cpu_percent=80.1), "CPU", "bad", "adds replicas"),
    (figures(cpu_percent=80.0), "CPU", "ok", ""),
    (figures(memory_percent=90.0), "memory", "bad", "more memory"),
    (figures(gpu_percent=95.0), "GPU", "bad", "fewer rows"),
    (figures(gpu_memory_percent=95.0), "GPU memory", "bad", "larger GPU"),
    (described(ready=False), "state", "bad", "Wait until it is deployed"),
    (described(updating="IN_PROGRESS"), "state", "warn", "when the update is done"),
    (described(updating="UPDATE_FAILED"), "state", "warn", "See its events"),
    (described(scale_to_zero=True), "scale to zero", "warn", "Switch scale-to-zero off"),
    (
        replace(calls(first_byte_longest_s=5.0), described=Described(scale_to_zero=True)),
        "scale to zero",
        "bad",
        "Switch scale-to-zero off",
    ),
    (
        replace(calls(failed_attempts={"503": 2}), described=Described(scale_to_zero=True)),
        "scale to zero",
        "bad",
        "Switch scale-to-zero off",
    ),
    (calls(first_byte_longest_s=5.0), "scale to zero", "ok", ""),
    # what callers bring
    (calls(request_mean_bytes=1_000_001.0), "payload", "bad", "Send fewer rows"),
    (calls(request_longest_bytes=13.5e6), "payload", "bad", "Send fewer rows"),
    (calls(request_longest_bytes=13.4e6), "payload", "ok", ""),
    (calls(reused_share=0.89), "connection reuse", "warn", "Make one client"),
    (calls(reused_share=0.1, count=19), "connection reuse", "unknown", ""),
    (replace(WELL, token=TokenStats(1.0, None)), "token", "warn", "service principal"),
    (replace(WELL, token=TokenStats(1.0, None, route_optimized=True)), "token", "ok", ""),
    (replace(WELL, token=TokenStats(1.0, 59.0)), "token", "warn", "issue longer ones"),
    (replace(WELL, token=TokenStats(1.0, 900.0, failing=True)), "token", "bad", "in 15 min 0 s"),
    (replace(WELL, token=None, why_no_token="Refused."), "token", "bad", "CAN QUERY"),
    (replace(WELL, token=None), "token", "unknown", ""),
    # external APIs
    (api(p99_s=0.21, misses=20), "API https://a", "bad", "Keep its answers longer"),
    (api(p99_s=0.21, coalesced=20), "API https://a", "bad", "Keep its answers longer"),
    (api(p99_s=0.21), "API https://a", "warn", "Keep its answers longer"),
    (api(error_rate=0.02), "API https://a", "bad", "stale-if-error"),
    (api(breaker="open"), "API https://a", "bad", "It is down"),
    (api(breaker="closed"), "API https://a", "ok", ""),
    (api(throttled=1), "API https://a", "warn", "rate limit"),
    (api(requests=0), "API https://a", "unknown", ""),
]


@pytest.mark.parametrize(("measured", "name", "verdict", "words"), TABLE)
def test_a_check(measured: Measured, name: str, verdict: str, words: str) -> None:
    check = examine(measured)[name]
    assert check.verdict == verdict, check
    assert words in check.action
    assert bool(check.action) == (verdict in {"bad", "warn"})


UNKNOWN = Measured(endpoint="fraud", figures=EndpointFigures(why_none="no permission"))


def test_a_description_that_says_nothing_is_none() -> None:
    assert not examine(Measured(endpoint="fraud", described=Described())).examined
    assert examine(Measured(endpoint="fraud", described=Described(ready=True))).examined


def test_nothing_is_known() -> None:
    found = examine(UNKNOWN)
    assert {check.verdict for check in found.checks} == {"unknown"}
    assert not found.examined
    assert not found.healthy
    assert str(found).startswith("fraud: could not be examined")
    assert found["CPU"].why == "No permission."
    assert all(check.why.endswith(".") for check in found.checks), str(found)


def test_why_all_is_unknown_is_told_people_once_and_programs_with_each_check() -> None:
    found, once = examine(NO_CREDENTIALS), NO_CREDENTIALS.why_no_token
    for shown in (str(found), in_rich(found), found._repr_html_()):
        assert shown.count("no usable credentials") == 1
    said = json.dumps(found.as_dict())
    assert said.count("no usable credentials") == 8, "six checks and two notes"
    assert found["scale to zero"].why == once


PARTS = {"client": 0.002, "network": 0.005, "queue": 0.002, "model": 0.04, "service": 0.003}


@pytest.mark.parametrize(
    ("measured", "parts"),
    [
        (
            WELL,
            {"client": 0.002, "network": 0.005, "queue": 0.002, "model": 0.04, "service": 0.003},
        ),
        (
            replace(WELL, calls=Calls()),
            {"network": 0.004, "queue": 0.002, "model": 0.04, "service": 0.003},
        ),
        (replace(WELL, figures=EndpointFigures()), {"client": 0.002, "network": 0.004}),
        (
            replace(WELL, figures=EndpointFigures(), round_trip_s=None),
            {"client": 0.002},
        ),
        (calls(first_byte_mean_s=0.01), {**PARTS, "client": 0.042, "network": 0.0}),
        (calls(mean_s=0.04), {**PARTS, "client": 0.0}),
        (calls(first_byte_mean_s=0.001, mean_s=None), {**PARTS, "client": 0.044, "network": 0.0}),
        (
            replace(calls(first_byte_mean_s=0.003), figures=EndpointFigures(), round_trip_s=0.004),
            {"client": 0.049, "network": 0.003},
        ),
        (UNKNOWN, {}),
    ],
)
def test_where_the_time_goes(measured: Measured, parts: dict[str, float]) -> None:
    found = examine(measured).split
    assert dict(found.parts()) == pytest.approx(parts)
    assert bool(found.assumption) == bool(parts)


def test_without_calls_of_its_own_the_whole_is_latency_and_network() -> None:
    found = examine(replace(WELL, calls=Calls())).split
    assert found.whole_s == pytest.approx(0.049)
    assert sum(value for _, value in found.parts()) == pytest.approx(found.whole_s)
    assert "4 ms, which stands for the network." in found.assumption
    alone = examine(replace(WELL, calls=Calls(), round_trip_s=None)).split
    assert alone.whole_s == pytest.approx(0.045)


# -- whatever is measured --------------------------------------------------------------------------

VALUES = some.none() | some.floats(0.0, 1e9)


@some.composite
def anything(draw: Any) -> Measured:
    """Figures as a client and an endpoint might tell them, any of them missing."""
    wild = {
        field.name: draw(VALUES)
        for field in dataclasses.fields(Calls)
        if field.type == "float | None"
    }
    seen = Calls(count=draw(some.integers(0, 10**6)), qps=draw(some.floats(0, 1e6)), **wild)
    times = some.none() | some.floats(1e-3, 1e6).map(all_alike)
    said = EndpointFigures(
        cpu_percent=draw(VALUES),
        memory_percent=draw(VALUES),
        provisioned_concurrency=draw(VALUES),
        requests=draw(VALUES),
        errors_4xx=draw(VALUES),
        errors_5xx=draw(VALUES),
        latency=draw(times),
        queue_time=draw(times),
        model_time=draw(times),
        samples=draw(some.integers(0, 3)),
    )
    word = Described(
        ready=draw(some.none() | some.booleans()),
        route_optimized=draw(some.booleans()),
        scale_to_zero=draw(some.none() | some.booleans()),
        most_slots=draw(some.none() | some.integers(0, 5000)),
    )
    return Measured(
        endpoint="e",
        calls=seen,
        described=draw(some.none() | some.just(word)),
        figures=said,
        round_trip_s=draw(VALUES),
    )


def test_a_rate_next_to_nothing_needs_the_smallest_size() -> None:
    found = examine(figures(requests=1e-320))["provisioned concurrency"]
    assert (found.verdict, found.target) == ("ok", "at least 4")


@given(anything())
def test_any_figures_get_a_diagnosis(measured: Measured) -> None:
    found = examine(measured)
    for check in found.checks:
        assert bool(check.action) == (check.verdict in {"bad", "warn"}), check
        assert check.why or check.verdict != "unknown", check
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    assert found._repr_html_()


@given(anything(), some.floats(1.0, 1e6))
def test_worse_figures_are_judged_no_better(measured: Measured, factor: float) -> None:
    order = ("ok", "warn", "bad")
    seen = measured.calls
    worse = replace(
        measured,
        calls=replace(
            seen,
            p50_s=None if seen.p50_s is None else seen.p50_s * factor,
            error_rate=min(1.0, 0.001 * factor),
        ),
        figures=replace(
            measured.figures,
            cpu_percent=None
            if measured.figures.cpu_percent is None
            else measured.figures.cpu_percent * factor,
        ),
    )
    better = replace(measured, calls=replace(seen, error_rate=0.001))
    before, after = examine(better), examine(worse)
    for name in ("latency P50", "CPU", "error rate"):
        if before[name].verdict != "unknown" and seen.count:
            assert order.index(after[name].verdict) >= order.index(before[name].verdict)


# -- targets and probes ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"p99_s": -1.0}, "p99_s is -1.0"),
        ({"p99_s": math.nan}, "p99_s is nan"),
        ({"p99_s": "1"}, "must be a number, not str"),
        ({"p50_s": 1.0}, "must ascend"),
        ({"error_rate": 1.5}, "is a share"),
        ({"p98_s": 1.0}, "Did you mean 'p9"),
    ],
)
def test_targets_that_cannot_be(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Targets(**wrong)


@pytest.mark.parametrize("wrong", [0, -1, 10_001, 1.5, True])
def test_probes_that_cannot_be(wrong: Any) -> None:
    with pytest.raises(ConfigError, match=r"Probe\.calls"):
        Probe([], wrong)


def test_targets_are_what_is_held_against() -> None:
    assert examine(WELL, Targets(p50_s=0.04))["latency P50"].target == "at most 40 ms"
    assert examine(WELL, Targets(p50_s=0.04))["latency P50"].verdict == "bad"


def test_a_check_by_a_name_that_is_none() -> None:
    with pytest.raises(KeyError):
        examine(WELL)["latency P42"]
