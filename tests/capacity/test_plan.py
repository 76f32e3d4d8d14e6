"""Which size a load needs, what follows from it, and what cannot be asked."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest
from databricks.sdk.service.serving import EndpointCoreConfigInput, ServedEntityInput
from hypothesis import given, settings
from hypothesis import strategies as st

from servingclient import ConfigError
from servingclient.capacity import plan, sizes
from servingclient.capacity.result import Plan
from servingclient.capacity.sizes import Range

# ------------------------------------------------------------------------------- the size


def test_the_guides_formula() -> None:
    # the guide's own example: 100 calls/s that take 0.2 s need 20
    found = plan(qps=100, service_time_s=0.2, overhead_s=0.0)
    assert found.needed.busy_slots == pytest.approx(20.0)
    assert found.needed.slots == 20
    # its reading with the whole latency, and the overhead that is documented for this endpoint
    whole = plan(qps=100, service_time_s=0.15, route_optimized=True, overhead_s=0.05).needed
    assert (whole.busy_slots, whole.busy_slots_whole) == pytest.approx((15.0, 20.0))
    assert (whole.slots, whole.slots_whole) == (16, 20)


def test_utilisation_bounds_the_size() -> None:
    found = plan(qps=500, service_time_s=0.040)
    assert found.scaling == Range(32, 32)
    assert found.chosen is not None
    assert found.chosen.utilisation == pytest.approx(20 / 32)
    assert found.chosen.short_of is None
    below = next(one for one in found.candidates if one.slots == 28)
    assert below.short_of == "71% busy, above 70%"
    assert plan(qps=500, service_time_s=0.040, utilisation=0.9).scaling == Range(28, 28), (
        "24 would do, but not with 30 % more"
    )
    assert plan(qps=500, service_time_s=0.040, utilisation=0.9, headroom=0.0).scaling == (24, 24)


def test_headroom_keeps_the_goal_at_a_higher_rate() -> None:
    tight = {"qps": 50, "service_time_s": 0.040, "service_std_s": 0.0, "overhead_s": 0.0}
    assert plan(**tight, p99_goal_s=0.070, headroom=0.0).scaling == (4, 4)
    assert plan(**tight, p99_goal_s=0.070, headroom=0.3).scaling == (8, 8)


def test_a_goal_bounds_the_size() -> None:
    loose = plan(qps=60, service_time_s=0.040, service_std_s=0.0, overhead_s=0.01)
    assert loose.scaling == (4, 4)
    strict = plan(qps=60, service_time_s=0.040, service_std_s=0.0, overhead_s=0.01, p99_goal_s=0.06)
    assert strict.scaling == (8, 8)
    kept, missed = strict.chosen, strict.candidates[0]
    assert kept is not None
    assert kept.response_p99_s <= 0.06 < missed.response_p99_s
    assert missed.short_of is not None
    assert missed.short_of.startswith("P99 ")


def test_a_wide_spread_needs_more_than_a_narrow_one() -> None:
    same: dict[str, Any] = {"qps": 60, "service_time_s": 0.040, "overhead_s": 0.0}
    narrow = plan(**same, service_scv=0.0).chosen
    wide = plan(**same, service_scv=1.0).chosen
    assert narrow is not None
    assert wide is not None
    assert wide.wait_p99_s > 1.9 * narrow.wait_p99_s
    assert wide.response_p99_s > 2.0 * narrow.response_p99_s


def test_recorded_times_are_measured_and_a_mean_alone_is_assumed_to_spread() -> None:
    recorded = plan(qps=10, service_times=[0.03, 0.05] * 50)
    assert recorded.workload.spread == "measured"
    assert recorded.workload.service.mean_s == pytest.approx(0.04)
    assert plan(qps=10, service_time_s=0.04).workload.spread == "assumed"
    assert plan(qps=10, service_time_s=0.04, service_std_s=0.0).workload.spread == "given"


@pytest.mark.parametrize("qps", [0.001, 1, 30, 69])
def test_the_smallest_size_is_four(qps: float) -> None:
    assert plan(qps=qps, service_time_s=0.040, headroom=0.0).scaling == (4, 4)


@settings(deadline=None, max_examples=40)
@given(
    st.floats(0.01, 20_000),
    st.floats(0.001, 2.0),
    st.floats(0.0, 3.0),
    st.one_of(st.none(), st.floats(1.05, 20.0)),
    st.floats(1.0, 5.0),
)
def test_what_is_ordered_fits_and_nothing_smaller_does(
    qps: float, service_s: float, scv: float, goal: float | None, burst: float
) -> None:
    goal_s = None if goal is None else goal * service_s
    found = plan(qps=qps, service_time_s=service_s, service_scv=scv, p99_goal_s=goal_s, burst=burst)
    json.dumps(found.as_dict(), allow_nan=False)
    assert str(found)
    assert sorted(limit.qps for limit in found.limits) == [limit.qps for limit in found.limits]
    if not found.reachable:
        return
    assert found.scaling is not None
    least, most = found.scaling
    assert 4 <= least <= most <= (1024 if found.route_optimized else 64)
    assert least % 4 == 0
    assert most % 4 == 0
    assert found.needed.slots <= least
    for one in found.candidates:
        assert (one.short_of is None) == (one.slots >= least)


ANY = st.floats(allow_nan=True, allow_infinity=True)
GIVEN = (
    "qps",
    "service_time_s",
    "service_std_s",
    "p99_goal_s",
    "burst",
    "arrival_scv",
    "overhead_s",
)
GIVEN += ("headroom", "utilisation", "row_time_s", "scale_lag_s", "calls_per_core")


@settings(deadline=None, max_examples=60)
@given(
    st.dictionaries(st.sampled_from(GIVEN), st.one_of(ANY, st.floats(0, 100)), max_size=4),
    st.integers(-1, 10**30),
)
def test_whatever_is_asked_is_a_plan_or_one_clear_error(asked: dict[str, float], rows: int) -> None:
    usual: dict[str, Any] = {"qps": 100.0, "service_time_s": 0.04, "batch_rows": max(rows, 1)}
    if "row_time_s" not in asked:
        usual["batch_rows"] = 1
    try:
        found = plan(**{**usual, **asked})
    except ConfigError:
        return
    json.dumps(found.as_dict(), allow_nan=False)
    assert "nan" not in str(found)


# ------------------------------------------------------------------------------- route optimization


def test_a_slow_trickle_needs_no_route_optimization() -> None:
    found = plan(qps=100, service_time_s=0.040)
    assert not found.route_optimized
    assert found.overhead_s == 0.050


@pytest.mark.parametrize("more", [{"qps": 160}, {"qps": 100, "burst": 1.6}])
def test_two_hundred_requests_a_second_with_headroom_need_it(more: dict[str, float]) -> None:
    assert not plan(**{**more, "headroom": 0.2}, service_time_s=0.001).route_optimized
    found = plan(**more, service_time_s=0.001)
    assert found.route_optimized
    assert found.advice[0].basis == "documented"
    assert "208 requests/s" in found.advice[0].why


def test_rows_that_share_requests_stay_below_the_limit() -> None:
    found = plan(qps=1000, service_time_s=0.010, row_time_s=0.0005, batch_rows=16)
    assert not found.route_optimized


def test_a_goal_that_only_the_lower_overhead_meets_needs_it() -> None:
    found = plan(qps=10, service_time_s=0.040, service_std_s=0.0, p99_goal_s=0.070)
    assert found.route_optimized
    assert found.advice[0].why.startswith("the goal is met only with its lower overhead")


def test_more_than_the_largest_named_size_needs_it() -> None:
    assert plan(qps=100, service_time_s=0.6).scaling == (88, 88)
    assert plan(qps=100, service_time_s=0.6).route_optimized
    refused = plan(qps=100, service_time_s=0.6, route_optimized=False)
    assert refused.scaling is None
    assert refused.problem is not None
    assert refused.problem.startswith("88 slots or more are needed at peak; the largest size of")
    assert "64 (documented)" in refused.problem


def test_a_standard_endpoint_above_its_limit_is_no_plan() -> None:
    found = plan(qps=201, service_time_s=0.001, route_optimized=False)
    assert found.problem == (
        "Standard endpoints get at most 200 requests/s (documented), 201 are wanted. "
        "Use route optimization."
    )
    assert found.scaling is None
    assert found.as_dict()["scaling"] is None
    with pytest.raises(ConfigError, match=r"^There is no size to order\. Standard endpoints"):
        found.create_body()


# ------------------------------------------------------------------------------- out of reach


def test_a_goal_that_no_size_meets() -> None:
    found = plan(qps=500, service_time_s=0.040, p99_goal_s=0.100)
    assert found.problem == (
        "P99 is 120 ms without any waiting, the goal 100 ms: no size helps. Make the slow calls "
        "faster, or allow more."
    )
    assert found.scaling is None
    assert found.chosen is None
    assert found.candidates, "what the load would meet is shown all the same"


@pytest.mark.parametrize("burst", [1.0, 4.0])
def test_more_than_is_sold(burst: float) -> None:
    found = plan(qps=80_000 / burst, service_time_s=0.040, burst=burst)
    assert found.problem is not None
    assert found.problem.startswith("4,572 slots or more are needed at peak")
    assert found.problem.endswith("divide the load over 5 endpoints.")
    assert found.scaling is None


def test_more_than_is_sold_for_the_headroom_alone() -> None:
    # 44 of 64 slots busy is allowed, but half as much again is more than 64
    found = plan(qps=110, service_time_s=0.4, headroom=0.5, route_optimized=False)
    assert found.problem is not None
    assert found.problem.startswith("68 slots or more are needed at peak")


def test_more_than_a_route_optimized_endpoint_gets() -> None:
    found = plan(qps=400_000, service_time_s=0.001)
    assert found.problem is not None
    assert "at most 300,000 requests/s (documented), 400,000 are wanted" in found.problem


# ------------------------------------------------------------------------------- autoscaling


def advice(found: Plan) -> dict[str, Any]:
    return {one.name: one for one in found.advice}


def test_a_peak_sets_the_upper_end() -> None:
    found = plan(qps=100, service_time_s=0.040, burst=3.0, scale_lag_s=60.0)
    assert found.scaling == (8, 20)
    said = advice(found)
    assert said["scaling up"].value == "no time is documented"
    # 300 calls/s against 8 slots that do 200
    assert said["until it has"].value == "100 calls/s"
    assert said["behind by then"].value == "6,000 calls"
    assert "worked off in 30 s" in said["behind by then"].why  # 20 slots do 500
    assert said["for shorter peaks"].value == "min = max = 20"


def test_without_a_lag_none_is_made_up() -> None:
    assert "behind by then" not in advice(plan(qps=100, service_time_s=0.040, burst=3.0))


def test_a_small_peak_is_carried_meanwhile() -> None:
    found = plan(qps=100, service_time_s=0.040, burst=1.6)
    assert found.scaling == (8, 12)
    assert advice(found)["until it has"].value == "no backlog"


def test_a_steady_rate_has_nothing_to_scale() -> None:
    found = plan(qps=100, service_time_s=0.040)
    assert found.scaling == (8, 8)
    assert "scaling up" not in advice(found)


def test_scale_to_zero_is_for_those_who_can_wait() -> None:
    assert advice(plan(qps=1, service_time_s=0.04))["scale to zero"].value == "off"
    rare = {"qps": 1 / 3600, "service_time_s": 0.04}
    assert advice(plan(**rare))["scale to zero"].value == "off; on if callers can wait"
    assert advice(plan(**rare, p99_goal_s=1.0))["scale to zero"].value == "off"


# ------------------------------------------------------------------------------- hardware


def test_cpu_first() -> None:
    assert advice(plan(qps=100, service_time_s=0.04))["hardware"].value == "CPU"
    slow = advice(plan(qps=500, service_time_s=0.4))["hardware"]
    assert slow.value == "CPU; measure the model on a GPU"
    assert slow.basis == "assumed"


def test_a_gpu_that_was_measured_is_compared() -> None:
    faster = advice(plan(qps=500, service_time_s=0.4, gpu_service_time_s=0.04))["hardware"]
    assert faster.value == "compare prices"
    assert "0.1 times the slots; it is worth up to 10 times the price a slot" in faster.why
    slower = advice(plan(qps=500, service_time_s=0.04, gpu_service_time_s=0.05))["hardware"]
    assert slower.value == "CPU"


def test_gpu_replicas_have_four_slots() -> None:
    found = plan(qps=200, service_time_s=0.04, workload_type="GPU_SMALL", route_optimized=True)
    assert found.scaling == (12, 12)
    assert advice(found)["hardware"].value == "GPU_SMALL, 3 replicas"


# ------------------------------------------------------------------------------- batching


def test_rows_that_share_a_request() -> None:
    found = plan(qps=1000, service_time_s=0.010, row_time_s=0.001)
    by_rows = {one.rows: one for one in found.batching}
    assert by_rows[1].busy_slots == pytest.approx(10.0)
    eight = by_rows[8]
    assert eight.service_s == pytest.approx(0.017)
    assert eight.requests_per_s == pytest.approx(125.0)
    assert eight.busy_slots == pytest.approx(2.125)
    assert eight.gathering_s == pytest.approx(0.007)
    # what each row costs is left, however many share
    assert by_rows[128].busy_slots == pytest.approx(1.0, rel=0.1)
    slots = [one.slots or math.inf for one in found.batching]
    assert slots == sorted(slots, reverse=True)
    assert plan(qps=1000, service_time_s=0.010).batching == ()


def test_a_plan_for_batches_is_a_plan_for_their_requests() -> None:
    found = plan(
        qps=1000, service_time_s=0.010, row_time_s=0.001, batch_rows=8, p99_goal_s=0.2, burst=2.0
    )
    assert found.needed.busy_slots == pytest.approx(2.125)
    assert found.chosen is not None
    # gathering, overhead and model, before any waiting
    assert found.chosen.response_p50_s > 0.007 + found.overhead_s + 0.015


# ------------------------------------------------------------------------------- the client


def test_connections_and_processes() -> None:
    client = plan(qps=500, service_time_s=0.080, overhead_s=0.020).client
    assert client.in_flight == pytest.approx(50.0, rel=0.01)  # Little's law
    assert client.lanes == math.ceil(client.in_flight + 3 * math.sqrt(client.in_flight))
    assert (client.processes, client.processes_needed) == (1, 1)


def test_processes_by_connections_and_by_cpu() -> None:
    slow = plan(qps=1000, service_time_s=0.5, overhead_s=0.0)
    assert slow.client.processes == 3  # 567 connections, 256 a process
    fast = plan(qps=60_000, service_time_s=0.001, overhead_s=0.0)
    assert fast.client.processes == 3  # 36,000 calls/s a core, 70 % of it
    given = plan(qps=60_000, service_time_s=0.001, overhead_s=0.0, client_processes=2)
    assert given.client.processes == 2
    assert "at least 3 are needed" in str(given)
    own = plan(qps=60_000, service_time_s=0.001, overhead_s=0.0, calls_per_core=100_000)
    assert own.client.processes == 1


@pytest.mark.checkout
def test_calls_per_core_are_those_of_the_benchmark(request: pytest.FixtureRequest) -> None:
    results = (request.config.rootpath / "benchmarks" / "results.md").read_text()
    cell = results.split("### async_16")[1].split("###")[0]
    (row,) = [line for line in cell.splitlines() if line.startswith("| servingclient |")]
    best = float(row.split("|")[-2].replace(",", ""))
    assert plan(qps=1, service_time_s=1).workload.calls_per_core == pytest.approx(best, rel=0.5)


# ------------------------------------------------------------------------------- what gives way


def test_what_gives_way_first() -> None:
    found = plan(qps=500, service_time_s=0.040, p99_goal_s=0.150)
    rates = {limit.what.split(" (")[0]: limit.qps for limit in found.limits}
    assert rates["all 32 slots are busy: the queue fills up, then 429"] == pytest.approx(800)
    assert rates["the largest size of one model"] == pytest.approx(25_600)
    assert rates["all slots of a workspace"] == pytest.approx(102_400)
    assert rates["limit of a route-optimized endpoint and of its workspace"] == 300_000
    first = found.limits[0]
    assert first.what == "P99 passes 150 ms on 32 slots"
    assert 650 < first.qps < 800, "above the headroom that was asked for, below all busy"
    again = plan(qps=first.qps, service_time_s=0.040, p99_goal_s=0.150, headroom=0.0)
    (same,) = [one for one in again.candidates if one.slots == 32] or [again.candidates[0]]
    assert again.scaling is not None
    assert same.response_p99_s == pytest.approx(0.150, rel=1e-3) or same.slots != 32


def test_limits_of_standard_endpoints() -> None:
    found = plan(qps=100, service_time_s=0.150, overhead_s=0.050)
    assert {limit.qps for limit in found.limits if limit.basis == "documented"} >= {200.0, 960.0}


def test_limits_count_rows_where_rows_share_requests() -> None:
    found = plan(qps=100, service_time_s=0.010, row_time_s=0.001, batch_rows=4)
    at = next(
        one.qps for one in found.limits if "standard endpoints of a workspace tog" in one.what
    )
    assert at == 800.0


# ------------------------------------------------------------------------------- bad input

GOOD: dict[str, Any] = {"qps": 100, "service_time_s": 0.04}
TIMES: dict[str, Any] = {"service_time_s": None}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"qps": 0}, "qps is 0; it must be finite and above 0."),
        ({"qps": math.nan}, "qps is nan; it must be finite and above 0."),
        ({"qps": "100"}, "qps must be a number, not str."),
        ({"qps": 10**5000}, "qps is too large; it must be finite and above 0."),
        ({"qps": 5e-324}, "qps is 4.94e-324; below 1e-09 it means nothing."),
        ({"service_time_s": 5e-324}, "service_time_s is 4.94e-324; below 1e-09"),
        ({**TIMES, "service_times": 5}, "service_times must be seconds of each call, not int."),
        ({**TIMES, "service_times": "ab"}, "service_times must be seconds of each call, not str."),
        ({**TIMES, "service_times": [0.1, 5e-324]}, "service_times[1] is 5e-324; each must be"),
        ({**TIMES, "service_times": [0.1, 10**400]}, "service_times[1] is too large; each must be"),
        ({**TIMES, "service_times": {0.1: 10**400}}, "service_times counts 0.1 s too large times"),
        ({**TIMES, "service_times": {0.1: 1e300}}, "service_times counts 0.1 s 1e+300 times; give"),
        ({"service_time_s": 0}, "service_time_s is 0; it must be finite and above 0."),
        ({"service_time_s": None}, "Give service_time_s or service_times: how long the model"),
        ({"service_times": [0.1, 0.2]}, "Give service_time_s or service_times: how long"),
        ({"service_std_s": -1.0}, "service_std_s is -1.0; it must be finite and at least 0."),
        (
            {"service_scv": math.inf},
            "service_scv is inf; it must be finite and at least 0, at most 1e+06.",
        ),
        ({"service_std_s": 0.1, "service_scv": 1.0}, "Give service_std_s or service_scv, not both"),
        (
            {"service_time_s": None, "service_times": [0.1, 0.2], "service_std_s": 0.1},
            "service_times tell their spread",
        ),
        ({"p99_goal_s": 0.03}, "p99_goal_s is 30 ms, but the model alone takes 40 ms on average"),
        ({"p99_goal_s": 0.0}, "p99_goal_s is 0.0; it must be finite and above 0."),
        ({"service_time_s": 4e8}, "4e+10 slots would be busy. Check the units"),
        ({"service_std_s": 1e6}, "service_std_s is 1,000,000 s around a mean of 40 ms. Check the"),
        ({"burst": 0.5}, "burst is 0.5; it must be finite and at least 1, at most 1e+06."),
        (
            {"arrival_scv": -1.0},
            "arrival_scv is -1.0; it must be finite and at least 0, at most 1e+06.",
        ),
        ({"overhead_s": -0.1}, "overhead_s is -0.1; it must be finite and at least 0."),
        ({"headroom": -0.1}, "headroom is -0.1; it must be finite and at least 0, at most 1e+06."),
        ({"utilisation": 1.0}, "utilisation is 1; it must be below 1: slots that are always busy"),
        ({"utilisation": 0.0}, "utilisation is 0.0; it must be finite and above 0."),
        ({"batch_rows": 4}, "batch_rows needs row_time_s: the part of the service time that each"),
        ({"batch_rows": 0}, "batch_rows is 0; it must be a whole number from 1 to 1,000,000."),
        ({"row_time_s": 0.05}, "row_time_s is 50 ms, more than the 40 ms a request of one row"),
        ({"payload_bytes": 0}, "payload_bytes is 0; it must be a whole number of at least 1."),
        ({"payload_bytes": 2**24 + 1}, "payload_bytes is 16,777,217; the service refuses requests"),
        ({"workload_type": "TPU"}, "workload_type is 'TPU'; sold are CPU, CPU_MEDIUM"),
        ({"gpu_service_time_s": 0.0}, "gpu_service_time_s is 0.0; it must be finite and above 0."),
        ({"scale_lag_s": -1.0}, "scale_lag_s is -1.0; it must be finite and at least 0."),
        ({"client_processes": 0}, "client_processes is 0; it must be a whole number from 1 to"),
        ({"client_processes": 1.5}, "client_processes is 1.5; it must be a whole number from"),
        ({"calls_per_core": 0}, "calls_per_core is 0; it must be finite and above 0."),
    ],
)
def test_bad_input_is_one_sentence(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as raised:
        plan(**{**GOOD, **change})
    assert str(raised.value).startswith(told)


def test_numbers_of_numpy_are_numbers() -> None:
    of_numpy: dict[str, Any] = {
        "qps": np.int64(100),
        "service_time_s": np.float32(0.04),
        "batch_rows": np.int8(1),
    }
    found = plan(**of_numpy, p99_goal_s=np.float64(0.3))
    assert found.scaling == plan(qps=100, service_time_s=0.04, p99_goal_s=0.3).scaling
    assert json.loads(json.dumps(found.as_dict())) == found.as_dict()
    times = np.random.default_rng(1).exponential(0.04, 500).astype(np.float32)
    assert plan(qps=100, service_times=times).scaling is not None
    with pytest.raises(ConfigError, match="qps must be a number, not bool"):
        plan(qps=True, service_time_s=0.04)


# ------------------------------------------------------------------------------- JSON for the API

CONFIGS = {
    "Small": {"qps": 10, "service_time_s": 0.04},
    "Medium": {"qps": 100, "service_time_s": 0.04, "burst": 2.5},
    "custom": {"qps": 500, "service_time_s": 0.04, "burst": 3.0},
    "GPU": {"qps": 50, "service_time_s": 0.2, "workload_type": "GPU_MEDIUM"},
}


@pytest.mark.parametrize("case", CONFIGS)
def test_the_bodies_are_what_the_sdk_reads(case: str) -> None:
    found = plan(**CONFIGS[case])  # type: ignore[arg-type]
    created = found.create_body(endpoint="fraud", entity_name="a.b.c", entity_version="7")
    assert created.keys() == {"name", "config", "route_optimized"}
    core = EndpointCoreConfigInput.from_dict({"name": created["name"], **created["config"]})
    assert core.as_dict() == {"name": "fraud", **created["config"]}
    assert core.served_entities is not None
    (entity,) = core.served_entities
    assert (entity.entity_name, entity.entity_version) == ("a.b.c", "7")
    assert entity.scale_to_zero_enabled is False
    assert entity.workload_type is not None
    updated = found.update_body(entity_name="a.b.c", entity_version="7")
    (again,) = updated["served_entities"]
    assert ServedEntityInput.from_dict(again) == entity
    assert ServedEntityInput.from_dict(again).as_dict() == again


@pytest.mark.parametrize(("case", "slots"), [("Small", (4, 4)), ("Medium", (8, 16))])
def test_a_size_with_a_name_goes_by_it(case: str, slots: tuple[int, int]) -> None:
    found = plan(**CONFIGS[case])  # type: ignore[arg-type]
    assert found.scaling == slots
    (entity,) = found.update_body()["served_entities"]
    assert entity["workload_size"] == case
    assert "min_provisioned_concurrency" not in entity  # the API takes one or the other


def test_a_custom_size_goes_by_its_ends() -> None:
    (entity,) = plan(**CONFIGS["custom"]).update_body()["served_entities"]  # type: ignore[arg-type]
    assert entity["min_provisioned_concurrency"] == 32
    assert entity["max_provisioned_concurrency"] == 88
    assert "workload_size" not in entity


def test_workload_types_are_those_of_the_sdk() -> None:
    from databricks.sdk.service.serving import ServingModelWorkloadType

    known = {kind.value for kind in ServingModelWorkloadType}
    assert {kind for kind in sizes.WORKLOAD_TYPES if not kind.startswith("CPU_")} - known <= {
        "GPU_XLARGE",
        "GPU_XLARGE_8",
    }


# ------------------------------------------------------------------------------- sizes


@pytest.mark.parametrize(
    ("slots", "sold"), [(0.0, 4), (0.1, 4), (4.0, 4), (4.01, 8), (20, 20), (21, 24)]
)
def test_rounded_up_to_what_is_sold(slots: float, sold: int) -> None:
    assert sizes.rounded_up(slots) == sold


def test_named_sizes_meet_the_largest_standard_one() -> None:
    ends = [size.most for size in sizes.WORKLOAD_SIZES.values()]
    assert max(ends) == sizes.MOST_SLOTS_STANDARD
    assert all(
        end % sizes.SLOTS_STEP == 0 for end in itertools.chain(*sizes.WORKLOAD_SIZES.values())
    )
