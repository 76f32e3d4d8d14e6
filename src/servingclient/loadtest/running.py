"""What users call: one load after the other, or the search for the knee."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from types import TracebackType
from typing import Any, Final

from servingclient.errors import ConfigError, ServingError
from servingclient.loadtest.arrivals import Profile
from servingclient.loadtest.crew import Crew, Rules, Shown
from servingclient.loadtest.knee import Knee, search
from servingclient.loadtest.load import Arrivals, ClosedLoad, Load, OpenLoad, check_measured
from servingclient.loadtest.payloads import MOST_INPUTS
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.trial import Trial
from servingclient.loadtest.worker import Job, load_settings
from servingclient.settings import Settings

IN_FLIGHT: Final = 1024
"""Calls at once of one process: the documented most of one served model (limits page)."""
TIMEOUT_S: Final = 30.0
MOST_PROCESSES: Final = 256


@dataclass(slots=True)
class _Found:
    """What a test has shown so far."""

    alone: Trial | None = None
    trials: list[Trial] = field(default_factory=list)
    knee: Knee | None = None
    stopped: str | None = None
    started_unix_s: float = field(default_factory=time.time)


class LoadGenerator:
    """Processes that put load on one endpoint. Use it in a ``with`` block.

    Their clients do not retry, adapt, batch or hedge, so that the endpoint is seen as it is.

    Args:
        endpoint: Name of the serving endpoint.
        inputs: Inputs of calls, sent in turn. Of more than 10,000 the first are taken, so they may
            come without an end.
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
        given = list(islice(inputs, MOST_INPUTS))
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

        Returns:
            What was shown. ``stopped`` says why where it is less than was asked for, and the
            endpoint is not to blame.

        Raises:
            ConfigError: There is none, or one would measure nothing. None was begun.
            ServingError: A generating process could not go on, and no load had come to its end.
        """
        check_loads(loads, self._rules)
        found = _Found()
        for load in loads:
            trial = self._tried(load, found)
            if trial is None:
                break
            found.trials.append(trial)
            if trial.stopped:
                break
        return self._result(found)

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
        make counts as missed, and the result is marked as not to be believed. A trial that was
        broken off because the endpoint throttled or failed too many calls has missed the goal too.
        One that was broken off by the limit on calls, or because calls were refused for what they
        are, says nothing of the endpoint and ends the search.

        Args:
            start_qps: The first rate.
            most_qps: None above this one is tried.
            trials: Most rates tried.
            seconds: How long each lasts at most; one that has settled ends before.
            precision: Ends when the rate that meets the goal and the one that misses it are within
                this share of each other.
            arrivals: ``"poisson"`` or ``"constant"``.

        Returns:
            What was shown. ``stopped`` says why where the search did not come to its end.

        Raises:
            ConfigError: The bounds are none, or a trial would measure nothing. None was begun.
            ServingError: A generating process could not go on, and no trial had come to its end.
        """
        rates = search(start_qps, most_qps=most_qps, trials=trials, precision=precision)
        alone, load = ClosedLoad(1, seconds), _steady(next(rates), seconds, arrivals)
        check_loads((alone, load), self._rules)
        found = _Found()
        found.alone = self._tried(alone, found)
        if found.alone is None or found.alone.stopped:
            return self._result(found)
        while found.knee is None:
            trial = self._tried(load, found)
            found.trials += [] if trial is None else [trial]
            try:
                qps = rates.send(None if trial is None or trial.inconclusive else trial.met)
            except StopIteration as end:
                found.knee = end.value
            else:
                load = _steady(qps, seconds, arrivals)
        return self._result(found)

    def _tried(self, load: Load, found: _Found) -> Trial | None:
        """One trial more; None where it did not come to its end.

        Raises:
            ServingError: It did not, and nothing was shown before it that would be lost.
        """
        self._trials += 1
        seed = self._seed + self._trials
        try:
            trial = self._crew.trial(load, self._rules, seed=seed, shown=self._shown)
        except ServingError as error:
            if found.alone is None and not found.trials:
                raise
            found.stopped = f"{load.name}: {error}"
            return None
        if trial.inconclusive:
            found.stopped = f"{load.name}: {trial.stopped}"
        return trial

    def _result(self, found: _Found) -> LoadTest:
        return LoadTest(
            self._endpoint,
            self._rules.goal,
            tuple(found.trials),
            found.knee,
            found.alone,
            found.started_unix_s,
            self._processes,
            self._seed,
            stopped=found.stopped,
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
        inputs: Inputs of calls, sent in turn. Of more than 10,000 the first are taken, so they may
            come without an end.
        **generator: Further arguments of :class:`LoadGenerator`.

    Raises:
        ConfigError: An argument is wrong, and nothing was sent.
        ServingError: The endpoint cannot be reached, or refuses the credential; or a generating
            process could not go on, and no load had come to its end.

    Example:
        >>> from servingclient.loadtest import OpenLoad, Profile, Rules, Timetable, run
        >>> rows, rules = [[{"a": 1.0, "b": 2.0}]], Rules(times=Timetable(warmup_s=0, window_s=1))
        >>> load = OpenLoad(Profile.constant(qps=100, seconds=1))
        >>> (trial,) = run("demo", load, inputs=rows, rules=rules, **credentials).trials
        >>> dict(trial.errors)
        {}
    """
    check_loads(loads, generator.get("rules") or Rules())
    with LoadGenerator(endpoint, inputs=inputs, **generator) as generating:
        return generating.run(*loads)


def check_loads(loads: Sequence[Load], rules: Rules) -> None:
    """Whether loads can be put on an endpoint, before the first of them costs anything.

    Args:
        loads: All of a test.
        rules: How they would be watched.

    Raises:
        ConfigError: There is none, or one would measure nothing.
    """
    if not loads:
        raise ConfigError("A load test needs at least one load, such as OpenLoad(...).")
    for load in loads:
        check_measured(load, rules.times)


def check_search(
    rules: Rules, start_qps: float, most_qps: float, *, trials: int, seconds: float
) -> None:
    """Whether ``find_knee`` can begin, before an endpoint is woken for it.

    Args:
        rules: How trials would be watched.
        start_qps: As of ``find_knee``.
        most_qps: Likewise.
        trials: Likewise.
        seconds: Likewise.

    Raises:
        ConfigError: The bounds are none, or a trial would measure nothing.
    """
    first_qps = next(search(start_qps, most_qps=most_qps, trials=trials))
    check_loads((ClosedLoad(1, seconds), _steady(first_qps, seconds)), rules)


def _steady(qps: float, seconds: float, arrivals: Arrivals = "poisson") -> OpenLoad:
    return OpenLoad(Profile.constant(qps, seconds), arrivals)


def by_callers(callers: Sequence[int], seconds: float = 60.0) -> list[Load]:
    """A series of closed loops, for ``run``: how client concurrency relates to the server's.

    The service's guide reads the size an endpoint needs off such a table.

    Args:
        callers: How many wait for answers at once, in each trial.
        seconds: How long each lasts at most.
    """
    return [ClosedLoad(count, seconds) for count in callers]
