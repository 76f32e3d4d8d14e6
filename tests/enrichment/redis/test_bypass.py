"""When Redis is left alone and when somebody looks, with a clock that is told and no socket."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient import _step
from servingclient.enrichment.redis_asking import Asking
from servingclient.enrichment.redis_bypass import Bypass
from servingclient.enrichment.redis_links import Command, LinkFault, Refused

BUDGET_S = 0.05
READ: tuple[Command, ...] = (("MGET", "k"),)


class World:
    """Links whose answers are told, and time that passes only while they are waited for."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.fault: LinkFault | None = None
        self.replies: list[Any] = []
        self.asked: list[Sequence[Command]] = []
        self.waiting: list[Callable[[], Awaitable[None]]] = []
        self.asking = Asking(
            self,
            budget_s=BUDGET_S,
            probe_key="probe",
            max_value_bytes=100,
            guard=nullcontext(),
            now=lambda: self.now_s,
        )

    async def run(self, commands: Sequence[Command], deadline_s: float) -> list[Any]:
        self.asked.append(commands)
        if self.fault is not None:
            if self.fault.late:
                self.now_s = max(self.now_s, deadline_s)
            raise self.fault
        return self.replies or [[None] if one[0] == "MGET" else 1 for one in commands]

    def behind(self, work: Callable[[], Awaitable[None]]) -> None:
        self.waiting.append(work)

    async def aclose(self) -> None:
        pass

    def ask(self, left_s: float = 60.0) -> float:
        """Look something up; the seconds it took."""
        before_s = self.now_s
        until = self.asking.until(self.now_s + left_s)
        _step.run(self.asking.ask(READ, until, reads=["k"]))
        return self.now_s - before_s

    def behind_now(self) -> int:
        """Run what waits to be run behind the callers, in time of its own."""
        waiting, self.waiting = self.waiting, []
        now_s = self.now_s
        for work in waiting:
            _step.run(work())  # type: ignore[arg-type]
        self.now_s = now_s
        return len(waiting)


LATE, LOST = LinkFault("no reply in time", late=True), LinkFault("ConnectionError")


def test_c5_silent_for_a_minute_one_call_pays_and_probes_become_rare() -> None:
    world = World()
    world.fault = LATE
    took_s, probes = [], []
    while world.now_s < 160:
        took_s.append(world.ask())
        world.now_s += 0.01
        if world.behind_now():
            probes.append(world.now_s)
    assert len(took_s) > 5000
    assert sum(took_s) == pytest.approx(BUDGET_S)
    gaps_s = [later - earlier for earlier, later in itertools.pairwise(probes)]
    assert gaps_s == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10, 10, 10], abs=0.08)
    world.fault = None
    world.now_s += 10
    world.ask()
    world.behind_now()
    assert not world.asking.bypassed


def test_three_quick_failures_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "servingclient")
    world = World()
    for fault in (LOST, LOST, None, LOST, LOST):
        world.fault = fault
        world.ask()
        assert not world.asking.bypassed
    world.ask()
    assert world.asking.bypassed
    world.fault = None
    world.now_s += 1
    world.ask()
    world.behind_now()
    assert [record.getMessage() for record in caplog.records] == [
        "redis_bypassed reason=ConnectionError",
        "redis_back",
    ]


def test_a_caller_with_little_time_says_little() -> None:
    world = World()
    world.fault = LATE
    for _ in range(2):
        assert world.ask(left_s=0.01) == pytest.approx(0.01)
        assert not world.asking.bypassed
    world.ask(left_s=0.01)
    assert world.asking.bypassed, "three of them say something"


def test_a_refused_look_up_counts_and_a_refused_write_does_not() -> None:
    world = World()
    world.replies = [Refused("OOM")]
    for _ in range(10):
        until = world.asking.until(world.now_s + 60)
        assert _step.run(world.asking.ask([("SET", "k", 1)], until)) == [Refused("OOM")]
    assert not world.asking.bypassed
    for _ in range(3):
        world.ask()
    assert world.asking.bypassed


