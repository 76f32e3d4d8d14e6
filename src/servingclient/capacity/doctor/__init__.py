"""What is wrong with an endpoint and its callers, and what to do about it."""

from __future__ import annotations

from servingclient.capacity.doctor.diagnosis import Check, Diagnosis, Split, Verdict
from servingclient.capacity.doctor.examine import examine
from servingclient.capacity.doctor.gather import Probe
from servingclient.capacity.doctor.measured import Calls, Described, Measured
from servingclient.settings.targets import Targets

__all__ = [
    "Calls",
    "Check",
    "Described",
    "Diagnosis",
    "Measured",
    "Probe",
    "Split",
    "Targets",
    "Verdict",
    "examine",
]
