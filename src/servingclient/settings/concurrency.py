"""How many calls run at once, and who waits for whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, get_args

from servingclient.errors import ConfigError
from servingclient.settings.checks import names_checked, number, switch, whole

Priority = Literal["critical", "default", "batch"]

INITIAL_CALLS: Final = 20
"""Where the limit starts for an endpoint that tells no provisioned concurrency (Netflix Gradient2).
"""


def check_priority(priority: object) -> None:
    """Refuse what is none of the three classes.

    Raises:
        ConfigError: It is something else.
    """
    if priority not in get_args(Priority):
        shown = repr(priority)[:40]
        raise ConfigError(f"priority is {shown}; choose one of {', '.join(get_args(Priority))}.")


@names_checked
@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """The limit on calls at once: it follows what the endpoint takes, up to ``Pool.max_lanes``."""

    adaptive: bool = True
    """Let the limit follow latency and 429. False fixes it at ``initial_calls``, and without that
    at its ceiling."""
    initial_calls: int | None = None
    """Where the limit starts; None takes the provisioned concurrency the endpoint tells, divided by
    ``client_processes``, and 20 where it tells none."""
    min_calls: int = 2
    """The limit never goes below: with one call at once nothing is learnt of a better time."""
    client_processes: int = 1
    """How many client processes share the endpoint: each starts with its part, and at least with
    ``min_calls``."""
    smoothing: float = 0.3
    """Share of a newly computed limit in the next one, for each round trip. Gradient2 has 0.2, with
    which eight clients of an endpoint whose replies slow down from 20 ms to 2 s in a minute carry
    65 to 119 calls a second in the end (simulated); with 0.3 they carry 133 to 160."""
    tolerance: float = 1.5
    """Latency may rise to this multiple of its long average before the limit sinks (Gradient2), and
    0.25 ms more: that is what an event loop itself takes to read some replies."""
    long_window_calls: int = 600
    """Calls over which the long average of latency forgets (Gradient2)."""
    throttled_factor: float = 0.9
    """The limit is multiplied by this on 429, at most once per round trip (AIMD)."""

    def __post_init__(self) -> None:
        switch(self, "adaptive")
        whole(self, "initial_calls", "min_calls", "client_processes", "long_window_calls")
        number(self, "smoothing", "throttled_factor", above=True)
        number(self, "tolerance", least=1.0)
        if self.smoothing > 1.0 or self.throttled_factor > 1.0:
            raise ConfigError(
                "Concurrency.smoothing and Concurrency.throttled_factor are shares: at most 1."
            )
