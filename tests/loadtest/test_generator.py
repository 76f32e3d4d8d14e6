"""Real load on the emulator: threads, processes, what ends a test early, and what it tells."""

from __future__ import annotations

import itertools
import math
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from servingclient.emulator import Emulator, faults
from servingclient.errors import BadRequest, ConfigError, ServingError
from servingclient.loadtest import (
    ClosedLoad,
    Goal,
    Knee,
    Limits,
    LoadGenerator,
    LoadTest,
    OpenLoad,
    Profile,
    RecordedLoad,
    Rules,
    State,
    Timetable,
    Trust,
    by_callers,
    report,
    run,
)
from servingclient.loadtest.load import Load
from servingclient.loadtest.punctual import Lateness
from servingclient.settings import Settings, Tls

ROWS = [[{"a": 1.0, "b": 2.0}], [{"a": 3.0, "b": 4.0}]]
EASILY = Trust(cpu_share=100.0, late_s=100.0, missing_share=1.0)
QUICK = Rules(goal=Goal(latency_s=1.0), times=Timetable(warmup_s=0, window_s=1))

Generating = Callable[..., LoadGenerator]


@pytest.fixture
def emu() -> Iterator[Emulator]:
    with Emulator() as emulator:
        yield emulator


@pytest.fixture
def generating(emu: Emulator) -> Generating:
    def make(endpoint: str = "demo", **changes: Any) -> LoadGenerator:
        settings = Settings(tls=Tls(ca_file=emu.ca_file))
        given: dict[str, Any] = {"inputs": ROWS, "rules": QUICK, "settings": settings}
        return LoadGenerator(endpoint, **given | {"host": emu.host, "token": emu.token} | changes)

    return make


def counted(emu: Emulator) -> int:
    """Requests to the model of trials: the very first wakes it."""
    return sum(1 for request in emu.requests if request.path.endswith("/invocations")) - 1


def test_every_call_due_is_made_once(emu: Emulator, generating: Generating) -> None:
    times = [i / 50 for i in range(40)]
    with generating() as generator:
        test = generator.run(RecordedLoad(times))
    (trial,) = test.trials
    assert (trial.calls, trial.errors, trial.stopped) == (40, {}, None)
    assert trial.asked_qps is None
    assert counted(emu) == 40


def test_two_processes_share_a_load(emu: Emulator, generating: Generating) -> None:
    load = OpenLoad(Profile.constant(40.0, 2.0), "constant")
    with generating(processes=2) as generator:
        (trial,) = generator.run(load).trials
    assert trial.calls == pytest.approx(80, abs=2)
    assert trial.asked_qps == pytest.approx(40.0)
    assert counted(emu) == trial.calls
    assert [point.second for point in trial.points] == [0, 1]


def test_closed_loops_for_a_table_over_callers(emu: Emulator, generating: Generating) -> None:
    emu.change_endpoint("demo", service_time_s=0.05)
    with generating() as generator:
        one, four = generator.run(*by_callers([1, 4], seconds=1.0)).trials
    assert (one.callers, four.callers) == (1, 4)
    assert one.asked_qps is None
    assert one.calls < four.calls


