"""The breaker against a slow and plain one, over any order of events (R8)."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, rule

from servingclient.policies.breaker import SLICES, Breaker, Pass
from servingclient.settings import Breaker as Rules
from tests.trials import machine

RULES = Rules(
    window_s=10.0,
    min_calls=4,
    failure_ratio=0.5,
    open_s=2.0,
    max_open_s=9.0,
    probe_calls=2,
    probe_lease_s=3.0,
)


class Plain:
    """What the breaker should be: it keeps all that happened, and counts anew each time."""

    def __init__(self) -> None:
        self.opened_s: float | None = None
        self.rounds = 0
        self.calls: list[tuple[float, bool]] = []
        self.born: dict[Pass, float] = {}
        self.ended: set[Pass] = set()
        self.good = 0
        self.spared = 0

    def state(self, now_s: float) -> str:
        if self.opened_s is None:
            return "closed"
        return "open" if now_s < self.until_s() else "half_open"

    def until_s(self) -> float:
        assert self.opened_s is not None
        return self.opened_s + min(RULES.open_s * 2**self.rounds, RULES.max_open_s)

    def held(self, now_s: float) -> int:
        """Probes whose place is taken."""
        return sum(
            one not in self.ended and now_s < at_s + RULES.probe_lease_s
            for one, at_s in self.born.items()
        )

    def lets_through(self, now_s: float) -> bool:
        if self.state(now_s) == "half_open":
            return self.held(now_s) + self.good < RULES.probe_calls
        return self.opened_s is None

    def ends(self, leave: Pass, now_s: float, *, ok: bool) -> None:
        """A call of the present generation got its verdict."""
        if not leave.probe:
            self.calls.append((now_s, ok))
            self._judge(now_s)
        elif ok:
            self.ended.add(leave)
            self.good += 1
            if self.good == RULES.probe_calls:
                self._turn(None)
        else:
            self.rounds += 1
            self._turn(now_s)

    def gives_up(self, leave: Pass, now_s: float) -> None:
        """A probe of the present generation was cancelled."""
        if self.spared < RULES.probe_calls and now_s < self.born[leave] + RULES.probe_lease_s:
            self.ended.add(leave)
            self.spared += 1

    def _judge(self, now_s: float) -> None:
        width_s = RULES.window_s / SLICES
        first = math.floor(now_s / width_s) - SLICES + 1
        recent = [ok for at_s, ok in self.calls if math.floor(at_s / width_s) >= first]
        run = [ok for _, ok in self.calls[-RULES.min_calls :]]
        share = len(recent) >= RULES.min_calls and 2 * recent.count(False) >= len(recent)
        if not self.calls[-1][1] and (share or (len(run) == RULES.min_calls and not any(run))):
            self.rounds = 0
            self._turn(now_s)

    def _turn(self, opened_s: float | None) -> None:
        self.opened_s = opened_s
        self.calls.clear()
        self.born.clear()
        self.ended.clear()
        self.good = self.spared = 0


class BreakerMachine(RuleBasedStateMachine):
    """Calls start, end well or badly, are cancelled or forgotten, and the clock moves on."""

    passes: Bundle[tuple[Pass, int]] = Bundle("passes")

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(RULES)
        self.plain = Plain()
        self.now_s = 0.0
        self.turns = 0
        self.refused = 0
        self.starts: list[float] = []

    @rule(seconds=st.sampled_from([0.0, 0.25, 1.0, 2.0, 3.0, 4.0, 9.0, 30.0]))
    def advance(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(target=passes, calls=st.integers(1, 8))
    def admit(self, calls: int):
        made = []
        for _ in range(calls):
            expected = self.plain.lets_through(self.now_s)
            assert (self.breaker.retry_after_s(self.now_s) == 0.0) == expected
            leave = self.breaker.admit(self.now_s)
            assert (leave is not None) == expected
            if leave is None:
                self.refused += 1
                continue
            assert leave.probe == (self.plain.opened_s is not None)
            if leave.probe:
                assert leave not in self.plain.born
                self.plain.born[leave] = self.now_s
            made.append((leave, self.turns))
        return multiple(*made)

    @rule(call=consumes(passes), ok=st.booleans())
    def settle(self, call: tuple[Pass, int], ok: bool) -> None:
        self._settle(call, ok=ok)

    def _settle(self, call: tuple[Pass, int], *, ok: bool) -> None:
        leave, turn = call
        before = self.plain.opened_s, self.plain.rounds
        self.breaker.settle(leave, ok, self.now_s)
        if turn == self.turns:
            self.plain.ends(leave, self.now_s, ok=ok)
            self.turns += before != (self.plain.opened_s, self.plain.rounds)

    @rule(call=consumes(passes))
    def release(self, call: tuple[Pass, int]) -> None:
        leave, turn = call
        self.breaker.release(leave, self.now_s)
        if leave.probe and turn == self.turns:
            self.plain.gives_up(leave, self.now_s)

    @rule()
    def force_open(self) -> None:
        while (leave := self.breaker.admit(self.now_s)) is not None:
            if leave.probe:
                self.plain.born[leave] = self.now_s
            self._settle((leave, self.turns), ok=False)
        self.refused += 1
        assert self.breaker.state(self.now_s) != "closed"

    @rule()
    def force_closed(self) -> None:
        """An API that is well is used again, whatever else is under way."""
        self.now_s += self.breaker.retry_after_s(self.now_s)
        for _ in range(RULES.probe_calls):
            self.now_s += self.breaker.retry_after_s(self.now_s)
            if self.plain.opened_s is None:
                break
            leave = self.breaker.admit(self.now_s)
            assert leave is not None
            self.plain.born[leave] = self.now_s
            self._settle((leave, self.turns), ok=True)
        assert self.breaker.state(self.now_s) == "closed"

    @invariant()
    def it_stands_as_it_should(self) -> None:
        assert self.breaker.state(self.now_s) == self.plain.state(self.now_s)
        assert self.breaker.refused == self.refused

    @invariant()
    def never_more_probes_than_places(self) -> None:
        assert self.plain.held(self.now_s) <= RULES.probe_calls
        assert len(self.breaker._leases) <= RULES.probe_calls

    @invariant()
    def nobody_is_shut_out_for_ever(self) -> None:
        longest_s = max(RULES.max_open_s, RULES.probe_lease_s)
        assert 0.0 <= self.breaker.retry_after_s(self.now_s) <= longest_s


# 500 of 50 steps (R8) take 4 s, and five times that where the machine is busy
TestBreakerMachine = pytest.mark.timeout(60)(BreakerMachine.TestCase)
TestBreakerMachine.settings = machine(500, 50, suppress_health_check=[HealthCheck.too_slow])
