"""When a result is not trusted, when a test is broken off, when it has come to rest."""

from __future__ import annotations

from collections import Counter

import pytest

from servingclient.errors import ConfigError
from servingclient.loadtest.guards import REFUSALS, Limits, broken_off
from servingclient.loadtest.series import Done, Second, Series, settled
from servingclient.loadtest.trust import ClientLoad, Trust, doubts

SOUND = ClientLoad(cpu_share=0.4, late_p99_s=0.002, lane_wait_p99_s=0.0, made=1000, due=1000)


def test_a_generator_with_room_is_trusted() -> None:
    assert doubts(SOUND, 0.05, Trust()) == ()
    assert doubts(SOUND, None, Trust()) == ()


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (ClientLoad(0.93, 0.002, 0.0, 1000, 1000), "93% of a core"),
        (ClientLoad(0.4, 0.25, 0.0, 1000, 1000), "250 ms late"),
        (ClientLoad(0.4, 0.002, 0.03, 1000, 1000), "30 ms inside the client, of 50 ms"),
        (ClientLoad(0.4, 0.002, 0.0, 900, 1000), "100 of 1,000 calls due"),
        (ClientLoad(0.4, 0.002, 0.0, 1000, 1000, refused=50), "50 of 1,000 calls due"),
    ],
)
def test_each_doubt_is_told_with_its_figure(load: ClientLoad, says: str) -> None:
    (doubt,) = doubts(load, 0.05, Trust())
    assert says in doubt


def test_several_doubts_are_all_told() -> None:
    assert len(doubts(ClientLoad(1.0, 1.0, 1.0, 10, 1000), 0.05, Trust())) == 4


# ---------------------------------------------------------------- broken off


@pytest.mark.parametrize("name", sorted(REFUSALS))
def test_refusals_end_a_test_at_the_fifth(name: str) -> None:
    assert broken_off(Limits(), 100, Counter({name: 4})) is None
    reason = broken_off(Limits(), 100, Counter({name: 5}))
    assert reason is not None
    assert name in reason


def test_a_first_call_that_is_refused_ends_it_at_once() -> None:
    assert broken_off(Limits(), 1, Counter({"AuthError": 1})) is not None


@pytest.mark.parametrize(
    ("errors", "says"),
    [
        ({"Throttled": 60}, "60% of the calls were answered 429"),
        ({"ServerError": 40, "ConnectionLost": 11}, "51% of the calls failed"),
        ({"Throttled": 50, "ServerError": 50}, None),
        ({}, None),
    ],
)
def test_shares_end_a_test(errors: dict[str, int], says: str | None) -> None:
    reason = broken_off(Limits(), 100, Counter(errors))
    assert reason == says


def test_few_calls_are_no_share() -> None:
    assert broken_off(Limits(), 49, Counter({"ServerError": 49})) is None


@pytest.mark.parametrize(
    "wrong", [{"max_throttled_share": 0.0}, {"max_error_share": 1.1}, {"max_calls": 0}]
)
def test_limits_that_cannot_be_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="Limits"):
        Limits(**wrong)  # type: ignore[arg-type]


# ---------------------------------------------------------------- second by second


def call(due_s: float, *, late: float = 0.0, took: float = 0.05, error: str | None = None) -> Done:
    return Done(due_s, due_s + late, due_s + late + took, error, 0.001)


def test_latency_counts_from_when_a_call_was_due() -> None:
    series = Series(goal_s=0.1)
    series.take([call(0.5), call(0.7, late=0.2), call(0.9, error="Throttled")])
    second = series.second(0)
    assert (second.calls, second.answered, second.good) == (3, 2, 1)
    assert second.latency.max == pytest.approx(0.25)
    assert second.raw.max == pytest.approx(0.05)
    assert second.late.max == pytest.approx(0.2)
    assert second.errors == Counter(Throttled=1)


def test_series_of_several_processes_add_up() -> None:
    one, other, both = Series(0.1), Series(0.1), Series(0.1)
    calls = [call(i / 7, took=i / 100) for i in range(40)]
    one.take(calls[::2])
    other.take(calls[1::2])
    both.take(calls)
    for second, part in other.seconds.items():
        one.add(second, part)
    for second, part in both.seconds.items():
        assert one.seconds[second].calls == part.calls
        assert one.seconds[second].latency.items() == part.latency.items()
    assert one.span(0, 6).good == both.span(0, 6).good
    assert one.span(1, 2).calls == 7


def test_a_second_travels() -> None:
    second = Second()
    second.take([call(0.1), call(0.2, error="ServerError")], 0.1)
    assert Second.decode(second.encode()) == second
    with pytest.raises(ValueError, match="no encoded second"):
        Second.decode([1, 2])


def window(rate: int, took: float) -> Second:
    made = Second()
    made.take([call(i / rate, took=took) for i in range(rate)], 1.0)
    return made


@pytest.mark.parametrize(
    ("windows", "at_rest"),
    [
        ([(100, 0.05)] * 3, True),
        ([(100, 0.05)] * 2, False),
        ([(50, 0.05), *[(100, 0.05)] * 3], True),
        ([(100, 0.05), (100, 0.05), (80, 0.05)], False),
        ([(100, 0.05), (100, 0.06), (100, 0.07)], False),
    ],
)
def test_a_trial_has_settled_when_three_windows_agree(
    windows: list[tuple[int, float]], at_rest: bool
) -> None:
    assert settled([window(*one) for one in windows], 1.0) is at_rest


def test_windows_without_an_answer_never_settle() -> None:
    assert not settled([Second(), Second(), Second()], 1.0)
