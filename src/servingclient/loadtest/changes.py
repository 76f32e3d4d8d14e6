"""Two load tests of an endpoint beside each other, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from servingclient.errors import ConfigError
from servingclient.loadtest import report
from servingclient.loadtest.compare import compare
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.trial import Trial


def changes(before: LoadTest, after: LoadTest) -> Iterator[str]:
    """What is no longer as before, a paragraph each.

    Args:
        before: The test to compare with.
        after: The test that was made now.
    """
    for line in _otherwise(before, after):
        yield f"\n{line}"
    old = {_likeness(trial): trial for trial in before.trials}
    common = [trial for trial in after.trials if _likeness(trial) in old]
    if not common:
        yield "\nNothing to compare: the two tests have no load in common."
    for trial in common:
        then = old[_likeness(trial)]
        yield (
            f"\n{trial.load}, against before: {trial.seconds:.4g} s measured, "
            f"{then.seconds:.4g} s before"
        )
        try:
            yield report.changes(compare(then, trial))
        except ConfigError as error:  # the test was made, and its own verdict stands
            yield str(error)


def _likeness(trial: Trial) -> tuple[str, float | None]:
    """What a trial has in common with one it can be compared with.

    A steady load ends when it has settled. Another one is another load if it lasts longer: a ramp
    is steeper, a trace has other calls.
    """
    steady = trial.settled is not None
    return trial.load, None if steady else round(trial.from_s + trial.seconds, 1)


def _otherwise(before: LoadTest, after: LoadTest) -> Iterator[str]:
    """What else is not as before: a comparison tells of all of it together."""
    if before.endpoint != after.endpoint:
        yield f"Before, it was the endpoint {before.endpoint!r} that was tested."
    if before.goal != after.goal:
        yield (
            f"Before, the goal was {before.goal.share:.4g} of the calls within "
            f"{before.goal.latency_s:g} s; figures are compared, verdicts are not."
        )
    if before.processes != after.processes:
        yield f"Before, {before.processes} processes made the load, now {after.processes}."
    for name in sorted(before.conditions.keys() & after.conditions.keys()):
        then, now = before.conditions[name], after.conditions[name]
        if then != now:
            yield f"Before, {name} was {then}, now {now}."
