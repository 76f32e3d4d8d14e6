"""The published table of the AWS SDKs' standard mode (R1), through ``advise`` and ``settle``.

``tests/vectors/aws_retry_standard.json`` was written outside this project: 20 cases with 59 steps,
a shared bucket, a delay curve and the moves of the bucket.
"""

from __future__ import annotations

import pytest

from servingclient.policies.failure import Failure
from servingclient.policies.quota import Quota
from servingclient.policies.retry import Action, Progress, settle
from servingclient.settings import Retry, changed
from tests.policies.cases import SLOW, ask, hinted, reply, vectors

TABLE = vectors("aws_retry_standard.json")
CASES = TABLE["cases"]
PRESETS = {
    "aws_standard_v21": Retry.aws_standard_v21(),
    "aws_standard_v20": Retry.aws_standard_v20(),
}
NAMES = {  # the table's words for our settings
    "max_attempts": "max_attempts",
    "tokens": "quota_capacity",
    "cost": "retry_cost",
    "throttle_cost": "throttled_cost",
    "first_try_credit": "success_credit",
    "base_s": "backoff_base_s",
    "throttle_base_s": "throttled_base_s",
    "max_backoff_s": "backoff_cap_s",
    "hint_window_s": "retry_after_window_s",
}
OUTCOMES = {"attempts": "out_of_attempts", "quota": "out_of_quota"}


def settings_of(case: dict) -> tuple[Retry, Quota]:
    given = {NAMES[name]: value for name, value in case["given"].items()}
    tokens = given.pop("quota_capacity", PRESETS[case["preset"]].quota_capacity)
    return changed(PRESETS[case["preset"]], given), Quota(tokens)


def failed(status: int, hint_ms: str | None) -> Failure:
    """AWS sends its hint in milliseconds; text that is no number is ignored."""
    usable = hint_ms is not None and hint_ms.isdecimal()
    return hinted(reply(status), int(hint_ms) / 1000 if usable else None)


class Caller:
    """One call on a bucket; after its end, the next one."""

    def __init__(self, settings: Retry, quota: Quota) -> None:
        self.settings, self.quota = settings, quota
        self.progress = Progress()

    def step(self, status: int, hint: str | None = None) -> tuple[str, int, float | None]:
        """Take one reply; give back outcome, tokens left and wait, as the table's rows do."""
        if status == 200:
            settle(self.progress, self.quota, self.settings)
            self.progress = Progress()
            return "ok", self.quota.available, None
        advice = ask(failed(status, hint), self.progress, settings=self.settings, quota=self.quota)
        self.progress = self.progress.after(advice)
        if advice.action is Action.STOP:
            self.progress = Progress()
            return OUTCOMES[advice.stopped_by], self.quota.available, None
        return "retry", self.quota.available, advice.wait_s


def test_r1_the_table_is_whole():
    assert (len(CASES), sum(len(case["steps"]) for case in CASES)) == (20, 59)


@pytest.mark.parametrize("name", PRESETS)
def test_r1_the_presets_hold_the_table_s_numbers(name):
    wanted = {NAMES[key]: value for key, value in TABLE["presets"][name].items() if key in NAMES}
    assert {key: getattr(PRESETS[name], key) for key in wanted} == wanted


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_r1_case(case):
    caller = Caller(*settings_of(case))
    for status, hint, outcome, tokens, wait_s in case["steps"]:
        wanted = None if wait_s is None else pytest.approx(wait_s)
        assert caller.step(status, hint) == (outcome, tokens, wanted)


def test_r1_shared_bucket():
    case = TABLE["shared_bucket"]
    settings, quota = settings_of(case)
    callers = {name: Caller(settings, quota) for name in "AB"}
    for name, status, tokens in case["steps"]:
        assert callers[name].step(status)[1] == tokens


def test_r1_delay_curve():
    settings = changed(PRESETS["aws_standard_v21"], {"max_attempts": 99})
    caller = Caller(settings, Quota(10_000))
    waits = TABLE["delay_curve_s"]["aws_standard_v21"]
    assert [caller.step(500)[2] for _ in waits] == pytest.approx(waits)


EVENTS = {
    "retry_after_transient": [500],
    "retry_after_timeout": ["slow"],
    "retry_after_throttling": [429],
    "success_after_transient_retry": [200],
    "success_after_throttling_retry": [200],
    "success_at_first_try": [200],
    "failure_at_first_try": [400],
}


@pytest.mark.parametrize("row", TABLE["bucket_moves"]["aws_standard_v21"], ids=lambda row: row[1])
def test_r1_bucket_moves(row):
    before, event, after = row
    settings = changed(
        PRESETS["aws_standard_v21"], {"retry_read_timeout": True}
    )  # AWS retries them
    quota = Quota(500)
    progress = Progress()
    if event.startswith("success_after"):
        trouble = reply(429) if "throttling" in event else reply(500)
        progress = progress.after(ask(trouble, settings=settings, quota=quota))
    else:
        assert quota.take(500 - before)
    assert quota.available == before

    match EVENTS[event]:
        case [200]:
            settle(progress, quota, settings)
        case ["slow"]:
            ask(SLOW, settings=settings, quota=quota)
        case [status]:
            ask(reply(status), settings=settings, quota=quota)
    assert quota.available == after
