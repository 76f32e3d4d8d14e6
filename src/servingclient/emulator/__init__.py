"""A local Databricks Model Serving, to develop and test against without a workspace."""

from servingclient.emulator import faults
from servingclient.emulator._emulator import Emulator
from servingclient.emulator.endpoints import EndpointSpec
from servingclient.emulator.external import ExternalApi, ExternalSettings
from servingclient.emulator.fault import Fault
from servingclient.emulator.journal import RequestRecord
from servingclient.emulator.settings import Settings

__all__ = [
    "Emulator",
    "EndpointSpec",
    "ExternalApi",
    "ExternalSettings",
    "Fault",
    "RequestRecord",
    "Settings",
    "faults",
]
