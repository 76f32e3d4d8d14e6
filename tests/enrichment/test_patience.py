"""How long an API is waited for, and what giving up says of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import CircuitOpen, DeadlineExceeded, ServingError, Throttled
from servingclient._types import FaultKind
from servingclient.enrichment.keyed import keyed
from servingclient.enrichment.patience import Patience
from servingclient.settings import Breaker, Retry
from tests.enrichment.world import DOWN, Answer, Breaks, FakeApi, quiet

Make = Callable[..., FakeApi]
ONCE = Retry(max_attempts=1)
LONG_STALE_S = 130.0  # past the time in which a value is given out without asking


@pytest.fixture(params=[False, True], ids=["sync", "async"])
def made(request: pytest.FixtureRequest) -> Make:
    """Makes a client of a scripted API in one colour."""

    def make(script: Any = Answer(), **options: Any) -> FakeApi:  # noqa: B008 - it is frozen
        return FakeApi(script, suspends=request.param, **options)

    return make


# -- what a time-out says ------------------------------------------------------------------------


@given(st.lists(st.floats(0.001, 10.0), max_size=30), st.floats(0.1, 5.0))
def test_enough_is_twice_the_mean_and_bounded(replies_s: list[float], longest_s: float) -> None:
    patience = Patience(longest_s)
    for took_s in replies_s:
        patience.replied(took_s)
    assert patience.enough_s <= longest_s
    if replies_s:
        assert patience.enough_s <= 2.0 * max(replies_s) * 1.0001
        assert patience.enough_s >= min(longest_s, 2.0 * min(replies_s)) * 0.9999


def test_the_newest_replies_count_most() -> None:
    patience = Patience(60.0)
    patience.replied(0.05)
    for _ in range(40):
        patience.replied(1.0)
    assert patience.enough_s == pytest.approx(2.0, rel=0.02)


@pytest.mark.parametrize("known", [False, True])
def test_callers_with_little_time_close_an_api_that_works_to_nobody(
    made: Make, known: bool
) -> None:
    api = made(Answer(takes_s=0.05), settings=quiet(retry=ONCE))
    if known:
        api.get(id=0)
    for one in range(1, 60):
        with pytest.raises(DeadlineExceeded):
            api.get(id=one, timeout=0.01)
    assert api.stats.breaker == "closed"
    assert api.get(id=99).source == "origin"
    assert api.stats.error_rate > 0.9, "callers did get no answer"


@pytest.mark.parametrize("timeout", [0.2, 5.0])
def test_an_api_that_hangs_is_left_alone(made: Make, timeout: float) -> None:
    hangs = [False]
    api = made(lambda *_: Answer(takes_s=60.0 if hangs[0] else 0.05), settings=quiet(retry=ONCE))
    api.get(id=0)
    hangs[0] = True
    for one in range(1, 21):
        with pytest.raises((DeadlineExceeded, CircuitOpen)):
            api.get(id=one, timeout=timeout)
    assert api.stats.breaker != "closed"


def test_an_api_that_hangs_from_the_start_is_left_alone(made: Make) -> None:
    api = made(Answer(takes_s=60.0), settings=quiet(retry=ONCE))
    for one in range(20):
        with pytest.raises(DeadlineExceeded):
            api.get(id=one, timeout=0.2)
    assert api.stats.breaker == "open"


def test_a_probe_with_little_time_decides_nothing(made: Make) -> None:
    steps: list[Answer | Breaks] = [Answer(takes_s=0.05), DOWN, Answer(takes_s=0.05)]
    rules = quiet(retry=ONCE, breaker=Breaker(min_calls=2, open_s=5.0, probe_calls=2))
    api = made(steps, settings=rules)
    api.get(id=0)
    with pytest.raises(ServingError):
        api.get(id=1)
    assert api.stats.breaker == "open"
    api.pass_time(5.1)
    with pytest.raises(DeadlineExceeded):
        api.get(id=3, timeout=0.01)
    assert api.stats.breaker == "half_open"
    assert {api.get(id=one).source for one in (4, 5)} == {"origin"}
    assert api.stats.breaker == "closed"


# -- with something past its time at hand --------------------------------------------------------


@pytest.mark.parametrize("failure", [Answer(500), Answer(503), DOWN, Breaks()])
def test_the_old_value_is_given_out_after_one_failure(made: Make, failure: Any) -> None:
    api = made([Answer(value=1), failure, Answer(value=2)])
    api.get()
    api.pass_time(LONG_STALE_S)
    began_s = api.now()
    assert api.get()[::2] == (1, "stale")
    assert (len(api.sends), api.slept) == (2, [])
    assert api.now() - began_s <= 0.1
    assert api.work_behind() == 1, "the others tries are made behind the callers"
    assert api.get()[::2] == (2, "fresh")


def test_behind_the_callers_all_tries_are_made(made: Make) -> None:
    api = made([Answer(value=1), Answer(500)])
    api.get()
    api.pass_time(LONG_STALE_S)
    api.get()
    api.work_behind()
    assert len(api.sends) == 1 + 1 + 3


def test_a_pause_is_not_waited_out(made: Make) -> None:
    api = made(
        [Answer(value=1), Answer(429, headers={"Retry-After": "2"}), Answer(value=2)],
        settings=quiet(retry=ONCE),
    )
    api.get(id=7)
    api.pass_time(LONG_STALE_S)
    with pytest.raises(Throttled):
        api.get(id=8)
    began_s = api.now()
    assert api.get(id=7).source == "stale"
    assert (api.now(), api.slept) == (began_s, [])
    assert api.work_behind() == 1
    assert sum(api.slept) == pytest.approx(2.0, abs=0.1)
    assert api.get(id=7).value == 2


def test_an_api_that_hangs_is_not_waited_for_to_the_end(made: Make) -> None:
    api = made([Answer(value=1), Answer(takes_s=60.0)])
    api.get()
    api.pass_time(LONG_STALE_S)
    began_s = api.now()
    assert api.get().source == "stale"
    assert api.now() - began_s == pytest.approx(1.0)


def test_an_api_that_always_takes_long_is_waited_for(made: Make) -> None:
    api = made([Answer(value=1, takes_s=1.5), Answer(value=2, takes_s=1.5)])
    api.get()
    api.pass_time(LONG_STALE_S)
    assert api.get()[::2] == (2, "origin")


def test_a_connection_that_died_idle_is_no_failure(made: Make) -> None:
    stale = Breaks(FaultKind.STALE, takes_s=0.0)
    api = made([Answer(value=1), stale, Answer(value=2)])
    api.get()
    api.pass_time(LONG_STALE_S)
    assert api.get()[::2] == (2, "origin")


def test_without_an_old_value_it_is_tried_again(made: Make) -> None:
    api = made([Answer(500), Answer(value=2)])
    assert api.get().value == 2
    gone = made([Answer(value=1), Answer(500), Answer(value=2)])
    gone.get()
    gone.pass_time(60.0 + 3600.0 + 1.0)
    assert gone.get()[::2] == (2, "origin"), "too old to be given out"


def test_while_the_api_is_left_alone_nothing_is_tried_behind(made: Make) -> None:
    rules = quiet(breaker=Breaker(min_calls=2, open_s=60.0), retry=ONCE)
    api = made([Answer(value=1), DOWN], settings=rules)
    api.get(id=7)
    api.pass_time(LONG_STALE_S)
    for one in (1, 2):
        with pytest.raises(ServingError):
            api.get(id=one)
    assert api.get(id=7).source == "stale"
    assert api.behind == []


def test_a_part_of_a_loader_is_tried_again_unless_all_of_it_is_at_hand(made: Make) -> None:
    records = [{"id": "1"}, {"id": "2"}]
    steps = [Answer(value=records), Answer(500), Answer(500), Answer(value=records)]
    api = made(steps)

    def load(*keys: str) -> list[str]:
        wanted = keyed(
            api.api,
            "/users",
            {},
            param="ids",
            body=None,
            key=lambda r: r["id"],
            records=None,
            max_keys=9,
            label="",
            ttl=60.0,
            tags=(),
        )
        asked = [wanted.asked(key) for key in keys]
        return [
            one.source for one in api.run(api.api.lookup.many(wanted.source, asked, 5.0, most=1))
        ]

    assert load("1") == ["origin"]
    api.pass_time(LONG_STALE_S)
    assert load("1") == ["stale"]
    assert len(api.sends) == 2
    api.behind.clear()
    assert load("1", "2") == ["origin", "origin"]
    assert len(api.sends) == 4
