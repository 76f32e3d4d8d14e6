"""Load tests that can be trusted: open loop, latency from the intended start, a check of itself."""

from __future__ import annotations

from servingclient.loadtest.arrivals import Phase, Profile, recorded
from servingclient.loadtest.crew import Rules, State
from servingclient.loadtest.guards import Limits
from servingclient.loadtest.knee import Knee
from servingclient.loadtest.load import ClosedLoad, Goal, OpenLoad, RecordedLoad, Timetable
from servingclient.loadtest.result import LoadTest
from servingclient.loadtest.running import LoadGenerator, by_callers, run
from servingclient.loadtest.trial import Point, Quantiles, Trial
from servingclient.loadtest.trust import Trust

__all__ = [
    "ClosedLoad",
    "Goal",
    "Knee",
    "Limits",
    "LoadGenerator",
    "LoadTest",
    "OpenLoad",
    "Phase",
    "Point",
    "Profile",
    "Quantiles",
    "RecordedLoad",
    "Rules",
    "State",
    "Timetable",
    "Trial",
    "Trust",
    "by_callers",
    "recorded",
    "run",
]
