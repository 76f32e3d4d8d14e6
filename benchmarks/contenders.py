"""Those who are compared: each scores the same row of ten columns and returns the predictions.

Clients of Databricks (ours, databricks-sdk, mlflow) go through their normal API, from a row to
values. Plain HTTP clients get more than they would in real life: the body is encoded beforehand,
the URL is complete, the environment is not read, and of the reply they only parse the JSON. ``raw``
is our own wire without the story above it, so that servingclient less raw is the cost of retries,
tokens, deadline, encoding and results.
"""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import orjson

ENDPOINT = "fraud-model"
TOKEN = "benchmark-token"
PREDICTIONS = [[0.26894142137, 0.73105857863]]
"""What the server answers; every contender must hand back just this."""

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
CALL_S = 30.0
"""The deadline of one call of ours, which is also what it ships with."""


@dataclass(frozen=True)
class Place:
    """Where a contender calls, and how many calls it must be able to hold open.

    Attributes:
        host: Scheme, address and port of the server.
        ca_file: The authority that signed its certificate.
        concurrency: Calls in flight.
        default_pool: Ours only: leave the limit of connections as it ships; calls beyond it wait.
    """

    host: str
    ca_file: str
    concurrency: int
    default_pool: bool = False

    @property
    def url(self) -> str:
        return f"{self.host}/serving-endpoints/{ENDPOINT}/invocations"

    def tls(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)


class SyncContender(Protocol):
    def __init__(self, place: Place) -> None: ...
    def call(self) -> Any: ...
    def close(self) -> None: ...


class AsyncContender(Protocol):
    def __init__(self, place: Place) -> None:
        """Runs inside the event loop."""

    async def call(self) -> Any: ...
    async def aclose(self) -> None: ...


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


# ---------------------------------------------------------------- servingclient


