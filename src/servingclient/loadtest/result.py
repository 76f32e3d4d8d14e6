"""What a load test has shown: its trials, and what follows from them. Pure."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from servingclient.capacity import Plan, plan
from servingclient.errors import ConfigError
from servingclient.loadtest.knee import Knee
from servingclient.loadtest.load import Goal
from servingclient.loadtest.trial import Trial

_FORMAT: Final = 1


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
    """

    endpoint: str
    goal: Goal
    trials: tuple[Trial, ...]
    knee: Knee | None = None
    unloaded: Trial | None = None
    started_unix_s: float = 0.0
    processes: int = 1
    seed: int = 0

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
        """The goal was met: in every trial, or, where a knee was looked for, at some rate."""
        if self.knee is not None:
            return self.knee.qps > 0.0 and self.valid
        return bool(self.trials) and all(trial.met for trial in self.trials)

    def _deciding(self) -> Sequence[Trial]:
        knee = self.knee
        if knee is None:
            return self.trials
        rates = (knee.qps, knee.missed_qps)
        return [trial for trial in self.trials if trial.asked_qps in rates]

    def recommended(self, qps: float, **workload: Any) -> Plan:
        """The provisioned concurrency for a rate, by what one caller alone was answered in.

        Args:
            qps: Calls a second to hold.
            **workload: Further arguments of :func:`servingclient.capacity.plan`.

        Raises:
            ConfigError: No caller alone was measured.
        """
        alone = self.unloaded
        if alone is None or alone.latency.p50_s is None or not alone.points:
            raise ConfigError(
                "A recommendation needs the time of a call when nobody waits: measure one caller "
                "alone, as find_knee does."
            )
        goal_s = self.goal.latency_s
        return plan(
            qps=qps, service_time_s=alone.mean_s, overhead_s=0.0, p99_goal_s=goal_s, **workload
        )

    def _repr_html_(self) -> str:
        """The page, in a frame: its styles are not the notebook's."""
        from servingclient.loadtest.page import page  # which knows what a result is

        inside = html.escape(page(self))
        return f'<iframe srcdoc="{inside}" style="width:100%;height:44em;border:0"></iframe>'

    def to_json(self) -> str:
        """As text; ``from_json`` reads it."""
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
                None if knee is None else Knee(**knee),
                None if unloaded is None else Trial.of_json(unloaded),
                values["started_unix_s"],
                values["processes"],
                values["seed"],
            )
        except (KeyError, TypeError, ValueError, RecursionError):
            raise ConfigError(
                "This is no result of a load test: give the file that loadtest --json wrote."
            ) from None
