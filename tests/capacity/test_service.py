"""Service times from a mean and a spread or from a record, and the responses they lead to."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest

from servingclient import ConfigError
from servingclient.capacity import service, simulate
from servingclient.capacity.queueing import waits


def moments(made: service.Service) -> tuple[float, float, float]:
    total = sum(weight for _, weight in made.points)
    mean = sum(time * weight for time, weight in made.points)
    spread = sum((time - mean) ** 2 * weight for time, weight in made.points)
    return total, mean, spread / mean**2


@pytest.mark.parametrize("scv", [0.0, 0.001, 0.003, 0.1, 0.25, 0.4, 0.5, 0.8, 1.0, 1.5, 4.0, 10.0])
def test_a_fit_has_the_mean_and_spread_it_was_made_of(scv: float) -> None:
    made = service.of_mean(0.04, scv)
    total, mean, spread = moments(made)
    assert total == pytest.approx(1.0)
    assert mean == pytest.approx(0.04)
    assert spread == pytest.approx(scv, rel=0.01, abs=0.0025)
    assert list(made.points) == sorted(made.points)


@pytest.mark.parametrize(("share", "time"), [(0.5, 0.693), (0.99, 4.605), (0.999, 6.908)])
def test_quantiles_of_an_exponential_time(share: float, time: float) -> None:
    assert service.of_mean(1.0, 1.0).quantile_s(share) == pytest.approx(time, rel=0.02)


def test_recorded_times_keep_their_figures_in_few_points() -> None:
    chance = random.Random(1)
    times = [chance.lognormvariate(-3.0, 0.6) for _ in range(20_000)]
    made = service.of_times(times)
    assert len(made.points) <= service.MAX_POINTS
    assert made.mean_s == pytest.approx(np.mean(times))
    assert made.scv == pytest.approx(np.var(times) / np.mean(times) ** 2)
    assert sum(weight for _, weight in made.points) == pytest.approx(1.0)
    for share in (0.5, 0.9, 0.99, 0.999):
        assert made.quantile_s(share) == pytest.approx(np.quantile(times, share), rel=0.03)


def test_few_times_are_kept_as_they_are_and_counts_are_as_many_times() -> None:
    made = service.of_times([0.03, 0.01, 0.02, 0.01])
    assert made.points == ((0.01, 0.5), (0.02, 0.25), (0.03, 0.25))
    assert service.of_times({0.03: 1, 0.01: 2, 0.02: 1, 0.5: 0}) == made


@pytest.mark.parametrize(
    ("times", "told"),
    [
        ([], "fewer than two"),
        ([0.1], "fewer than two"),
        ({0.1: 0, 0.2: 1}, "fewer than two"),
        ([0.1, -0.1], r"service_times\[1\] is -0.1"),
        ([0.1, math.nan], r"service_times\[1\] is nan"),
        ([0.1, "0.2"], r"service_times\[1\] is '0.2'"),
        ([0.1, True], r"service_times\[1\] is True"),
        ({0.1: -1}, "-1 times"),
    ],
)
def test_what_is_no_record_is_refused(times: list[float], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        service.of_times(times)


@pytest.mark.parametrize("scv", [0.0, 0.25, 1.0, 2.0])
@pytest.mark.parametrize(("slots", "busy"), [(1, 0.5), (4, 0.7)])
def test_responses_as_simulated(slots: int, busy: float, scv: float) -> None:
    chance, made = random.Random(1), service.of_mean(0.04, scv)
    times = [time for time, _ in made.points]
    weights = [weight for _, weight in made.points]
    services = chance.choices(times, weights, k=60_000)
    gaps = (chance.expovariate(slots * busy / 0.04) for _ in services)
    met = simulate(slots, gaps, services, discard=3_000)
    for share in (0.5, 0.95, 0.99):
        said = made.response_s(waits(slots, slots * busy, scv), share)
        assert said == pytest.approx(met.response_s(share), rel=0.12 if scv > 1.0 else 0.06)


def test_a_line_without_end_has_no_response() -> None:
    for scv in (0.0, 1.0):
        assert service.of_mean(0.04, scv).response_s(waits(4, 4.0, scv), 0.99) == math.inf


def test_without_waiting_a_response_is_the_service() -> None:
    made = service.of_times([0.01] * 90 + [0.05] * 10)
    assert made.response_s(waits(1024, 10.0, made.scv), 0.99) == pytest.approx(0.05, rel=1e-6)
    assert made.response_s(waits(1024, 10.0, made.scv), 0.5) == pytest.approx(0.01, rel=1e-6)


def test_scaled_scales_all() -> None:
    made = service.of_times([0.01, 0.03]).scaled(10.0)
    assert made.points == ((0.1, 0.5), (0.3, 0.5))
    assert made.mean_s == pytest.approx(0.2)


def test_a_simulation_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^2 calls were simulated"):
        simulate(1, [0.1, 0.1], [0.1, 0.1], discard=2)
    with pytest.raises(ConfigError, match="slots is 0"):
        simulate(0, [0.1], [0.1])


def test_a_simulation_by_hand() -> None:
    # one slot of 2 s, arrivals at 1, 2, 3 and 9: waits 0, 1, 2, 0
    met = simulate(1, [1.0, 1.0, 1.0, 6.0], [2.0] * 4)
    assert met.waits_s == (0.0, 0.0, 1.0, 2.0)
    assert met.responses_s == (2.0, 2.0, 3.0, 4.0)
    assert met.delayed == 0.5
    assert met.mean_wait_s == 0.75
    assert (met.wait_s(0.5), met.wait_s(1.0), met.response_s(0.99)) == (1.0, 2.0, 4.0)
    # a second slot takes who would have waited
    assert simulate(2, [1.0, 1.0, 1.0, 6.0], [2.0] * 4).waits_s == (0.0, 0.0, 0.0, 0.0)
