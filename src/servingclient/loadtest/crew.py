"""The generating processes as whoever runs a test sees them: one trial after the other."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Final, NamedTuple

from servingclient.errors import ServingError
from servingclient.loadtest import worker
from servingclient.loadtest.guards import Ends, Limits, failing, refused
from servingclient.loadtest.hiring import End, hire
from servingclient.loadtest.load import ClosedLoad, Goal, Load, Timetable
from servingclient.loadtest.series import Second, Series, settled
from servingclient.loadtest.trial import Trial, judged
from servingclient.loadtest.trust import ClientLoad, Trust
from servingclient.loadtest.worker import Job

_START_S: Final = 0.3
"""Seconds from an order to the first call: enough for every process to have read it."""
_LOOKS_S: Final = 0.5
"""Seconds from one look at the figures to the next, when no process reports."""
_ANSWERS_S: Final = 1.0
"""A window is looked at when its last calls have had so long to end."""
_LEAVES_S: Final = 5.0
"""How long a process may take to close its client before it is ended."""


class Rules(NamedTuple):
    """What all trials of a test have in common.

    Attributes:
        goal: What the endpoint is to hold.
        times: Warm-up, and how long a trial is.
        limits: When it is broken off.
        trust: When the generator is not believed.
    """

    goal: Goal = Goal()
    times: Timetable = Timetable()
    limits: Limits = Limits()
    trust: Trust = Trust()


class State(NamedTuple):
    """A trial under way, for whoever shows progress.

    Attributes:
        load: What it is.
        elapsed_s: Seconds since its start.
        seconds: How long it lasts at most.
        calls: Calls that ended.
        errors: How many of them failed, by class of the error.
        last: The calls of the last whole second.
    """

    load: Load
    elapsed_s: float
    seconds: float
    calls: int
    errors: Counter[str]
    last: Second


Shown = Callable[[State], None]


class Crew:
    """Processes that make calls. One is a thread of this process.

    Args:
        job: What they need to know.
        processes: How many.

    Raises:
        ServingError: The endpoint cannot be reached, or refuses the credential.
    """

    def __init__(self, job: Job, processes: int = 1) -> None:
        self._pipes: list[Connection] = []
        self._ends: list[End] = []
        self._made = 0
        try:
            for _ in range(processes):
                pipe, end = hire(job, alone=processes == 1)
                self._pipes.append(pipe)
                self._ends.append(end)
            for pipe in self._pipes:
                _received(pipe)
            self._pipes[0].send(worker.Wake())
            _received(self._pipes[0])
        except BaseException:
            self.close()
            raise

    def trial(
        self, load: Load, rules: Rules, *, seed: int = 0, shown: Shown | None = None
    ) -> Trial:
        """Put a load on the endpoint and see what becomes of it.

        Args:
            load: What to do.
            rules: Goal, times, limits.
            seed: Of the arrivals.
            shown: Told of the state twice a second.

        Raises:
            ServingError: A process could not go on.
        """
        pipes = self._pipes
        if isinstance(load, ClosedLoad):  # one caller is one, however many processes there are
            pipes = pipes[: load.callers]
        count, start_unix_s = len(pipes), time.time() + _START_S
        left = max(0, rules.limits.max_calls - self._made)
        for which, pipe in enumerate(pipes):
            part = load.shared(count, which)
            own_seed = seed * count + which
            most = left // count + (which < left % count)
            most_refusals = rules.limits.max_refusals
            _tell(
                pipe,
                worker.Begin(
                    part,
                    own_seed,
                    rules.goal.latency_s,
                    start_unix_s,
                    most,
                    most_refusals,
                    rules.times.warmup_s,
                ),
            )
        trial = _Watched(load, rules, pipes, self._made)
        try:
            trial.watch(start_unix_s, shown)
        except BaseException:
            trial.stop()
            raise
        self._made += trial.whole.span(0, int(load.seconds) + 1).calls
        return trial.judged()

    def close(self) -> None:
        """Have them close their clients, and wait for their end."""
        for pipe in self._pipes:
            _tell(pipe, worker.Leave())
        for end in self._ends:
            end(_LEAVES_S)
        for pipe in self._pipes:
            pipe.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class _Watched:
    """A trial under way."""

    def __init__(
        self, load: Load, rules: Rules, pipes: Sequence[Connection], made_before: int
    ) -> None:
        self._load = load
        self._rules = rules
        self._pipes = pipes
        self._made_before = made_before
        self._parts = {id(pipe): Series(rules.goal.latency_s) for pipe in pipes}
        self._ended: dict[int, worker.Ended] = {}
        self._ends = Ends()
        self._stopping = False
        self._refused: str | None = None
        self._why: str | None = None
        self._inconclusive = False
        self._rested = False
        self.whole = Series(rules.goal.latency_s)

    def watch(self, start_unix_s: float, shown: Shown | None) -> None:
        """See it to its end."""
        looked_s = 0.0
        while len(self._ended) < len(self._pipes):
            open_pipes = [pipe for pipe in self._pipes if id(pipe) not in self._ended]
            for ready in wait(open_pipes, timeout=_LOOKS_S):
                assert isinstance(ready, Connection)
                self._take(ready, _received(ready), time.time() - start_unix_s)
            elapsed_s = time.time() - start_unix_s
            if elapsed_s - looked_s >= _LOOKS_S:
                looked_s = elapsed_s
                self._look(elapsed_s)
                if shown is not None:
                    shown(self._state(elapsed_s))
        # a process stops by itself when enough is refused, maybe before anybody has looked
        self._why = self._why or self._in_vain()

    def _take(self, pipe: Connection, message: object, elapsed_s: float) -> None:
        if isinstance(message, worker.Progress):
            self._refused = self._refused or message.refused
            for second, encoded in message.seconds:
                one = Second.decode(encoded)
                self._ends.take(elapsed_s, one.calls, one.errors)
                for series in (self.whole, self._parts[id(pipe)]):
                    series.add(second, one)
        elif isinstance(message, worker.Ended):
            self._ended[id(pipe)] = message

    def _look(self, elapsed_s: float) -> None:
        """Whether it is to go on."""
        if self._stopping:
            return
        self._why = self._in_vain() or self._failing()
        self._rested = self._why is None and self._settled(elapsed_s)
        if self._why is not None or self._rested:
            self.stop()

    def _in_vain(self) -> str | None:
        """Why no trial can tell more, which is not the endpoint's doing."""
        limits = self._rules.limits
        why = refused(limits, self._ends.calls, self._ends.errors, self._refused) or self._used_up()
        self._inconclusive = why is not None
        return why

    def _failing(self) -> str | None:
        limits = self._rules.limits
        until_s = self._load.seconds + _ANSWERS_S
        return failing(limits, *self._ends.last(until_s, limits.min_calls))

    def _used_up(self) -> str | None:
        most = self._rules.limits.max_calls
        if self._made_before + self._ends.calls < most:
            return None
        return f"{most:,} calls were made, which is the limit"

    def _settled(self, elapsed_s: float) -> bool:
        times = self._rules.times
        windows = times.windows(elapsed_s - _ANSWERS_S)
        if not self._load.steady or len(windows) < 3:
            return False
        return settled([self.whole.span(*window) for window in windows[-3:]], times.window_s)

    def stop(self) -> None:
        """Have no more calls begun."""
        self._stopping = True
        for pipe in self._pipes:
            if id(pipe) not in self._ended:
                _tell(pipe, worker.Stop())

    def _state(self, elapsed_s: float) -> State:
        last = self.whole.seconds.get(int(elapsed_s) - 1, Second())
        calls, errors = self._ends.calls, self._ends.errors.copy()
        return State(self._load, elapsed_s, self._load.seconds, calls, errors, last)

    def judged(self) -> Trial:
        """What it has shown."""
        rules = self._rules
        return judged(
            self._load,
            self.whole,
            [self._client_load(pipe) for pipe in self._pipes],
            rules.goal,
            rules.times,
            rules.trust,
            lasted_s=min(ended.lasted_s for ended in self._ended.values()),
            stopped=self._why,
            inconclusive=self._inconclusive,
            rested=self._rested,
        )

    def _client_load(self, pipe: Connection) -> ClientLoad:
        ended = self._ended[id(pipe)]
        from_s = self._rules.times.warmup_s if ended.lasted_s > self._rules.times.warmup_s else 0
        own = self._parts[id(pipe)].span(from_s, int(ended.lasted_s) + 1)
        return ClientLoad(
            ended.cpu_share,
            own.late.quantile(0.99) or 0.0,
            own.lane.quantile(0.99) or 0.0,
            ended.made,
            ended.due,
            own.errors["QueueFull"] + ended.left,
            ended.loop_late_p99_s,
        )


def _tell(pipe: Connection, order: object) -> None:
    """Give an order; a process that is gone is noticed where its reports are read."""
    with contextlib.suppress(OSError):
        pipe.send(order)


def _received(pipe: Connection) -> object:
    """What a process says.

    Raises:
        ServingError: That it cannot go on, or nothing any more.
    """
    try:
        message = pipe.recv()
    except (EOFError, OSError):
        raise ServingError(
            "A process of the load test ended unexpectedly: it was killed, or out of memory. Use "
            "fewer processes or a lower rate."
        ) from None
    if isinstance(message, worker.Unable):
        raise message.error
    return message
