"""Where contenders call, and the row they score."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from typing import Any

import orjson

ENDPOINT = "fraud-model"
TOKEN = "benchmark-token"

ROW: dict[str, Any] = {
    "amount": 129.99,
    "currency": "EUR",
    "merchant_category": 5411,
    "hour": 14,
    "distance_km": 3.25,
    "card_present": True,
    "account_age_days": 812,
    "failures_24h": 0,
    "country": "DE",
    "velocity": 0.0731,
}
BODY = orjson.dumps({"dataframe_split": {"columns": list(ROW), "data": [list(ROW.values())]}})
LONG_S = 600.0
"""Longer than any run, for keep-alive and time-outs: no contender is to reconnect or give up."""


@dataclass(frozen=True)
class Place:
    """Where a contender calls, and how many calls it must be able to hold open.

    Attributes:
        host: Scheme, address and port of the server.
        ca_file: The authority that signed its certificate.
        concurrency: Calls in flight.
        as_shipped: Ours only: leave the limits as they are; calls beyond them wait.
    """

    host: str
    ca_file: str
    concurrency: int
    as_shipped: bool = False

    @property
    def path(self) -> str:
        return f"/serving-endpoints/{ENDPOINT}/invocations"

    @property
    def url(self) -> str:
        return self.host + self.path

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


def prepare_environment(host: str, ca_file: str) -> None:
    """For mlflow and databricks-sdk, which take the authority's file and credentials from here.

    The file holds one certificate. With a full bundle mlflow costs some five times as much, since
    it reads the file anew for every call; the smaller figure is the one compared with.
    """
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("DATABRICKS_", "MLFLOW_")):
            del os.environ[name]
    os.environ |= {
        "REQUESTS_CA_BUNDLE": ca_file,
        "DATABRICKS_HOST": host,
        "DATABRICKS_TOKEN": TOKEN,
        "DATABRICKS_CONFIG_FILE": os.devnull,
        "MLFLOW_DISABLE_TELEMETRY": "true",  # nothing but the calls leaves this process
        "DO_NOT_TRACK": "true",
    }
