"""The default differs from AWS's standard mode 2.1 in named settings only, each shown to matter."""

from __future__ import annotations

from dataclasses import fields

from servingclient.policies.retry import Action, backoff_s
from servingclient.settings import Retry
from tests.policies.cases import AMBIGUOUS, REFUSED, SLOW, STALE, ask, drive, hinted

OURS, AWS = Retry(), Retry.aws_standard_v21()


def test_only_these_settings_differ():
    differ = {f.name for f in fields(Retry) if getattr(OURS, f.name) != getattr(AWS, f.name)}
    assert differ == {
        "max_attempts",
        "backoff_cap_s",
        "retry_after_window_s",
        "retry_after_jitter",
    }


def test_one_attempt_more():
    script = [AMBIGUOUS] * 9
    assert (drive(script).sends, drive(script, settings=AWS).sends) == (4, 3)


def test_a_shorter_longest_backoff():
    waits = [backoff_s(12, s.backoff_base_s, s, 1.0) for s in (OURS, AWS)]
    assert waits == [8.0, 20.0]


def test_a_hint_is_kept_not_clamped():
    asked = hinted(REFUSED, 30.0)
    assert ask(asked, rand=0.0).wait_s == 30.0
    assert ask(asked, settings=AWS, rand=0.0).wait_s == 5.0


def test_a_hint_beyond_the_cap_fails_now():
    asked = hinted(REFUSED, 3600.0, refuse=True)
    assert ask(asked).stopped_by == "retry_after"
    assert ask(asked, settings=AWS).action is Action.WAIT_AND_SEND


def test_a_crowd_with_one_hint_is_spread():
    asked = hinted(REFUSED, 2.0)
    waits = [ask(asked, rand=i / 10).wait_s for i in range(10)]
    assert len(set(waits)) == 10
    assert min(waits) == 2.0
    assert max(waits) < 2.2
    assert {ask(asked, settings=AWS, rand=i / 10).wait_s for i in range(10)} == {2.0}


def test_read_timeouts_are_not_resent_in_either():
    # AWS resends them; the switch is the table's and is set where its rows ask for it.
    assert {ask(SLOW, settings=s).action for s in (OURS, AWS)} == {Action.STOP}


def test_a_stale_connection_costs_nothing_in_either():
    assert {ask(STALE, settings=s).cost for s in (OURS, AWS)} == {0}


def test_v20_differs_from_v21_in_costs_base_and_hint():
    old = Retry.aws_standard_v20()
    differ = {f.name for f in fields(Retry) if getattr(AWS, f.name) != getattr(old, f.name)}
    assert differ == {"backoff_base_s", "retry_cost", "retry_after_window_s"}
