"""The retry quota among calls that overlap: what one takes only its own success gives back (R1)."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    rule,
)

from servingclient.policies.quota import Quota
from servingclient.policies.retry import FIRST_TRY, Action, Progress, settle
from servingclient.settings import Retry
from tests.policies.cases import SLOW, ask, reply
from tests.trials import machine

FAILURES = {
    "500": reply(500),
    "429": reply(429),
    "no reply": SLOW,
}


class QuotaMachine(RuleBasedStateMachine):
    """Calls that begin, fail, are advised, succeed or leave, on one bucket."""

    calls: Bundle[Progress] = Bundle("calls")

    @initialize(
        tokens=st.sampled_from([1, 14, 30, 500]),
        cost=st.sampled_from([0, 5, 14]),
        credit=st.sampled_from([0, 1, 3]),
        attempts=st.integers(1, 5),
    )
    def begin(self, tokens: int, cost: int, credit: int, attempts: int) -> None:
        self.rules = Retry(
            max_attempts=attempts,
            quota_capacity=tokens,
            retry_cost=cost,
            success_credit=credit,
            retry_read_timeout=True,
        )
        self.quota = Quota(tokens)
        self.left = tokens
        self.taken = self.put = 0

    @rule(target=calls)
    def call(self) -> Progress:
        return FIRST_TRY

    @rule(target=calls, call=consumes(calls), how=st.sampled_from(sorted(FAILURES)))
    def fails(self, call: Progress, how: str) -> object:
        advice = ask(FAILURES[how], call, settings=self.rules, quota=self.quota)
        cost = self.rules.throttled_cost if how == "429" else self.rules.retry_cost
        if call.tries >= self.rules.max_attempts:
            assert (advice.action, advice.stopped_by) == (Action.STOP, "attempts")
        elif self.left < cost:
            assert (advice.action, advice.stopped_by) == (Action.STOP, "quota")
        else:
            assert (advice.action, advice.cost) == (Action.WAIT_AND_SEND, cost)
            self.left -= cost
            self.taken += cost
            return call.after(advice)
        return multiple()  # it is over, and gives nothing back

    @rule(call=consumes(calls))
    def succeeds(self, call: Progress) -> None:
        settle(call, self.quota, self.rules)
        back = self.rules.success_credit if call.tries == 1 else call.last_cost
        self.put += min(back, self.rules.quota_capacity - self.left)
        self.left = min(self.left + back, self.rules.quota_capacity)

    @rule(call=consumes(calls))
    def leaves(self, call: Progress) -> None:
        """Cancelled: it says nothing."""

    @invariant()
    def the_books_agree(self) -> None:
        assert self.quota.available == self.left
        assert 0 <= self.left <= self.rules.quota_capacity
        assert self.left == self.rules.quota_capacity - self.taken + self.put


TestQuotaMachine = QuotaMachine.TestCase
TestQuotaMachine.settings = machine(60, 40)
