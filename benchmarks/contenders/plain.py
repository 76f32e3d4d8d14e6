"""Plain HTTP clients. They get more than they would in real life: the body is encoded beforehand,
the URL is complete, the environment is not read, and of the reply they only parse the JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Any
from urllib.parse import SplitResult, urlsplit

import orjson

from contenders.place import BODY, LONG_S, TOKEN, Place

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

        self.url = place.url
        self.client = httpx.Client(**httpx_options(place))

    def call(self) -> Any:
        return self.post(BODY)

    def post(self, body: bytes) -> Any:
        return orjson.loads(self.client.post(self.url, content=body).content)["predictions"]

    def close(self) -> None:
        self.client.close()


class Requests:
    def __init__(self, place: Place) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self.url = place.url
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = place.ca_file
        self.session.headers.update(HEADERS)
        self.session.mount("https://", HTTPAdapter(pool_maxsize=place.concurrency))

    def call(self) -> Any:
        return self.post(BODY)

    def post(self, body: bytes) -> Any:
        reply = self.session.post(self.url, data=body, timeout=LONG_S)
        return orjson.loads(reply.content)["predictions"]

    def close(self) -> None:
        self.session.close()


class HttpxAsync:
    def __init__(self, place: Place) -> None:
        import httpx

        self.url = place.url
        self.client = httpx.AsyncClient(**httpx_options(place))

    async def call(self) -> Any:
        return await self.post(BODY)

    async def post(self, body: bytes) -> Any:
        reply = await self.client.post(self.url, content=body)
        return orjson.loads(reply.content)["predictions"]

    async def aclose(self) -> None:
        await self.client.aclose()


class HttpxAiohttp(HttpxAsync):
    """httpx as its users know it, over aiohttp's connections."""

    def __init__(self, place: Place) -> None:
        import httpx
        import httpx_aiohttp

        self.url = place.url
        options = httpx_options(place)
        transport = httpx_aiohttp.AiohttpTransport(
            verify=options.pop("verify"), limits=options.pop("limits"), trust_env=False
        )
        self.client = httpx.AsyncClient(transport=transport, **options)


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


def request(at: SplitResult) -> bytes:
    """The whole request, made once."""
    lines = [f"POST {at.path} HTTP/1.1", f"Host: {at.netloc}"]
    lines += [f"{name}: {value}" for name, value in HEADERS.items()]
    lines.append(f"Content-Length: {len(BODY)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + BODY


class SocketLoop:
    """A blocking socket, OpenSSL and a search for ``Content-Length``: the floor for a client.

    It keeps no deadline, does not look whether an idle connection is still good, and takes no reply
    for anything but a good one. One write and one read; ``SSLSocket`` would read twice.
    """

    def __init__(self, place: Place) -> None:
        self._at, self._tls = urlsplit(place.url), place.tls()
        self._request = request(self._at)
        self._idle: list[tuple[socket.socket, ssl.MemoryBIO, ssl.MemoryBIO, ssl.SSLObject]] = []

    def call(self) -> Any:
        lane = self._idle.pop() if self._idle else self._connected()
        sock, incoming, outgoing, tls = lane
        tls.write(self._request)
        sock.sendall(outgoing.read())
        reply = b""
        while not self._whole(reply):
            incoming.write(sock.recv(65536))
            with contextlib.suppress(ssl.SSLWantReadError):
                reply += tls.read(65536)
        self._idle.append(lane)
        return orjson.loads(reply[reply.index(b"\r\n\r\n") + 4 :])["predictions"]

    def _whole(self, reply: bytes) -> bool:
        end = reply.find(b"\r\n\r\n")
        if end < 0:
            return False
        at = reply.index(b"Content-Length: ") + 16
        return len(reply) == end + 4 + int(reply[at : reply.index(b"\r", at)])

    def _connected(self) -> tuple[socket.socket, ssl.MemoryBIO, ssl.MemoryBIO, ssl.SSLObject]:
        sock = socket.create_connection((self._at.hostname, self._at.port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = self._tls.wrap_bio(incoming, outgoing, server_hostname=self._at.hostname)
        while True:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                incoming.write(sock.recv(65536))
            else:
                sock.sendall(outgoing.read())
                return sock, incoming, outgoing, tls

    def close(self) -> None:
        for sock, *_ in self._idle:
            sock.close()


class AsyncioLoop:
    """asyncio's streams and a search for ``Content-Length``: no client, but the floor for one.

    It keeps no deadline, looks at no status, and would take chunked replies for empty ones.
    """

    def __init__(self, place: Place) -> None:
        self._at, self._tls = urlsplit(place.url), place.tls()
        self._request = request(self._at)
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def call(self) -> Any:
        reader, writer = self._idle.pop() if self._idle else await self._connected()
        writer.write(self._request)
        head = await reader.readuntil(b"\r\n\r\n")
        at = head.index(b"Content-Length: ") + 16
        body = await reader.readexactly(int(head[at : head.index(b"\r", at)]))
        self._idle.append((reader, writer))
        return orjson.loads(body)["predictions"]

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._at.hostname, self._at.port, ssl=self._tls)

    async def aclose(self) -> None:
        for _, writer in self._idle:
            writer.close()
        await asyncio.gather(
            *(writer.wait_closed() for _, writer in self._idle), return_exceptions=True
        )
