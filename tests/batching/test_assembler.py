"""Who waits and who goes, by table and by simulation: no clock, no lock, no loop."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import QueueFull
from servingclient.batching.assembler import Assembler, Departure
from servingclient.batching.company import Key, Member, Slot
from servingclient.payload.body import Body
from servingclient.settings import Batching

STORY: Any = None  # it only hands it on


class Full:
    """A gate."""

    def __init__(self, room: bool = True) -> None:
        self.room = room


FULL: Any = Full(room=False)


def key(name: str = "") -> Key:
    return (name.encode(), b"", None, True, (0, 0))


def member(rows: int = 1, size: int = 9, at_s: float = 0.0, ends_s: float = 30.0) -> Member[Any]:
    text = b"x" * size
    return Member(Body(text, rows, True), text, at_s, at_s, ends_s)


def assembler(
    max_waiting: int = 1000, slots: int = 1, busy: int = 0, **limits: Any
) -> Assembler[Any]:
    made: Assembler[Any] = Assembler(Batching(**limits), max_waiting, slots)
    made.busy = busy
    return made


def joined(
    made: Assembler[Any], *members: Member[Any], name: str = "", priority: int = 1
) -> list[Departure[Any]]:
    """What departs when these line up one after the other."""
    departures = [made.join(key(name), STORY, priority, one) for one in members]
    return [one for one in departures if one is not None]


# -- alone -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("busy", "waiting", "room", "starts"),
    [
        (0, 0, True, True),
        (1, 0, True, True),
        (2, 0, True, False),
        (3, 0, True, False),  # those that departed beyond the slots count
        (0, 0, False, False),
        (1, 1, True, False),  # others are first
    ],
)
def test_a_call_goes_at_once_when_nothing_holds_it(
    busy: int, waiting: int, room: bool, starts: bool
) -> None:
    made = assembler(slots=2, busy=busy)
    made.waiting = waiting
    assert made.start_alone(Slot(), 1, Full(room)) is starts  # type: ignore[arg-type]
    assert made.busy == busy + starts


def test_calls_that_go_alone_are_counted_with_their_rows() -> None:
    made = assembler(slots=4)
    for rows in (2, 3):
        made.start_alone(Slot(), rows, Full(room=True))  # type: ignore[arg-type]
    assert (made.stats().calls, made.stats().rows) == (2, 5)


# -- what departs ----------------------------------------------------------------------------------


def test_a_free_slot_is_taken_once() -> None:
    # the request that is coming will take the others too: no second one for them
    made = assembler(slots=4)
    departures = joined(made, *(member() for _ in range(5)))
    assert [one.reason for one in departures] == ["slot"]
    assert made.busy == 1
    assert len(made.board(departures[0], FULL)) == 5
    assert made.waiting == 0


@pytest.mark.parametrize(
    ("rows", "reasons"),
    [
        ([1, 1, 1], []),
        ([1, 1, 1, 1], ["rows"]),
        ([3, 3], ["rows"]),
        ([1] * 8, ["rows", "rows"]),
        ([1] * 7, ["rows"]),
        ([3, 3, 3], ["rows", "rows"]),
    ],
)
def test_complete_company_departs_without_a_slot(rows: list[int], reasons: list[str]) -> None:
    made = assembler(busy=1, max_batch_rows=4)
    assert [one.reason for one in joined(made, *map(member, rows))] == reasons


def test_bytes_complete_company_too_and_the_envelope_counts() -> None:
    made = assembler(busy=1, max_batch_bytes=100)
    members = [member(size=23) for _ in range(4)]
    assert joined(made, *members[:3], name="h" * 20) == []
    (departure,) = joined(made, members[3], name="h" * 20)
    assert departure.reason == "bytes"
    # with the head of 20 bytes, four of 23 and their commas would be more than 100
    assert len(made.board(departure, FULL)) == 3


@pytest.mark.parametrize(
    ("waiting", "slots", "busy", "room", "aboard"),
    [
        ([1] * 9, 3, 1, True, 3),
        ([1] * 9, 3, 1, False, 9),  # no place for another request
        ([1] * 9, 3, 3, True, 9),
        ([1] * 9, 3, 5, True, 9),
        ([1] * 10, 3, 1, True, 4),
        ([1, 1], 8, 1, True, 1),
        ([5, 1, 1], 3, 1, True, 1),  # the first has more than a third by itself
        ([2, 2, 2], 2, 1, True, 2),
        ([1] * 40, 2, 1, True, 16),
    ],
)
def test_free_slots_get_their_share(
    waiting: list[int], slots: int, busy: int, room: bool, aboard: int
) -> None:
    made = assembler(slots=slots, busy=99, max_batch_rows=16)
    coming = joined(made, *map(member, waiting))
    for departure in coming:
        made.call_off(departure)
    made.busy = busy - 1
    departure = made.next() or made.overdue(1.0)[0]
    made.busy = busy
    assert len(made.board(departure, Full(room))) == aboard  # type: ignore[arg-type]


def test_nobody_overtakes_an_older_one_that_does_not_fit() -> None:
    made = assembler(busy=1, max_batch_rows=4)
    members = [member(3), member(3), member(1)]
    (first, *_) = joined(made, *members)
    assert made.board(first, FULL) == members[:1]


def test_what_is_left_over_departs_with_the_next_slot() -> None:
    made = assembler(busy=1, max_batch_rows=4)
    members = [member(3), member(3), member(1)]
    first, *_ = joined(made, *members)
    made.board(first, FULL)
    made.ended()
    departure = made.next()
    assert departure is None, "the request that departed beyond the slot holds it"
    made.ended()
    departure = made.next()
    assert departure is not None
    assert departure.reason == "slot"
    assert made.board(departure, FULL) == members[1:]


def test_no_request_departs_for_those_whom_one_is_coming_for() -> None:
    made = assembler(slots=2, busy=2)
    joined(made, member())
    made.ended()
    assert made.next() is not None
    made.ended()
    assert made.next() is None


def test_the_urgent_first_then_in_turn() -> None:
    made = assembler(busy=1, max_batch_rows=2)
    for name, priority in (("a", 1), ("b", 1), ("late", 2), ("urgent", 0)):
        joined(made, member(), name=name, priority=priority)
    order = []
    for _ in range(4):
        made.ended()
        departure = made.next()
        assert departure is not None
        order.append(departure.group.terms.head)
        made.board(departure, FULL)
    assert order == [b"urgent", b"a", b"b", b"late"]


def test_groups_take_turns() -> None:
    # R7: a tenant with ten times the calls does not make the other wait for all of them
    made = assembler(slots=1, busy=1, max_batch_rows=4, max_wait_s=99.0)
    many = [member() for _ in range(11)]
    coming = joined(made, *many, name="many")
    joined(made, member(), name="one")
    for departure in coming:  # two complete batches; three calls are left over
        made.board(departure, FULL)
        made.ended()
    more = joined(made, *(member() for _ in range(4)), name="many")
    for departure in more:
        made.board(departure, FULL)
        made.ended()
    made.ended()
    following = made.next()
    assert following is not None
    assert following.group.terms.head == b"one", "though the others have waited longer"


def test_who_has_waited_long_enough_departs_whatever_is_busy() -> None:
    made = assembler(busy=3, max_wait_s=0.005)
    joined(made, member(at_s=1.0), member(at_s=1.004))
    joined(made, member(at_s=1.003), name="other")
    assert made.due_s == 1.005
    assert made.overdue(1.004) == []
    (departure,) = made.overdue(1.005)
    assert departure.reason == "wait"
    assert made.overdue(1.005) == [], "one is coming for them"
    assert made.due_s == pytest.approx(1.008), "the other group"
    assert len(made.board(departure, FULL)) == 2
    assert [one.group.terms.head for one in made.overdue(2.0)] == [b"other"]
    assert made.due_s == math.inf


def test_a_request_called_off_leaves_its_group_to_the_next() -> None:
    made = assembler(slots=1, max_wait_s=0.005)
    (departure,) = joined(made, member(at_s=1.0))
    made.call_off(departure)
    made.ended()
    assert made.due_s == 1.005
    again = made.next()
    assert again is not None
    assert len(made.board(again, FULL)) == 1


def test_who_leaves_makes_room() -> None:
    made = assembler(busy=1, max_waiting=2)
    one, other = member(), member()
    joined(made, one, other)
    with pytest.raises(QueueFull, match="2 calls"):
        joined(made, member())
    made.leave(one)
    joined(made, member())
    assert made.waiting == 2
    made.leave(other)
    (left,) = made.clear()
    assert left.group is None
    assert not any(made._ranks), "no empty group is kept"


def test_a_leader_is_aboard_its_own_request_and_no_other() -> None:
    made = assembler(busy=1, max_batch_rows=2)
    members = [member() for _ in range(4)]
    first, second = joined(made, *members)
    members[3].work, members[0].work = [], []
    assert made.board(second, FULL, leader=members[3]) == [members[1], members[3]]
    assert made.board(first, FULL, leader=members[0]) == [members[0], members[2]]


def test_who_has_more_time_than_the_leader_stays() -> None:
    made = assembler(busy=1)
    members = [member(ends_s=10.0), member(ends_s=99.0), member(ends_s=10.05)]
    joined(made, *members)
    made.ended()
    departure = made.next()
    assert departure is not None
    aboard = made.board(departure, FULL, leader=members[0], latest_s=10.1)
    assert aboard == [members[0], members[2]]
    assert made.waiting == 1


def test_a_slot_is_given_back_once_however_often_it_is_tried() -> None:
    made, slot, other = assembler(slots=2), Slot(), Slot()
    assert not made.given_back(slot), "it has none yet"
    assert made.start_alone(slot, 1, Full())  # type: ignore[arg-type]
    assert made.start_alone(other, 1, Full())  # type: ignore[arg-type]
    assert made.given_back(slot)
    assert not made.given_back(slot)
    assert made.busy == 1


def test_figures_are_made_anew_from_who_stands_where() -> None:
    made = assembler(max_batch_rows=4, max_batch_bytes=100)
    assert made.start_alone(Slot(), 1, Full())  # type: ignore[arg-type]
    joined(made, member(1), member(2))
    joined(made, member(2), name="left")
    group, deserted = made.groups()
    deserted.members.clear()
    group.rows, group.size, made.waiting, made.busy = 9, 99, -1, 7
    made.recount([group], 2)
    assert (group.rows, group.size) == (3, 20)
    assert (made.waiting, made.busy) == (2, 3)
    assert (group.coming, group.enough_rows, group.enough_bytes) == (1, 8, 200)
    assert list(made.groups()) == [group], "nobody stands in the other, and none comes for it"


def test_those_that_went_alone_stay_counted_when_figures_are_made_anew() -> None:
    made = assembler(slots=3)
    slots = [Slot() for _ in range(3)]
    assert all(made.start_alone(slot, 1, Full()) for slot in slots)  # type: ignore[arg-type]
    made.recount([], 1)
    assert made.busy == 4
    assert made.given_back(slots[1])
    made.recount([], 0)
    assert made.busy == 2


def test_who_goes_aboard_has_its_batch() -> None:
    made = assembler(slots=0, max_batch_rows=2)
    members = [member(), member()]
    (departure,) = joined(made, *members)
    batch: Any = SimpleNamespace()
    assert made.board(departure, FULL, batch) == members == batch.members
    assert [one.batch for one in members] == [batch, batch]


def test_figures_count_requests_by_reason_and_size() -> None:
    made = assembler(slots=1, max_batch_rows=8)
    assert made.start_alone(Slot(), 1, Full())  # type: ignore[arg-type]
    made.passed(100)
    members = [member(3), member(2)]
    joined(made, *members)
    made.ended()
    departure = made.next()
    assert departure is not None
    made.board(departure, FULL)
    made.parted(members[:1])
    stats = made.stats()
    assert (stats.calls, stats.rows, stats.batches, stats.waiting) == (4, 106, 4, 0)
    assert stats.releases == {"idle": 1, "alone": 1, "slot": 1, "part": 1}
    assert stats.batch_rows == {1: 1, 4: 1, 8: 1, 128: 1}


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(0, 2)), min_size=1, max_size=60
    ),
    st.integers(1, 3),
)
def test_everybody_goes_once_and_the_oldest_first(
    calls: list[tuple[int, int, int]], slots: int
) -> None:
    made = assembler(slots=slots, max_batch_rows=4, max_batch_bytes=100)
    coming: list[Departure[Any]] = []
    asked: dict[int, list[Member[Any]]] = {0: [], 1: [], 2: []}
    gone: dict[int, list[Member[Any]]] = {0: [], 1: [], 2: []}

    def go() -> None:
        departure = coming.pop(0)
        name = int(departure.group.terms.head)
        aboard = made.board(departure, FULL)
        assert sum(one.count for one in aboard) <= 4
        assert sum(len(one.rows) + 1 for one in aboard) + 1 <= 100
        gone[name] += aboard
        made.ended()
        following = made.next()
        coming.extend([following] if following is not None else [])

    for rows, size, name in calls:
        one = member(rows, size)
        asked[name].append(one)
        coming += joined(made, one, name=str(name))
        if len(coming) > slots:
            go()
    while coming:
        go()
    assert gone == asked
    assert (made.busy, made.waiting) == (0, 0)


# -- B4: no starving -------------------------------------------------------------------------------


@dataclass
class Simulation:
    """Calls that come at random to a model with so many slots; all in simulated time."""

    made: Assembler[Any]
    slots: int = 4
    now_s: float = 0.0
    free: int = 4
    waits_s: dict[str, list[float]] = field(default_factory=dict)
    events: list[tuple[float, int, Any]] = field(default_factory=list)
    queue: list[Departure[Any]] = field(default_factory=list)
    order: Any = field(default_factory=itertools.count)

    def arrive(self, name: str, per_s: float, until_s: float, chance: random.Random) -> None:
        at_s = 0.0
        while (at_s := at_s + chance.expovariate(per_s)) < until_s:
            heapq.heappush(self.events, (at_s, next(self.order), name))
        self.waits_s[name] = []

    def run(self) -> None:
        while self.events or self.made.due_s < math.inf:
            due_s = self.made.due_s
            if not self.events or due_s < self.events[0][0]:
                self.now_s = max(self.now_s, due_s)
                self.queue += self.made.overdue(self.now_s)
            else:
                self.now_s, _, what = heapq.heappop(self.events)
                self.call(what) if isinstance(what, str) else self.leave(what)
            while self.queue and self.free:
                self.send(self.queue.pop(0))

    def call(self, name: str) -> None:
        if self.made.start_alone(Slot(), 1, Full(self.free > 0)):  # type: ignore[arg-type]
            self.waits_s[name].append(0.0)
            self.serve(1)
        else:
            self.queue += joined(self.made, member(at_s=self.now_s), name=name)

    def send(self, departure: Departure[Any]) -> None:
        aboard = self.made.board(departure, FULL)
        name = departure.group.terms.head.decode()
        self.waits_s[name] += [self.now_s - one.encoded_s for one in aboard]
        self.serve(len(aboard))

    def serve(self, rows: int) -> None:
        self.free -= 1
        done_s = self.now_s + 0.005 + 0.00005 * rows
        heapq.heappush(self.events, (done_s, next(self.order), self))

    def leave(self, _: object) -> None:
        self.free += 1
        self.made.ended()
        following = self.made.next()
        self.queue += [following] if following is not None else []


def simulated(seed: int, **per_s: float) -> Simulation:
    """One second of calls to 4 slots of 5 ms and 0.05 ms a row: 64 rows a request, 31,220/s."""
    chance = random.Random(seed)
    simulation = Simulation(assembler(slots=4, max_waiting=100_000, max_wait_s=0.005))
    for name, rate in per_s.items():
        simulation.arrive(name, rate, 1.0, chance)
    simulation.run()
    return simulation


def share(values: list[float], quantile: float) -> float:
    return sorted(values)[int(quantile * (len(values) - 1))]


@pytest.mark.parametrize("seed", range(3))
def test_B4_at_80_percent_load_nobody_waits_three_times_the_median(seed: int) -> None:
    waits_s = simulated(seed, a=0.8 * 31_220).waits_s["a"]
    assert len(waits_s) > 20_000
    assert share(waits_s, 0.99) <= 3 * share(waits_s, 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_R7_a_tenant_with_ten_times_the_calls_does_not_starve_the_other(seed: int) -> None:
    minor = 2_000.0
    alone = share(simulated(seed, minor=minor).waits_s["minor"], 0.99)
    beside = share(simulated(seed, minor=minor, major=10 * minor).waits_s["minor"], 0.99)
    assert beside <= 3 * alone