def test_a_loop_that_stands_still_is_doubted_in_a_closed_loop_too(
    generating: Generating, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its calls are due when they begin, so they are never late."""
    monkeypatch.setattr(Lateness, "p99_s", 0.05)
    trust = Trust(cpu_share=100.0, lane_wait_share=100.0)
    with generating(rules=QUICK._replace(trust=trust)) as generator:
        (trial,) = generator.run(ClosedLoad(1, 1.0)).trials
    (doubt,) = trial.doubts
    assert "the event loop was late: more than 50 ms" in doubt


def test_one_caller_is_one_however_many_processes_there_are(
    emu: Emulator, generating: Generating
) -> None:
    emu.change_endpoint("demo", slots=1, service_time_s=0.05)
    with generating(processes=2) as generator:
        (trial,) = generator.run(ClosedLoad(1, 1.0)).trials
    assert trial.latency.p50_s == pytest.approx(0.055, abs=0.035)  # two would wait for each other
    assert emu.connections["workspace"] >= 1


LONG = OpenLoad(Profile.constant(10.0, 60.0))


@pytest.mark.parametrize(
    ("load", "says"),
    [
        (OpenLoad(Profile.constant(10.0, 5.0)), r"lasts 5 s, .* at least 11 s"),
        (ClosedLoad(1, 10.5), r"lasts 10\.5 s, .* at least 11 s"),
        (RecordedLoad([0.0, 10.0001]), "at least 11 s"),
        (RecordedLoad([0.0, 9.0], 60.0), "0 calls would be due after the warm-up of 10 s"),
        (OpenLoad(Profile.constant(0.0, 60.0)), "0 calls would be due"),
        (OpenLoad(Profile.constant(0.01, 60.0)), r"0\.5 calls would be due"),
    ],
)
def test_what_would_measure_nothing_is_refused_before_anything_is_sent(
    emu: Emulator, generating: Generating, load: Load, says: str
) -> None:
    rules = QUICK._replace(times=Timetable(warmup_s=10))
    with generating(rules=rules) as generator, pytest.raises(ConfigError, match=says):
        generator.run(LONG, load)
    assert counted(emu) == 0
    with pytest.raises(ConfigError, match=says):
        run("demo", LONG, load, inputs=ROWS, rules=rules, host="https://nowhere.invalid")


@pytest.mark.parametrize(
    ("bounds", "seconds"), [((10.0, math.nan), 60.0), ((0.0, 9.0), 60.0), ((1.0, 9.0), 10.5)]
)
def test_a_search_that_cannot_be_is_refused_before_its_first_trial(
    emu: Emulator, generating: Generating, bounds: tuple[float, float], seconds: float
) -> None:
    rules = QUICK._replace(times=Timetable(warmup_s=10))
    with generating(rules=rules) as generator, pytest.raises(ConfigError):
        generator.find_knee(*bounds, seconds=seconds)
    assert counted(emu) == 0


def test_inputs_may_come_without_an_end(emu: Emulator, generating: Generating) -> None:
    with generating(inputs=itertools.repeat(ROWS[0])) as generator:
        (trial,) = generator.run(RecordedLoad([0.0, 0.1])).trials
    assert (trial.calls, trial.errors) == (2, {})


def test_an_endpoint_without_room_at_the_first_call_is_awake(
    emu: Emulator, generating: Generating
) -> None:
    emu.script("demo", faults.throttled())
    with generating() as generator:
        (trial,) = generator.run(RecordedLoad([0.0, 0.1])).trials
    assert (trial.calls, trial.errors) == (2, {})


def test_a_wrong_argument_of_predict_is_told_as_such(generating: Generating) -> None:
    with pytest.raises(ConfigError, match="No call could be made: TypeError"):
        generating(options={"no_such_argument": 1})


def test_a_trial_that_has_settled_ends(emu: Emulator, generating: Generating) -> None:
    # beside 50 ms what a busy machine adds is not a tenth
    emu.add_endpoint("steady", slots=100, service_time_s=0.05)
    load, states = OpenLoad(Profile.constant(100.0, 600.0), "constant"), list[State]()
    with generating("steady", shown=states.append) as generator:
        (trial,) = generator.run(load).trials
    assert trial.settled
    assert 3.0 <= trial.seconds < 60.0
    assert states
    assert states[-1].calls <= trial.calls + 200
    assert states[-1].load is load


def test_a_payload_the_model_refuses_is_told_before_any_load(
    emu: Emulator, generating: Generating
) -> None:
    emu.change_endpoint("demo", schema={"a": "double", "c": "double"})
    with pytest.raises(BadRequest, match="c"), generating():
        pass
    assert counted(emu) == 0


def test_refused_payloads_end_it_at_once(emu: Emulator, generating: Generating) -> None:
    with generating() as generator:
        emu.always("demo", faults.plain(400))
        test = generator.run(OpenLoad(Profile.constant(20.0, 60.0)), ClosedLoad(1, 60.0))
    (trial,) = test.trials
    assert trial.stopped is not None
    assert "BadRequest" in trial.stopped
    assert not test.met
    assert counted(emu) < 60


@pytest.mark.parametrize("load", [OpenLoad(Profile.constant(200.0, 60.0)), ClosedLoad(4, 60.0)])
@pytest.mark.parametrize("before", [0, 3])
def test_what_was_refused_is_told_by_its_input_and_the_models_words(
    emu: Emulator, generating: Generating, load: OpenLoad | ClosedLoad, before: int
) -> None:
    emu.change_endpoint("demo", poison=7.0)
    inputs = [[{"a": float(number), "b": 2.0}] for number in (1, 2, 3, 7, 5)]
    with generating(inputs=inputs) as generator:
        if before:  # inputs go on where the trial before ended
            generator.run(RecordedLoad([i / 10 for i in range(before)]))
        (trial,) = generator.run(load).trials
    assert trial.stopped is not None
    assert "refused (BadRequest); more would be too. The first was input 4 of 5: " in trial.stopped
    assert "refused the request (400)" in trial.stopped
    assert trial.errors["BadRequest"] >= 5


def test_a_process_stops_by_itself_when_enough_was_refused(
    emu: Emulator, generating: Generating
) -> None:
    """Nobody looks at the figures more than twice a second: by then it would have sent hundreds."""
    with generating() as generator:
        emu.always("demo", faults.plain(400))
        (trial,) = generator.run(ClosedLoad(8, 60.0)).trials
    assert trial.stopped is not None
    assert counted(emu) <= 5 + 8


def test_a_trial_that_is_broken_off_while_its_last_calls_end_is_told(
    emu: Emulator, generating: Generating
) -> None:
    rules = QUICK._replace(limits=Limits(min_calls=5))
    with generating(rules=rules) as generator:
        emu.script("demo", *[faults.plain(500)] * 5, faults.slow(2.0))
        (trial,) = generator.run(RecordedLoad([i / 100 for i in range(6)])).trials
    assert trial.stopped == "100% of the last 5 calls failed"
    assert (trial.calls, trial.errors) == (6, {"ServerError": 5})


def test_the_number_of_calls_is_bounded(emu: Emulator, generating: Generating) -> None:
    rules = QUICK._replace(limits=Limits(max_calls=100))
    with generating(rules=rules) as generator:
        (trial,) = generator.run(OpenLoad(Profile.constant(100.0, 600.0))).trials
    assert trial.stopped == "100 calls were made, which is the limit"
    assert counted(emu) == 100


def test_a_search_ends_where_its_calls_are_used_up(emu: Emulator, generating: Generating) -> None:
    emu.change_endpoint("demo", service_time_s=0.05)
    rules = QUICK._replace(limits=Limits(max_calls=80), trust=EASILY)
    with generating(rules=rules) as generator:
        test = generator.find_knee(20.0, 500.0, trials=6, seconds=1.5)
    assert test.knee is not None
    assert (test.knee.missed_qps, test.met) == (None, False)
    assert test.knee.qps == 20.0
    assert [trial.inconclusive for trial in test.trials] == [False, True]
    assert test.stopped == "32 calls/s, poisson: 80 calls were made, which is the limit"
    assert report.headline(test) == (
        "The search for the knee of 'demo' was broken off. 32 calls/s, poisson: 80 calls were "
        "made, which is the limit. Until then it met the goal up to 20 calls/s: 99 % of the calls "
        "within 1 s."
    )
    assert LoadTest.from_json(test.to_json()) == test


def test_a_search_ends_where_calls_are_refused(emu: Emulator, generating: Generating) -> None:
    def refuse(state: State) -> None:
        if state.load.name.startswith("20 calls/s"):
            emu.always("demo", faults.plain(400))

    rules = QUICK._replace(trust=EASILY)
    with generating(rules=rules, shown=refuse) as generator:
        test = generator.find_knee(20.0, 500.0, trials=6, seconds=3.0)
    assert test.knee == Knee(0.0, None, 0)
    assert len(test.trials) == 1
    assert "BadRequest" in (test.stopped or "")


def test_an_endpoint_that_throttles_at_a_rate_has_missed_the_goal_there(
    emu: Emulator, generating: Generating
) -> None:
    def throttle(state: State) -> None:
        if state.load.name.startswith("80 calls/s"):
            emu.always("demo", faults.throttled())

    rules = QUICK._replace(trust=EASILY)
    with generating(rules=rules, shown=throttle) as generator:
        test = generator.find_knee(80.0, 80.0, trials=1, seconds=10.0)
    assert test.knee == Knee(0.0, 80.0, 1, (0,))
    assert test.stopped is None
    assert "answered 429" in (test.trials[0].stopped or "")


def test_a_limit_holds_for_slow_answers_and_all_processes(
    emu: Emulator, generating: Generating
) -> None:
    emu.change_endpoint("demo", service_time_s=0.6)
    rules = QUICK._replace(limits=Limits(max_calls=51))
    with generating(rules=rules, processes=2) as generator:
        generator.run(OpenLoad(Profile.constant(400.0, 2.0), "constant"), ClosedLoad(3, 2.0))
    assert counted(emu) == 51


def test_an_endpoint_that_sleeps_is_woken_first(emu: Emulator, generating: Generating) -> None:
    emu.change_endpoint("demo", cold_start_s=1.5, cold_start="refuse")
    with generating(timeout_s=0.5) as generator:
        (trial,) = generator.run(RecordedLoad([0.0, 0.1])).trials
    assert (trial.calls, trial.errors) == (2, {})


def test_calls_under_way_do_not_hold_up_who_leaves(emu: Emulator, generating: Generating) -> None:
    def enough(state: State) -> None:
        raise KeyboardInterrupt

    generator = generating(shown=enough)
    emu.change_endpoint("demo", service_time_s=60.0)
    began_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt), generator:
        generator.run(OpenLoad(Profile.constant(50.0, 60.0)))
    assert time.monotonic() - began_s < 10.0
    assert not [t for t in threading.enumerate() if t.name == "servingclient-load"]


def test_a_killed_process_is_told_and_leaves_none_behind(
    emu: Emulator, generating: Generating
) -> None:
    def kill(state: State) -> None:
        if alive := multiprocessing.active_children():
            alive[0].kill()

    with (
        pytest.raises(ServingError, match="ended unexpectedly"),
        generating(processes=2, shown=kill) as generator,
    ):
        generator.run(OpenLoad(Profile.constant(50.0, 60.0)))
    assert multiprocessing.active_children() == []


def test_what_came_to_its_end_before_a_process_died_is_not_lost(
    emu: Emulator, generating: Generating
) -> None:
    first, second = RecordedLoad([0.0, 0.5]), OpenLoad(Profile.constant(50.0, 60.0))

    def kill(state: State) -> None:
        if state.load is second and (alive := multiprocessing.active_children()):
            alive[0].kill()

    with generating(processes=2, shown=kill) as generator:
        test = generator.run(first, second, first)
    assert [trial.calls for trial in test.trials] == [2]
    assert (test.stopped or "").startswith("50 calls/s, poisson: A process of the load test ended")
    assert not test.met
    assert "The load test of 'demo' was broken off. 50 calls/s" in report.text(test)
    assert multiprocessing.active_children() == []


def test_a_search_tells_what_it_found_before_a_process_died(
    emu: Emulator, generating: Generating
) -> None:
    def kill(state: State) -> None:
        if state.load.name.startswith("32 calls/s") and multiprocessing.active_children():
            multiprocessing.active_children()[0].kill()

    rules = QUICK._replace(trust=EASILY)
    with generating(rules=rules, processes=2, shown=kill) as generator:
        test = generator.find_knee(20.0, 500.0, seconds=3.0)
    assert test.knee == Knee(20.0, None, 1, (0,))
    assert [len(test.trials), test.unloaded is not None, test.met] == [1, True, False]
    assert (test.stopped or "").startswith("32 calls/s, poisson: A process of the load test ended")


def test_a_trace_shared_by_more_processes_than_calls(emu: Emulator, generating: Generating) -> None:
    with generating(processes=2) as generator:
        one, three = generator.run(RecordedLoad([0.0]), RecordedLoad([0.0, 1.0, 2.0])).trials
    assert (one.calls, one.seconds, one.settled) == (1, 1.0, None)
    assert (three.calls, three.seconds) == (3, 2.0)


def test_an_endpoint_that_refuses_the_credential_says_so(generating: Generating) -> None:
    with (
        pytest.raises(ServingError, match="client_secret"),
        generating("demo-fast", client_id="nobody", client_secret="wrong", token=None),
    ):
        pass


def test_a_result_travels_as_json(generating: Generating) -> None:
    with generating() as generator:
        test = generator.find_knee(50.0, 60.0, trials=1, seconds=1.0)
    assert test.knee is not None
    assert test.unloaded is not None
    assert LoadTest.from_json(test.to_json()) == test
    assert test.recommended(20.0).needed.busy_slots > 0.0
    with pytest.raises(ConfigError, match="no result of a load test"):
        LoadTest.from_json("{}")


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"inputs": []}, "at least one input"),
        ({"timeout_s": 0}, "timeout_s above 0"),
        ({"in_flight": 0}, "one call in flight"),
        ({"processes": 0}, "processes is 0"),
    ],
)
def test_arguments_that_cannot_be_are_refused(
    generating: Generating, wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(ConfigError, match=says):
        generating(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"warmup_s": -1}, {"window_s": 0}, {"warmup_s": 0.5}, {"window_s": 1.5}]
)
def test_a_timetable_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(
        ConfigError, match=r"Timetable\.\w+ (must be a whole number|is .* at least)"
    ):
        Timetable(**wrong)


def test_a_test_without_a_load_is_refused(emu: Emulator) -> None:
    settings = Settings(tls=Tls(ca_file=emu.ca_file))
    with pytest.raises(ConfigError, match="at least one load"):
        run("demo", inputs=ROWS, host=emu.host, token=emu.token, settings=settings)
