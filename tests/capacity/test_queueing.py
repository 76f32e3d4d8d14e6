"""Waiting times against known values, exact solutions and simulation."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from servingclient import ConfigError
from servingclient.capacity import queueing, simulate
from servingclient.capacity.queueing import allen_cunneen, closed_loop, erlang_b, erlang_c, waits

# ------------------------------------------------------------------------------- Erlang's formulas


def erlang_b_by_factorials(slots: int, load: float) -> float:
    terms = [load**number / math.factorial(number) for number in range(slots + 1)]
    return terms[-1] / sum(terms)


@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (2, 1.9), (5, 3.0), (20, 30.0), (100, 84.1)])
def test_erlang_b_is_the_formula(slots: int, load: float) -> None:
    assert erlang_b(slots, load) == pytest.approx(erlang_b_by_factorials(slots, load), rel=1e-12)


def test_erlang_b_of_the_printed_tables() -> None:
    # 1 % of calls are lost at 84.1 erlangs on 100 trunks, and at 4.46 on 10
    assert erlang_b(100, 84.06) == pytest.approx(0.01, rel=2e-3)
    assert erlang_b(10, 4.461) == pytest.approx(0.01, rel=2e-3)


def test_thousands_of_slots_do_not_overflow() -> None:
    assert 0.0 < erlang_b(4096, 4000.0) < erlang_c(4096, 4000.0) < 1.0
    assert erlang_b(4096, 1.0) == 0.0


@pytest.mark.parametrize("load", [0.1, 0.5, 0.99])
def test_one_slot_is_busy_as_often_as_it_is_loaded(load: float) -> None:
    assert erlang_c(1, load) == pytest.approx(load)
    met = waits(1, load)
    assert met.delayed == pytest.approx(load)
    assert met.mean == pytest.approx(load / (1.0 - load))


def test_erlang_c_of_a_textbook() -> None:
    # two servers: C = 2 rho^2 / (1 + rho)
    assert erlang_c(2, 1.5) == pytest.approx(2 * 0.75**2 / 1.75)


def test_too_much_load_never_ends() -> None:
    assert erlang_c(4, 4.0) == 1.0
    assert allen_cunneen(4, 4.0) == math.inf
    met = waits(4, 5.0)
    assert met.mean == math.inf
    assert met.quantile(0.5) == math.inf
    assert met.beyond(1e9) == 1.0


@pytest.mark.parametrize(
    "ask",
    [
        lambda: erlang_b(0, 1.0),
        lambda: erlang_b(5000, 1.0),
        lambda: erlang_b(2.5, 1.0),  # type: ignore[arg-type]
        lambda: erlang_c(4, math.nan),
        lambda: erlang_c(4, -1.0),
        lambda: waits(4, 1.0, -0.1),
        lambda: waits(4, 1.0, 1.0, math.inf),
        lambda: allen_cunneen(4, 1.0, math.nan),
    ],
)
def test_a_number_that_cannot_be_is_refused(ask: object) -> None:
    with pytest.raises(ConfigError, match=r"(slots|load|scv|arrival_scv) is .*; it must be"):
        ask()  # type: ignore[operator]


# ------------------------------------------------------------------------------- constant service


def exactly(slots: int, load: float, times: np.ndarray) -> tuple[float, np.ndarray]:
    """Chance of waiting, and of waiting longer, by Franx's formula (2001).

    The number of calls, looked at every service time, is a Markov chain; it is solved as one.
    """
    states = slots + int(40 / math.log(slots / load)) + 50
    came = np.exp([n * math.log(load) - load - math.lgamma(n + 1) for n in range(states)])
    chain = np.zeros((states, states))
    for state in range(states):
        left = max(state - slots, 0)
        chain[state, left:] = came[: states - left]
    system = chain.T - np.eye(states)
    system[-1] = 1.0
    held = np.linalg.solve(system, np.eye(states)[-1])
    at_most = np.cumsum(held)
    in_line = at_most[slots:]
    later = []
    for time in times:
        turns = int(time) + 1
        reach = load * (turns - time)
        number = np.arange(turns * slots)
        weights = np.exp(number * np.log(reach) - reach - [math.lgamma(n + 1) for n in number])
        line = in_line[np.minimum(turns * slots - 1 - number, len(in_line) - 1)]
        later.append(1.0 - float((weights * line).sum()))
    return 1.0 - float(at_most[slots - 1]), np.array(later)


@pytest.mark.parametrize("slots", [2, 5, 16, 64])
@pytest.mark.parametrize("busy", [0.5, 0.7, 0.8])
def test_constant_service_is_solved(slots: int, busy: float) -> None:
    load = slots * busy
    met = waits(slots, load, 0.0)
    times = np.linspace(0.0, min(8.0, max(4.0 * met.quantile(0.999), 0.2)), 400)
    delayed, later = exactly(slots, load, times)
    assert met.delayed == pytest.approx(delayed, abs=1e-9)
    assert met.mean == pytest.approx(float(np.trapezoid(later, times)), abs=2e-4, rel=0.01)
    late = times[np.argmax(later <= 0.01)]
    assert met.quantile(0.99) == pytest.approx(late, rel=0.10, abs=0.01)


def test_one_steady_slot_is_pollaczek_and_khinchine() -> None:
    assert waits(1, 0.8, 0.0).mean == pytest.approx(0.8 / (2 * 0.2))
    assert waits(1, 0.8, 0.25).mean == pytest.approx(1.25 * 0.8 / (2 * 0.2))
    assert waits(1, 0.8, 3.0).mean == pytest.approx(4.0 * 0.8 / (2 * 0.2))


# ------------------------------------------------------------------------------- against simulation

SERVICES = {
    0.0: lambda chance: 1.0,
    0.25: lambda chance: chance.gammavariate(4.0, 0.25),
    1.0: lambda chance: chance.expovariate(1.0),
}


@pytest.mark.parametrize("scv", SERVICES)
@pytest.mark.parametrize(("slots", "busy"), [(1, 0.5), (4, 0.7), (16, 0.8)])
def test_waits_as_simulated(slots: int, busy: float, scv: float) -> None:
    chance = random.Random(1)
    gaps = (chance.expovariate(slots * busy) for _ in range(120_000))
    services = iter(lambda: SERVICES[scv](chance), None)
    met = simulate(slots, gaps, services, discard=5_000)
    said = waits(slots, slots * busy, scv)
    assert said.delayed == pytest.approx(met.delayed, rel=0.05)
    assert said.mean == pytest.approx(met.mean_wait_s, rel=0.10)
    assert said.quantile(0.99) == pytest.approx(met.wait_s(0.99), rel=0.12)


def test_arrivals_in_bunches_wait_longer() -> None:
    chance = random.Random(1)
    # squared coefficient of variation 4
    gaps = (
        chance.expovariate(2 * p * 2.8)
        for p in iter(lambda: 0.8873 if chance.random() < 0.8873 else 0.1127, None)
        for _ in (0,)
    )
    several = [next(gaps) for _ in range(80_000)]
    met = simulate(4, several, iter(lambda: chance.expovariate(1.0), None), discard=5_000)
    said = waits(4, 2.8, 1.0, arrival_scv=4.0)
    assert said.mean == allen_cunneen(4, 2.8, 1.0, 4.0)
    assert said.mean == pytest.approx(met.mean_wait_s, rel=0.25)  # a rule of thumb
    assert said.quantile(0.99) == pytest.approx(met.wait_s(0.99), rel=0.25)


def test_bunches_count_as_much_as_service_that_varies() -> None:
    # Allen and Cunneen: the mean goes with the sum of both variations
    steady = waits(4, 2.8, 0.0)
    assert waits(4, 2.8, 0.0, arrival_scv=2.0).mean == pytest.approx(2.0 * steady.mean)
    wide = waits(4, 2.8, 3.0)
    assert waits(4, 2.8, 3.0, arrival_scv=5.0).mean == pytest.approx(2.0 * wide.mean)


def test_clockwork_does_not_wait() -> None:
    assert waits(4, 3.0, 0.0, 0.0).quantile(0.999) == 0.0


# ------------------------------------------------------------------------------- what must hold


LOADS = st.tuples(st.integers(1, 200), st.floats(0.05, 0.98), st.floats(0.0, 6.0))


@settings(deadline=None)
@given(LOADS)
def test_beyond_falls_from_the_delayed_to_nothing(drawn: tuple[int, float, float]) -> None:
    slots, busy, scv = drawn
    met = waits(slots, slots * busy, scv)
    times = sorted([0.0, 1e-6, *(met.mean * factor for factor in (0.1, 0.5, 1, 2, 5, 20, 100))])
    left = [met.beyond(time) for time in times]
    assert all(0.0 <= one <= met.delayed for one in left)
    assert all(later <= sooner + 1e-9 for sooner, later in itertools.pairwise(left))
    assert met.beyond(math.inf) == 0.0


@settings(deadline=None)
@given(LOADS, st.floats(0.5, 0.9999))
def test_a_quantile_is_where_so_many_are_left(
    drawn: tuple[int, float, float], share: float
) -> None:
    slots, busy, scv = drawn
    met = waits(slots, slots * busy, scv)
    at = met.quantile(share)
    if at == 0.0:
        assert met.delayed <= 1.0 - share + 1e-12
    else:
        assert met.beyond(at) == pytest.approx(1.0 - share, rel=1e-5)


@settings(deadline=None)
@given(st.integers(1, 64), st.floats(0.2, 0.95), st.sampled_from([0.0, 0.3, 1.0]))
def test_more_slots_wait_less_and_more_load_waits_longer(
    slots: int, busy: float, scv: float
) -> None:
    load = slots * busy
    here = waits(slots, load, scv)
    assert waits(slots + 4, load, scv).quantile(0.99) <= here.quantile(0.99) + 1e-9
    assert waits(slots, load * 1.04, scv).mean >= here.mean


@settings(deadline=None)
@given(st.integers(1, 256), st.floats(0.3, 0.97), st.floats(0.0, 1.0))
def test_the_mean_is_the_area_below(slots: int, busy: float, scv: float) -> None:
    met = waits(slots, slots * busy, scv)
    if met.mean > 1e-9:
        steps = np.linspace(0.0, 40.0 * met.mean / met.delayed, 4_001)
        area = np.trapezoid([met.beyond(time) for time in steps], steps)
        # at billionths of a service time, which nobody sees, shape and mean differ by up to 3.2 %
        assert area == pytest.approx(met.mean, rel=0.03 if met.mean > 1e-6 else 0.04)


def test_the_same_question_is_worked_out_once() -> None:
    queueing._poisson_arrivals.cache_clear()
    waits(64, 50.0, 0.1)
    waits(64, 50.0, 0.1, 2.0)
    assert queueing._poisson_arrivals.cache_info().misses == 1


# ------------------------------------------------------------------------------- closed loop


@pytest.mark.parametrize(
    ("clients", "slots", "qps", "latency_ms"),
    # the service's load-test guide: a model of 40 ms behind 10 ms of overhead
    [(1, 1, 20.0, 50.0), (1, 2, 20.0, 50.0), (2, 2, 40.0, 50.0), (2, 1, 25.0, 80.0)],
)
def test_closed_loop_as_the_load_test_guide_has_it(
    clients: int, slots: int, qps: float, latency_ms: float
) -> None:
    seen = closed_loop(clients, slots, 0.040, 0.010)
    assert seen.qps == pytest.approx(qps)
    assert seen.latency_s * 1e3 == pytest.approx(latency_ms)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 1, 0.04), "clients"),
        ((1, 0, 0.04), "slots"),
        ((1, 1, 0.0), "service_s"),
        ((1, 1, 0.04, -1.0), "overhead_s"),
    ],
)
def test_closed_loop_refuses(arguments: tuple[float, ...], named: str) -> None:
    with pytest.raises(ConfigError, match=f"^{named} is"):
        closed_loop(*arguments)  # type: ignore[arg-type]
