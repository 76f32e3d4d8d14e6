"""gRPC's retry throttling by its own example (A6), beside this quota.

A6: a failure takes one token of ten, a success gives a tenth back, and retries are made while more
than half of the tokens are left. Counted in tenths, the quota that allows the same is of 40 at 10 a
retry. It differs in one thing on purpose: a retry is paid whole before it is made, so one success
does not buy the next one; ten do.
"""

from __future__ import annotations

from servingclient.policies.quota import Quota

MOST, HALF, FAILURE, SUCCESS = 100, 50, 10, 1
"""In tenths of a token."""


class Throttle:
    """The published rule, for comparison."""

    def __init__(self) -> None:
        self.tokens = MOST

    def failed(self) -> bool:
        """Whether this failure is retried."""
        self.tokens = max(0, self.tokens - FAILURE)
        return self.tokens > HALF

    def succeeded(self) -> None:
        self.tokens = min(MOST, self.tokens + SUCCESS)


def test_r1_the_example_of_a6():
    throttle = Throttle()
    assert [(throttle.failed(), throttle.tokens) for _ in range(5)] == [
        (True, 90),
        (True, 80),
        (True, 70),
        (True, 60),
        (False, 50),
    ]
    throttle.succeeded()
    assert throttle.tokens > HALF, "allowed again"


def test_r1_the_quota_allows_the_same_four():
    throttle, quota = Throttle(), Quota(MOST - HALF - FAILURE)
    failures = [(throttle.failed(), quota.take(FAILURE)) for _ in range(5)]
    assert failures == [(True, True)] * 4 + [(False, False)]


def test_r1_one_success_does_not_buy_a_retry_and_ten_do():
    quota = Quota(MOST - HALF - FAILURE)
    while quota.take(FAILURE):
        pass
    for _ in range(9):
        quota.credit(SUCCESS)
    assert not quota.take(FAILURE)
    quota.credit(SUCCESS)
    assert quota.take(FAILURE)


def test_r1_while_all_is_well_neither_is_felt():
    throttle, quota = Throttle(), Quota(MOST - HALF - FAILURE)
    for _ in range(1000):  # one failure in a hundred
        for _ in range(99):
            throttle.succeeded()
            quota.credit(SUCCESS)
        assert throttle.failed()
        assert quota.take(FAILURE)
