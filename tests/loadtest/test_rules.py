"""When a result is not trusted, when a test is broken off, when it has come to rest."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.errors import ConfigError
from servingclient.loadtest import Goal, OpenLoad, Phase, Profile, Timetable, Trial
from servingclient.loadtest.guards import REFUSALS, Ends, Limits, failing, refused
from servingclient.loadtest.load import Load
from servingclient.loadtest.series import Done, Second, Series, settled
from servingclient.loadtest.trial import judged
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
        (
            ClientLoad(0.4, 0.00004, 0.0, 1000, 1000, loop_late_p99_s=0.05),
            "the event loop was late: more than 50 ms in 1 % of the time (limit 10 ms)",
        ),
        (ClientLoad(0.4, 0.25, 0.0, 1000, 1000, loop_late_p99_s=0.25), "250 ms late"),
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
    assert refused(Limits(), 100, Counter({name: 4})) is None
    reason = refused(Limits(), 100, Counter({name: 5}))
    assert reason is not None
    assert name in reason


def test_refusals_are_told_with_the_first_where_it_is_known() -> None:
    errors = Counter(BadRequest=5)
    assert (
        refused(Limits(), 22, errors)
        == "5 of 22 calls were refused (BadRequest); more would be too"
    )
    told = refused(Limits(), 22, errors, "input 4 of 5: column 'a' holds 7")
    assert told is not None
    assert told.endswith("more would be too. The first was input 4 of 5: column 'a' holds 7")


def test_a_first_call_that_is_refused_ends_it_at_once() -> None:
    assert refused(Limits(), 1, Counter({"AuthError": 1})) is not None


@pytest.mark.parametrize(
    ("errors", "says"),
    [
        ({"Throttled": 60}, "60% of the last 100 calls were answered 429"),
        ({"ServerError": 40, "ConnectionLost": 11}, "51% of the last 100 calls failed"),
        ({"Throttled": 50, "ServerError": 50}, None),
        ({}, None),
    ],
)
def test_shares_end_a_test(errors: dict[str, int], says: str | None) -> None:
    reason = failing(Limits(), 100, Counter(errors))
    assert reason == says


def test_few_calls_are_no_share() -> None:
    assert failing(Limits(), 49, Counter({"ServerError": 49})) is None


def ended(*seconds: tuple[int, int, int]) -> Ends:
    """Of triples: at which second, how many calls, how many of them throttled."""
    ends = Ends()
    for at, calls, throttled in seconds:
        ends.take(at + 0.5, calls, Counter(Throttled=throttled))
    return ends


def test_a_good_half_minute_hides_no_bad_seconds() -> None:
    good = [(at, 100, 0) for at in range(30)]
    bad = [(at, 100, 100) for at in range(30, 33)]
    least = Limits().min_calls
    assert failing(Limits(), *ended(*good, *bad[:2]).last(60.0, least)) is None
    told = failing(Limits(), *ended(*good, *bad).last(60.0, least))
    assert told == "60% of the last 500 calls were answered 429"


def test_where_calls_are_few_more_seconds_are_looked_at() -> None:
    few = ended(*[(at, 6, 6) for at in range(20)])
    assert few.last(60.0, 50) == (54, Counter(Throttled=54))
    assert few.last(60.0, 10) == (30, Counter(Throttled=30))
    assert (few.calls, few.errors) == (120, Counter(Throttled=120))


def test_what_ends_when_none_is_begun_any_more_does_not_count() -> None:
    """The slow calls are left then, and a time-out is the slowest."""
    ends = ended(*[(at, 20, 0) for at in range(10)], (35, 60, 60))
    assert ends.last(11.0, 50) == (100, Counter())
    assert ends.last(60.0, 50) == (60, Counter(Throttled=60))


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


# ---------------------------------------------------------------- what is measured


def measured(load: Load, lasted_s: float, warmup_s: int, per_s: int = 10) -> Trial:
    """What is made of calls that began at a constant rate."""
    series = Series(0.1)
    series.take(call(i / per_s) for i in range(round(per_s * lasted_s)))
    times = Timetable(warmup_s=warmup_s, window_s=1)
    return judged(load, series, [SOUND], Goal(), times, Trust(), lasted_s=lasted_s)


@pytest.mark.parametrize(
    ("profile", "lasted_s"),
    [
        (Profile.steps([10.0, 10.0], 10.0), 20.0),
        (Profile.spike(10.0, 10.0, 20.0), 20.0),
        (Profile((Phase(10.0, 10.0, 10.0), Phase(20.0, 10.0, 90.0))), 10.0),
        (Profile((Phase(12.3, 10.0, 10.0), Phase(20.0, 10.0, 90.0))), 12.3),
    ],
)
def test_a_flat_rate_is_shown_as_asked_for_however_a_load_ends(
    profile: Profile, lasted_s: float
) -> None:
    trial = measured(OpenLoad(profile), lasted_s, 5)
    assert (trial.from_s, trial.seconds) == (5, pytest.approx(lasted_s - 5))
    assert trial.asked_qps == pytest.approx(10.0)
    assert trial.answered_qps == pytest.approx(10.0)


@given(st.floats(0.05, 40.0), st.integers(0, 20), st.booleans())
def test_less_than_a_second_is_measured_of_no_trial_that_lasted_longer(
    lasted_s: float, warmup_s: int, steady: bool
) -> None:
    profile = Profile.constant(10.0, 40.0) if steady else Profile.ramp(5.0, 15.0, 40.0)
    trial = measured(OpenLoad(profile), lasted_s, warmup_s)
    assert trial.seconds >= min(1.0, lasted_s)
    assert trial.from_s == (warmup_s if lasted_s >= warmup_s + 1 else 0)
