"""Transports that give out what was recorded, and reach no network."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import AsyncIterator, Collection, Iterator
from pathlib import Path
from typing import Any

import httpx

from servingclient.testing.tape import FORMAT, Exchange, is_call, request_text

_ERRORS: dict[str, type[httpx.TransportError]] = {
    kind.__name__: kind
    for kind in (
        httpx.ConnectError,
        httpx.ConnectTimeout,
        httpx.PoolTimeout,
        httpx.ReadError,
        httpx.ReadTimeout,
        httpx.RemoteProtocolError,
        httpx.WriteError,
        httpx.WriteTimeout,
    )
}


class _Recording:
    """What a file holds, and which of it was given out.

    A call's exchange is given out once, to the first request like it. What the client asks for
    itself, descriptions and tokens, is given out as often as it asks.
    """

    def __init__(self, path: str | os.PathLike[str], ignore: Collection[str]) -> None:
        self.path = Path(path)
        self._ignore = frozenset(ignore)
        self._lock = threading.Lock()
        self.missed: list[str] = []
        head, *lines = self.path.read_text(encoding="utf-8").splitlines() or [""]
        self._payloads = _payloads_of(head, self.path)
        self._left = [Exchange.of_line(line) for line in lines]
        # a route-optimized endpoint is called elsewhere than its workspace is asked
        asked = [one for one in self._left if not one.is_call] or self._left
        self.host = str(httpx.URL(asked[0].url).copy_with(raw_path=b"/")) if asked else ""

    @property
    def unused(self) -> list[Exchange]:
        """Calls that nothing has asked for."""
        return [one for one in self._left if one.is_call]

    def find(self, request: httpx.Request, content: bytes) -> Exchange:
        """What was recorded of a request like this one; else the refusal of it."""
        url = str(request.url.copy_with(query=None, fragment=None))
        wanted = self._compared(request_text(url, content, payloads=self._payloads))
        with self._lock:
            like = [one for one in self._left if (one.method, one.url) == (request.method, url)]
            if is_call(url):
                like = [one for one in like if self._compared(one.request) == wanted]
            if not like:
                self.missed.append(f"{request.method} {url}")
                return self._refused(request.method, url)
            found = like[0]
            if found.is_call or len(like) > 1:
                self._left.remove(found)
            return found

    def _compared(self, text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError:
            return text
        if isinstance(value, dict):
            return {key: one for key, one in value.items() if key not in self._ignore}
        return value

    def _refused(self, method: str, url: str) -> Exchange:
        left = sum(one.is_call and one.url == url for one in self._left)
        text = (
            f"{self.path.name} holds no {method} {httpx.URL(url).path} like this one"
            f" ({left} others of that address are left). Record it anew, or send what was recorded."
        )
        body = json.dumps({"error_code": "NOT_RECORDED", "message": text})
        status = 400 if is_call(url) else 404
        return Exchange(method, url, "", status, (("content-type", "application/json"),), body)

    def assert_used(self) -> None:
        """Fail where recorded calls are left over, or requests found none."""
        problems = [f"not recorded: {text}" for text in self.missed]
        problems += [f"not asked for: {one.method} {one.url}" for one in self.unused]
        if problems:
            raise AssertionError("; ".join(problems))


def _payloads_of(head: str, path: Path) -> bool:
    try:
        found = json.loads(head)
        number, payloads = found["servingclient_tape"], found["payloads"]
    except (KeyError, TypeError, ValueError):
        number, payloads = None, False
    if number != FORMAT:
        raise ValueError(f"{path} is no recording of this library, or one of another version")
    return bool(payloads)


class ReplayTransport(httpx.BaseTransport):
    """Answers requests with what was recorded of requests like them.

    What was not recorded is refused: a call as a ``BadRequest`` that says so. Credentials are not
    compared; anything will do in their place.

    Args:
        path: A file that a recording transport has written.
        ignore: Keys at the top of a call's body that may differ.

    Raises:
        ValueError: The file is no recording.
        OSError: It cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ignore: Collection[str] = ("client_request_id",),
    ) -> None:
        self._recording = _Recording(path, ignore)

    @property
    def host(self) -> str:
        """The workspace that was recorded: what to give as ``host=``."""
        return self._recording.host

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        found = self._recording.find(request, request.read())
        return _response(found, request, _Body(found))

    def assert_used(self) -> None:
        """Fail where recorded calls are left over, or requests found nothing.

        Raises:
            AssertionError: Says which.
        """
        self._recording.assert_used()


class _Body(httpx.SyncByteStream):
    """A recorded body; one that was left early breaks off where it was left."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __iter__(self) -> Iterator[bytes]:
        yield _bytes(self._exchange)
        _check_complete(self._exchange)


class AsyncReplayTransport(httpx.AsyncBaseTransport):
    """:class:`ReplayTransport` for asyncio; with the same arguments.

    Args:
        path: A file that a recording transport has written.
        ignore: Keys at the top of a call's body that may differ.

    Raises:
        ValueError: The file is no recording.
        OSError: It cannot be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        ignore: Collection[str] = ("client_request_id",),
    ) -> None:
        self._recording = _Recording(path, ignore)

    @property
    def host(self) -> str:
        """The workspace that was recorded: what to give as ``host=``."""
        return self._recording.host

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        found = self._recording.find(request, await request.aread())
        return _response(found, request, _AsyncBody(found))

    def assert_used(self) -> None:
        """Fail where recorded calls are left over, or requests found nothing.

        Raises:
            AssertionError: Says which.
        """
        self._recording.assert_used()


class _AsyncBody(httpx.AsyncByteStream):
    """A recorded body; one that was left early breaks off where it was left."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield _bytes(self._exchange)
        _check_complete(self._exchange)


def _response(
    exchange: Exchange,
    request: httpx.Request,
    stream: httpx.SyncByteStream | httpx.AsyncByteStream,
) -> httpx.Response:
    if exchange.status is None:
        kind = _ERRORS.get(exchange.error or "", httpx.RemoteProtocolError)
        raise kind("as recorded", request=request)
    return httpx.Response(exchange.status, headers=list(exchange.headers), stream=stream)


def _bytes(exchange: Exchange) -> bytes:
    return exchange.body.encode("utf-8", "surrogateescape")


def _check_complete(exchange: Exchange) -> None:
    if not exchange.complete:
        raise httpx.ReadError("the recording ends here: whoever recorded it read no further")
