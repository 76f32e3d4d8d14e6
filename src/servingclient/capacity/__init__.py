"""How much concurrency an endpoint needs, and whether it has it."""

from __future__ import annotations

from servingclient.capacity.simulation import Simulated, simulate

__all__ = ["Simulated", "simulate"]
