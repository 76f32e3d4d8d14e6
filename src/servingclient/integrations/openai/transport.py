"""httpx transports that call serving endpoints through this library's clients."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

import httpx

from servingclient._stream import AsyncStream, Stream
from servingclient.errors import ServingError, StreamError
from servingclient.integrations.by_endpoint import AsyncClients, Clients
from servingclient.integrations.openai import answers, asked

if TYPE_CHECKING:
    from servingclient._async_client import AsyncServingClient
    from servingclient._client import ServingClient


class ServingTransport(httpx.BaseTransport):
    """Blocking.

    Args:
        base_url: The only one that requests may be for.
        make: Makes the client of an endpoint.
    """

    def __init__(self, base_url: str, make: Callable[[str], ServingClient]) -> None:
        self._base_url = httpx.URL(base_url)
        self._clients = Clients(make)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call; the OpenAI client's own header lines are not sent on."""
        try:
            wanted = asked.read(request, request.read(), self._base_url)
            client = self._clients.of(wanted.endpoint)
            if wanted.stream:
                stream = client.stream(wanted.body, timeout=wanted.timeout_s)
                return answers.begun(_Events(stream), stream.request_id)
            return answers.whole(client.predict(wanted.body, timeout=wanted.timeout_s))
        except asked.NotAsked as error:
            return answers.refusal(error)
        except ServingError as error:
            return answers.told(error, request)

    def close(self) -> None:
        """Close all clients."""
        self._clients.close()


class _Events(httpx.SyncByteStream):
    """A stream, as the OpenAI client reads it."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        try:
            for value in self._stream:
                yield answers.event(value)
        except StreamError as error:
            yield answers.broken(error)
        yield answers.DONE

    def close(self) -> None:
        self._stream.close()


class AsyncServingTransport(httpx.AsyncBaseTransport):
    """For asyncio.

    Args:
        base_url: The only one that requests may be for.
        make: Makes the client of an endpoint.
    """

    def __init__(self, base_url: str, make: Callable[[str], AsyncServingClient]) -> None:
        self._base_url = httpx.URL(base_url)
        self._clients = AsyncClients(make)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Make one call; the OpenAI client's own header lines are not sent on."""
        try:
            wanted = asked.read(request, await request.aread(), self._base_url)
            client = await self._clients.of(wanted.endpoint)
            if wanted.stream:
                stream = await client.stream(wanted.body, timeout=wanted.timeout_s)
                return answers.begun(_AsyncEvents(stream), stream.request_id)
            return answers.whole(await client.predict(wanted.body, timeout=wanted.timeout_s))
        except asked.NotAsked as error:
            return answers.refusal(error)
        except ServingError as error:
            return answers.told(error, request)

    async def aclose(self) -> None:
        """Close all clients."""
        await self._clients.aclose()


class _AsyncEvents(httpx.AsyncByteStream):
    """A stream, as the OpenAI client reads it."""

    def __init__(self, stream: AsyncStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for value in self._stream:
                yield answers.event(value)
        except StreamError as error:
            yield answers.broken(error)
        yield answers.DONE

    async def aclose(self) -> None:
        await self._stream.aclose()
