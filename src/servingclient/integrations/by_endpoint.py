"""Clients by endpoint, for code that names the endpoint in each call.

A client is made with the first call of its endpoint and kept. Beyond a number that no application
needs, the one used longest ago is closed: names may come from outside, mistyped ones among them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

from servingclient.errors import ClientClosedError
from servingclient.transport.fork_lock import fork_lock

if TYPE_CHECKING:
    from servingclient._async_client import AsyncServingClient
    from servingclient._client import ServingClient

MOST_CLIENTS = 256
"""As many grants as one client keeps (``auth/book``); a workspace may have 1000 endpoints."""

C = TypeVar("C")
B = TypeVar("B", bound="ServingClient")


class _Kept(Generic[C]):
    """Clients in the order of their last use."""

    def __init__(self, make: Callable[[str], C]) -> None:
        self._make = make
        self._lock = fork_lock()
        self._clients: OrderedDict[str, C] = OrderedDict()
        self._closed = False

    def take(self, endpoint: str) -> tuple[C, C | None]:
        """The client of an endpoint, and one that is to be closed for it.

        Raises:
            ConfigError: The name cannot be that of an endpoint.
            ClientClosedError: All were closed.
        """
        with self._lock:
            if self._closed:
                raise ClientClosedError("The client is closed. Keep it open while calls run.")
            client = self._clients.get(endpoint)
            if client is None:
                client = self._clients[endpoint] = self._make(endpoint)
            else:
                self._clients.move_to_end(endpoint)
            if len(self._clients) <= MOST_CLIENTS:
                return client, None
            return client, self._clients.popitem(last=False)[1]

    def leave(self) -> list[C]:
        """All of them; there will be no others."""
        with self._lock:
            self._closed = True
            clients = list(self._clients.values())
            self._clients.clear()
        return clients


class Clients(Generic[B]):
    """Blocking ones, for any number of threads.

    Args:
        make: Makes the client of an endpoint.
    """

    def __init__(self, make: Callable[[str], B]) -> None:
        self._kept = _Kept(make)

    def of(self, endpoint: str) -> B:
        """The client of an endpoint.

        Raises:
            ConfigError: The name cannot be that of an endpoint.
            ClientClosedError: ``close`` was called.
        """
        client, old = self._kept.take(endpoint)
        if old is not None:
            old.close()
        return client

    def close(self) -> None:
        """Close all. May be called again."""
        for client in self._kept.leave():
            client.close()


class AsyncClients:
    """Those for tasks of one event loop.

    Args:
        make: Makes the client of an endpoint.
    """

    def __init__(self, make: Callable[[str], AsyncServingClient]) -> None:
        self._kept = _Kept(make)

    async def of(self, endpoint: str) -> AsyncServingClient:
        """The client of an endpoint.

        Raises:
            ConfigError: The name cannot be that of an endpoint.
            ClientClosedError: ``aclose`` was called.
        """
        client, old = self._kept.take(endpoint)
        if old is not None:
            await old.aclose()
        return client

    async def aclose(self) -> None:
        """Close all. May be called again."""
        for client in self._kept.leave():
            await client.aclose()
