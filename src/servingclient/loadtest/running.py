"""What users call: one load after the other, or the search for the knee."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Final

from servingclient.errors import ConfigError
from servingclient.loadtest.arrivals import Profile
from servingclient.loadtest.crew import Crew, Rules, Shown
from servingclient.loadtest.knee import search
from servingclient.loadtest.load import Arrivals, ClosedLoad, Load, OpenLoad
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.trial import Trial
from servingclient.loadtest.worker import Job, load_settings
from servingclient.settings import Settings

IN_FLIGHT: Final = 1024
"""Calls at once of one process: the documented most of one served model (limits page)."""
TIMEOUT_S: Final = 30.0
MOST_PROCESSES: Final = 256


class LoadGenerator:
    """Processes that put load on one endpoint. Use it in a ``with`` block.

    Their clients do not retry, adapt, batch or hedge, so that the endpoint is seen as it is.

    Args:
        endpoint: Name of the serving endpoint.
        inputs: Inputs of calls, sent in turn.
        rules: Goal, warm-up and windows, limits on cost, when not to believe a result.
        processes: How many, on this machine. One is a thread of this process. With more, a script
            needs ``if __name__ == "__main__":``, as always with ``multiprocessing``.
        in_flight: Most calls at once of one process.
        timeout_s: When a call is given up.
        seed: Of the arrivals: the same seed, the same arrivals.
        settings: Connections, certificates and payload of the clients.
        options: Further arguments of ``predict``.
        shown: Told of the state of a trial twice a second.
        **credentials: ``host=``, ``token=``, ``client_id=``, ``client_secret=`` of the clients;
            none of them for Databricks unified authentication.

    Raises:
        ConfigError: An argument is wrong.
        ServingError: The endpoint cannot be reached, or refuses the credential.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        inputs: Iterable[Any],
        rules: Rules | None = None,
        processes: int = 1,
        in_flight: int = IN_FLIGHT,
        timeout_s: float = TIMEOUT_S,
        seed: int = 0,
        settings: Settings | None = None,
        options: Mapping[str, Any] | None = None,
        shown: Shown | None = None,
        **credentials: Any,
    ) -> None:
        given = list(inputs)
        if not given:
            raise ConfigError("A load test needs at least one input to send.")
        if not 0.0 < timeout_s < math.inf or in_flight < 1:
            raise ConfigError(
                "A load test needs timeout_s above 0 and at least one call in flight."
            )
        if not 1 <= processes <= MOST_PROCESSES:
            raise ConfigError(f"processes is {processes}; give 1 to {MOST_PROCESSES}.")
        made = load_settings(settings, in_flight=in_flight, timeout_s=timeout_s)
        job = Job(endpoint, credentials, made, given, dict(options or {}))
        self._endpoint = endpoint
        self._rules = Rules() if rules is None else rules
        self._processes = processes
        self._seed = seed
        self._shown = shown
        self._trials = 0
        self._crew = Crew(job, processes)

    def run(self, *loads: Load) -> LoadTest:
        """Put one load after the other on the endpoint; one that is broken off is the last.

        Args:
            *loads: What to do.

        Raises:
            ConfigError: There is none.
            ServingError: A generating process could not go on.
        """
        if not loads:
            raise ConfigError("A load test needs at least one load, such as OpenLoad(...).")
        started_unix_s, trials = time.time(), list[Trial]()
        for load in loads:
            trials.append(self._trial(load))
            if trials[-1].stopped:
                break
        return self._result(started_unix_s, trials)

    def find_knee(
        self,
        start_qps: float,
        most_qps: float,
        *,
        trials: int = 10,
        seconds: float = 60.0,
        precision: float = 0.05,
        arrivals: Arrivals = "poisson",
    ) -> LoadTest:
        """Look for the highest rate at which the endpoint meets the goal.

        First one caller alone is measured: what a call takes when nobody waits. Then rates are
        tried upwards until one misses the goal, and between. A rate that the generators could not
        make counts as missed, and the result is marked as not to be believed.

        Args:
            start_qps: The first rate.
            most_qps: None above this one is tried.
            trials: Most rates tried.
            seconds: How long each lasts at most; one that has settled ends before.
            precision: Ends when the rate that meets the goal and the one that misses it are within
                this share of each other.
            arrivals: ``"poisson"`` or ``"constant"``.

        Raises:
            ConfigError: The bounds are none.
            ServingError: A generating process could not go on.
        """
        rates = search(start_qps, most_qps=most_qps, trials=trials, precision=precision)
        qps = next(rates)
        started_unix_s, made = time.time(), list[Trial]()
        alone = self._trial(ClosedLoad(1, seconds))
        while not alone.stopped:
            made.append(self._trial(OpenLoad(Profile.constant(qps, seconds), arrivals)))
            try:
                qps = rates.send(made[-1].met)
            except StopIteration as end:
                return self._result(started_unix_s, made, knee=end.value, unloaded=alone)
        return self._result(started_unix_s, [alone])

    def _trial(self, load: Load) -> Trial:
        self._trials += 1
        return self._crew.trial(
            load, self._rules, seed=self._seed + self._trials, shown=self._shown
        )

    def _result(self, started_unix_s: float, trials: Sequence[Trial], **found: Any) -> LoadTest:
        return LoadTest(
            self._endpoint,
            self._rules.goal,
            tuple(trials),
            started_unix_s=started_unix_s,
            processes=self._processes,
            seed=self._seed,
            **found,
        )

    def close(self) -> None:
        """End the processes."""
        self._crew.close()

    def __enter__(self) -> LoadGenerator:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def run(endpoint: str, *loads: Load, inputs: Iterable[Any], **generator: Any) -> LoadTest:
    """Put one load after the other on an endpoint.

    Args:
        endpoint: Name of the serving endpoint.
        *loads: What to do.
        inputs: Inputs of calls, sent in turn.
        **generator: Further arguments of :class:`LoadGenerator`.

    Raises:
        ConfigError: An argument is wrong.
        ServingError: The endpoint cannot be reached, or refuses the credential.

    Example:
        >>> from servingclient.loadtest import OpenLoad, Profile, Rules, Timetable, run
        >>> rows, rules = [[{"a": 1.0, "b": 2.0}]], Rules(times=Timetable(warmup_s=0, window_s=1))
        >>> load = OpenLoad(Profile.constant(qps=100, seconds=1))
        >>> (trial,) = run("demo", load, inputs=rows, rules=rules, **credentials).trials
        >>> dict(trial.errors)
        {}
    """
    with LoadGenerator(endpoint, inputs=inputs, **generator) as generating:
        return generating.run(*loads)


def by_callers(callers: Sequence[int], seconds: float = 60.0) -> list[Load]:
    """A series of closed loops, for ``run``: how client concurrency relates to the server's.

    The service's guide reads the size an endpoint needs off such a table.

    Args:
        callers: How many wait for answers at once, in each trial.
        seconds: How long each lasts at most.
    """
    return [ClosedLoad(count, seconds) for count in callers]