class CountingObserver:
    """As small as an observer gets; it is there because a production client has one.

    It also tells whether calls had to be repeated, which would make the figures wrong.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.failures = 0

    def call_ended(self, event: Any) -> None:
        self.calls += 1

    def attempt_failed(self, event: Any) -> None:
        self.failures += 1

    def judge(self) -> None:
        if self.failures:
            print(f"  servingclient: {self.failures} of {self.calls} calls had a failed attempt")


def our_settings(place: Place) -> Any:
    """As they ship; only the limit of connections is raised, as for all contenders."""
    from servingclient.settings import Pool, Settings, Tls

    lanes = Pool().max_lanes if place.default_pool else place.concurrency
    return Settings(
        tls=Tls(ca_file=place.ca_file),
        pool=Pool(max_lanes=lanes, connect_timeout_s=20.0),  # 1,024 handshakes at once take seconds
    )


class ServingClientSync:
    def __init__(self, place: Place) -> None:
        from servingclient import ServingClient

        self._observer = CountingObserver()
        self._client = ServingClient(
            ENDPOINT,
            host=place.host,
            token=TOKEN,
            settings=our_settings(place),
            observers=[self._observer],
        )

    def call(self) -> Any:
        return self._client.predict([ROW]).predictions

    def close(self) -> None:
        self._client.close()
        self._observer.judge()


class ServingClientAsync:
    def __init__(self, place: Place) -> None:
        from servingclient import AsyncServingClient

        self._observer = CountingObserver()
        self._client = AsyncServingClient(
            ENDPOINT,
            host=place.host,
            token=TOKEN,
            settings=our_settings(place),
            observers=[self._observer],
        )

    async def call(self) -> Any:
        return (await self._client.predict([ROW])).predictions

    async def aclose(self) -> None:
        await self._client.aclose()
        self._observer.judge()


class RawSync:
    """The wire alone, stepped as the client steps it: one encoded request, one reply as bytes."""

    def __init__(self, place: Place) -> None:
        from servingclient import _step
        from servingclient.transport.wire import LaneWire

        self._run = _step.run
        self._wire = LaneWire(our_settings(place))
        self._target = raw_target(place)

    def call(self) -> Any:
        deadline_s = time.monotonic() + CALL_S
        return self._run(self._wire.send(self._target, BODY, deadline_s)).body

    def close(self) -> None:
        self._wire.close()


class RawAsync:
    def __init__(self, place: Place) -> None:
        from servingclient.transport.wire import AsyncLaneWire

        self._wire = AsyncLaneWire(our_settings(place))
        self._target = raw_target(place)

    async def call(self) -> Any:
        return (await self._wire.send(self._target, BODY, time.monotonic() + CALL_S)).body

    async def aclose(self) -> None:
        await self._wire.aclose()


def raw_target(place: Place) -> Any:
    from servingclient.auth.headers import make_target, standard_headers
    from servingclient.auth.origin import parse_host

    bearer = (("Authorization", f"Bearer {TOKEN}"),)
    path = place.url.removeprefix(place.host)
    return make_target(parse_host(place.host), "POST", path, standard_headers("0", extra=bearer))


# ---------------------------------------------------------------- clients for Databricks


class DatabricksSdk:
    def __init__(self, place: Place) -> None:
        from databricks.sdk import WorkspaceClient
        from databricks.sdk.core import Config

        # both sizes, as the SDK passes each where the other belongs; it queues above 20 threads
        size = max(20, place.concurrency)
        config = Config(
            host=place.host,
            token=TOKEN,
            max_connection_pools=size,
            max_connections_per_pool=size,
        )
        self._query = WorkspaceClient(config=config).serving_endpoints.query

    def call(self) -> Any:
        return self._query(name=ENDPOINT, dataframe_records=[ROW]).predictions

    def close(self) -> None:
        """It has no way to be closed."""


class Mlflow:
    def __init__(self, place: Place) -> None:
        from mlflow.deployments import get_deploy_client

        del place  # host and credentials come from the environment
        self._client = get_deploy_client("databricks")

    def call(self) -> Any:
        return self._client.predict(endpoint=ENDPOINT, inputs={"dataframe_records": [ROW]})[
            "predictions"
        ]

    def close(self) -> None:
        """It has no way to be closed."""


# ---------------------------------------------------------------- plain HTTP clients

HEADERS = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def httpx_options(place: Place) -> dict[str, Any]:
    import httpx

    return {
        "verify": place.tls(),
        "headers": HEADERS,
        "timeout": LONG_S,
        "trust_env": False,
        "limits": httpx.Limits(
            max_connections=place.concurrency,
            max_keepalive_connections=place.concurrency,
            keepalive_expiry=LONG_S,
        ),
    }


class HttpxSync:
    def __init__(self, place: Place) -> None:
        import httpx

        self._url = place.url
        self._client = httpx.Client(**httpx_options(place))

    def call(self) -> Any:
        return orjson.loads(self._client.post(self._url, content=BODY).content)["predictions"]

    def close(self) -> None:
        self._client.close()


class HttpxAsync:
    def __init__(self, place: Place) -> None:
        import httpx

        self._url = place.url
        self._client = httpx.AsyncClient(**httpx_options(place))

    async def call(self) -> Any:
        reply = await self._client.post(self._url, content=BODY)
        return orjson.loads(reply.content)["predictions"]

    async def aclose(self) -> None:
        await self._client.aclose()


class Aiohttp:
    def __init__(self, place: Place) -> None:
        import aiohttp

        self._url = place.url
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=place.concurrency, keepalive_timeout=LONG_S, ssl=place.tls()
            ),
            headers=HEADERS,
            timeout=aiohttp.ClientTimeout(total=LONG_S),
        )

    async def call(self) -> Any:
        async with self._session.post(self._url, data=BODY) as reply:
            return orjson.loads(await reply.read())["predictions"]

    async def aclose(self) -> None:
        await self._session.close()


# ---------------------------------------------------------------- by name

SYNC: Mapping[str, type[SyncContender]] = {
    "servingclient": ServingClientSync,
    "raw": RawSync,
    "databricks_sdk": DatabricksSdk,
    "mlflow": Mlflow,
    "httpx": HttpxSync,
}
ASYNC: Mapping[str, type[AsyncContender]] = {
    "servingclient": ServingClientAsync,
    "raw": RawAsync,
    "httpx": HttpxAsync,
    "aiohttp": Aiohttp,
}
