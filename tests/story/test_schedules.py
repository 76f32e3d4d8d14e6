"""Any schedule of faults, waits and times: what must hold always."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servingclient import DeadlineExceeded, Prediction, ServingError
from servingclient._types import FaultKind
from tests.story.world import (
    BUSY,
    START_S,
    TOKEN_401,
    TOKEN_403,
    Answer,
    Breaks,
    FakeWorld,
    Step,
    refused,
    with_retry,
)

times = st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0, 3.0, 9.99, math.inf])
hints = st.sampled_from(["0", "1", "2", "7", "59", "3600", "nan", "-1"])

# a wire reports TIMEOUT at the deadline only, which the world does by itself
kinds = st.sampled_from([kind for kind in FaultKind if kind is not FaultKind.TIMEOUT])

steps: st.SearchStrategy[Step] = st.one_of(
    st.builds(Answer, takes_s=times),
    st.builds(Breaks, kinds, st.sampled_from(["no", "maybe", "yes"]), times),
    st.sampled_from([BUSY, TOKEN_401, TOKEN_403]),
    st.builds(
        lambda status, takes_s: refused(status, "X", takes_s=takes_s),
        st.sampled_from([400, 403, 404, 408, 500, 502, 503, 504]),
        times,
    ),
    st.builds(
        lambda status, hint: refused(status, "X", headers=(("retry-after", hint),)),
        st.sampled_from([429, 503]),
        hints,
    ),
)

worlds = st.fixed_dictionaries(
    {
        "suspends": st.booleans(),
        "steps": st.lists(steps, min_size=1, max_size=9),
        "rand": st.floats(0.0, 1.0, exclude_max=True),
        "queue_s": st.lists(times, max_size=5),
        "token_s": st.none() | times,
        "renewable": st.booleans(),
        "movable": st.integers(0, 3),
        "route_optimized": st.booleans(),
        "settings": st.builds(
            with_retry,
            max_attempts=st.integers(1, 6),
            retry_read_timeout=st.booleans(),
            quota_capacity=st.sampled_from([1, 14, 30, 500]),
        ),
    }
)
timeouts = st.sampled_from([0.01, 0.5, 3.0, 10.0, 120.0])


def outcome(world: FakeWorld, **options: Any) -> Prediction | ServingError:
    """Exactly one of the two; anything else is raised and fails the test."""
    try:
        return world.predict(**options)
    except ServingError as error:
        return error


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(worlds, timeouts, st.booleans())
def test_R6_no_schedule_breaks_a_call(
    script: dict[str, Any], timeout_s: float, idempotent: bool
) -> None:
    world = FakeWorld(**script)
    result = outcome(world, timeout_s=timeout_s, idempotent=idempotent)
    deadline_s = START_S + timeout_s

    assert world.now_s <= deadline_s + 1e-6, "it ended after its deadline"
    assert world.inside == 0, "a place stayed taken"
    # three resends are free: stale, token, moved
    most = script["settings"].retry.max_attempts + 3
    assert len(world.sends) <= most
    assert len(result.attempts) <= most
    assert len(world.ended) == 1, "one call has one end"
    assert 0 <= world.quota.available <= script["settings"].retry.quota_capacity
    assert all(0.0 < slept < timeout_s for slept in world.slept)
    for sent in world.sends:
        assert sent.deadline_s == pytest.approx(deadline_s)
        assert sent.at_s < deadline_s

    if isinstance(result, Prediction):
        assert world.ended[0].error is None
        assert result.timing.total_s == pytest.approx(world.now_s - START_S)
        assert result.timing.backoff_s == pytest.approx(sum(world.slept))
        assert [a.status for a in result.attempts][-1] == 200
    else:
        assert world.ended[0].error == type(result).__name__
        assert result.elapsed_s == pytest.approx(world.now_s - START_S)
        assert (result.stopped_by == "deadline") == isinstance(result, DeadlineExceeded)
        assert result.stopped_by in {None, "attempts", "quota", "retry_after", "deadline"}
    if not idempotent:
        assert world.may_have_run <= 1, "R3: it may have run twice"
    total = sum(a.wait_s + a.duration_s for a in result.attempts)
    waited = world.now_s - START_S
    assert total <= waited + 1e-6, "times of the tries overlap"


@settings(max_examples=150, deadline=None)
@given(worlds, timeouts)
def test_streams_hold_the_same(script: dict[str, Any], timeout_s: float) -> None:
    world = FakeWorld(**script)
    try:
        opened = world.run(world.opening(timeout_s=timeout_s))
    except ServingError:
        assert world.now_s <= START_S + timeout_s + 1e-6
    else:
        assert world.inside == 1
        world.run(opened.aclose())
    assert (world.inside, world.open_streams) == (0, 0)
    assert len(world.ended) == 1


@settings(max_examples=200, deadline=None)
@given(st.lists(steps, min_size=1, max_size=9), st.booleans())
def test_both_colours_tell_the_same_story(script: list[Step], idempotent: bool) -> None:
    def told(suspends: bool) -> tuple[Any, ...]:
        world = FakeWorld(suspends, steps=script)
        result = outcome(world, idempotent=idempotent)
        return type(result), str(result), result.attempts, world.events, world.now_s, world.sends

    assert told(False)[2:] == told(True)[2:]
