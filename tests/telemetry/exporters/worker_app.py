"""A service as several uvicorn workers run it: each counts, any of them answers for all."""

from __future__ import annotations

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest, multiprocess

from servingclient import AsyncServingClient
from servingclient.integrations.prometheus import PrometheusWorker

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_clients: list[AsyncServingClient] = []


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI: ``/score`` asks the endpoint, ``/metrics`` tells of all workers."""
    if scope["type"] == "lifespan":
        await live(receive, send)
    elif scope["path"] == "/metrics":
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        await answer(send, generate_latest(registry))
    else:
        found = await _clients[0].predict([{"a": 1.0, "b": 2.0}])
        await answer(send, json.dumps([os.getpid(), found.predictions]).encode())


async def live(receive: Receive, send: Send) -> None:
    """Open the client when the worker starts, close it when it ends."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            _clients.append(AsyncServingClient("demo", observers=[PrometheusWorker()]))
        else:
            await _clients.pop().aclose()
            multiprocess.mark_process_dead(os.getpid())
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def answer(send: Send, body: bytes) -> None:
    """A whole reply; closed, so that each request may come to another worker."""
    headers = [(b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
