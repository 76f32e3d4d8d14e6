"""One client per endpoint, and not without end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from servingclient import ClientClosedError
from servingclient.integrations import by_endpoint
from servingclient.integrations.by_endpoint import AsyncClients, Clients


class Recorded:
    """Stands in for a client of either colour."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.closed = False

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Awaited:
    """``AsyncClients`` with its methods awaited."""

    def __init__(self, make: Any) -> None:
        self._clients = AsyncClients(make)

    def of(self, endpoint: str) -> Any:
        return asyncio.run(self._clients.of(endpoint))

    def close(self) -> None:
        asyncio.run(self._clients.aclose())


@pytest.mark.parametrize("kind", [Clients, Awaited])
def test_the_one_used_longest_ago_goes(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_endpoint, "MOST_CLIENTS", 2)
    clients = kind(Recorded)
    first, second = clients.of("first"), clients.of("second")
    assert clients.of("first") is first
    third = clients.of("third")
    assert (first.closed, second.closed, third.closed) == (False, True, False)
    assert clients.of("second") is not second
    assert first.closed


@pytest.mark.parametrize("kind", [Clients, Awaited])
def test_closed_they_make_no_more(kind: Any) -> None:
    clients = kind(Recorded)
    first = clients.of("first")
    clients.close()
    clients.close()
    assert first.closed
    with pytest.raises(ClientClosedError):
        clients.of("first")
