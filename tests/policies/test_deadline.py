"""Deadlines (R6): one instant for the call, a nearer one for a single try."""

from __future__ import annotations

import pytest

from servingclient.policies.deadline import attempt_deadline


@pytest.mark.parametrize(
    ("limit_s", "until_s"), [(None, 100.0), (5.0, 95.0), (10.0, 100.0), (30.0, 100.0)]
)
def test_r6_a_try_never_outlives_the_call(limit_s, until_s):
    assert attempt_deadline(100.0, limit_s, 90.0) == until_s
