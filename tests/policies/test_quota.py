"""The retry quota (R1): tokens stay within bounds whatever happens."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from threading import Lock, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from servingclient.policies.quota import Quota


class Closed:
    """A guard that must not be entered."""

    def __enter__(self):
        raise AssertionError("the guard was entered")

    def __exit__(self, *exc):
        raise AssertionError


def test_r1_starts_full():
    quota = Quota(500)
    assert quota.available == 500
    assert repr(quota) == "Quota(500 of 500)"


def test_r1_takes_all_or_nothing():
    quota = Quota(20)
    assert quota.take(14)
    assert not quota.take(14)
    assert quota.available == 6
    assert quota.take(6)
    assert quota.available == 0


def test_r1_nothing_costs_nothing():
    assert Quota(0).take(0)
    assert not Quota(0).take(1)


def test_r1_gives_back_up_to_the_capacity():
    quota = Quota(500)
    assert quota.take(14)
    quota.refund(14)
    quota.refund(14)
    quota.credit(1)
    assert quota.available == 500


def test_r1_a_full_bucket_costs_no_lock():
    # The normal case of every call: it must cost a comparison, not a lock.
    Quota(500, Closed()).credit(1)
    with pytest.raises(AssertionError, match="the guard was entered"):
        Quota(500, Closed()).take(1)


def test_r1_a_credit_that_raced_does_not_overfill():
    quota: Quota

    @contextmanager
    def late():
        quota.spent = 0  # another thread was quicker between our look and our lock
        yield

    class Late:
        def __enter__(self):
            self.inner = late()
            self.inner.__enter__()

        def __exit__(self, *exc):
            self.inner.__exit__(None, None, None)

    quota = Quota(500, Late())
    quota.spent = 1
    quota.credit(1)
    assert quota.available == 500


MOVES = st.tuples(st.sampled_from(["take", "refund", "credit"]), st.integers(0, 600))


@given(st.integers(0, 500), st.lists(MOVES, max_size=60))
def test_r1_always_within_bounds(capacity, moves):
    quota = Quota(capacity)
    for name, amount in moves:
        before = quota.available
        taken = getattr(quota, name)(amount)
        assert 0 <= quota.available <= capacity
        if name == "take":
            assert quota.available == (before - amount if taken else before)
            assert taken == (before >= amount)
        else:
            assert quota.available == min(before + amount, capacity)


def test_r1_threads_lose_and_invent_nothing():
    quota = Quota(500, Lock())
    seen = []

    def work():
        for _ in range(4000):
            if quota.take(14):
                quota.refund(14)
            seen.append(quota.available)

    pause = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(pause)
    assert quota.available == 500
    assert 0 <= min(seen) <= max(seen) <= 500
