"""What a capacity plan takes for granted unless it is told otherwise."""

from __future__ import annotations

from typing import Final

UTILISATION: Final = 0.7
"""Busy share of the slots a plan allows at the wanted rate: beyond it queueing grows steeply."""

HEADROOM: Final = 0.3
"""Share by which the rate may rise above the wanted one with the goal still kept: what a slot
weighs when one of four replicas is being replaced."""

SERVICE_SCV: Final = 0.25
"""Squared coefficient of variation of a model's execution time where only its mean is known: it
spreads by half its mean. A model that takes a vector of fixed length varies less, one that takes
texts of any length more: measure it."""

CALLS_PER_CORE: Final = 36_000
"""Calls a second one core of the client makes: the cell async_16 of ``benchmarks/results.md``, one
row over TLS to a server on the same machine, and nothing else to do."""

LANES_SIGMAS: Final = 3.0
"""Connections are planned for the mean number of calls under way and so many times its root: under
random arrivals that number varies as a Poisson number does, and stays below 99.9 % of the time."""

GPU_WORTH_A_TRY_S: Final = 0.2
"""Model time from which a plan that needs much concurrency says to try a GPU. Nobody documents one:
below it, overhead and queueing are as large as what a GPU could save."""
