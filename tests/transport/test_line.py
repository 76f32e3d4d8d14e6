"""Whose turn it is, whatever the order of coming and going."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from servingclient.transport.line import RANKS, Line
from tests.points import Points


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 100), st.integers(0, 50), st.booleans()),
        max_size=60,
    )
)
def test_all_who_lined_up_get_their_turn_once(arrivals: list[tuple[int, float, int, bool]]):
    line: Line[int] = Line()
    for number, (rank, deadline_s, size, again) in enumerate(arrivals):
        before = [(one[0], not one[3]) for one in arrivals[:number]]
        assert line.ahead(rank, again=again) == sum(one <= (rank, not again) for one in before)
        line.add(number, rank, deadline_s, size, again=again)
    assert line.size_bytes == sum(size for _, _, size, _ in arrivals)
    order = [line.pop() for _ in arrivals]
    assert sorted(order) == [(n, one[1]) for n, one in enumerate(arrivals)]
    for rank, again in itertools.product(range(RANKS), (True, False)):
        alike = [n for n, _ in order if (arrivals[n][0], arrivals[n][3]) == (rank, again)]
        assert alike == sorted(alike), "first in, first out"
    assert (line.count, line.size_bytes) == (0, 0)


def test_who_comes_again_goes_first_seven_times_of_eight():
    line: Line[str] = Line()
    for name in ("a", "b"):
        line.add(name, 1, 1.0, 0)
    for name in "mnopqrstu":
        line.add(name, 1, 1.0, 0, again=True)
    order = [turn for turn, _ in iter(line.pop, None)]
    assert order == list("mnopqrsatub")


@given(st.lists(st.integers(0, 2), min_size=1, max_size=60), st.data())
def test_who_waits_longest_is_passed_over_seven_times_at_most(
    ranks: list[int], data: st.DataObject
):
    line: Line[int] = Line()
    for number, rank in enumerate(ranks):
        line.add(number, rank, 1.0, 0)
    turns = []
    for turn in range(8):
        rank, again = data.draw(st.integers(0, 2)), data.draw(st.booleans())
        line.add(len(ranks) + turn, rank, 1.0, 0, again=again)
        turns.append(line.pop()[0])
    assert 0 in turns


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=40), st.integers(0, 9))
def test_those_whose_time_is_up_are_taken_out(waiting: list[tuple[int, int]], now_s: int):
    line: Line[int] = Line()
    for number, (rank, deadline_s) in enumerate(waiting):
        line.add(number, rank, float(deadline_s), 1)
    late = line.late(float(now_s))
    assert sorted(late) == [n for n, (_, deadline_s) in enumerate(waiting) if deadline_s <= now_s]
    assert line.count == line.size_bytes == len(waiting) - len(late)
    if line.count:
        assert line.nearest_deadline_s() > now_s


def test_who_leaves_is_gone():
    line: Line[str] = Line()
    line.add("a", 1, 1.0, 10)
    line.add("b", 1, 1.0, 20)
    assert line.discard("a")
    assert not line.discard("a")
    assert (line.count, line.size_bytes, line.ahead(1)) == (1, 20, 1)
    assert line.clear() == ["b"]
    assert (line.count, line.size_bytes) == (0, 0)


def test_who_is_sent_away_while_the_eighth_turn_is_chosen_has_no_turn():
    number = 0
    while True:
        number += 1
        line: Line[str] = Line()
        for turn in range(7):
            line.add(str(turn), 1, 1.0, 1)
            line.pop()
        line.add("a", 1, 1.0, 1)
        line.add("b", 2, 1.0, 1)
        gone: list[str] = []
        popped: list[tuple[str, float] | None] = []
        points = Points(number, act=lambda: gone.extend(line.clear()), within="transport/line")  # noqa: B023
        points.during(lambda: popped.append(line.pop()))  # noqa: B023
        had = [one[0] for one in popped if one is not None]
        rest = line.clear()
        assert sorted(had + gone + rest) == ["a", "b"], points.struck
        assert (line.count, line.size_bytes) == (0, 0), points.struck
        if not points.struck:
            break
    assert number > 3
