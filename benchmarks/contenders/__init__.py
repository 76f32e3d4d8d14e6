"""Those who are compared: each scores the same row of ten columns and returns the predictions.

Clients of Databricks (``ours``, ``databricks``) go through their normal API, from a row to values.
``plain`` HTTP clients are handed the encoded body. ``raw`` is our own wire without the story above
it, so that servingclient less raw is the cost of retries, tokens, deadline, encoding and results.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from contenders.databricks import DatabricksSdk, Mlflow
from contenders.ours import RawAsync, RawSync, ServingClientAsync, ServingClientSync
from contenders.place import Place
from contenders.plain import (
    Aiohttp,
    AsyncioLoop,
    HttpxAiohttp,
    HttpxAsync,
    HttpxSync,
    Requests,
    SocketLoop,
)


class SyncContender(Protocol):
    def __init__(self, place: Place) -> None: ...
    def call(self) -> Any: ...
    def close(self) -> None: ...


class AsyncContender(Protocol):
    def __init__(self, place: Place) -> None:
        """Runs inside the event loop."""

    async def call(self) -> Any: ...
    async def aclose(self) -> None: ...


SYNC: Mapping[str, type[SyncContender]] = {
    "servingclient": ServingClientSync,
    "raw": RawSync,
    "socket_loop": SocketLoop,
    "databricks_sdk": DatabricksSdk,
    "mlflow": Mlflow,
    "httpx": HttpxSync,
    "requests": Requests,
}
ASYNC: Mapping[str, type[AsyncContender]] = {
    "servingclient": ServingClientAsync,
    "raw": RawAsync,
    "asyncio_loop": AsyncioLoop,
    "httpx": HttpxAsync,
    "httpx_aiohttp": HttpxAiohttp,
    "aiohttp": Aiohttp,
}
