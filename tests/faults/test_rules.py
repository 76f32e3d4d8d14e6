"""Who gets which toxics, and when."""

from __future__ import annotations

import math

from tests.faults.rules import (
    Moment,
    always,
    both,
    changing,
    connections,
    every,
    every_connection,
    nothing,
    phases,
    share,
    share_of_requests,
)
from tests.faults.toxics import FinAfter, Latency

SLOW = Latency(1.0)
START = Moment(0, None, 0.0)


def test_always_and_nothing() -> None:
    assert always(SLOW)(START) == (SLOW,)
    assert nothing(START) == ()


def test_connections_by_number() -> None:
    rule = connections(1, 3, toxics=(SLOW,))
    assert [n for n in range(5) if rule(Moment(n, 7, 0.0))] == [1, 3]


def test_every_nth_connection() -> None:
    rule = every_connection(4, SLOW)
    assert [n for n in range(10) if rule(Moment(n, 0, 0.0))] == [3, 7]


def test_every_nth_request() -> None:
    rule = every(4, SLOW)
    assert [n for n in range(10) if rule(Moment(0, n, 0.0))] == [3, 7]
    assert rule(START) == ()


def test_a_share_is_drawn_by_seed_and_number_alone() -> None:
    drawn = [n for n in range(2000) if share(0.1, SLOW, seed=1)(Moment(n, None, 0.0))]
    again = [n for n in range(2000) if share(0.1, SLOW, seed=1)(Moment(n, 5, 9.0))]
    other = [n for n in range(2000) if share(0.1, SLOW, seed=2)(Moment(n, None, 0.0))]
    assert drawn == again != other
    assert 150 <= len(drawn) <= 250


def test_a_share_of_requests() -> None:
    rule = share_of_requests(0.05, SLOW)
    assert 60 <= sum(bool(rule(Moment(0, n, 0.0))) for n in range(2000)) <= 140
    assert rule(START) == ()


def test_phases_follow_each_other_and_each_has_a_clock_of_its_own() -> None:
    rule = phases((10.0, nothing), (5.0, changing(lambda at_s: (Latency(at_s),))))
    told = [rule(Moment(0, None, at_s)) for at_s in (0.0, 9.9, 10.0, 14.0, 15.0)]
    assert told == [(), (), (Latency(0.0),), (Latency(4.0),), ()]
    assert phases((math.inf, always(SLOW)))(Moment(0, None, 1e9)) == (SLOW,)


def test_both_in_their_order() -> None:
    rule = both(always(FinAfter(2)), share(1.0, SLOW))
    assert rule(START) == (FinAfter(2), SLOW)
