"""The concurrency limit over any order of windows, refusals and tidings: always within bounds."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from servingclient.policies.concurrency import Limiter, Window
from servingclient.settings import Concurrency
from tests.trials import machine

MOST = 32


class LimiterMachine(RuleBasedStateMachine):
    """An endpoint that is quick, slow, silent or full, and sometimes says how large it is."""

    @initialize(
        adaptive=st.sampled_from([True, True, True, False]),
        initial=st.none() | st.integers(1, 64),
        least=st.integers(1, 4),
        most=st.sampled_from([1, 3, MOST]),
    )
    def begin(self, adaptive: bool, initial: int | None, least: int, most: int) -> None:
        self.rules = Concurrency(adaptive=adaptive, initial_calls=initial, min_calls=least)
        self.limiter = Limiter(self.rules, most)
        self.most = most
        self.least = min(least, most) if adaptive else 1
        self.start = self.limiter.calls
        self.now_s = 0.0
        self.throttles = 0

    @rule(
        reply_s=st.sampled_from([0.001, 0.01, 0.5, 30.0]),
        silent=st.sampled_from([0.0, 0.0, 0.1, 0.9, 1.0]),
        busy=st.sampled_from([0.1, 0.5, 1.0]),
        waited=st.booleans(),
    )
    def window(self, reply_s: float, silent: float, busy: float, waited: bool) -> None:
        calls = self.limiter.window_calls
        unanswered = round(calls * silent)
        answered = calls - unanswered
        answered_s = answered * reply_s
        under_way = max(1, round(self.limiter.calls * busy))
        self.now_s += 1.0 + reply_s
        before = self.limiter.calls
        self.limiter.learn(
            Window(
                calls,
                answered_s + unanswered * 5.0,
                answered,
                answered_s,
                under_way,
                waited or 2 * under_way >= self.limiter.calls,
            ),
            self.now_s,
        )
        if 2 * answered < calls and self.rules.adaptive:
            assert self.limiter.calls <= before, "nobody answers, and more are sent"
        recent = self.limiter.recent
        assert recent.held_s >= 0.0
        assert recent.turn_s >= 0.0
        assert self.now_s < recent.until_s < math.inf

    @rule(under_way=st.integers(1, MOST), after_s=st.sampled_from([0.0, 0.05, 10.0]))
    def no_room(self, under_way: int, after_s: float) -> None:
        self.now_s += after_s
        before = self.limiter.calls
        self.limiter.throttled(min(under_way, before), self.now_s)
        self.throttles += 1
        assert self.limiter.calls <= before, "there is no room, and more are sent"

    @rule(calls=st.none() | st.sampled_from([1, 4, 64, 1000]))
    def told(self, calls: int | None) -> None:
        before = self.limiter.calls
        self.limiter.provisioned(calls)
        if calls is None or self.rules.initial_calls is not None:
            assert self.limiter.calls == before

    @invariant()
    def within_bounds(self) -> None:
        limiter = self.limiter
        assert self.least <= limiter.calls <= self.most
        assert limiter.window_calls >= 10
        assert limiter.throttles == self.throttles
        if not self.rules.adaptive:
            assert limiter.calls == self.start


TestLimiterMachine = LimiterMachine.TestCase
TestLimiterMachine.settings = machine(60, 30)
