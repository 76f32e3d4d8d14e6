"""What load is put on an endpoint, and what is asked of it. Pure values that travel."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice, pairwise
from typing import Literal

from servingclient.errors import ConfigError
from servingclient.loadtest import arrivals
from servingclient.loadtest.arrivals import Profile
from servingclient.settings.checks import whole

Arrivals = Literal["poisson", "constant"]


@dataclass(frozen=True, slots=True)
class OpenLoad:
    """Calls that begin when they are due.

    Attributes:
        profile: How many a second.
        arrivals: ``"poisson"``, callers who know nothing of each other, or ``"constant"``.
    """

    profile: Profile
    arrivals: Arrivals = "poisson"

    def __post_init__(self) -> None:
        if self.arrivals not in ("poisson", "constant"):
            raise ConfigError(f"arrivals is {self.arrivals!r}; choose poisson or constant.")

    @property
    def seconds(self) -> float:
        """How long it lasts at most."""
        return self.profile.seconds

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{self.profile.name}, {self.arrivals}"

    @property
    def steady(self) -> bool:
        """The rate stays the same, so a trial may end when it has settled."""
        return len({rate for _, *rates in self.profile.phases for rate in rates}) == 1

    def shared(self, processes: int, which: int) -> OpenLoad:
        """The part of one process: Poisson arrivals put together are Poisson arrivals.

        Of constant ones each takes its turn: a lower rate for each would have all of them begin at
        the same instants.
        """
        if self.arrivals == "constant":
            return _InTurn(self.profile, self.arrivals, processes, which)
        return OpenLoad(self.profile.shared(processes), self.arrivals)

    def instants(self, seed: int) -> Iterator[float]:
        """When calls are due, in seconds from the start."""
        if self.arrivals == "constant":
            return self.profile.instants(arrivals.constant())
        return self.profile.instants(arrivals.poisson(random.Random(seed).random))  # noqa: S311


@dataclass(frozen=True, slots=True)
class _InTurn(OpenLoad):
    """The part of one process: every so-manieth instant of the whole."""

    processes: int = 1
    which: int = 0

    def instants(self, seed: int) -> Iterator[float]:
        # slots make another class of this one, which super() without arguments does not find
        return islice(OpenLoad.instants(self, seed), self.which, None, self.processes)


@dataclass(frozen=True, slots=True)
class RecordedLoad:
    """Calls that begin as they did once; see :func:`~servingclient.loadtest.arrivals.recorded`.

    Attributes:
        times_s: Seconds from the start, in ascending order.
        seconds: How long it lasts: up to the last call, at least 1 s, unless it is given.
    """

    times_s: Sequence[float] = field(repr=False)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        times = self.times_s
        if not (times or self.seconds) or any(a > b for a, b in pairwise((0.0, *times))):
            raise ConfigError(
                "A recorded load needs instants in ascending order, none before 0 s; recorded(...) "
                "makes them of those of any clock."
            )
        if not self.seconds:
            object.__setattr__(self, "seconds", max(1.0, float(times[-1])))

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"{len(self.times_s):,} recorded calls"

    @property
    def steady(self) -> bool:
        """It is what it was."""
        return False

    def shared(self, processes: int, which: int) -> RecordedLoad:
        """The part of one process: every so-manieth call. All parts last equally long."""
        return RecordedLoad(self.times_s[which::processes], self.seconds)

    def instants(self, seed: int) -> Iterator[float]:
        """When calls are due, in seconds from the start."""
        return iter(self.times_s)


@dataclass(frozen=True, slots=True)
class ClosedLoad:
    """Callers who wait for their answer before they ask again.

    Attributes:
        callers: How many.
        seconds: How long at most.
    """

    callers: int
    seconds: float

    def __post_init__(self) -> None:
        if self.callers < 1 or not 0.0 < self.seconds < float("inf"):
            raise ConfigError("A closed load needs at least one caller and a duration above 0 s.")

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return "1 caller" if self.callers == 1 else f"{self.callers} callers"

    @property
    def steady(self) -> bool:
        """As many callers all the time."""
        return True

    def shared(self, processes: int, which: int) -> ClosedLoad:
        """The part of one process; there are no more of them than callers."""
        own = self.callers // processes + (which < self.callers % processes)
        return ClosedLoad(own, self.seconds)


Load = OpenLoad | RecordedLoad | ClosedLoad


def check_measured(load: Load, times: Timetable) -> None:
    """Whether a trial would measure anything.

    Args:
        load: What would be put on the endpoint.
        times: How long its warm-up is.

    Raises:
        ConfigError: It lasts no whole second after the warm-up, or no call would be due in it.
    """
    warmup_s = times.warmup_s
    if load.seconds < warmup_s + 1:
        raise ConfigError(
            f"{load.name} lasts {load.seconds:g} s, and the first {warmup_s} s are warm-up: "
            f"nothing would be measured. Let it last at least {warmup_s + 1} s, or shorten the "
            "warm-up."
        )
    due = _due_from(load, warmup_s)
    if due < 1.0:
        raise ConfigError(
            f"{load.name} for {load.seconds:g} s: {due:.2g} calls would be due after the warm-up "
            f"of {warmup_s} s, so nothing would be measured. Give a higher rate, or more seconds."
        )


def _due_from(load: Load, from_s: float) -> float:
    """Calls that are due from then on, on average; without end for callers, who ask again."""
    if isinstance(load, OpenLoad):
        return load.profile.calls_between(from_s, load.seconds)
    if isinstance(load, RecordedLoad):
        return sum(1 for due_s in load.times_s if due_s >= from_s)
    return math.inf


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What an endpoint is to hold, as its callers see it.

    Attributes:
        latency_s: Seconds from when a call was due to its answer.
        share: Of all calls, failed ones included, that are answered so.
    """

    latency_s: float = 1.0
    share: float = 0.99

    def __post_init__(self) -> None:
        if not 0.0 < self.latency_s < float("inf") or not 0.0 < self.share <= 1.0:
            raise ConfigError(
                f"A goal of {self.latency_s:g} s for {self.share:.1%} of the calls cannot be: give "
                "seconds above 0 and a share up to 1."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Timetable:
    """How long a trial is watched.

    Attributes:
        warmup_s: Whole seconds at its start that do not count: connections, caches, a ramp.
        window_s: Whole seconds of a window; three in a row that agree end the trial.
    """

    warmup_s: int = 10
    window_s: int = 5

    def __post_init__(self) -> None:
        whole(self, "warmup_s", least=0)
        whole(self, "window_s")

    def windows(self, until_s: float) -> list[tuple[int, int]]:
        """The windows that are over by then, as pairs of seconds."""
        count = int((until_s - self.warmup_s) // self.window_s)
        begins = (self.warmup_s + i * self.window_s for i in range(max(0, count)))
        return [(begin, begin + self.window_s) for begin in begins]
