"""What a load test has shown: its trials, and what follows from them. Pure."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from servingclient import capacity
from servingclient.capacity import Plan
from servingclient.errors import ConfigError
from servingclient.loadtest.knee import Knee
from servingclient.loadtest.load import Goal
from servingclient.loadtest.trial import Trial

_FORMAT: Final = 1
_PLANNED_SHARE: Final = 0.99
"""Of calls, that plans keep a latency for."""


@dataclass(frozen=True, slots=True)
class LoadTest:
    """A load test of one endpoint.

    Attributes:
        endpoint: Name of the serving endpoint.
        goal: What it was to hold.
        trials: In the order they were made.
        knee: The highest rate that met the goal, where it was looked for.
        unloaded: One caller alone, where that was measured: what a call takes when nobody waits.
        started_unix_s: When it began.
        processes: How many made the load.
        seed: Of the arrivals.
        conditions: What else a test to compare it with should have in common, by name.
        stopped: Why it came to an end that is not the endpoint's doing before all was done that was
            asked for: a limit on calls, calls refused for what they are, a process that ended;
            None otherwise. ``knee`` is then what was known by that time.
    """

    endpoint: str
    goal: Goal
    trials: tuple[Trial, ...]
    knee: Knee | None = None
    unloaded: Trial | None = None
    started_unix_s: float = 0.0
    processes: int = 1
    seed: int = 0
    conditions: Mapping[str, Any] = field(default_factory=dict)
    stopped: str | None = None

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why trials that decided something are not to be believed.

        A knee is decided by the trials around it: one far above it may well have been too much for
        the generator.
        """
        return tuple(sorted({doubt for trial in self._deciding() for doubt in trial.doubts}))

    @property
    def valid(self) -> bool:
        """The endpoint was measured, and not the load generator."""
        return not self.doubts

    @property
    def met(self) -> bool:
        """The goal was met: in every trial, or, where a knee was looked for, at some rate.

        A test that ``stopped`` has not shown that.
        """
        if self.stopped is not None:
            return False
        if self.knee is not None:
            return self.knee.qps > 0.0 and self.valid
        return bool(self.trials) and all(trial.met for trial in self.trials)

    def _deciding(self) -> Sequence[Trial]:
        knee = self.knee
        if knee is None:
            return self.trials
        # by place: a rate that is computed back from calls and seconds is no longer the same float
        return [self.trials[at] for at in knee.deciding] or self.trials

    def recommended(self, qps: float, **workload: Any) -> Plan:
        """The provisioned concurrency for a rate, by what one caller alone was answered in.

        It is worth as much as that measurement: see ``unloaded.doubts``.

        Args:
            qps: Calls a second to hold.
            **workload: Further arguments of :func:`servingclient.capacity.plan`; they go before
                what the test knows.

        Raises:
            ConfigError: No caller alone was measured; the goal is for another share than 99 % of
                the calls, and no ``p99_goal_s`` is given; or no size can meet the goal.
        """
        alone = self.unloaded
        if alone is None or alone.latency.p50_s is None or not alone.points:
            raise ConfigError(
                "A recommendation needs the time of a call when nobody waits: measure one caller "
                "alone, as find_knee does."
            )
        if self.goal.share != _PLANNED_SHARE and "p99_goal_s" not in workload:
            raise ConfigError(
                f"Plans are for {_PLANNED_SHARE:.0%} of the calls, and this goal is for "
                f"{self.goal.share:.4g} of them: give p99_goal_s, the seconds that 99 of 100 calls "
                "must not exceed."
            )
        known = {
            "service_time_s": alone.mean_s,
            "overhead_s": 0.0,
            "p99_goal_s": self.goal.latency_s,
        }
        return capacity.plan(qps=qps, **known | workload)

    @property
    def recommendation(self) -> Plan | None:
        """The provisioned concurrency for the knee; None where there is no knee, or no plan."""
        found = self._recommended()
        return None if isinstance(found, str) else found

    @property
    def not_recommended(self) -> str | None:
        """Why there is no plan for a knee that was found; None where there is one, or no knee."""
        found = self._recommended()
        return found if isinstance(found, str) else None

    def _recommended(self) -> Plan | str | None:
        """A plan for the knee, or why there is none: what was found is not lost with it."""
        if self.knee is None or not self.knee.qps or not self.valid or self.stopped is not None:
            return None
        if self.unloaded is not None and self.unloaded.doubts:
            return f"one caller alone is not to be believed: {self.unloaded.doubts[0]}"
        try:
            return self.recommended(self.knee.qps)
        except ConfigError as error:
            return str(error)

    def _repr_html_(self) -> str:
        """The page, in a frame: its styles are not the notebook's."""
        from servingclient.loadtest.page import page  # which knows what a result is

        inside = html.escape(page(self))
        return f'<iframe srcdoc="{inside}" style="width:100%;height:44em;border:0"></iframe>'

    def to_json(self) -> str:
        """As text; ``from_json`` reads it."""
        plan = self.recommendation
        values = {
            "format": _FORMAT,
            "endpoint": self.endpoint,
            "goal": asdict(self.goal),
            "valid": self.valid,
            "met": self.met,
            "doubts": list(self.doubts),
            "knee": None if self.knee is None else self.knee._asdict(),
            "unloaded": None if self.unloaded is None else self.unloaded.to_json(),
            "trials": [trial.to_json() for trial in self.trials],
            "started_unix_s": self.started_unix_s,
            "processes": self.processes,
            "seed": self.seed,
            "conditions": dict(self.conditions),
            "stopped": self.stopped,
            "recommendation": None if plan is None else plan.as_dict(),
            "not_recommended": self.not_recommended,
        }
        return json.dumps(values, indent=1, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> LoadTest:
        """What ``to_json`` gave.

        Raises:
            ConfigError: It did not give this.
        """
        try:
            values: Mapping[str, Any] = json.loads(text)
            if values["format"] != _FORMAT:
                raise ValueError
            knee, unloaded = values["knee"], values["unloaded"]
            return cls(
                values["endpoint"],
                Goal(**values["goal"]),
                tuple(Trial.of_json(trial) for trial in values["trials"]),
                None if knee is None else _knee_of(knee, len(values["trials"])),
                None if unloaded is None else Trial.of_json(unloaded),
                values["started_unix_s"],
                values["processes"],
                values["seed"],
                dict(values.get("conditions", {})),  # files of before have none
                values.get("stopped"),
            )
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ConfigError(
                "This is no result of a load test: give the file that loadtest --json wrote."
            ) from None


def _knee_of(values: Mapping[str, Any], trials: int) -> Knee:
    """What ``to_json`` made of a knee.

    Raises:
        TypeError: It is none.
        ValueError: It was decided by a trial that is not there.
    """
    knee = Knee(**values)
    deciding = tuple(knee.deciding)
    if any(at not in range(trials) for at in deciding):
        raise ValueError
    return knee._replace(deciding=deciding)
