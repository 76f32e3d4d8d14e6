"""How much concurrency an endpoint needs, and whether it has it."""

from __future__ import annotations

from servingclient.capacity.planning import plan
from servingclient.capacity.queueing import ClosedLoop, Waits, closed_loop, waits
from servingclient.capacity.records import recorded
from servingclient.capacity.result import Plan
from servingclient.capacity.simulation import Simulated, simulate

__all__ = [
    "ClosedLoop",
    "Plan",
    "Simulated",
    "Waits",
    "closed_loop",
    "plan",
    "recorded",
    "simulate",
    "waits",
]