def test_what_is_written_says_nothing_of_refused_look_ups(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    for _ in range(3):
        world.replies = [b"OK"]
        until = world.asking.until(world.now_s + 60)
        assert _step.run(world.asking.ask([("SET", "lease", 1)], until)) == [b"OK"]
        world.replies = [Refused("NOPERM")]
        world.ask()
    assert world.asking.bypassed
    assert "redis_bypassed reason=NOPERM" in caplog.text


def test_what_a_caller_waits_for_in_turn_has_one_budget() -> None:
    world = World()
    since_s = world.now_s
    world.ask()
    world.now_s += BUDGET_S * 0.9
    world.fault = LATE
    until = world.asking.until(world.now_s + 60, since_s)
    assert _step.run(world.asking.ask([("SET", "lease", 1)], until)) is None
    assert world.now_s - since_s == pytest.approx(BUDGET_S)
    assert world.asking.bypassed, "it was slow, if only in sum"


def test_what_finds_the_budget_spent_is_not_sent() -> None:
    world = World()
    until = world.asking.until(world.now_s + 60, world.now_s - BUDGET_S)
    assert _step.run(world.asking.ask([("SET", "lease", 1)], until)) is None
    assert not world.asked
    assert world.asking.bypassed
    hurried = World()
    until = hurried.asking.until(hurried.now_s)
    assert _step.run(hurried.asking.ask([("SET", "lease", 1)], until)) is None
    assert not hurried.asked
    assert not hurried.asking.bypassed, "its caller had no time"


def test_a_closed_cache_tells_nothing_of_redis(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    _step.run(world.asking.aclose())
    world.asking.owe([("UNLINK", "k")], otherwise=[])
    world.fault = LATE
    world.ask()
    assert not caplog.records


def test_those_under_way_when_it_is_left_are_counted_once() -> None:
    bypass = Bypass(nullcontext())
    passes = [bypass.admit() for _ in range(64)]
    assert bypass.failed(passes[0] or 0, 1.0, late=True)
    assert not any(bypass.failed(one or 0, 1.0, late=True) for one in passes[1:])
    assert bypass.probe_due(1.1)
    assert not bypass.probe_due(1.2), "one looks, not each"
    bypass.probed(1.3, ok=True)
    for one in passes:
        bypass.failed(one or 0, 1.3, late=True)
    assert not bypass.bypassed, "they were asked before it came back"


def test_one_that_answers_probes_and_nobody_else_delays_ever_fewer() -> None:
    world = World()
    delayed = 0
    while world.now_s < 160:
        world.fault = LATE
        delayed += world.ask() > 0
        world.now_s += 0.01
        world.fault = None
        world.behind_now()
    assert delayed <= 12


def test_a_probe_that_is_lost_is_made_again() -> None:
    world = World()
    world.fault = LATE
    world.ask()
    world.now_s += 1
    world.ask()
    world.waiting.clear()  # say the process forked
    world.now_s += 4.9
    world.ask()
    assert not world.waiting
    world.now_s += 0.2
    world.ask()
    assert world.waiting


def test_invalidations_are_delivered_before_it_is_used() -> None:
    world = World()
    first: list[Command] = [("SET", "t", b"1")]
    world.asking.owe(first, otherwise=[])
    assert world.asking.bypassed
    world.asking.owe([("HSET", "g", "p", b"2")], otherwise=[])
    world.now_s += 1
    world.ask()
    world.replies = [1, Refused("NOPERM"), [None]]
    world.behind_now()
    assert world.asking.bypassed
    world.replies = []
    world.now_s += 10
    world.ask()
    world.behind_now()
    assert world.asked[-1] == [*first, ("HSET", "g", "p", b"2"), ("MGET", "probe")]
    assert not world.asking.bypassed
    world.ask()
    assert world.asked[-1] == READ


def test_too_many_invalidations_become_one_of_everything() -> None:
    world = World()
    for number in range(1001):
        world.asking.owe([("UNLINK", f"k{number}")], otherwise=[("EVERYTHING",)])
    world.now_s += 1
    world.ask()
    world.behind_now()
    assert world.asked[-1] == [("EVERYTHING",), ("MGET", "probe")]


def test_a_value_that_made_a_look_up_late_is_removed() -> None:
    world = World()
    world.fault = LATE
    until = world.asking.until(world.now_s + 60)
    _step.run(world.asking.ask(READ, until, reads=["small", "huge"]))
    world.fault = None
    world.now_s += 1
    world.ask()
    world.replies = [[None], 100, 101]
    world.behind_now()
    assert world.asked[-2] == [("MGET", "probe"), ("STRLEN", "small"), ("STRLEN", "huge")]
    assert world.asked[-1] == [("UNLINK", "huge")]


@given(st.lists(st.sampled_from(["ok", "lost", "late", "tick", "probe ok", "probe bad"])))
def test_whatever_happens_it_can_come_back(events: list[str]) -> None:
    bypass, now_s = Bypass(nullcontext()), 0.0
    for event in events:
        generation = bypass.admit()
        assert (generation is None) == bypass.bypassed
        if event == "tick":
            now_s += 0.3
        elif event.startswith("probe"):
            if bypass.probe_due(now_s):
                bypass.probed(now_s, ok=event == "probe ok")
        elif generation is not None and event == "ok":
            bypass.succeeded(generation)
        elif generation is not None:
            bypass.failed(generation, now_s, late=event == "late")
            assert bypass.bypassed or event != "late"
    assert not bypass.bypassed or bypass.probe_due(now_s + 10.1)
