"""The ports of auth for one endpoint, in each colour."""

from __future__ import annotations

from servingclient._ports import Clock, Random, Wire
from servingclient.auth.background import TaskBackground, ThreadBackground
from servingclient.auth.blocking import TaskBlocking, ThreadBlocking
from servingclient.auth.single_flight import TaskSingleFlight, ThreadSingleFlight
from servingclient.auth.workspace import Ports


def thread_ports(wire: Wire, clock: Clock, random: Random) -> Ports:
    """For callers in threads; ``wire`` and ``clock`` block and never suspend."""
    return Ports(
        wire, clock, random, ThreadSingleFlight(clock), ThreadBackground(), ThreadBlocking(clock)
    )


def task_ports(wire: Wire, clock: Clock, random: Random) -> Ports:
    """For callers on an event loop."""
    return Ports(
        wire, clock, random, TaskSingleFlight(clock), TaskBackground(), TaskBlocking(clock)
    )
